# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provara with its env file and a gateway that runs: the reference one, started as an operator's commands start it."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

from evidence import Snapshot, leaks
from installations import write
from module_runs import ModuleRun, Outcome
from playbook_runs import Played, recap_of
from ports import free_port
from provara_installation import Provara, open_columns
from servers import REFERENCE, Server

# A process with an old key anywhere on the host is noticed, so that the keys of a test are its own process's.
OLD, NEW = (hashlib.sha256(f"servos.ops provara {os.getpid()} {name}".encode()).hexdigest() for name in ("old", "new"))
SECRET = "integration-admin-secret"


def begin_of_hash(key_text: str) -> str:
    return hashlib.sha256(key_text.encode()).hexdigest()[:16]


class ServedProvara(Provara, Server):
    """A small database, an env file, and the commands that start and stop the gateway on them."""

    product, env_var = "provara", "PROVARA_MASTER_KEY"

    def __init__(self, folder: Path, *, values: dict[str, str] | None = None, key_text: str = OLD, **environ: str) -> None:
        folder.mkdir()
        self.folder, self.database, self.state_dir = folder, folder / "provara.db", folder / "rotation"
        self.backup_dir, self.env_file, self.pid_file, self.log = (folder / name for name in ("backups", "provara.env", "pid", "log"))
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.old_key, self.new_key = write(folder / "old.key", key_text), write(folder / "new.key", NEW)
        self.secret_file = write(folder / "admin_key", SECRET + "\n")
        self.scratch = folder.parent / f"{folder.name}-scratch"
        self.scratch.mkdir()
        self.script("schema.py", "init")
        for name, value in ({"OPENAI_API_KEY": "sk-first", "MISTRAL_API_KEY": "second"} if values is None else values).items():
            self.add(name, value)
        self.add("repository", "ghp_connector", "--connector", "github_token")
        self.set_environ(key_text=key_text, **environ)
        self._write_commands()

    def _write_commands(self) -> None:
        write(self.folder / "start", textwrap.dedent(f"""\
            #!/bin/sh
            setsid '{sys.executable}' '{REFERENCE / 'provara/server.py'}' --env-file '{self.env_file}' --pid-file '{self.pid_file}' \\
              >> '{self.log}' 2>&1 < /dev/null &
            while kill -0 $! 2>/dev/null; do [ -s '{self.pid_file}' ] && exit 0; sleep 0.03; done
            exit 1
            """), 0o700)
        write(self.folder / "stop", textwrap.dedent(f"""\
            #!/bin/sh
            kill "$(cat '{self.pid_file}')" || exit 1
            while [ -e '{self.pid_file}' ]; do sleep 0.03; done
            """), 0o700)

    def set_environ(self, *, key_text: str | None = None, **environ: str) -> None:
        """Write the env file; names are PROVARA_NAME."""
        lines = [f"DATABASE_URL=file:{self.database}", f"PORT={self.port}"]
        lines += [f"PROVARA_MASTER_KEY={key_text}"] if key_text is not None else []
        told = {"admin_secret": SECRET} | environ
        write(self.env_file, "\n".join([*lines, *(f"PROVARA_{name.upper()}={value}" for name, value in told.items())]) + "\n")

    def script(self, name: str, command: str, *argv: object) -> None:
        words = [sys.executable, str(REFERENCE / "provara" / name), command, "--database", str(self.database), *map(str, argv)]
        subprocess.run(words, check=True, capture_output=True, timeout=30)

    def add(self, name: str, value: str, *argv: str) -> None:
        path = self.scratch / "value"
        path.write_text(value, encoding="utf-8")
        self.script("schema.py", "add", "--key-file", self.old_key, "--name", name, "--value-file", path, *argv)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), {"X-Admin-Key": SECRET})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def post(self, name: str, value: str) -> int:
        """Edit a key as the dashboard does."""
        return self.call("POST", "/v1/api-keys", {"name": name, "provider": "openai", "value": value})[0]

    def plaintexts(self, key_text: str) -> dict[str, str | None]:
        """Open both tables under a key."""
        found: dict[str, str | None] = {}
        for table in ("api_keys", "context_connector_credentials"):
            for name, *sealed in self.sql(f"SELECT name, encrypted_value, iv, auth_tag FROM {table} ORDER BY id"):
                plaintext = open_columns(tuple(sealed), key_text)
                found[name] = None if plaintext is None else plaintext.decode()
        return found

    def env_text(self) -> str:
        return next(line for line in self.env_file.read_text().splitlines() if line.startswith(self.env_var)).partition("=")[2]

    # Modules and playbooks

    def options(self, **overrides: Any) -> dict[str, Any]:
        commands = {"start": [str(self.folder / "start")], "stop": [str(self.folder / "stop")], "pid_file": str(self.pid_file)}
        told: dict[str, Any] = {
            "app": "provara", "database": f"sqlite:///{self.database}", "env_file": str(self.env_file), "state_dir": str(self.state_dir),
            "service": "provara", "service_manager": "command", "service_commands": commands,
        }
        return {name: value for name, value in (told | overrides).items() if value is not None}

    def listing(self, **overrides: Any) -> dict[str, Any]:
        told = {"url": self.url, "admin_key_file": str(self.secret_file)} | overrides
        return {name: value for name, value in told.items() if value is not None}

    def secrets(self) -> dict[str, str]:
        kept = {str(path): path.read_text().strip() for path in self.state_dir.glob("*.key")} if self.state_dir.exists() else {}
        return {"old key": self.old_key.read_text(), "new key": NEW, "admin secret": SECRET} | kept

    def run(self, module: str, *, check: bool = False, **overrides: Any) -> Outcome:
        return self.judged(ModuleRun(module, self.options(**overrides), check=check).wait())

    def judged(self, outcome: Outcome) -> Outcome:
        """No key may stand in anything that was printed."""
        assert leaks(outcome.printed, self.secrets()) == [], outcome.printed
        assert "********" not in outcome.printed, "only the masking hid a key"
        assert "Traceback" not in outcome.printed, outcome.printed[-900:]
        return outcome

    def info(self, **overrides: Any) -> Outcome:
        return self.run("servos_key_info", **({"listing": self.listing()} | overrides))

    def turn(self, **overrides: Any) -> Outcome:
        """Rotate to the new key's file."""
        quick = {"settle_time": 0.1, "stop_timeout": 10, "start_timeout": 10, "lock_timeout": 5, "new_key_file": str(self.new_key)}
        return self.run("servos_key_rotate", **(quick | overrides))

    def play(self, name: str, *argv: str, **variables: Any) -> Played:
        """Run C(servos.ops.NAME) with what the documentation tells to put into an inventory."""
        command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        told = {f"servos_{name}": value for name, value in self.options().items()} | {
            "servos_backup_dir": str(self.backup_dir), "servos_listing": self.listing(), "servos_health_url": f"{self.url}/health",
            "servos_new_key_file": str(self.new_key), "servos_start_timeout": 15, "rotation_rehearse_directory": str(self.folder),
        }  # fmt: skip
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        told |= variables
        shown = {name: value for name, value in told.items() if value is not None}
        inventory = write(
            self.scratch / "inventory.json", json.dumps({"servos_control": {"hosts": {"control": host}, "vars": shown}})
        )
        home = self.scratch / "ansible"
        done = subprocess.run(
            [command, "-i", str(inventory), f"servos.ops.{name}", *argv],
            env=os.environ | {
                "ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "remote"), "ANSIBLE_LOCALHOST_WARNING": "0",
                "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "NO_COLOR": "1", "ANSIBLE_PIPELINING": "1",
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert leaks(done.stdout, self.secrets()) == []
        return Played(done.returncode, done.stdout, recap_of(done.stdout))

    def snapshot(self) -> Snapshot:
        seen = {name: facts for name, facts in super().snapshot().items() if not name.endswith("/lock")}
        return dict(seen, pid=(self.pid(),))
