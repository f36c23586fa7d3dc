# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A real Node-RED in one folder: its secret in an env file, two commands that start and stop it, and flows whose nodes have credentials."""

from __future__ import annotations

import base64
import contextlib
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = Path(os.environ.get("SERVOS_APPS", HERE.parents[2] / ".work" / "apps")) / "nodered"
WEB_USER, WEB_PASSWORD = "web-user", "web-password-0123456789"
CREDENTIALS: dict[str, dict[str, str]] = {
    "web": {"user": WEB_USER, "password": WEB_PASSWORD},
    "broker": {"user": "mqtt-user", "password": "mqtt-pässwörd-\u20ac-0123456789"},
    "tls": {"certdata": "-- certificate --\n", "keydata": "-- private key --\n" + "k" * 3000, "passphrase": "tls-passphrase-0123456789"},
}


class Played(NamedTuple):
    code: int
    text: str
    stats: dict[str, int]


class Guarded:
    """A web server of this process that asks for the user and password that the flow's node has."""

    def __init__(self) -> None:
        wanted = "Basic " + base64.b64encode(f"{WEB_USER}:{WEB_PASSWORD}".encode()).decode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_known = self.headers.get("Authorization") == wanted
                self.send_response(200 if is_known else 401)
                self.end_headers()
                self.wfile.write(b"welcome" if is_known else b"who are you?")

            def log_message(self, *unused: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class NodeRed:
    """One installation. The flow at C(/probe) asks the guarded server with the credentials of the node C(web)."""

    def __init__(self, folder: Path, port: int, guarded: Guarded, secret: str | None) -> None:
        self.folder, self.port, self.guarded = folder, port, guarded
        self.user_dir = folder / "node-red"
        self.user_dir.mkdir(parents=True)
        self.file = self.user_dir / "flows_cred.json"
        self.backup = self.user_dir / ".flows_cred.json.backup"
        self.env_file, self.pid_file, self.log = (folder / f"nodered.{end}" for end in ("env", "pid", "log"))
        self.state_dir, self.backup_dir = folder / "rotation", folder / "backups"
        shutil.copy(HERE / "settings.js", folder)
        self.write_env(secret)
        self._script("start", f"""\
            set -a; . '{self.env_file}'; set +a
            export TEST_PORT={port}
            setsid node '{ROOT}/node_modules/node-red/red.js' -s '{folder}/settings.js' -u '{self.user_dir}' \\
              >> '{self.log}' 2>&1 < /dev/null &
            echo $! > '{self.pid_file}'
            """)
        self._script("stop", f"""\
            pid=$(cat '{self.pid_file}')
            kill "$pid"
            while kill -0 "$pid" 2> /dev/null; do sleep 0.05; done
            rm '{self.pid_file}'
            """)

    def _script(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + textwrap.dedent(text))
        path.chmod(0o700)

    def write_env(self, secret: str | None) -> None:
        line = f"NODE_RED_CREDENTIAL_SECRET='{secret}'\n" if secret else ""
        self.env_file.write_text(f"# read by the unit of Node-RED\n{line}")
        self.env_file.chmod(0o600)

    def secret(self) -> str:
        lines = [line for line in self.env_file.read_text().splitlines() if line.startswith("NODE_RED_CREDENTIAL_SECRET=")]
        return lines[-1].partition("=")[2].strip("'\"")

    # The application

    def start(self) -> None:
        mark = self.log.stat().st_size if self.log.exists() else 0
        subprocess.run([self.folder / "start"], check=True, timeout=60)
        self.wait_for("Started flows", mark)

    def wait_for(self, words: str, since: int = 0) -> None:
        """Wait until the log says something, as bounded as the start of a node process deserves."""
        deadline = time.monotonic() + 60
        while words not in self.said(since):
            assert time.monotonic() < deadline, self.said(since)
            time.sleep(0.05)

    def said(self, since: int = 0) -> str:
        return self.log.read_bytes()[since:].decode("utf-8", "replace") if self.log.exists() else ""

    def stop(self) -> None:
        subprocess.run([self.folder / "stop"], check=True, timeout=60)

    def tear_down(self) -> None:
        try:
            pid = int(self.pid_file.read_text())
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            return

    def deploy(self, **more: Any) -> None:
        """Deploy through the admin API, as the editor does; credentials in it are those that were changed."""
        mark = len(self.said().encode())
        credentials: dict[str, Any] = more.pop("credentials", {})
        nodes: list[dict[str, Any]] = [
            {"id": "tab", "type": "tab", "label": more.pop("label", "flow")},
            {"id": "in", "type": "http in", "z": "tab", "url": "/probe", "method": "get", "wires": [["web"]]},
            {
                "id": "web", "type": "http request", "z": "tab", "method": "GET", "ret": "txt", "url": self.guarded.url,
                "authType": "basic", "wires": [["out"]],
            },
            {"id": "out", "type": "http response", "z": "tab", "statusCode": "", "headers": {"content-type": "text/plain"}, "wires": []},
            {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": "1"},
            {"id": "tls", "type": "tls-config", "verifyservercert": True},
        ]  # fmt: skip
        for node in nodes:
            if node["id"] in credentials:
                node["credentials"] = credentials[node["id"]]
        assert self.call("/flows", nodes)[0] == 204
        self.wait_for("Started flows", mark)

    def call(self, path: str, body: Any = None) -> tuple[int, str]:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", content, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as reply:
            return reply.code, reply.read().decode()

    def opened(self, secret: str, path: Path | None = None) -> dict[str, Any]:
        """Open the file of credentials with Node-RED's own code."""
        done = subprocess.run(
            ["node", str(HERE / "read_credentials.js"), str(ROOT), str(path or self.file), *CREDENTIALS], input=secret,
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return json.loads(done.stdout)

    # The collection

    def wait_for_probe(self, words: str) -> None:
        """Wait until the flow answers: the start script does not wait, and the nodes start after the web server does."""
        deadline, said = time.monotonic() + 60, ""
        while said != words:
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
            with contextlib.suppress(urllib.error.URLError):
                said = self.call("/probe")[1]

    def play_task(self, module: str, **options: Any) -> Played:
        """Run one module as a task of somebody's own playbook."""
        names = ("app", "database", "env_file", "state_dir", "service_manager", "service_commands")
        task = {f"servos.ops.{module}": {name: f"{{{{ servos_{name} }}}}" for name in names} | options}
        playbook = self.folder / "task.yml"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task]}]))
        return self._play(str(playbook))

    def play(self, name: str, *argv: str, **variables: Any) -> Played:
        """Run a playbook of the collection."""
        return self._play(f"servos.ops.{name}", *argv, **variables)

    def _play(self, playbook: str, *argv: str, **variables: Any) -> Played:
        told = {
            "servos_app": "nodered",
            "servos_rotation_id": "one",
            "servos_database": f"json:///{self.file}",
            "servos_env_file": str(self.env_file),
            "servos_state_dir": str(self.state_dir),
            "servos_backup_dir": str(self.backup_dir),
            "servos_service_manager": "command",
            "servos_service_commands": {
                "start": [str(self.folder / "start")], "stop": [str(self.folder / "stop")], "pid_file": str(self.pid_file),
            },
            "servos_health_url": f"http://127.0.0.1:{self.port}/",
            "servos_probes": [{"name": "web", "url": f"http://127.0.0.1:{self.port}/probe", "token_file": None}],
            "servos_start_timeout": 60,
            "rotation_rehearse_directory": str(self.folder),
        } | variables  # fmt: skip
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps({"servos_control": {"hosts": {"control": host}, "vars": told}}))
        home = self.folder / "ansible"
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), playbook, *argv],
            env=os.environ | {"ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "remote"), "NO_COLOR": "1"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=240, check=False,
        )  # fmt: skip
        recap = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("control") and "ok=" in line), "")
        stats = {name: int(count) for name, count in (pair.split("=") for pair in recap.split() if "=" in pair)}
        return Played(done.returncode, done.stdout, stats)
