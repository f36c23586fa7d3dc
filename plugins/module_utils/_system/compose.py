# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A service of a Docker Compose project, stopped and made anew.

A container keeps the environment that it was created with, whatever C(env_file) says since, so that a start is always a new
container. What Compose prints is never passed on. Source: docker compose reference (v2), docker-compose 1.29.
"""

from __future__ import annotations

import os
import re
import typing as t

from .._errors import ServiceError
from .processes import is_running
from .services import Runner, Service

_COMMANDS = (("docker", "compose"), ("docker-compose",))
_ASK_S = 60
_CONTAINER_ID = re.compile(r"[0-9a-f]{12,64}\Z")
_ENGINES = ("docker", "podman")


class ComposeService(Service):
    """One service with one container.

    Args:
        directory: the project's; every command runs in it, so that the project's name and C(.env) are those of a command by hand.
        files: the Compose files, relative to the directory or absolute; none for those that Compose finds itself.
        command: as C(["docker", "compose"]); None for the first of that and C(docker-compose) which is there.

    Raises:
        ServiceError: no Compose, no project, or no such service in it.
    """

    def __init__(
        self,
        name: str,
        run: Runner,
        *,
        directory: str,
        files: t.Sequence[str],
        project_name: str | None,
        command: t.Sequence[str] | None,
    ) -> None:
        super().__init__(name, run)
        self._directory = directory
        if not os.path.isdir(directory):
            raise ServiceError(f"there is no directory {directory} of a Compose project on this host; correct service_compose")
        self._command = list(command or self._find())
        self._engine = self._engine_of(self._command[0])
        self._project = [word for path in files for word in ("-f", path)]
        self._project += ["-p", project_name] if project_name else []
        self._container: str | None = None
        self._require_known()

    def _find(self) -> t.Sequence[str]:
        for command in _COMMANDS:
            try:
                if self._run([*command, "version"])[0] == 0:
                    return command
            except ServiceError:
                continue
        tried = " nor ".join(" ".join(command) for command in _COMMANDS)
        raise ServiceError(f"neither {tried} works on this host; install Docker Compose, or name yours (command of service_compose)")

    @staticmethod
    def _engine_of(program: str) -> str:
        """Return what inspects containers: the program itself, or the engine that a Compose of its own belongs to."""
        base = os.path.basename(program)
        return program if base in _ENGINES else "podman" if base.startswith("podman") else "docker"

    def _compose(self, *words: str, timeout_s: float = _ASK_S) -> tuple[int, str]:
        # The runner has no directory of its own to give; the shell sees its words as words.
        in_directory = ["sh", "-c", 'cd "$0" && exec "$@"', self._directory]
        return self._run(["timeout", "-k", "5", f"{timeout_s:g}", *in_directory, *self._command, *self._project, *words])

    def _must(self, *words: str, timeout_s: float = _ASK_S) -> str:
        code, output = self._compose(*words, timeout_s=timeout_s)
        shown = f"{' '.join(self._command)} {words[0]}"
        if code == 124:
            raise ServiceError(
                f"{shown} in {self._directory} did not end within {timeout_s:g} s; "
                "see what keeps it, or raise stop_timeout or start_timeout"
            )
        if code != 0:
            raise ServiceError(
                f"{shown} in {self._directory} failed with exit code {code}; see what it says by hand, and correct the project or "
                "service_compose"
            )
        return output

    def _require_known(self) -> None:
        names = self._must("config", "--services").split()
        if self.name not in names:
            raise ServiceError(
                f"the Compose project in {self._directory} has no service {self.name} (services there: "
                f"{', '.join(sorted(names)) or 'none'}); name the right one (service)"
            )

    def _inspected(self, container: str, form: str) -> str | None:
        code, output = self._run(["timeout", "-k", "5", str(_ASK_S), self._engine, "inspect", "--format", form, container])
        return output.strip() if code == 0 else None

    def _containers(self, *words: str) -> list[str]:
        return [word for word in self._must("ps", *words, "-q", self.name).split() if _CONTAINER_ID.match(word)]

    def _pid_of(self, container: str) -> int | None:
        text = self._inspected(container, "{{.State.Pid}}") or ""
        pid = int(text) if text.isdigit() else 0
        return pid if pid and is_running(pid) else None

    def main_pid(self) -> int | None:
        # Compose takes a good part of a second to answer, and a container that runs is still the service's.
        pid = self._pid_of(self._container) if self._container else None
        if pid is not None:
            return pid
        found = {container: pid for container in self._containers() for pid in [self._pid_of(container)] if pid is not None}
        if len(found) > 1:
            raise ServiceError(
                f"the Compose service {self.name} has {len(found)} running containers, and all of them would have to change at once; "
                f"scale it to one (--scale {self.name}=1)"
            )
        self._container = next(iter(found), None)
        return found[self._container] if self._container else None

    def is_up(self) -> bool:
        return self.main_pid() is not None and self._inspected(str(self._container), "{{.State.Status}}") == "running"

    def failure_note(self) -> str:
        try:
            containers = self._containers("-a")
        except ServiceError:
            return ""
        form = "status={{.State.Status}}, exit code={{.State.ExitCode}}, restarts={{.RestartCount}}"
        return "; ".join(filter(None, (self._inspected(container, form) for container in containers[:1])))

    def _stop(self, timeout_s: float) -> None:
        self._must("stop", self.name, timeout_s=timeout_s)

    def _start(self, timeout_s: float) -> None:
        self._container = None
        self._must("up", "-d", "--no-deps", "--no-build", "--force-recreate", self.name, timeout_s=timeout_s)


__all__ = ("ComposeService",)
