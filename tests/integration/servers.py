# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server of the ServOS model as an operator without systemd runs it: two commands and a pid file."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent.parent / "reference_apps"
TOKEN = "integration-admin-token"


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


class Server:
    """Commands, process and HTTP of one installation; the folder and files are the subclass's."""

    product: str
    env_var: str
    folder: Path
    env_file: Path
    pid_file: Path
    log: Path
    port: int

    def write_scripts(self, *, before_start: str = "", after_stop: str = "") -> None:
        """Write the operator's commands: `start` comes back when the server listens, or fails when it gave up."""
        write(self.folder / "start", textwrap.dedent(f"""\
            #!/bin/sh
            {before_start or ':'}
            setsid '{sys.executable}' '{REFERENCE / 'servos/server.py'}' --product {self.product} --env-file '{self.env_file}' \\
              --pid-file '{self.pid_file}' >> '{self.log}' 2>&1 < /dev/null &
            while kill -0 $! 2>/dev/null; do [ -s '{self.pid_file}' ] && exit 0; sleep 0.03; done
            exit 1
            """), 0o700)
        write(self.folder / "stop", textwrap.dedent(f"""\
            #!/bin/sh
            kill "$(cat '{self.pid_file}')" || exit 1
            while [ -e '{self.pid_file}' ]; do sleep 0.03; done
            {after_stop or ':'}
            """), 0o700)

    def start(self) -> int | None:
        subprocess.run([self.folder / "start"], check=True, timeout=30)
        return self.pid()

    def stop(self) -> None:
        subprocess.run([self.folder / "stop"], check=True, timeout=30)

    def pid(self) -> int | None:
        """Return the server's process id, or None while it is stopped."""
        try:
            pid = int(self.pid_file.read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def process_key_text(self) -> str | None:
        """Return the key text that the server was started with."""
        environ = Path(f"/proc/{self.pid()}/environ").read_bytes().decode().split("\x00")
        return next((line.split("=", 1)[1] for line in environ if line.startswith(f"{self.env_var}=")), None)

    def call(self, method: str, path: str, body: Any = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Authorization": f"Bearer {TOKEN}"})
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        finally:
            connection.close()

    def tear_down(self) -> None:
        """End every process whose command line names this installation; only this test starts such."""
        mark, quiet_scans = str(self.folder).encode() + b"/", 0
        while quiet_scans < 3:  # what is being started has no command line of its own yet
            found = 0
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    if int(entry) != os.getpid() and mark in Path(f"/proc/{entry}/cmdline").read_bytes():
                        os.kill(int(entry), signal.SIGKILL)
                        found += 1
                except OSError:
                    continue
            quiet_scans = 0 if found else quiet_scans + 1
            time.sleep(0.01)
