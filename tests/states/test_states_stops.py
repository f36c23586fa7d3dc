# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each call is stopped before each of its writes, on each of the three disks, from each row of the table.

Then the same call once more finishes it; or a rollback once undoes it. With SERVOS_STATES_EXAMPLES set, without leaving any out.
"""

from __future__ import annotations

import itertools
import os

import oracle
import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from calls import attempt, retire, rotate, stage, writes_of
from disk import DISKS
from starts import STARTS, begin
from world import worlds

VALUES = [
    ("text", "sealed", 0), ("json", "sealed", 1), ("deep", "sealed", 0), ("blob", "sealed", 1), ("hex", "sealed", 0), ("text", "plain", 0),
]  # fmt: skip
CALLS = {
    "rotate": rotate,
    "back": lambda world: rotate(world, back=True),
    "retire": retire,
    "stage": lambda world: stage(world, "new"),
}
PAIRS = (("rotate", "rotate"), ("rotate", "back"), ("back", "back"), ("back", "rotate"), ("retire", "retire"), ("stage", "stage"))
STRIDE = 1 if "SERVOS_STATES_EXAMPLES" in os.environ else 7


@pytest.fixture(scope="module")
def make():
    with worlds() as maker:
        yield maker


def one_stop(make, start, name, stop, then, wal):
    """Stop a call, then make another; say what is wrong at the end, if anything."""
    world = begin(make, start, VALUES, wal=wal)
    at_first = oracle.see(world)
    assert attempt(world, lambda: CALLS[name](world), stop) is None
    if stop[0] != "killed":
        world.start_main()  # as its manager does when the machine is up again
    # The same call is to end as if it had not been stopped; another one goes by what it finds.
    due = oracle.rotation(at_first if then == name else oracle.see(world), until="activated", back=then == "back")
    answer = attempt(world, lambda: CALLS[then](world))
    after = oracle.see(world)
    if then in ("rotate", "back") and due.refusal is not None:
        return None if isinstance(answer, ServosError) else f"it went on although {due.refusal}"
    if isinstance(answer, ServosError):
        return f"{answer}"
    if name == "stage":
        return None if after.staged is not None else "no key is staged"
    if name == "retire":
        return None if after.known == {after.env} and after.has_only(after.env) else "a key is left"
    if not (after.has_only(due.target) and after.env == after.process == due.target):
        return f"data, env file and process are not on the same key: {answer}"
    return None


CASES = [
    pytest.param(start, name, then, id=f"{number}-{'-'.join(dict.fromkeys((name, then)))}")
    for number, start in enumerate(STARTS)
    for name, then in PAIRS
]


@pytest.mark.parametrize(("start", "name", "then"), CASES)
def test_stopped_anywhere_one_more_call_is_enough(make, start, name, then):
    world = begin(make, start, VALUES)
    writes = writes_of(world, lambda: CALLS[name](world))
    offset = STARTS.index(start)
    stops = list(itertools.product(DISKS, range(1, writes + 2)))[offset % STRIDE :: STRIDE] if writes else []
    wrong = [(stop, one_stop(make, start, name, stop, then, stop[1] % 2 == 0)) for stop in stops]
    assert [case for case in wrong if case[1]] == []
