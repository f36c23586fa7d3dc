# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Where an installation stands in its rotation, and what comes next. Pure: fingerprints and counts in, words out."""

from __future__ import annotations

import typing as t

PHASES = ("settled", "staged", "mixed", "rewrapped", "swapped", "activated", "foreign")

NEXT_STEPS = {
    "settled": "rotate if asked, else nothing",
    "staged": "escrow, back up, rewrap",
    "mixed": "rewrap the rest",
    "rewrapped": "swap the env file",
    "swapped": "restart the service, then look again for values sealed by the old process",
    "activated": "verify, then retire",
    "foreign": "stop, write nothing: find the key that opens the values named, or the wrong value itself",
}


class Sight(t.NamedTuple):
    """What was observed, by fingerprint.

    C(env), C(staged), C(previous), C(withdrawn): keys, or None. C(process): the key of the running service;
    C(process_seen) is False where no service is described, and then the process is not held against anything.
    C(sealed): number of values by the fingerprint that opens them. C(foreign): values that nothing opens.
    """

    env: str | None
    staged: str | None
    previous: str | None
    withdrawn: str | None
    process: str | None
    process_seen: bool
    sealed: t.Mapping[str, int]
    foreign: int

    @property
    def target(self) -> str | None:
        """The key that all data is to be under: the staged one, else the active one."""
        return self.staged or self.env

    @property
    def is_retired(self) -> bool:
        """Whether no key is kept but the one in force: then nothing is going on at all."""
        return not (self.staged or self.previous or self.withdrawn)

    def count_elsewhere(self, target: str | None) -> int:
        """Count the values that are under another key than C(target)."""
        return sum(count for mark, count in self.sealed.items() if mark != target)


def phase_of(sight: Sight) -> str:
    """Return the row of the table of phases that an installation is on.

    Source: DESIGN, "The idea: observe, plan, act". A service that is stopped counts as not running on the key, except
    where nothing is going on at all.
    """
    if sight.foreign:
        return "foreign"
    target = sight.target
    elsewhere = sight.count_elsewhere(target)
    under_target = sight.sealed.get(target or "", 0)
    if sight.staged and sight.staged != sight.env and elsewhere and not under_target:
        return "staged"
    if elsewhere:
        return "mixed"
    if sight.staged and sight.staged != sight.env:
        return "rewrapped"
    if sight.process_seen and sight.process != target and (sight.process is not None or not sight.is_retired):
        return "swapped"
    return "activated" if sight.staged else "settled"


__all__ = ("NEXT_STEPS", "PHASES", "Sight", "phase_of")
