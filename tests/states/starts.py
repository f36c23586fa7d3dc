# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of the table, each as an installation to begin on."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Callable, Sequence

from world import Process, World

KEYS = {"A": b"\xaa" * 32, "S": b"\x5e" * 32}


class Start(t.NamedTuple):
    """A row of the table to begin a game on: the keys of data, env file and process, and the key files."""

    data: str
    env: str
    process: str
    files: dict[str, str]


STARTS = [
    Start("A", "A", "A", {}),
    Start("A", "A", "A", {"staged": "S"}),
    Start("AS", "A", "A", {"staged": "S"}),
    Start("AS", "A", "", {"staged": "S", "previous": "A"}),
    Start("AS", "S", "A", {"staged": "S", "previous": "A"}),
    Start("SA", "S", "S", {"staged": "S", "previous": "A"}),
    Start("S", "A", "A", {"staged": "S"}),
    Start("S", "S", "A", {"staged": "S", "previous": "A"}),
    Start("S", "S", "", {"staged": "S", "previous": "A"}),
    Start("S", "S", "S", {"staged": "S", "previous": "A"}),
    Start("A", "A", "A", {"withdrawn": "S", "previous": "A"}),
    Start("AS", "A", "S", {"withdrawn": "S"}),
]


def begin(
    make: Callable[..., World], start: Start, values: Sequence[tuple[str, str, int]], *, in_base64: bool = False, **facts: t.Any
) -> World:
    """Make the installation of a row; a value is (kind, what it is, which of the row's keys it is under)."""

    def written(name: str) -> str:
        return base64.b64encode(KEYS[name]).decode("ascii") if in_base64 else KEYS[name].hex()

    world = make(key_text=written(start.env), **facts)
    for role, name in start.files.items():
        world.put_key(role, KEYS[name])
    if world.has_service:
        world.main = Process(written(start.process)) if start.process else None
    under = [KEYS[name] for name in start.data]
    values = [value for value in values if value[:2] != ("hex", "plain")]
    world.fill([("canary", "sealed", under[0]), ("text", "sealed", under[-1]), *((k, c, under[i % len(under)]) for k, c, i in values)])
    world.disk.settle()
    return world
