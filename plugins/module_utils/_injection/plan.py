# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""From what is seen of the containers of one name to what is to be done. Pure.

A replacement leaves one of these behind, wherever it is cut, and each is read back here: a new one beside the current
one; an old one and no current one; an old one beside a current one that was not started, or not watched, yet.
"""

from __future__ import annotations

import json
import typing as t

from .._errors import InjectionError
from .wanted import LABEL_MOUNT, LABEL_NAME, LABEL_OPTIONS, LABEL_SECRETS


class Container(t.NamedTuple):
    """One container as the engine shows it."""

    container_id: str
    name: str
    status: str
    image_id: str
    labels: t.Mapping[str, str]
    pid: int
    exit_code: int
    restarts: int
    fault: str = ""
    stop_timeout_s: float = 10.0

    @property
    def is_running(self) -> bool:
        """Whether its main process is there and runs."""
        return self.status == "running"

    @property
    def is_active(self) -> bool:
        """Whether the engine would have to stop it."""
        return self.status in ("running", "paused", "restarting")

    @property
    def was_never_started(self) -> bool:
        """Whether a run was cut before, or in the middle of, its start; an engine may be unable to finish what it began."""
        return self.status in ("created", "configured", "initialized", "unknown")

    @property
    def mount_path(self) -> str | None:
        """Return the directory of its mounted secrets."""
        return self.labels.get(LABEL_MOUNT)


class Seen(t.NamedTuple):
    """The containers under the three names that one container can have."""

    current: t.Optional[Container]
    new: t.Optional[Container]
    old: t.Optional[Container]

    def refuse_strangers(self, name: str, inherited: t.Container[str] = ()) -> None:
        """Refuse containers that this module did not make; those named in C(inherited) have their labels from their image.

        Raises:
            InjectionError: naming the container.
        """
        for container in self:
            if container is not None and (container.labels.get(LABEL_NAME) != name or container.name in inherited):
                raise InjectionError(
                    f"there is a container {container.name} that was not made by servos_secret_inject; nothing was changed; "
                    "remove or rename it, or choose another name"
                )


class Difference(t.NamedTuple):
    """In what a container differs from the one that is wanted."""

    reasons: t.List[str]
    options: t.List[str]
    variables: t.List[str]


class Plan(t.NamedTuple):
    """What is to be done, in this order: C(repairs), then C(action), then, with C(drops_old), the old one goes.

    repairs: C(remove_new), C(remove_old), C(remove_current), C(restore_old).
    action: C(unchanged), C(started), C(created), C(replaced); or C(removed), C(absent).
    """

    repairs: t.List[str]
    action: str
    difference: Difference
    drops_old: bool = False


def difference_of(
    container: Container, *, image_id: str | None, options: t.Mapping[str, str], secrets: t.Mapping[str, str], has_files: bool
) -> Difference:
    """Compare a container's labels with the digests that are wanted."""
    changed_options = _changed(container.labels.get(LABEL_OPTIONS), options)
    changed_variables = _changed(container.labels.get(LABEL_SECRETS), secrets)
    reasons = []
    if image_id is None or container.image_id != image_id:
        reasons.append("another image")
    if changed_options:
        reasons.append("other options")
    if changed_variables:
        reasons.append("other variables")
    if not has_files:
        reasons.append("its mounted secrets are gone")
    return Difference(reasons, changed_options, changed_variables)


def plan_started(seen: Seen, differs: t.Callable[[Container], Difference]) -> Plan:
    """Plan how the wanted container comes to run."""
    repairs = ["remove_new"] if seen.new is not None else []
    current, old = seen.current, seen.old
    if current is not None and current.was_never_started:
        repairs.append("remove_current")
        current = None
    if current is not None and old is not None:
        if not differs(current).reasons:
            return _kept(current, repairs, drops_old=True)
        if current.is_active:
            repairs.append("remove_old")
        else:
            repairs += ["remove_current", "restore_old"]
            current = old
    elif old is not None:
        repairs.append("restore_old")
        current = old
    if current is None:
        return Plan(repairs, "created", Difference(["there is no such container"], [], []))
    found = differs(current)
    if found.reasons:
        return Plan(repairs, "replaced", found)
    return _kept(current, repairs, drops_old=False)


def plan_absent(seen: Seen) -> Plan:
    """Plan how everything under the name goes."""
    is_there = any(container is not None for container in seen)
    return Plan([], "removed" if is_there else "absent", Difference([], [], []))


def _kept(current: Container, repairs: list[str], *, drops_old: bool) -> Plan:
    if current.is_running:
        return Plan(repairs, "unchanged", Difference([], [], []), drops_old)
    return Plan(repairs, "started", Difference([f"it was {current.status}"], [], []), drops_old)


def _changed(label: str | None, wanted: t.Mapping[str, str]) -> list[str]:
    try:
        had = json.loads(label or "")
    except ValueError:
        had = None
    if not isinstance(had, dict):
        return sorted(wanted)
    return sorted(name for name in {*had, *wanted} if had.get(name) != wanted.get(name))


__all__ = ("Container", "Difference", "Plan", "Seen", "difference_of", "plan_absent", "plan_started")
