# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Stop, start and look at the service that runs the application.

Two managers, one shape: systemd, and the operator's own commands (any other service manager, or containers). What a
command prints is never passed on, since a service may print its environment; its exit code is. Commands are run by the
runner that is handed in, which on a managed host is C(AnsibleModule.run_command).
"""

from __future__ import annotations

import os
import time
import typing as t

from .._errors import ServiceError
from .processes import is_running

_POLL_S = 0.05

# Takes a list of words, returns exit code, standard output and standard error; raises OSError for a missing command.
Runner = t.Callable[[t.List[str]], t.Tuple[int, str, str]]


class Service:
    """One service on this host. Subclasses say how it is looked at, stopped and started."""

    def __init__(self, name: str, run: Runner) -> None:
        self.name = name
        self._runner = run

    def _run(self, argv: list[str]) -> tuple[int, str]:
        """Run a command without a shell; return exit code and standard output."""
        try:
            code, output, unused_error = self._runner(argv)
        except FileNotFoundError:
            raise ServiceError(
                f"there is no command {argv[0]} on this host; correct service_commands, or set service_manager to command or none"
            ) from None
        except OSError as error:
            raise ServiceError(f"the command {argv[0]} cannot be run: {os.strerror(error.errno or 0)}; correct service_commands") from None
        return code, output

    def main_pid(self) -> int | None:
        """Return the process id of the main process, or None while the service is stopped."""
        raise NotImplementedError

    def _stop(self, timeout_s: float) -> None:
        raise NotImplementedError

    def _start(self, timeout_s: float) -> None:
        raise NotImplementedError

    def is_up(self) -> bool:
        """Tell whether the manager itself holds the service to be up."""
        return self.main_pid() is not None

    def failure_note(self) -> str:
        """Say what the manager knows about why the service is down; never its output."""
        return ""

    def stop(self, timeout_s: float) -> None:
        """Stop the service and come back when its main process is gone.

        Raises:
            ServiceError: it still runs after C(timeout_s) seconds.
        """
        before = self.main_pid()
        refusal = None
        try:
            self._stop(timeout_s)
        except ServiceError as error:
            refusal = error  # a manager that has nothing to stop may say so by its exit code; what counts is the process
        deadline = time.monotonic() + timeout_s
        while self.main_pid() is not None or (before is not None and is_running(before)):
            if refusal is not None:
                raise refusal
            if time.monotonic() > deadline:
                raise ServiceError(f"the service {self.name} did not stop within {timeout_s:g} s; find out why, or raise stop_timeout")
            time.sleep(_POLL_S)

    def start(self, timeout_s: float) -> None:
        """Ask the manager to start the service.

        Raises:
            ServiceError: the manager reports a failure.
        """
        self._start(timeout_s)


class SystemdService(Service):
    """A systemd unit. Source: systemctl(1), org.freedesktop.systemd1(5)."""

    def __init__(self, name: str, run: Runner) -> None:
        super().__init__(name, run)
        shown = self._show("LoadState")
        if shown.get("LoadState") != "loaded":
            state = shown.get("LoadState") or "unknown"
            raise ServiceError(
                f"systemd on this host has no unit {name} that it can run (load state: {state}); "
                "name the right one (service), or set service_manager to command or none"
            )

    def _show(self, *properties: str) -> dict[str, str]:
        code, output = self._run(["systemctl", "show", "--property", ",".join(properties), "--", self.name])
        if code != 0:
            raise ServiceError(
                f"systemctl show {self.name} failed with exit code {code}; is systemd running here? "
                "if not, set service_manager to command or none"
            )
        return dict(line.split("=", 1) for line in output.splitlines() if "=" in line)

    def main_pid(self) -> int | None:
        return int(self._show("MainPID").get("MainPID") or 0) or None

    def is_up(self) -> bool:
        return self._show("ActiveState").get("ActiveState") == "active"

    def failure_note(self) -> str:
        shown = self._show("ActiveState", "SubState", "Result", "ExecMainStatus", "NRestarts")
        return ", ".join(f"{name}={value}" for name, value in sorted(shown.items()))

    def _stop(self, unused_timeout_s: float) -> None:
        # Queued, not waited for: how long it may take is ours to say, and what counts is the process.
        code, unused_output = self._run(["systemctl", "--no-block", "stop", "--", self.name])
        if code != 0:
            raise ServiceError(f"systemctl stop {self.name} failed with exit code {code}; see journalctl -u {self.name}")

    def _start(self, unused_timeout_s: float) -> None:
        # A unit that failed too often in a short time is refused until its counter is reset.
        self._run(["systemctl", "reset-failed", "--", self.name])
        code, unused_output = self._run(["systemctl", "--no-block", "start", "--", self.name])
        if code != 0:
            raise ServiceError(f"systemctl start {self.name} failed ({self.failure_note()}); see journalctl -u {self.name}")


class CommandService(Service):
    """A service that the operator's own commands stop and start, and whose process id lies in a file or is printed."""

    def __init__(
        self,
        name: str,
        run: Runner,
        *,
        stop: t.Sequence[str],
        start: t.Sequence[str],
        pid_file: str | None,
        pid_command: t.Sequence[str] | None,
    ) -> None:
        super().__init__(name or os.path.basename(start[0]), run)
        self._stop_argv, self._start_argv = list(stop), list(start)
        self._pid_file, self._pid_command = pid_file, list(pid_command or ())

    def main_pid(self) -> int | None:
        if self._pid_file:
            try:
                with open(self._pid_file, encoding="ascii", errors="replace") as stream:
                    text = stream.read(64).strip()
            except FileNotFoundError:
                return None
            except OSError as error:
                raise ServiceError(
                    f"the pid file {self._pid_file} cannot be read ({os.strerror(error.errno or 0)}); correct service_commands"
                ) from None
        else:
            text = self._run(["timeout", "-k", "5", "30", *self._pid_command])[1].strip()
        # `docker inspect` prints 0 for a container that is stopped.
        pid = int(text) if text.isdigit() else 0
        return pid if pid and is_running(pid) else None

    def _stop(self, timeout_s: float) -> None:
        self._must("stop", self._stop_argv, timeout_s)

    def _start(self, timeout_s: float) -> None:
        self._must("start", self._start_argv, timeout_s)

    def _must(self, what: str, argv: list[str], timeout_s: float) -> None:
        # timeout(1) ends a command that does not come back; 124 is its own exit code for that.
        code, unused_output = self._run(["timeout", "-k", "5", f"{timeout_s:g}", *argv])
        if code == 124:
            raise ServiceError(
                f"the command to {what} {self.name} ({argv[0]} ...) did not end within {timeout_s:g} s; "
                f"see what keeps it, or raise {what}_timeout"
            )
        if code != 0:
            raise ServiceError(f"the command to {what} {self.name} ({argv[0]} ...) failed with exit code {code}; see what it says by hand")


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
        if pid is not None and now - since >= settle_s and service.is_up() and is_ready():
            return pid
        if now > deadline or restarts > 3:
            state = "keeps being started again" if restarts > 3 else "is not running" if pid is None else "is not ready"
            note = service.failure_note()
            raise ServiceError(f"the service {service.name} {state}" + (f" ({note})" if note else "") + "; see its log for why")
        time.sleep(_POLL_S)


__all__ = ("CommandService", "Runner", "Service", "SystemdService", "wait_until_settled")
