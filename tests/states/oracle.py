# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What must come of a run, from what the design and the guide say. Keys in, words out; nothing here asks the collection."""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Mapping

from world import World


class Seen(t.NamedTuple):
    """What an independent reader sees. C(data): number of values by key, None for values that no key opens."""

    data: Mapping[bytes | None, int]
    env: bytes | None
    process: bytes | None
    is_service: bool
    staged: bytes | None
    previous: bytes | None
    withdrawn: bytes | None
    has_canary: bool

    @property
    def known(self) -> set[bytes]:
        """The keys that are in a file."""
        return {key for key in (self.env, self.staged, self.previous, self.withdrawn) if key is not None}

    @property
    def foreign(self) -> int:
        """Number of values that open under none of those."""
        return sum(count for key, count in self.data.items() if key not in self.known)

    def has_only(self, key: bytes | None) -> bool:
        """Whether all values are under one key."""
        return set(self.data) <= {key}

    @property
    def runs_on_env(self) -> bool:
        """Whether the service runs on the key in the env file, or there is none to ask."""
        return not self.is_service or self.process == self.env


def see(world: World) -> Seen:
    """Look at the world with its own reader."""
    keys = world.keys_on()
    return Seen(
        data=world.census(), env=keys.get("active"), process=world.main.key_bytes if world.main is not None else None,
        is_service=world.has_service, has_canary=any(kind == "canary" for kind, unused in world.stored()),
        **{role: keys.get(role) for role in ("staged", "previous", "withdrawn")},
    )  # fmt: skip


# The table of DESIGN, section 1, from its end to its beginning: the first row that fits. A key that is staged and in force
# already counts as staged until it is retired.
_ROWS: list[tuple[str, Callable[[Seen], bool]]] = [
    ("foreign", lambda s: s.foreign > 0),
    ("activated", lambda s: s.staged == s.env and s.has_only(s.env) and s.runs_on_env),
    ("swapped", lambda s: s.staged == s.env and s.has_only(s.env)),
    ("rewrapped", lambda s: s.staged is not None and s.has_only(s.staged)),
    ("staged", lambda s: s.staged is not None and s.staged != s.env and s.staged not in s.data),
    ("mixed", lambda s: s.staged is not None),
    ("settled", lambda s: s.has_only(s.env) and (s.runs_on_env or (s.process is None and s.known == {s.env}))),
    # The table has no rows for these: nothing is staged, and a process, or a value, is left over from the last rotation; or
    # the service is stopped, perhaps by a run that was killed, and a key of that rotation is kept.
    ("swapped", lambda s: s.has_only(s.env)),
    ("mixed", lambda unused: True),
]


def phase(seen: Seen) -> str:
    """Name the row of the table."""
    return next(name for name, fits in _ROWS if fits(seen))


class Due(t.NamedTuple):
    """What a run must do: refuse, for a reason; or end with all data under C(target)."""

    refusal: str | None
    target: bytes | None = None


def rotation(seen: Seen, *, until: str, back: bool = False) -> Due:
    """Say what a rotation, or a rollback, must come to where nobody interferes."""
    if seen.foreign:
        return Due("a value opens under no known key")
    if not seen.data:
        return Due("nothing sealed was found")
    if not seen.has_canary:
        return Due("the integrity canary is missing")
    if seen.previous is not None and seen.env not in (seen.staged, seen.previous, seen.withdrawn) and seen.env not in seen.data:
        return Due("the env file holds a key that has nothing to do with the rotation")
    target = _origin(seen) if back else seen.staged or seen.env
    if target is None:
        return Due("the previous key was retired")
    if not back and until != "rewrapped" and target != seen.env and seen.previous not in (None, seen.env):
        return Due("the previous key of an earlier rotation has the only place there is")
    return Due(None, target)


def retirement(seen: Seen, forgotten: Collection[bytes] = ()) -> Due:
    """Say whether the keys that are kept may go; C(forgotten) are the keys of processes that nobody thought of."""
    kept = {seen.staged, seen.previous, seen.withdrawn} - {None}
    if not kept:
        return Due(None, seen.env)
    if seen.staged not in (None, seen.env):
        return Due("a rotation is under way")
    if not seen.has_only(seen.env):
        return Due("a value is not under the key in force")
    if not seen.runs_on_env or (kept - {seen.env}) & set(forgotten):
        return Due("a process does not run on the key in force")
    return Due(None, seen.env)


def _origin(seen: Seen) -> bytes | None:
    """The key from before the rotation."""
    if seen.staged is not None and seen.staged != seen.env:
        return seen.env  # it has not been put in force
    if seen.withdrawn is not None and seen.withdrawn != seen.env and seen.staged is None:
        return seen.env  # taken back already
    return seen.previous if seen.previous != seen.env else None
