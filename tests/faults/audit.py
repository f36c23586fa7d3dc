# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The order of a traced run: what must be on disk before what. A kill cannot tell, since the page cache survives it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from boundaries import Boundary

_DATA = ("database", "database-wal", "database-journal")


def audit(boundaries: Sequence[Boundary], *, env_name: str, by_api: bool) -> list[str]:
    """Say where a name was given before its content was durable, or a step begun before the one that it rests on was.

    The rules hold for a run forward: the staged key is durable before data is written or a request is sent, the previous
    key and the data are durable before the env file is swapped, and each renamed file was flushed before, its directory after.
    """
    return [*_renames(boundaries), *_order(boundaries, env_name, by_api)]


def _renames(boundaries: Sequence[Boundary]) -> Iterator[str]:
    for place, seen in enumerate(boundaries):
        if seen.call != "rename":
            continue
        before = [b for b in boundaries[:place] if b.role == f"{seen.role} (new)" and b.call in ("write", "fsync")]
        if before and before[-1].call != "fsync":
            yield f"AUDIT: {seen.role} got its name at {seen.number} before its content was flushed"
        following = [b for b in boundaries[place + 1 :] if b.module == seen.module][:1]
        if not following or following[0].call != "fsync":
            yield f"AUDIT: the directory of {seen.role} was not flushed after the rename at {seen.number}"


def _order(boundaries: Sequence[Boundary], env_name: str, by_api: bool) -> Iterator[str]:
    durable: dict[str, bool] = {}
    dirty_data: set[str] = set()
    for place, seen in enumerate(boundaries):
        if seen.call == "rename":
            after = boundaries[place + 1 : place + 2]
            durable[seen.role] = bool(after) and after[0].call == "fsync"
        writes_data = seen.role in _DATA and seen.call == "write"
        if writes_data and seen.is_front:
            yield f"AUDIT: data was written at {seen.number} by the process that dies with its connection"
            return
        if writes_data and not durable.get("staged.key"):
            yield f"AUDIT: data was written at {seen.number} before the staged key was durable"
            return
        if writes_data and seen.role != "database-journal":
            dirty_data.add(seen.role)
        if seen.call == "fsync" or (seen.call == "unlink" and seen.role in _DATA):
            dirty_data.discard(seen.role)
        if seen.call == "rename" and seen.role == env_name:
            if not durable.get("previous.key"):
                yield f"AUDIT: the env file was swapped at {seen.number} before the previous key was durable"
            if dirty_data:
                yield f"AUDIT: the env file was swapped at {seen.number} before {', '.join(sorted(dirty_data))} was flushed"
            if not by_api and not any(b.role in _DATA and b.call == "write" for b in boundaries[:place] if b.module == seen.module):
                yield f"AUDIT: the env file was swapped at {seen.number} before any data was written"
