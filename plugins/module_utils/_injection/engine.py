# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Container engines, by their command line: Docker and Podman, one shape.

Commands are run by the runner that is handed in. Each is bounded by timeout(1), and none holds a secret in its words.
What an engine says of a failure is passed on without any value of the container's variables.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import time
import typing as t

from .._errors import EngineError, InjectionError
from .._system.orphans import commands_at_work
from .plan import Container
from .variables import scrubbed
from .wanted import LABEL_MOUNT, LABEL_NAME

# Takes words and variables to add to the environment; returns exit code, standard output and standard error.
Runner = t.Callable[[t.List[str], t.Mapping[str, str]], t.Tuple[int, str, str]]
_MARK = "SERVOS_OPS_CONTAINER"
_POLL_S = 0.05
_TIMED_OUT = 124
_KILLED = 137
# Lines that say nothing of the reason: advice, and the log lines of Podman's libraries.
_NO_REASON = re.compile(r'\s*$|Run \'|See \'|template: |time="|\s*\w+ --help|Error: failed to start containers')


class Engine:
    """One engine on this host. What its subclasses say are the differences."""

    command = ""
    is_verbatim = True  # every version reads a line of an env file as it stands
    _root_format = ""
    _remove: t.Sequence[str] = ("rm", "--force")

    def __init__(self, run: Runner, *, name: str, timeout_s: float, pull_timeout_s: float, secrets: t.Iterable[str] = ()) -> None:
        self._runner = run
        self._mark = f"{self.command}/{name}"
        self._timeout_s = timeout_s
        self._pull_timeout_s = pull_timeout_s
        self._secrets = list(secrets)
        self._roots: list[str] = []

    def is_installed(self) -> bool:
        """Tell whether its command is on this host."""
        return shutil.which(self.command) is not None

    def require(self) -> None:
        """Hold the engine to being there and answering.

        Raises:
            EngineError: it does not.
        """
        if not self.is_installed():
            raise EngineError(f"there is no command {self.command} on this host; install the engine, or set engine to another one")
        code, output, error = self._run(["info", f"--format={self._root_format}"])
        self._roots = [line for line in output.splitlines() if line]
        if code != 0 or not self._roots:
            raise EngineError(f"{self.command} does not answer: {self._reason(error)}; is the engine running, and may we use it?")

    def wait_for_orphans(self) -> None:
        """Wait until no command is at work any more that a killed run has left for this container.

        Raises:
            EngineError: it does not end.
        """
        deadline = time.monotonic() + self._timeout_s
        while True:
            pids = commands_at_work(_MARK, self._mark)
            if not pids:
                return
            if time.monotonic() > deadline:
                raise EngineError(
                    f"a {self.command} command of a run that was killed is still at work (process {pids[0]}); "
                    "nothing was changed; see what it waits for, then run again"
                )
            time.sleep(_POLL_S)

    def find(self, names: t.Sequence[str]) -> dict[str, Container]:
        """Return the containers of exactly these names, which all begin with the first one."""
        words = ["ps", "--all", "--no-trunc", "--format={{.ID}} {{.Names}}", f"--filter=name={names[0]}"]
        rows = [line.split(" ", 1) for line in self._query(words, "list containers").splitlines() if " " in line]
        seen = [self.look(container_id) for container_id, shown in rows if set(shown.split(",")) & set(names)]
        return {container.name: container for container in seen if container is not None and container.name in names}

    def container_ids(self) -> list[str]:
        """Return the ids of all containers, running or not, whoever made them."""
        return self._query(["ps", "--all", "--no-trunc", "--format={{.ID}}"], "list containers").split()

    def mount_paths(self) -> set[str]:
        """Return the directories of mounted secrets that containers of ours refer to."""
        listed = self._query(["ps", "--all", "--no-trunc", "--format={{.ID}}", f"--filter=label={LABEL_NAME}"], "list containers")
        ids = listed.split()
        code, output, unused_error = self._run(["container", "inspect", *ids]) if ids else (0, "[]", "")
        if code == 0:
            seen = [self._container(shown) for shown in json.loads(output)]
        else:  # one was removed meanwhile
            seen = [container for container in map(self.look, ids) if container is not None]
        return {container.labels[LABEL_MOUNT] for container in seen if LABEL_MOUNT in container.labels}

    def look(self, container_id: str) -> Container | None:
        """Return a container as it is now, or None where it is gone."""
        shown = self.inspect(container_id)
        return None if shown is None else self._container(shown)

    def _container(self, shown: t.Mapping[str, t.Any]) -> Container:
        state, labels = shown.get("State") or {}, (shown.get("Config") or {}).get("Labels") or {}
        return Container(
            container_id=shown["Id"],
            name=str(shown.get("Name", "")).lstrip("/"),
            status=str(state.get("Status", "")),
            image_id=_bare(shown.get("Image", "")),
            labels=labels,
            pid=int(state.get("Pid") or 0),
            exit_code=int(state.get("ExitCode") or 0),
            restarts=int(shown.get("RestartCount") or 0),
            fault=self._clean(str(state.get("Error") or "")),
            stop_timeout_s=_number((shown.get("Config") or {}).get("StopTimeout")),
        )

    def inspect(self, container_id: str) -> dict[str, t.Any] | None:
        """Return what the engine shows of a container, or None where it is gone. It may hold secrets."""
        code, output, error = self._run(["container", "inspect", container_id])
        if code != 0:
            if "no such" in error.lower() or "no container with" in error.lower():
                return None
            raise EngineError(f"{self.command} cannot show a container: {self._reason(error)}; see to that, then run again")
        try:
            shown = json.loads(output)
        except ValueError:
            raise EngineError(f"{self.command} container inspect does not answer in JSON; is it the engine's own command?") from None
        return t.cast("dict[str, t.Any]", shown[0]) if shown else None

    def image_id(self, image: str) -> str | None:
        """Return the id that an image's name stands for on this host now, or None where it is not here."""
        code, output, error = self._run(["image", "inspect", "--format={{.Id}}", image])
        if code == 0:
            return _bare(output.strip())
        if "no such image" in error.lower() or "image not known" in error.lower() or "failed to find image" in error.lower():
            return None
        raise EngineError(f"{self.command} cannot look for the image {image}: {self._reason(error)}; see to that, then run again")

    def labels_of_image(self, image: str) -> dict[str, str]:
        """Return the labels that an image hands on to its containers; none where it is not here any more."""
        found = self._image_setting(image, "Labels")
        return found if isinstance(found, dict) else {}

    def environment_of_image(self, image: str) -> list[str]:
        """Return the variables (C(NAME=value)) that an image sets; none where it is not here any more."""
        found = self._image_setting(image, "Env")
        return [str(line) for line in found] if isinstance(found, list) else []

    def _image_setting(self, image: str, name: str) -> t.Any:
        code, output, unused_error = self._run(["image", "inspect", f"--format={{{{json .Config.{name}}}}}", image])
        try:
            return json.loads(output) if code == 0 else None
        except ValueError:
            return None

    @property
    def instance(self) -> str:
        """Return a name for this engine with this storage: another instance knows other containers."""
        return f"{self.command}-{hashlib.sha256(chr(10).join(self._roots).encode('utf-8')).hexdigest()[:8]}"

    def pull(self, image: str) -> None:
        """Fetch an image.

        Raises:
            EngineError: it cannot be had.
        """
        code, unused_output, error = self._run(["pull", "--quiet", image], timeout_s=self._pull_timeout_s)
        if code != 0:
            raise EngineError(
                f"the image {image} cannot be pulled: {self._reason(error)}; nothing was changed; correct image, log in to its registry, "
                "or bring it to the host (docker load) and set pull=never"
            )

    def create(
        self, name: str, arguments: t.Sequence[str], image: str, command: t.Sequence[str], *,
        networks: t.Sequence[str], environment: t.Mapping[str, str],
    ) -> str:
        """Make a container, without starting it. Returns its id.

        Args:
            environment: variables whose values are in the environment of the command only.

        Raises:
            EngineError: the engine refused.
        """
        words = ["create", f"--name={name}", "--pull=never", *self._network_words(networks), *arguments]
        words += [f"--env={variable}" for variable in environment]
        code, output, error = self._run([*words, image, *command], environment=environment)
        if code != 0:
            raise EngineError(
                f"{self.command} did not make the container {name}: {self._reason(error)}; nothing was started; "
                "see to that, then run again"
            )
        return output.strip().splitlines()[-1] if output.strip() else name

    def join(self, container_id: str, networks: t.Sequence[str]) -> None:
        """Join the networks that C(create) could not.

        Raises:
            EngineError: there is no such network.
        """

    def start(self, container: Container) -> None:
        """Start a container, or let it go on.

        Raises:
            EngineError: the engine refused.
        """
        words = ["unpause" if container.status == "paused" else "start", container.container_id]
        # Podman writes while it starts. Where whoever reads has been killed, that would kill it too, with a container half
        # started that it knows nothing of; so nobody reads, unless it fails and has to say why.
        code, unused_output, error = self._run(words, is_mute=True)
        if code != 0:
            code, unused_output, error = self._run(words)
        if code != 0:
            raise EngineError(
                f"{self.command} did not start the container {container.name}: {self._reason(error)}; "
                "see to that, then run again"
            )

    def stop(self, container: Container) -> None:
        """Stop a container, as gently as it was made to be stopped, and in the time that it was made to have for that.

        Raises:
            EngineError: it still runs.
        """
        code, unused_output, error = self._run(["stop", container.container_id], timeout_s=self._timeout_s + container.stop_timeout_s)
        if code != 0:
            raise EngineError(f"{self.command} did not stop the container: {self._reason(error)}; see to that, then run again")

    def rename(self, container_id: str, name: str) -> None:
        """Give a container another name."""
        code, unused_output, error = self._run(["rename", container_id, name])
        if code != 0:
            raise EngineError(f"{self.command} did not rename a container to {name}: {self._reason(error)}; see to that, then run again")

    def remove(self, container_id: str) -> None:
        """Remove a container, running or not. Its volumes stay."""
        code, unused_output, error = self._run([*self._remove, container_id])
        if code != 0 and self.inspect(container_id) is not None:
            raise EngineError(f"{self.command} did not remove a container: {self._reason(error)}; see to that, then run again")

    def state_paths(self, container_id: str) -> list[str]:
        """Return the files and directories in which the engine keeps what it knows of a container."""
        raise NotImplementedError

    def _network_words(self, networks: t.Sequence[str]) -> list[str]:
        raise NotImplementedError

    def _query(self, words: list[str], what: str) -> str:
        code, output, error = self._run(words)
        if code != 0:
            raise EngineError(f"{self.command} cannot {what}: {self._reason(error)}; see to that, then run again")
        return output

    def _run(
        self, words: t.Sequence[str], *, environment: t.Mapping[str, str] | None = None, timeout_s: float | None = None,
        is_mute: bool = False,
    ) -> tuple[int, str, str]:
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        # Encoded here, so that the locale of the connection has no say in it.
        variables = {name: os.fsdecode(value.encode("utf-8")) for name, value in (environment or {}).items()}
        variables[_MARK] = self._mark
        shell = ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh"] if is_mute else []
        try:
            code, output, error = self._runner(["timeout", "-k", "5", f"{limit_s:g}", *shell, self.command, *words], variables)
        except FileNotFoundError:
            raise EngineError("there is no command timeout on this host; install coreutils") from None
        except OSError as failed:
            if failed.errno == errno.E2BIG:
                raise InjectionError(
                    "the options, or the values that go through the environment, are together longer than Linux takes; use delivery=mount"
                ) from None
            raise EngineError(
                f"the command {self.command} cannot be run: {os.strerror(failed.errno or 0)}; "
                "see whether the engine is installed whole"
            ) from None
        if code in (_TIMED_OUT, _KILLED):
            raise EngineError(
                f"{self.command} {words[0]} did not end within {limit_s:g} s; see whether the engine hangs, or raise timeout"
            )
        return code, output, error

    def _reason(self, error: str) -> str:
        """Return the engine's own last line, without secrets and what says nothing."""
        lines = [line.strip() for line in self._clean(error, limit=100000).splitlines() if not _NO_REASON.match(line)]
        last = lines[-1] if lines else "it did not say why"
        last = re.sub(r"^(Error response from daemon|Error|docker): ", "", last)
        return last[:500].rstrip(" .")

    def _clean(self, text: str, *, limit: int = 500) -> str:
        return scrubbed(text, self._secrets, limit=limit)


class Docker(Engine):
    """Docker. C(create) of before API 1.44 takes one network, so the others are joined one by one."""

    command = "docker"
    _root_format = "{{.DockerRootDir}}"

    def state_paths(self, container_id: str) -> list[str]:
        task = f"io.containerd.runtime.v2.task/moby/{container_id}"
        return [
            os.path.join(self._roots[0], "containers", container_id),
            f"/run/docker/containerd/daemon/{task}",
            f"/run/containerd/{task}",
            "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db",  # where containerd is a service of its own
        ]

    def _network_words(self, networks: t.Sequence[str]) -> list[str]:
        return [f"--network={network}" for network in networks[:1]]

    def join(self, container_id: str, networks: t.Sequence[str]) -> None:
        for network in networks[1:]:
            code, unused_output, error = self._run(["network", "connect", network, container_id])
            if code != 0:
                raise EngineError(
                    f"docker did not connect the container to the network {network}: {self._reason(error)}; "
                    "see to that, then run again"
                )


class Podman(Engine):
    """Podman. It has no daemon; C(rm --force) waits for the container unless told otherwise."""

    command = "podman"
    is_verbatim = False
    _root_format = "{{.Store.GraphRoot}}\n{{.Store.RunRoot}}\n{{.Store.GraphDriverName}}"
    _remove = ("rm", "--force", "--time=0")

    def state_paths(self, container_id: str) -> list[str]:
        graph, run, driver = self._roots
        beside = [os.path.join(root, f"{driver}-containers", container_id, "userdata") for root in (graph, run)]
        return [os.path.join(graph, "libpod"), os.path.join(graph, "db.sql"), os.path.join(graph, "db.sql-wal"), *beside]

    def _network_words(self, networks: t.Sequence[str]) -> list[str]:
        return [f"--network={network}" for network in networks]


ENGINES: t.Mapping[str, t.Type[Engine]] = {"docker": Docker, "podman": Podman}


def _number(given: t.Any) -> float:
    """Return how long a container may take to end; the engines' default where it does not say."""
    return float(given) if isinstance(given, int) and given >= 0 else 10.0


def _bare(image_id: str) -> str:
    """Return an image's id without the name of its digest, which one engine shows and the other does not."""
    return image_id.rpartition(":")[2]


__all__ = ("ENGINES", "Docker", "Engine", "Podman", "Runner")
