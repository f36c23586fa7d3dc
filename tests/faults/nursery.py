# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Start the reference server as a copy of a process that has imported it already.

It is the same server in a process of its own, with an environment of its own in the process table; only the third of a
second that two interpreters and their imports take is saved, and there are thousands of starts.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

REFERENCE = Path(__file__).resolve().parent.parent / "reference_apps" / "servos"
# Room in the process table for the environment of a server; the harness starts itself with it.
PADDING = {"SERVOS_FAULTS_PADDING": "-" * 4096}
_START_S = 20


class Nursery:
    """A process that makes servers when its socket is knocked at."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen(16)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                _tend(listening)
            finally:
                os._exit(1)
        listening.close()

    def kill_servers(self) -> None:
        """Kill every server that was started here, also one that is just coming up."""
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.connect(str(self.path))
            knocking.sendall(b"kill\n")
            knocking.shutdown(socket.SHUT_WR)
            knocking.recv(1)

    def close(self) -> None:
        self.kill_servers()
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def end_with_parent() -> None:
    """Be killed when the parent ends, however that ends. Source: prctl(2), PR_SET_PDEATHSIG."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def _tend(listening: socket.socket) -> None:
    end_with_parent()
    os.setsid()
    sys.path.insert(0, str(REFERENCE))
    server, envfile = importlib.import_module("server"), importlib.import_module("envfile")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # what has ended is gone from the process table at once
    started: list[int] = []
    while True:
        knocking, unused_address = listening.accept()
        with knocking, contextlib.suppress(OSError):
            words = knocking.makefile().read().splitlines()
            if words[:1] == ["kill"]:
                for pid in started:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                for pid in started:
                    _wait_for(pid)
                started.clear()
                knocking.sendall(b"\0")
                continue
            env_file, product, pid_file, log = words
            pid = os.fork()
            if pid == 0:
                listening.close()
                knocking.close()
                _be_server(server, envfile, env_file, product, pid_file, log)
            started.append(pid)
            knocking.sendall(b"\0" if _came_up(pid, Path(pid_file)) else b"\1")


def _came_up(pid: int, pid_file: Path) -> bool:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and _is_there(pid):
        with contextlib.suppress(OSError):
            if pid_file.read_text() == f"{pid}\n":
                return True
        time.sleep(0.002)
    return False


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_for(pid: int) -> None:
    deadline = time.monotonic() + 5
    while _is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.001)


def _be_server(server: Any, envfile: Any, env_file: str, product: str, pid_file: str, log: str) -> None:
    code = 1
    try:
        end_with_parent()
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        for number, descriptor in enumerate((os.open(os.devnull, os.O_RDONLY), out, out)):
            os.dup2(descriptor, number)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        try:
            variables = envfile.load_env_file(env_file)
        except (envfile.EnvFileError, OSError) as error:
            server.log(f"cannot start: {error}")
            return
        _show_environment(variables)
        os.environ.update(variables)
        code = server.main(["--product", product, "--pid-file", pid_file])
    finally:
        os._exit(code)


def _show_environment(variables: dict[str, str]) -> None:
    """Put the variables where the process table shows a process's first environment. Source: proc(5), fields 50 and 51 of stat."""
    fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    block = b"".join(f"{name}={value}".encode("utf-8", "surrogateescape") + b"\0" for name, value in variables.items())
    if len(block) > end - start:
        raise RuntimeError("there is no room for the server's environment")
    ctypes.CDLL(None).clearenv()
    ctypes.memmove(start, block.ljust(end - start, b"\0"), end - start)
