# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A listing held against what the data held before and after it was asked for."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps.provara import ShownRow, masks_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.listing import KeptRow, compare

BULLETS = "\u2022" * 8


def kept(**values):
    """Rows by id, named after it; a value of None opens under no key."""
    return {
        row_id: KeptRow(row_id, row_id.upper(), row_id[0], masks_of(value) if value is not None else frozenset())
        for row_id, value in values.items()
    }


def shown(**endings):
    return [ShownRow(row_id, row_id.upper(), BULLETS + ending) for row_id, ending in endings.items()]


BOTH = kept(a1=b"value-1", b1=b"value-2")
OLD, NEW = kept(a1=b"value-1"), kept(a1=b"other-9")
CASES = {
    "all right": (shown(a1="ue-1", b1="ue-2"), [BOTH], False, True),
    "in another order": (shown(b1="ue-2", a1="ue-1"), [BOTH], False, True),
    "one is missing": (shown(a1="ue-1"), [BOTH], False, False),
    "one too many": (shown(a1="ue-1", b1="ue-2", c1="ue-3"), [BOTH], False, False),
    "one twice": (shown(a1="ue-1", b1="ue-2") + shown(a1="ue-1"), [BOTH], False, False),
    "another ending": (shown(a1="ue-1", b1="ue-3"), [BOTH], False, False),
    "the ending alone": ([ShownRow("a1", "A1", "ue-1")], [OLD], False, False),
    "edited after the first look, shown new": (shown(a1="er-9"), [OLD, NEW], False, True),
    "edited after the first look, shown old": (shown(a1="ue-1"), [OLD, NEW], False, True),
    "edited, and shown as neither": (shown(a1="xx-0"), [OLD, NEW], False, False),
    "added after the first look, not shown yet": (shown(a1="ue-1"), [OLD, BOTH], False, True),
    "added after the first look, shown": (shown(a1="ue-1", b1="ue-2"), [OLD, BOTH], False, True),
    "deleted after the first look, still shown": (shown(a1="ue-1", b1="ue-2"), [BOTH, OLD], False, True),
    "deleted after the first look, not shown": (shown(a1="ue-1"), [BOTH, OLD], False, True),
    "a tenant alone": (shown(a1="ue-1"), [BOTH], True, True),
    "a tenant without one of its rows": (shown(a1="ue-1"), [kept(a1=b"value-1", a2=b"value-2")], True, False),
    "a tenant that is shown nothing": ([], [BOTH], True, False),
    "no row": ([], [{}], False, False),
    "a value that no key opens": (shown(a1="ue-1"), [kept(a1=None)], False, False),
}


@pytest.mark.parametrize(("rows", "states", "by_tenant", "is_right"), CASES.values(), ids=CASES)
def test_right_or_not(rows, states, by_tenant, is_right):
    found = compare(rows, states, by_tenant=by_tenant)
    assert found["ok"] is is_right
    assert bool(found["reason"]) is not is_right
    assert found["listed"] == len(rows)


def test_rows_of_others_are_counted_and_only_with_tenants():
    assert compare(shown(a1="ue-1"), [BOTH], by_tenant=True)["unseen"] == 1
    assert compare(shown(a1="ue-1"), [BOTH], by_tenant=False)["unseen"] == 0


def test_no_ending_and_no_name_from_outside_is_returned():
    found = compare([ShownRow("x\x1b[31m" * 40, "named by the gateway", BOTH["a1"].name)], [BOTH], by_tenant=False)
    assert "\x1b" not in str(found)
    assert "named by the gateway" not in str(found)
    assert max(len(failure["id"]) for failure in found["failures"]) <= 80


def test_twenty_failures_are_named_and_all_are_counted():
    many = kept(**{f"a{number}": b"value" for number in range(50)})
    found = compare([], [many], by_tenant=False)
    assert len(found["failures"]) == 20
    assert "50 of 50 rows" in found["reason"]


MASKS = {
    "short": (b"x", {"x"}),
    "ascii": (b"sk-abcdef", {"cdef"}),
    "not ASCII": ("ab\u00fccd\u00e4".encode(), {"\u00fccd\u00e4", "abcd"}),
    "outside the first plane": ("ab\U0001f511c".encode(), {"b\U0001f511c", "abc"}),
    "half of a pair": ("\U0001f511cde".encode(), {"\udd11cde", "cde"}),
    "blanks at the end": (b"abcdef  ", {"ef  ", "cdef"}),
    "no text": (b"\xff\xfeabcd", {"abcd"}),
}


@pytest.mark.parametrize(("plaintext", "endings"), MASKS.values(), ids=MASKS)
def test_what_may_be_shown_of_a_value(plaintext, endings):
    assert masks_of(plaintext) == {BULLETS + ending for ending in endings}
