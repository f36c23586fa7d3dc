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
from starts import KEYS, STARTS, begin
from world import Process, worlds

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


def one_stop(make, start, name, stop, then, wal=True):
    """Stop a call, then make another; say what is wrong at the end, if anything. Without a stop, make only the other one."""
    world = begin(make, start, VALUES, wal=wal)
    at_first = oracle.see(world)
    if stop is not None:
        assert attempt(world, lambda: CALLS[name](world), stop) is None
        if stop[0] != "killed":
            world.start_main()  # as its manager does when the machine is up again
    # The same call is to end as if it had not been stopped, and a rollback where the rotation began; but what was taken back
    # is not there to be rotated to any more.
    seen = oracle.see(world) if (name, then) == ("back", "rotate") else at_first
    due = oracle.retirement(seen) if then == "retire" else oracle.rotation(seen, until="activated", back=then == "back")
    answer = attempt(world, lambda: CALLS[then](world))
    after = oracle.see(world)
    if then != "stage" and due.refusal is not None:
        return None if isinstance(answer, ServosError) else f"it went on although {due.refusal}"
    if isinstance(answer, ServosError):
        return f"{answer}"
    if then == "stage":
        return None if after.staged is not None else "no key is staged"
    if then == "retire":
        return None if after.known == {after.env} and after.has_only(after.env) else "a key is left"
    if not (after.has_only(due.target) and after.env == after.process == due.target):
        return f"data, env file and process are not on the same key: {answer}"
    if answer["phase"] != oracle.phase(after):
        return f"it said {answer['phase']} and not {oracle.phase(after)}"
    return None


def every_stop(make, start, name, stride=1):
    """List the stops of a call on each disk, or one in so many."""
    world = begin(make, start, VALUES)
    writes = writes_of(world, lambda: CALLS[name](world))
    return list(itertools.product(DISKS, range(1, writes + 2)))[STARTS.index(start) % stride :: stride] if writes else []


def late_writers(make):
    """A second process seals with the old key before each write of a run; name the writes that it was not brought over at."""
    probe = begin(make, STARTS[1], VALUES)
    writes_of(probe, lambda: rotate(probe))
    before_the_last_look = probe.disk.trace.index("start the service") + 1
    missed = []
    for number in range(1, before_the_last_look + 1):
        world = begin(make, STARTS[1], VALUES)
        forgotten = Process(world.env_text())
        attempt(world, lambda world=world: rotate(world), at={number: lambda w=world, p=forgotten: w.write("text", "sealed", p.key_bytes)})
        if not oracle.see(world).has_only(KEYS["S"]):
            missed.append(world.disk.trace[number - 1])
    return missed


CASES = [
    pytest.param(start, name, then, id=f"{number}-{'-'.join(dict.fromkeys((name, then)))}")
    for number, start in enumerate(STARTS)
    for name, then in PAIRS
]


@pytest.mark.parametrize(("start", "name", "then"), CASES)
def test_stopped_anywhere_one_more_call_is_enough(make, start, name, then):
    wrong = [(stop, one_stop(make, start, name, stop, then, stop[1] % 2 == 0)) for stop in every_stop(make, start, name, STRIDE)]
    assert [case for case in wrong if case[1]] == []


def test_what_is_sealed_with_the_old_key_during_the_run_is_brought_over_by_it(make):
    assert late_writers(make) == []
