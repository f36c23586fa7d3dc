# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plays whose module is held up until a test has read what it wanted to: no clock decides."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from installations import Servos, write
from playbook_runs import environment_of

_LONGEST_S = 150


def play_of(servos: Servos, module: str, **options: Any) -> Path:
    """Write a play of one task; its result goes to a file, for what standard output shows is Ansible's own choice."""
    tasks = [
        {f"servos.ops.{module}": servos.options(**options), "register": "done"},
        {"ansible.builtin.copy": {"content": "{{ done }}", "dest": str(servos.scratch / "result.json"), "mode": "0600"},
         "delegate_to": "localhost", "check_mode": False},
    ]  # fmt: skip
    return write(servos.scratch / "play.yml", json.dumps([{"hosts": "control", "gather_facts": False, "tasks": tasks}]))


def inventory_file(servos: Servos, **host: Any) -> Path:
    told = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable} | host
    return write(servos.scratch / "inventory.json", json.dumps({"all": {"hosts": {"control": told}}}))


class Play:
    """An ansible-playbook that is under way, both outputs kept apart."""

    def __init__(self, servos: Servos, module: str, *argv: str, environment: dict[str, str] | None = None,
                 host: dict[str, Any] | None = None, **options: Any) -> None:  # fmt: skip
        command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        self._result = servos.scratch / "result.json"
        self.process = subprocess.Popen(
            [command, "-i", str(inventory_file(servos, **(host or {}))), str(play_of(servos, module, **options)), *argv],
            env=environment_of(servos, **(environment or {})), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        self.errors: list[str] = []
        self.output: list[str] = []
        self._news: queue.Queue[str] = queue.Queue()
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.output), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: Any, kept: list[str]) -> None:
        for line in stream:
            kept.append(line.rstrip("\n"))
            self._news.put(line)

    def wait_for(self, text: str) -> str:
        """Wait for a line on standard error that holds a text, and return it."""
        deadline = time.monotonic() + _LONGEST_S
        while True:
            found = [line for line in self.errors if text in line]
            if found:
                return found[0]
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"no line says {text}: {self.output} {self.errors}")
            with contextlib.suppress(queue.Empty):
                self._news.get(timeout=0.2)

    def wait(self) -> dict[str, Any]:
        """Wait for its end, which must be a good one; return the module's result."""
        code = self.process.wait(timeout=_LONGEST_S)
        for reader in self._readers:
            reader.join(_LONGEST_S)
        assert code == 0, "\n".join([*self.output, *self.errors])
        done: dict[str, Any] = json.loads(self._result.read_text())
        return done

    def kill(self) -> None:
        """Kill the controller and its workers, as a power cut there would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=_LONGEST_S)


class Obstacle:
    """The write lock of the database, held by somebody else."""

    def __init__(self, database: Path) -> None:
        self._connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self._connection.execute("BEGIN IMMEDIATE")

    def clear(self) -> None:
        """Let go of it."""
        self._connection.close()


@contextlib.contextmanager
def locked(servos: Servos) -> Iterator[Obstacle]:
    """Hold the write lock of the database until the test lets go of it."""
    obstacle = Obstacle(servos.database)
    try:
        yield obstacle
    finally:
        obstacle.clear()


def sockets_of(servos: Servos) -> list[str]:
    """The names in the kernel's list of the sockets of the process that holds the installation's lock; others may be at work beside it."""
    inodes = set()
    pid = json.loads((servos.state_dir / "lock").read_text())["pid"]
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            inodes.add(os.readlink(descriptor))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    return [fields[-1] for fields in lines if f"socket:[{fields[6]}]" in inodes]


def is_listed(name: str) -> bool:
    """Whether any socket of the name is in the kernel's list."""
    return name in Path("/proc/net/unix").read_text()
