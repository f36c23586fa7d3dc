# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Stop, start and look at the service that runs the application.

Two managers, one shape: systemd, and the operator's own commands (any other service manager, or containers). What a
command prints is never passed on, since a service may print its environment; its exit code is.
"""

from __future__ import annotations

import os
import subprocess
import time
import typing as t

from .._errors import ServiceError
from .processes import is_running

_POLL_S = 0.05


class Service:
    """One service on this host. Subclasses say how it is looked at, stopped and started."""

    name = ""

    def main_pid(self) -> int | None:
        """Return the process id of the main process, or None while the service is stopped."""
        raise NotImplementedError

    def _stop(self, timeout_s: float) -> None:
        raise NotImplementedError

    def _start(self, timeout_s: float) -> None:
        raise NotImplementedError

    def failure_note(self) -> str:
        """Say what the manager knows about why the service is down; never its output."""
        return ""

    def stop(self, timeout_s: float) -> None:
        """Stop the service and come back when its main process is gone.

        Raises:
            ServiceError: it still runs after C(timeout_s) seconds.
        """
        before = self.main_pid()
        self._stop(timeout_s)
        deadline = time.monotonic() + timeout_s
        while self.main_pid() is not None or (before is not None and is_running(before)):
            if time.monotonic() > deadline:
                raise ServiceError(f"service {self.name} did not stop within {timeout_s:g} s; nothing was changed")
            time.sleep(_POLL_S)

    def start(self, timeout_s: float) -> None:
        """Ask the manager to start the service.

        Raises:
            ServiceError: the manager reports a failure.
        """
        self._start(timeout_s)


class SystemdService(Service):
    """A systemd unit. Source: systemctl(1), org.freedesktop.systemd1(5)."""

    def __init__(self, name: str) -> None:
        self.name = name
        shown = self._show("LoadState")
        if shown.get("LoadState") != "loaded":
            state = shown.get("LoadState") or "unknown"
            raise ServiceError(
                f"systemd on this host has no unit {name} that it can run (load state: {state}); "
                "name the right one (service), or set service_manager to command or none"
            )

    def _show(self, *properties: str) -> dict[str, str]:
        done = _run(["systemctl", "show", "--property", ",".join(properties), "--", self.name], timeout_s=30, reads=True)
        if done.returncode != 0:
            raise ServiceError(f"systemctl show {self.name} failed with exit code {done.returncode}; is systemd running here?")
        lines = done.stdout.decode("utf-8", "replace").splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def main_pid(self) -> int | None:
        shown = self._show("MainPID", "ActiveState")
        pid = int(shown.get("MainPID") or 0)
        return pid or None

    def failure_note(self) -> str:
        shown = self._show("ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
        return ", ".join(f"{name}={value}" for name, value in sorted(shown.items()))

    def _stop(self, timeout_s: float) -> None:
        done = _run(["systemctl", "stop", "--", self.name], timeout_s=timeout_s)
        if done.returncode != 0:
            raise ServiceError(f"systemctl stop {self.name} failed with exit code {done.returncode}; nothing was changed")

    def _start(self, timeout_s: float) -> None:
        # A unit that failed too often in a short time is refused until its counter is reset.
        _run(["systemctl", "reset-failed", "--", self.name], timeout_s=30)
        done = _run(["systemctl", "start", "--", self.name], timeout_s=timeout_s)
        if done.returncode != 0:
            raise ServiceError(f"systemctl start {self.name} failed ({self.failure_note()})")


class CommandService(Service):
    """A service that the operator's own commands stop and start, and whose process id lies in a file or is printed."""

    def __init__(
        self,
        name: str,
        *,
        stop: t.Sequence[str],
        start: t.Sequence[str],
        pid_file: str | None,
        pid_command: t.Sequence[str] | None,
    ) -> None:
        self.name = name or os.path.basename(start[0])
        self._stop_argv, self._start_argv = list(stop), list(start)
        self._pid_file, self._pid_command = pid_file, list(pid_command or ())

    def main_pid(self) -> int | None:
        if self._pid_file:
            try:
                with open(self._pid_file, "rb") as stream:
                    printed = stream.read(64)
            except FileNotFoundError:
                return None
        else:
            printed = _run(self._pid_command, timeout_s=30, reads=True).stdout
        text = printed.decode("ascii", "replace").strip()
        # `docker inspect` prints 0 for a container that is stopped.
        pid = int(text) if text.isdigit() else 0
        return pid if pid and is_running(pid) else None

    def _stop(self, timeout_s: float) -> None:
        self._must("stop", self._stop_argv, timeout_s)

    def _start(self, timeout_s: float) -> None:
        self._must("start", self._start_argv, timeout_s)

    def _must(self, what: str, argv: list[str], timeout_s: float) -> None:
        done = _run(argv, timeout_s=timeout_s)
        if done.returncode != 0:
            raise ServiceError(f"the command to {what} {self.name} ({argv[0]} ...) failed with exit code {done.returncode}")


def _run(argv: list[str], *, timeout_s: float, reads: bool = False) -> subprocess.CompletedProcess[bytes]:
    """Run a command without a shell, with nothing on its standard input.

    Its output is read only where asked: a daemon that a start command leaves behind would keep the pipe open.
    """
    try:
        return subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if reads else subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, timeout=timeout_s, check=False, env=dict(os.environ, LC_ALL="C.UTF-8"),
        )
    except FileNotFoundError:
        raise ServiceError(f"there is no command {argv[0]} on this host") from None
    except PermissionError:
        raise ServiceError(f"the command {argv[0]} may not be run by uid {os.geteuid()}") from None
    except subprocess.TimeoutExpired:
        raise ServiceError(f"{argv[0]} {argv[1] if len(argv) > 1 else ''} did not end within {timeout_s:g} s") from None


def wait_until_settled(
    service: Service, *, is_ready: t.Callable[[], bool], settle_s: float, timeout_s: float
) -> int:
    """Wait until a started service is ready and has kept one main process for C(settle_s) seconds.

    A service that checks its key at startup is gone a moment after the manager called it started, or is started
    again and again; one process that lasts is what tells.

    Returns the process id.

    Raises:
        ServiceError: not ready, not up, or not the same process within C(timeout_s) seconds.
    """
    deadline = time.monotonic() + timeout_s
    pid, since, restarts = None, time.monotonic(), 0
    while True:
        now, seen = time.monotonic(), service.main_pid()
        if seen != pid:
            restarts += pid is not None
            pid, since = seen, now
        if pid is not None and now - since >= settle_s and is_ready():
            return pid
        if now > deadline or restarts > 3:
            state = "keeps being started again" if restarts > 3 else "is not running" if pid is None else "is not ready"
            note = service.failure_note()
            raise ServiceError(f"service {service.name} {state}" + (f" ({note})" if note else ""))
        time.sleep(_POLL_S)


__all__ = ("CommandService", "Service", "SystemdService", "wait_until_settled")
