# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The table of phases: row by row as DESIGN states it, and walked from every state that there is."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._rotation.plan import NEXT_STEPS, PHASES, Sight, phase_of
from hypothesis import assume, given, settings
from hypothesis import strategies as st

A, S, P, W = "mk:active", "mk:staged", "mk:previous", "mk:withdrawn"


def sight(**facts):
    seen = {
        "env": A,
        "staged": None,
        "previous": None,
        "withdrawn": None,
        "process": A,
        "process_seen": True,
        "sealed": {A: 3},
        "foreign": 0,
    }
    return Sight(**dict(seen, **facts))


ROWS = [
    # DESIGN, section 1: data, env, process, staged.
    ("settled", "settled", {}),
    ("staged", "staged", {"staged": S}),
    ("mixed-env-old", "mixed", {"staged": S, "sealed": {A: 1, S: 2}}),
    ("mixed-env-new", "mixed", {"staged": S, "env": S, "previous": A, "sealed": {A: 1, S: 2}}),
    ("mixed-process-new", "mixed", {"staged": S, "env": S, "previous": A, "process": S, "sealed": {A: 1, S: 2}}),
    ("mixed-process-gone", "mixed", {"staged": S, "process": None, "sealed": {A: 1, S: 2}}),
    ("rewrapped", "rewrapped", {"staged": S, "sealed": {S: 3}}),
    ("swapped", "swapped", {"staged": S, "env": S, "previous": A, "sealed": {S: 3}}),
    ("activated", "activated", {"staged": S, "env": S, "previous": A, "process": S, "sealed": {S: 3}}),
    ("foreign", "foreign", {"foreign": 1}),
    # What the table does not say in so many words.
    ("foreign-beats-staged", "foreign", {"staged": S, "foreign": 1}),
    ("foreign-beats-activated", "foreign", {"staged": S, "env": S, "process": S, "sealed": {S: 3}, "foreign": 1}),
    ("all-foreign", "foreign", {"sealed": {}, "foreign": 9}),
    ("data-under-previous-only", "mixed", {"env": S, "staged": S, "previous": A, "process": S, "sealed": {A: 3}}),
    ("data-under-previous-nothing-staged", "mixed", {"previous": P, "sealed": {P: 1, A: 2}}),
    ("data-under-withdrawn", "mixed", {"withdrawn": W, "sealed": {W: 1, A: 2}}),
    ("third-key-while-staged", "staged", {"staged": S, "previous": P, "sealed": {P: 1, A: 2}}),
    ("settled-without-service", "settled", {"process": None, "process_seen": False}),
    ("settled-service-stopped", "settled", {"process": None}),
    ("taken-back-service-stopped", "swapped", {"withdrawn": W, "process": None}),
    ("kept-previous-service-stopped", "swapped", {"previous": P, "process": None}),
    ("settled-process-on-another-key", "swapped", {"process": P}),
    ("swapped-service-stopped", "swapped", {"staged": S, "env": S, "process": None, "sealed": {S: 3}}),
    ("activated-without-service", "activated", {"staged": S, "env": S, "process": None, "process_seen": False, "sealed": {S: 3}}),
    ("empty-settled", "settled", {"sealed": {}}),
    ("empty-staged-needs-no-rewrap", "rewrapped", {"staged": S, "sealed": {}}),
    ("empty-swapped", "swapped", {"staged": S, "env": S, "sealed": {}}),
    ("no-env-file-staged", "staged", {"env": None, "staged": S, "sealed": {A: 1}}),
    ("counts-of-zero-are-nothing", "settled", {"sealed": {A: 3, P: 0}}),
]


@pytest.mark.parametrize(("phase", "facts"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_row(phase, facts):
    assert phase_of(sight(**facts)) == phase


def test_every_phase_has_a_row_and_a_next_step():
    assert {row[1] for row in ROWS} == set(PHASES) == set(NEXT_STEPS)


def test_the_target_is_the_staged_key_or_else_the_active_one():
    assert sight().target == A
    assert sight(staged=S).target == S
    assert sight(env=None).target is None


class World:
    """A tiny installation: values by key, and what holds which key. Each step is cut into what is durable by itself."""

    def __init__(self, env, staged, previous, process, process_seen, values):
        self.env, self.staged, self.previous = env, staged, previous
        self.process, self.process_seen, self.values = process, process_seen, list(values)

    def sight(self):
        sealed = {}
        for mark in self.values:
            sealed[mark] = sealed.get(mark, 0) + 1
        return sight(
            env=self.env,
            staged=self.staged,
            previous=self.previous,
            sealed=sealed,
            process=self.process if self.process_seen else None,
            process_seen=self.process_seen,
        )

    def loses_a_value(self):
        """Whether some value is under a key that nothing durable holds."""
        return [mark for mark in self.values if mark not in (self.env, self.staged, self.previous)]

    def rewrap(self):
        """One transaction."""
        self.values = [self.sight().target] * len(self.values)
        yield "rewrapped"

    def swap(self):
        """The key that goes is kept before the other comes."""
        assert self.previous in (None, self.env)  # another key there is never overwritten
        self.previous = self.env
        yield "kept the previous key"
        self.env = self.staged
        yield "swapped"

    def restart(self, late_writes):
        """Until it is gone, the old process may seal with the key that it has."""
        if self.process in (self.env, self.staged, self.previous):
            self.values += [self.process] * late_writes
            yield "written late"
        self.process = None
        yield "stopped"
        self.process = self.env
        yield "started"

    def retire(self):
        self.staged = self.previous = None
        yield "retired"

    def step(self, phase, late_writes):
        return {
            "staged": self.rewrap,
            "mixed": self.rewrap,
            "rewrapped": self.swap,
            "swapped": lambda: self.restart(late_writes),
        }[phase]()


KEYS = st.sampled_from([A, S, P])
SOME = st.one_of(st.none(), KEYS)
WORLDS = st.builds(World, env=KEYS, staged=SOME, previous=SOME, process=SOME, process_seen=st.booleans(), values=st.lists(KEYS, max_size=4))


@settings(max_examples=100)
@given(world=WORLDS, late_writes=st.integers(0, 2), cuts=st.lists(st.integers(0, 3), max_size=4))
def test_every_state_leads_on_and_loses_no_value_whenever_it_is_cut_short(world, late_writes, cuts):
    """C(cuts): after how many of its durable parts each run of a step is killed; the next run begins with a look."""
    assume(not world.loses_a_value())  # no such state is reached from a whole one: that is what is shown
    assume(world.staged in (None, world.env) or world.previous in (None, world.env))  # no key is staged before the last one is retired
    path = []
    for number in range(16):
        phase = phase_of(world.sight())
        path.append(phase)
        if phase in ("settled", "activated"):
            break
        parts = world.step(phase, late_writes if number < 3 else 0)
        limit = cuts[number] if number < len(cuts) else None
        for done, part in enumerate(parts):
            assert not world.loses_a_value(), (path, part)
            if limit is not None and done + 1 >= limit:
                break
    assert path[-1] == ("activated" if world.staged else "settled"), path
    target = world.sight().target
    assert set(world.values) <= {target}
    assert world.env == target
    assert not world.process_seen or world.process in ({target} if world.staged else {target, None})
    list(world.retire())
    assert not world.loses_a_value()
    assert phase_of(world.sight()) == "settled"


@given(world=WORLDS)
def test_a_phase_that_ends_is_not_one_in_which_a_value_waits(world):
    seen = world.sight()
    phase = phase_of(seen)
    if phase in ("settled", "activated", "swapped", "rewrapped"):
        assert set(world.values) <= {seen.target}
    if phase in ("staged", "mixed"):
        assert set(world.values) - {seen.target}
    if phase == "activated":
        assert world.staged == world.env


def test_a_whole_rotation_passes_the_rows_in_their_order():
    world, path = World(A, S, None, A, True, [A, A]), []
    while phase_of(world.sight()) != "activated":
        path.append(phase_of(world.sight()))
        list(world.step(path[-1], late_writes=1 if path.count("swapped") == 1 and path[-1] == "swapped" else 0))
    assert path == ["staged", "rewrapped", "swapped", "mixed"]
