# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the reference scripts as processes, the way a test node does, and talks HTTP to the server.

It exists so that the tests say what they expect and not how a process is started; nothing of the scripts is imported.
"""

from __future__ import annotations

import base64
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

REFERENCE_APPS = Path(__file__).resolve().parent.parent
OLD_KEY, NEW_KEY, OTHER_KEY = (bytes([number]) * 31 + b"\xff" for number in (1, 2, 3))
ADMIN_TOKEN, USER_TOKEN = "admin-token-of-the-tests", "user-token-of-the-tests"
ROTATE_PATH = "/api/maintenance/rotate-key"


def b64(key_bytes: bytes) -> str:
    """Spell a key the way the start check wants it."""
    return base64.b64encode(key_bytes).decode()


def run_script(script: str, *arguments: object, check: bool = False) -> subprocess.CompletedProcess[str]:
    """Run one of the scripts to its end."""
    return subprocess.run(
        [sys.executable, str(REFERENCE_APPS / script), *map(str, arguments)],
        capture_output=True, text=True, timeout=30, check=check,
    )  # fmt: skip


def free_port() -> int:
    """Find a loopback port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Installation:
    """One database, its keys, token and server in a folder of its own."""

    def __init__(self, folder: Path, template: Path) -> None:
        shutil.copytree(template, folder)
        self.folder = folder
        self.database, self.manifest = folder / "servos.db", folder / "manifest.json"
        self.port = free_port()
        self.process: subprocess.Popen[str] | None = None
        self.log = ""

    def environment(self, *, key_text: str, faults: str = "", prefix: str = "SERVOS") -> dict[str, str]:
        """Describe the server to itself."""
        values = {
            "MASTER_KEY": key_text, "DATABASE": str(self.database), "LISTEN": f"127.0.0.1:{self.port}",
            "ADMIN_TOKEN_FILE": str(self.folder / "tokens"), "FAULTS": faults,
        }  # fmt: skip
        return {f"{prefix}_{name}": value for name, value in values.items()}

    def start(
        self, *arguments: str, key_text: str = b64(OLD_KEY), faults: str = "", env: dict | None = None
    ) -> int | None:
        """Start the server and wait until it answers; return the exit code if it gave up instead, else None."""
        if env is None:
            env = self.environment(key_text=key_text, faults=faults)
        self.process = subprocess.Popen(
            [sys.executable, str(REFERENCE_APPS / "servos/server.py"), *arguments],
            env={"PATH": os.environ["PATH"], **env}, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return self._collect()
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return None
            except OSError:
                time.sleep(0.01)
        raise AssertionError("the server neither listened nor ended")

    def _collect(self) -> int:
        assert self.process is not None
        self.log += self.process.communicate(timeout=20)[1]
        code, self.process = self.process.returncode, None
        return code

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """Stop the server, if it runs, and return its exit code."""
        if self.process is None:
            return None
        self.process.send_signal(number)
        return self._collect()

    def send(self, method: str, path: str, body: Any = None, *, token: str = ADMIN_TOKEN) -> tuple[int, bytes, Any]:
        """Send one request; return status, raw body and headers. Follows nothing, repeats nothing."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"Authorization": f"Bearer {token}"}
            )
            reply = connection.getresponse()
            return reply.status, reply.read(), reply.headers
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, **options: str) -> tuple[int, Any]:
        """Send one request and parse the reply as JSON."""
        status, raw, _headers = self.send(method, path, body, **options)
        return status, json.loads(raw)

    def rotate(self, old_key_text: str = b64(OLD_KEY), new_key_text: str = b64(NEW_KEY)) -> tuple[int, Any]:
        """Ask for the rotation."""
        return self.call("POST", ROTATE_PATH, {"old_key": old_key_text, "new_key": new_key_text})

    def judge(self, key_name: str = "new", other_name: str = "old", *more: object) -> tuple[int, dict[str, Any]]:
        """Let the judge say under which key the database is; names are of files in the folder."""
        done = run_script(
            "servos/judge.py", "--database", self.database, "--key-file", self.folder / f"{key_name}.key",
            "--old-key-file", self.folder / f"{other_name}.key", "--manifest", self.manifest, *more,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or "{}")

    def is_untouched(self) -> bool:
        """Everything is still under OLD, as the manifest has it."""
        return self.judge("old", "new")[0] == 0
