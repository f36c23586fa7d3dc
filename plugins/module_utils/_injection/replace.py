# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Bring up a container in the place of another, so that it can be stopped anywhere and undone where it fails.

The new one is complete before the old one is stopped, and has its final name before it is started; the old one is
removed when the new one has stayed up. See plan for what is made of a run that was cut.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import typing as t
import uuid

from .._errors import InjectionError, ServosError
from .._system.ephemeral import EphemeralFile, EphemeralFolder
from .engine import Engine
from .mounted import folder_path, mount_words, write_files
from .plan import Container, Seen
from .variables import env_file_of
from .wanted import LABEL_MOUNT, LABEL_NAME, LABEL_OPTIONS, LABEL_SECRETS, NEW, OLD, Wanted

_POLL_S = 0.1
_ENDED = ("exited", "stopped", "dead")


class Change:
    """One run's work on one container, and what there is to tell of it."""

    def __init__(
        self, wanted: Wanted, engine: Engine, folder: EphemeralFolder, *,
        by_file: t.Mapping[str, str], by_environment: t.Mapping[str, str], digests: tuple[dict[str, str], dict[str, str]],
    ) -> None:
        self.env_file: dict[str, t.Any] | None = None
        self.timings: dict[str, float] = {}
        self._wanted, self._engine, self._folder = wanted, engine, folder
        self._by_file, self._by_environment, self._digests = by_file, by_environment, digests

    def repair(self, steps: t.Iterable[str], seen: Seen) -> Container | None:
        """Do away with what a run that was cut has left. Returns the container that counts as the current one."""
        current = seen.current
        for step in steps:
            verb, unused, which = step.partition("_")
            container = getattr(seen, which)
            if verb == "remove":
                self._engine.remove(container.container_id)
                current = None if which == "current" else current
            else:
                self._engine.rename(container.container_id, self._wanted.name)
                current = container._replace(name=self._wanted.name)
        return current

    def create(self, current: Container | None) -> Container:
        """Make the new container, stop the current one, and swap their names. Returns the new one, not started yet."""
        try:
            container_id = self._create()
            self._engine.join(container_id, self._wanted.networks)
        except BaseException:
            self._discard_new()
            raise
        try:
            if current is not None:
                if current.is_active:
                    self._engine.stop(current)
                self._engine.rename(current.container_id, self._wanted.name + OLD)
            self._engine.rename(container_id, self._wanted.name)
        except ServosError as error:
            raise InjectionError(f"{error}; {self._go_back(container_id, current)}") from None
        created = self._engine.look(container_id)
        if created is None:
            raise InjectionError(f"the container {self._wanted.name} was removed by somebody else while it was made; run again")
        return created

    def bring_up(self, container: Container, old: Container | None, *, is_new: bool) -> Container:
        """Start a container, watch it, and remove the old one; or go back to that one.

        Raises:
            EngineError, InjectionError: it was not started, or did not stay up.
        """
        try:
            if not container.is_running:
                began = time.monotonic()
                self._engine.start(container)
                self.timings["start_s"] = round(time.monotonic() - began, 6)
            running = self._watch(container)
        except ServosError as error:
            if not is_new and old is None:
                raise
            raise type(error)(f"{error}; {self._go_back(container.container_id, old)}") from None
        if old is not None:
            self._engine.remove(old.container_id)
        return running

    def _create(self) -> str:
        wanted, options, secrets = self._wanted, *self._digests
        words = wanted.arguments()
        words += [
            f"--label={LABEL_NAME}={wanted.name}",
            f"--label={LABEL_OPTIONS}={json.dumps(options, sort_keys=True)}",
            f"--label={LABEL_SECRETS}={json.dumps(secrets, sort_keys=True)}",
        ]
        if not wanted.is_mounted:
            return self._create_with_file(words)
        mount_id = str(uuid.uuid4())
        with EphemeralFolder(folder_path(wanted.params["mount_dir"], self._engine.instance)) as folder:
            path = os.path.join(folder.path, mount_id)
            with folder.held_directory(mount_id) as descriptor:
                write_files(descriptor, path, wanted)
                return self._create_with_file([*words, f"--label={LABEL_MOUNT}={path}", *mount_words(path, wanted)])

    def _create_with_file(self, words: list[str]) -> str:
        if not self._by_file:
            return self._create_with(words)
        passing = EphemeralFile(self._folder, f"{uuid.uuid4()}.env", env_file_of(self._by_file))
        try:
            with passing:
                return self._create_with([*words, f"--env-file={passing.path}"])
        finally:
            self.env_file = {"path": passing.path, "lifetime_s": round(passing.lifetime_s, 6)}

    def _create_with(self, words: list[str]) -> str:
        wanted, began = self._wanted, time.monotonic()
        container_id = self._engine.create(
            wanted.name + NEW, words, wanted.image, wanted.command, networks=wanted.networks, environment=self._by_environment
        )
        self.timings["create_s"] = round(time.monotonic() - began, 6)
        created = self._engine.look(container_id)
        if created is None or created.labels.get(LABEL_NAME) != wanted.name or not {LABEL_OPTIONS, LABEL_SECRETS} <= set(created.labels):
            if created is not None:
                self._engine.remove(container_id)
            raise InjectionError(
                f"{self._engine.command} made no container {wanted.name} of these options; does a word of extra_args take the next one "
                "as its value? write --option=value in one word; the container that was there is untouched"
            )
        return container_id

    def _watch(self, container: Container) -> Container:
        """Wait until a container has stayed up for as long as it must, or has ended well."""
        name, settle_s = self._wanted.name, self._wanted.params["settle"]
        deadline = time.monotonic() + settle_s
        while True:
            seen = self._engine.look(container.container_id)
            if seen is None:
                raise InjectionError(f"the container {name} is gone; was it made to remove itself?")
            fault = f" ({seen.fault})" if seen.fault else ""
            if seen.restarts > container.restarts or seen.status == "restarting":
                raise InjectionError(
                    f"the container {name} keeps being started again (exit code {seen.exit_code}){fault}; "
                    "see to its image, its command and its secrets"
                )
            if seen.status in _ENDED:
                if seen.exit_code == 0:
                    return seen
                raise InjectionError(
                    f"the container {name} ended with exit code {seen.exit_code}, within {settle_s:g} s{fault}; "
                    "see to its image, its command and its secrets"
                )
            if time.monotonic() >= deadline:
                if seen.is_running:
                    return seen
                raise InjectionError(
                    f"the container {name} is {seen.status} {settle_s:g} s after its start{fault}; "
                    "see to its image, its command and its secrets"
                )
            time.sleep(min(_POLL_S, max(0.0, deadline - time.monotonic())))

    def _go_back(self, container_id: str, old: Container | None) -> str:
        """Put the old container back. Returns what to say of it."""
        try:
            self._engine.remove(container_id)
            if old is None:
                return "it was removed with its output, and there was none before it; find out what it lacks, then run again"
            seen = self._engine.look(old.container_id)
            if seen is None:
                return "it was removed, and the one before it is gone; run again"
            if seen.name != self._wanted.name:
                self._engine.rename(seen.container_id, self._wanted.name)
            if not old.is_active:
                return f"it was removed with its output, and the one before it is as it was, {seen.status}"
            if not seen.is_running:
                self._engine.start(seen)
            self._watch(seen)
        except ServosError as error:
            return f"and the one before it could not be brought back ({error}); see what it lacks, then run again"
        return "it was removed with its output, and the one before it runs again"

    def _discard_new(self) -> None:
        """Remove what an engine may have made although it failed; what is left all the same, the next run removes."""
        name = self._wanted.name + NEW
        with contextlib.suppress(ServosError):
            for container in self._engine.find([name]).values():
                if container.labels.get(LABEL_NAME) == self._wanted.name:
                    self._engine.remove(container.container_id)


__all__ = ("Change",)
