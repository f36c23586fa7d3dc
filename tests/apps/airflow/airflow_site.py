# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Airflow in one folder: metadata database, configuration, API server, and its own code to write and read secrets."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
VENV = ROOT / ".work" / "apps" / "airflow" / "venv"
VARIABLE = "AIRFLOW__CORE__FERNET_KEY"


def new_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Airflow:
    """C(keys) are what stands in the configuration, with commas between."""

    def __init__(self, folder: Path, migrated: Path, keys: str, *, in_cfg: bool = False) -> None:
        self.folder, self.in_cfg = folder, in_cfg
        folder.mkdir()
        self.home = folder / "home"
        shutil.copytree(migrated, self.home)
        self.database, self.cfg, self.env_file = self.home / "airflow.db", self.home / "airflow.cfg", folder / "airflow.env"
        self.state_dir, self.pid_file, self.log = folder / "rotation", folder / "pid", folder / "server.log"
        self.port = free_port()
        self.secrets = set(keys.split(","))
        if in_cfg:
            lines = self.cfg.read_text().splitlines(keepends=True)
            self.cfg.write_text("".join(f"fernet_key = {keys}\n" if line.startswith("fernet_key =") else line for line in lines))
        else:
            self.env_file.write_text(f"# Airflow's own variables\n{VARIABLE}={keys}\nAIRFLOW__CORE__LOAD_EXAMPLES=False\n")
            self.env_file.chmod(0o600)
        self._write_scripts()

    def configured(self) -> str:
        """Return the value of the key in the configuration."""
        path, start = (self.cfg, "fernet_key = ") if self.in_cfg else (self.env_file, f"{VARIABLE}=")
        found = [line[len(start) :] for line in path.read_text().splitlines() if line.startswith(start)]
        assert len(found) == 1
        self.secrets.update(found[0].split(","))
        return found[0]

    def environment(self, keys: str | None = None) -> dict[str, str]:
        """Return what Airflow's processes are started with; C(keys) in the place of what is configured."""
        found = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))} | {
            "AIRFLOW_HOME": str(self.home), "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False", "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        }  # fmt: skip
        if not self.in_cfg:
            found[VARIABLE] = self.configured()
        return found | ({VARIABLE: keys} if keys else {})

    def inside(self, *argv: str, keys: str | None = None) -> str:
        """Run Airflow's own code on the secrets."""
        done = subprocess.run(
            [VENV / "bin" / "python", HERE / "inside.py", *argv], env=self.environment(keys), capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout

    def read(self, *, keys: str | None = None) -> dict[str, Any]:
        return json.loads(self.inside("read", keys=keys).splitlines()[-1])

    def _write_scripts(self) -> None:
        """Write the operator's commands: what an Airflow unit with EnvironmentFile= does."""
        settings = "\n".join(
            f"export {name}='{value}'" for name, value in self.environment().items() if name.startswith("AIRFLOW") and name != VARIABLE
        )
        source = "" if self.in_cfg else f"set -a; . '{self.env_file}'; set +a"
        for name, text in {
            "start": f"{settings}\n{source}\ncd '{self.home}'\nsetsid '{VENV}/bin/airflow' api-server --host 127.0.0.1 --port {self.port} "
            f"--workers 1 > '{self.log}' 2>&1 < /dev/null &\necho $! > '{self.pid_file}'\n",
            "stop": f"kill \"$(cat '{self.pid_file}')\"\n",
        }.items():
            path = self.folder / name
            path.write_text(f"#!/bin/sh\n{text}")
            path.chmod(0o700)

    def start(self) -> None:
        subprocess.run([self.folder / "start"], check=True, timeout=30)
        deadline = time.monotonic() + 120
        while self.get("/api/v2/monitor/health")[0] != 200:
            assert time.monotonic() < deadline, self.log.read_text()[-2000:]
            time.sleep(0.2)

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def get(self, path: str, token: str = "") -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        except OSError:
            return 0, ""
        finally:
            connection.close()

    def token(self) -> str:
        return str(json.loads(self.get("/auth/token")[1])["access_token"])

    def tear_down(self) -> None:
        if self.pid_file.exists():
            with contextlib.suppress(OSError):
                os.killpg(self.pid(), signal.SIGKILL)

    def variables(self) -> dict[str, Any]:
        """Describe the installation as docs/airflow.md does."""
        told: dict[str, Any] = {
            "servos_app": "airflow", "servos_database": f"sqlite:///{self.database}", "servos_state_dir": str(self.state_dir),
            "servos_backup_dir": str(self.folder / "backups"), "servos_service_manager": "none", "servos_verify_application": False,
        }  # fmt: skip
        if self.in_cfg:
            told.update(
                servos_env_file=str(self.cfg), servos_env_var="fernet_key",
                servos_profile={"config_format": "ini", "config_section": "core"},
            )  # fmt: skip
        else:
            told.update(servos_env_file=str(self.env_file))
        return told

    def service(self) -> dict[str, Any]:
        """Describe the API server and a probe that reads a variable back; Airflow answers 200 with null where it cannot."""
        token_file = self.folder / "token"
        token_file.write_text(self.token())
        token_file.chmod(0o600)
        base = f"http://127.0.0.1:{self.port}"
        return {
            "servos_service_manager": "command", "servos_verify_application": True, "servos_start_timeout": 120,
            "servos_service_commands": {
                "start": [str(self.folder / "start")], "stop": [str(self.folder / "stop")], "pid_file": str(self.pid_file),
            },
            "servos_health_url": f"{base}/api/v2/monitor/health",
            "servos_probes": [{
                "name": "a variable", "url": f"{base}/api/v2/variables/one_variable_0", "token_file": str(token_file),
                "forbid": ['"value":null'],
            }],
        }  # fmt: skip

    def play(self, name: str, *argv: str, **variables: Any) -> str:
        """Run C(servos.ops.NAME); no key may stand in what it prints."""
        told = self.variables() | variables
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"servos_control": {"hosts": {"control": host}, "vars": told}}))
        environment = os.environ | {"ANSIBLE_HOME": str(self.folder / "ansible"), "ANSIBLE_LOCALHOST_WARNING": "0", "NO_COLOR": "1"}
        command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [command, "-i", str(inventory), f"servos.ops.{name}", *argv], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=400, check=False,
        )  # fmt: skip
        self.configured()
        assert [key[:6] for key in self.secrets if key in done.stdout] == []
        assert done.returncode == 0, done.stdout[-3000:]
        return done.stdout
