# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Data in every mixture of keys: what can be proven is healed, and what cannot ends the run before it has changed anything.

Every subset of what a field can hold, with every subset of key files, in every kind of field; the oracle says which it is.
"""

from __future__ import annotations

import itertools

import oracle
import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation.rotate import rotate
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import UNTIL, WalkOptions
from hypothesis import given
from hypothesis import strategies as st
from world import KINDS, ROLES, World, worlds

KEYS = {"active": b"\xaa" * 32, "staged": b"\x5e" * 32, "previous": b"\x99" * 32, "withdrawn": b"\x77" * 32}
CONTENTS = (*KEYS, "empty", "plain", "foreign")


def _canary_once(cell):
    return cell[0] if cell[0] == "canary" else object()


def subsets(names):
    return [chosen for size in range(len(names) + 1) for chosen in itertools.combinations(names, size)]


def name(chosen):
    return "+".join(chosen) or "none"


@pytest.fixture(scope="module")
def make():
    with worlds() as maker:
        yield maker


def world_of(make, files, cells, *, env="active", **facts) -> World:
    """Return a world with those key files and values; a value is (kind, what it is)."""
    world = make(key_text=KEYS[env].hex(), **facts)
    for role in files:
        world.put_key(role, KEYS[role])
    for key_bytes in KEYS.values():
        world.opener.learn(key_bytes)
    # Three columns of hex have no plain form.
    world.fill([(kind, content, KEYS.get(content)) for kind, content in cells if (kind, content) != ("hex", "plain")])
    world.disk.settle()
    return world


def verdict(world, *, until="activated", back=False) -> str | None:
    """Run once, and say how what came of it differs from what the oracle wants; None if it does not."""
    seen = oracle.see(world)
    wanted = oracle.rotation(seen, until=until, back=back)
    before, truth = world.disk.tree(), dict(world.truth)
    options = WalkOptions(until=until, back=back, settle_s=0, start_timeout_s=0)
    refusal = result = None
    try:
        result = rotate(world.installation(), options, old_key=None, new_key=None, expect_staged=False, now=world.now, write=True)
    except ServosError as error:
        refusal = error
    if (refusal is None) != (wanted.refusal is None):
        return f"the oracle says {wanted.refusal or 'go on'}, the run {refusal or 'went on'}"
    if refusal is not None:
        return None if (world.disk.tree(), world.stops) == (before, 0) else f"it refused ({refusal}) and left something changed"
    after = oracle.see(world)
    said = {address: world.meaning(cells) for address, cells in world.stored().items()}
    if not after.has_only(wanted.target) or said != truth:
        return "some value is under another key, or says something else"
    if after.env != (seen.env if until == "rewrapped" else wanted.target):
        return "the env file holds another key"
    if result["phase_before"] != oracle.phase(seen) or result["phase"] != oracle.phase(after):
        return f"it said {result['phase_before']} and {result['phase']} and not {oracle.phase(seen)} and {oracle.phase(after)}"
    return None


def disagreements(make, cases) -> list[str]:
    found = ((label, verdict(world_of(make, **facts), **how)) for label, facts, how in cases)
    return [f"{label}: {wrong}" for label, wrong in found if wrong]


def mixed(files):
    """Return a case for each mixture, in every kind of field."""
    return [
        (name(mixture), {"files": files, "cells": [("canary", "active"), *itertools.product(KINDS, mixture)]}, {})
        for mixture in subsets(CONTENTS)
    ]


@pytest.mark.parametrize("files", subsets(ROLES), ids=name)
def test_every_mixture_is_healed_or_refused_whole(make, files):
    assert disagreements(make, mixed(files)) == []


@given(
    files=st.sets(st.sampled_from(ROLES)), env=st.sampled_from(sorted(KEYS)), wal=st.booleans(), has_service=st.booleans(),
    cells=st.lists(st.tuples(st.sampled_from((*KINDS, "canary")), st.sampled_from(CONTENTS)), max_size=20, unique_by=_canary_once),
    way=st.sampled_from([*({"until": until} for until in UNTIL), {"back": True}]),
)  # fmt: skip
def test_any_quantity_in_any_place_from_any_key_in_either_direction(make, files, env, wal, has_service, cells, way):
    cells = [cell for cell in cells if cell[0] != "canary" or cell[1] in KEYS]
    assert verdict(world_of(make, files, cells, env=env, wal=wal, has_service=has_service), **way) is None
