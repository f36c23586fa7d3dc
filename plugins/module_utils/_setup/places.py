# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What is made of where a setup token lies: whether it was left behind, and what is left to do by hand."""

from __future__ import annotations

import typing as t

_CLOCK_S = 300  # by so much a clock is set right in passing


class Place(t.NamedTuple):
    """One place where a token lies. The token never leaves the process that reads it, but for the file C(dest)."""

    kind: str  # file, interrupted (what a killed removal has left) or log
    where: str
    token: str
    since: float | None
    mode: str | None

    def as_facts(self, now: float) -> dict[str, t.Any]:
        """Return what may be shown of it."""
        hours = None if self.since is None else round(max(0.0, now - self.since) / 3600, 2)
        return {"kind": self.kind, "where": self.where, "age_hours": hours, "mode": self.mode}


def is_left_behind(places: t.Sequence[Place], *, finished: bool | None, max_age_hours: float, now: float) -> bool:
    """Return whether a token lies there after setup; where nobody says that setup is finished, its age says so."""
    if finished is not None:
        return finished and bool(places)
    if max_age_hours <= 0:
        return bool(places)
    # A time to come says nothing of the age: a clock was set back, or somebody touched the file.
    return any(place.since is None or not -_CLOCK_S <= now - place.since <= max_age_hours * 3600 for place in places)


def steps_after(places: t.Sequence[Place], *, finished: bool | None, is_left_behind: bool) -> list[str]:
    """Return what a person has to do about the places that are left."""
    steps = []
    if places and finished is not True:
        steps.append("make the first admin, if there is none yet, then run this again with state=absent and setup_finished=true")
    if finished is True and any(place.kind != "log" for place in places):
        steps.append("run this again with state=absent")
    for where in sorted({place.where for place in places if place.kind == "log"}) if is_left_behind else ():
        engine, name = where.split(" ")[0], where.split(" ")[-1]
        steps.append(
            f"the token is in what {where} shows; an engine's log cannot be edited safely while the container is there, so make the "
            f"container {name} anew as it was made ({engine} compose up --force-recreate, or {engine} rm and run; volumes stay), which "
            "removes its log, and search copies of it that a log collector has"
        )
    return steps


__all__ = ("Place", "is_left_behind", "steps_after")
