# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a token was left behind, and what is left to do."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._setup.places import Place, is_left_behind, steps_after

HOUR = 3600.0
FRESH = Place("file", "/f", "hunter2hunter2", 99 * HOUR, "0600")
OLD = Place("log", "docker logs servos-api", "hunter2hunter2", 10 * HOUR, None)
UNDATED = OLD._replace(since=None)


@pytest.mark.parametrize(
    ("places", "finished", "expected"),
    [
        ([FRESH], None, False),
        ([OLD], None, True),
        ([FRESH, OLD], None, True),
        ([UNDATED], None, True),
        ([FRESH._replace(since=100 * HOUR + 1)], None, False),
        ([FRESH._replace(since=200 * HOUR)], None, True),
        ([FRESH], True, True),
        ([OLD], False, False),
        ([], True, False),
        ([], None, False),
    ],
)
def test_left_behind(places, finished, expected):
    assert is_left_behind(places, finished=finished, max_age_hours=24, now=100 * HOUR) is expected


@pytest.mark.parametrize(("places", "expected"), [([FRESH._replace(since=100 * HOUR + 1)], True), ([], False)])
def test_at_no_age_at_all_every_token_is_left_behind(places, expected):
    assert is_left_behind(places, finished=None, max_age_hours=0, now=100 * HOUR) is expected


def test_a_clock_that_was_set_back_makes_no_negative_age():
    assert FRESH.as_facts(0.0) == {"kind": "file", "where": "/f", "age_hours": 0.0, "mode": "0600"}


@pytest.mark.parametrize(
    ("places", "finished", "words"),
    [
        ([], True, []),
        ([FRESH], None, ["make the first admin"]),
        ([FRESH], True, ["state=absent"]),
        ([OLD], True, ["make the container servos-api anew"]),
        ([FRESH, OLD], None, ["make the first admin", "make the container servos-api anew"]),
    ],
)
def test_steps(places, finished, words):
    steps = steps_after(places, finished=finished, is_left_behind=OLD in places)
    assert len(steps) == len(words)
    assert [word for word, step in zip(words, steps) if word not in step] == []
    assert "hunter2" not in " ".join(steps)
