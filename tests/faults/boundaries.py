# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a run can be stopped: what was traced, named by what it touches, and which faults make sense there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from shim import Aim, Crossing

_NAMES = (
    (r"pipe:.*", "answer to the front"), (r"socket", "socket"), (r"program", "program"),
    (r".*/backups/\.[^/]+\.json(\.servos-ops-new)?", "backup note (new)"), (r".*/\.([^/]+)\.servos-ops-new", r"\1 (new)"),
    (r".*/[^/]+\.partial(-\w+)?", r"backup copy\1"), (r".*/backups/[^/]+\.db\.json", "backup note"),
    (r".*/backups/[^/]+\.db(-\w+)?", r"backup\1"), (r".*/[^/]+\.db(-wal|-journal)?", r"database\1"),
    (r".*/etilqs_\w+", "temporary database"), (r"/tmp/.*", "private copy"), (r".*/([^/]+)", r"\1"),
)  # fmt: skip


class Boundary(NamedTuple):
    """One crossing of a traced run. C(same) is how many like it stand in a row, of which some were left out."""

    number: int
    call: str
    role: str
    module: int
    is_front: bool
    is_new: bool
    size: int
    aim: Aim
    same: int

    @property
    def kind(self) -> str:
        return f"{self.call} {self.role}"


class Fault(NamedTuple):
    """What goes wrong: C(mode) of the shim, at which calls, and how it is recovered from ('each': both ways)."""

    name: str
    mode: str
    calls: tuple[str, ...] = ()  # none: all
    recovery: str = "alternate"
    first_of_kind: bool = False  # only where a kind of boundary comes for the first time in a module
    clock_offset_s: int = 0

    def fits(self, boundary: Boundary) -> bool:
        if self.calls and boundary.call not in self.calls:
            return False
        if self.mode == "hangup" and boundary.is_front:
            return False  # then nothing is detached yet: it is the same as a kill
        if self.mode == "torn" and (boundary.size < 2 or boundary.role.startswith("answer")):
            return False
        if self.mode in ("enospc", "erofs") and boundary.role.startswith("answer"):
            return False
        return not (self.mode == "enospc" and boundary.call == "open" and not boundary.is_new)


_TEN_YEARS_S = 10 * 365 * 86400
_CHANGES = ("open", "write", "truncate", "rename", "unlink", "mkdir", "rmdir", "mode")
FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill", "kill", recovery="each"),
        Fault("power", "kill"),
        Fault("torn", "torn", ("write",)),
        Fault("hangup", "hangup"),
        Fault("enospc", "enospc", ("open", "write", "truncate", "mkdir")),
        Fault("erofs", "erofs", _CHANGES),
        Fault("eio", "eio", ("fsync",)),
        Fault("reset", "reset", ("connect", "send", "recv")),
        Fault("later", "clock", first_of_kind=True, clock_offset_s=_TEN_YEARS_S),
        Fault("earlier", "clock", first_of_kind=True, clock_offset_s=-_TEN_YEARS_S),
        Fault("second", "pause", first_of_kind=True),
    )
}


def role_of(path: str, root: Path) -> str:
    """Name a path by what it is to a rotation."""
    if path == str(root):
        return "folder"
    path = path.removeprefix(str(root))
    for pattern, name in _NAMES:
        match = re.fullmatch(pattern, path)
        if match:
            return match.expand(name) if "\\" in name else name
    return path


def boundaries_of(crossings: Sequence[Crossing], root: Path) -> list[Boundary]:
    """Name every crossing of a trace."""
    found: list[Boundary] = []
    counts: Counter[tuple[int, str]] = Counter()
    for seen in crossings:
        counts[seen.module, seen.call] += 1
        role = role_of(seen.other if seen.call == "rename" else seen.path, root)
        aim = Aim(seen.module, seen.call, counts[seen.module, seen.call])
        found.append(Boundary(seen.number, seen.call, role, seen.module, seen.is_front, seen.other == "new", seen.size, aim, 1))
    return found


def thinned(boundaries: Sequence[Boundary]) -> list[Boundary]:
    """Of a long row of the same call on the same file, such as the pages of a database, keep four."""
    kept: list[Boundary] = []
    start = 0
    while start < len(boundaries):
        end = start
        first = (boundaries[start].kind, boundaries[start].module)
        while end < len(boundaries) and (boundaries[end].kind, boundaries[end].module) == first:
            end += 1
        row = boundaries[start:end]
        chosen = row if len(row) <= 4 else [row[0], row[1], row[len(row) // 2], row[-1]]
        kept += [boundary._replace(same=len(row)) for boundary in chosen]
        start = end
    return kept


def firsts_of_kind(boundaries: Sequence[Boundary]) -> set[int]:
    """Return the numbers at which a kind of boundary comes for the first time in a module."""
    seen: dict[tuple[int, str], int] = {}
    for boundary in boundaries:
        seen.setdefault((boundary.module, boundary.kind), boundary.number)
    return set(seen.values())
