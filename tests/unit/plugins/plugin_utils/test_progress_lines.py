# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lines on progress: what a person reads, and that nothing of what a host answers is shown but numbers."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._system.progress import ANSWER_BYTES, PHASES, Progress
from ansible_collections.servos.ops.plugins.plugin_utils._progress_lines import Seen, line_of, seen_in

LINES = [
    ("rewrap", 412_000, 1_000_000, 4.29, "rewrap: 412,000 of 1,000,000 values, 96,037/s, 6 s left"),
    ("rewrap", 100, 1_000_000, 50, "rewrap: 100 of 1,000,000 values, 2.0/s, 138 h 52 min left"),
    ("rewrap", 1_000, 100_000, 1, "rewrap: 1,000 of 100,000 values, 1,000/s, 1 min 39 s left"),
    ("rewrap", 0, 100, 3, "rewrap: 0 of 100 values, 3 s so far"),
    ("rewrap", 100, 100, 3, "rewrap: 100 of 100 values, finishing"),
    ("rewrap", 7, None, 3.5, "rewrap: 7 values, 2.0/s"),
    ("rewrap", 7, 100, 0.0, "rewrap: 7 of 100 values, 1 s so far"),
    ("census", 500, 2_000, 10, "census: 500 of about 2,000 rows, 50/s, 30 s left"),
    ("census", 2_001, 2_000, 10, "census: 2,001 rows, 200/s"),
    ("census", 0, None, 12, "census: 12 s so far"),
    ("scrub", 0, None, 59.4, "scrub: 59 s so far"),
    ("lock", 0, None, 59.6, "waiting for the database's lock: 1 min 0 s so far"),
    ("stop", 0, None, 3600, "waiting for the service to stop: 1 h 0 min so far"),
]


@pytest.mark.parametrize(("phase", "done", "total", "seconds", "line"), LINES, ids=[line[4] for line in LINES])
def test_a_line(phase, done, total, seconds, line):
    assert line_of("control1", Seen(phase, done, total, seconds)) == "control1: " + line


@pytest.mark.parametrize("phase", PHASES)
def test_each_phase_of_a_module_is_understood_and_fits_into_an_answer(phase):
    progress = Progress()
    progress.begin(phase, 10**12)
    progress.advance(10**12)
    answer = progress.as_answer()
    assert len(answer) < ANSWER_BYTES
    seen = seen_in(answer.decode())
    assert seen is not None
    assert (seen.phase, seen.done, seen.total) == (phase, 10**12, 10**12)
    assert line_of("h", seen).startswith("h: ")


GOOD = {"phase": "rewrap", "done": 1, "total": 2, "seconds": 0.5}


def test_an_answer_is_found_among_what_a_login_prints():
    assert seen_in("Welcome\r\n{motd}\r\n" + json.dumps(GOOD) + "\r\nbye\r\n") == Seen("rewrap", 1, 2, 0.5)


BAD = {
    "nothing": "",
    "no JSON": "{",
    "a phase that is text of somebody's": json.dumps(dict(GOOD, phase="\x1b[2Jrewrap")),
    "no phase yet": json.dumps(dict(GOOD, phase="")),
    "a phase that is no text": json.dumps(dict(GOOD, phase=["rewrap"])),
    "a count that is text": json.dumps(dict(GOOD, done="1")),
    "a count that is a truth": json.dumps(dict(GOOD, done=True)),
    "a count below zero": json.dumps(dict(GOOD, done=-1)),
    "a count beyond all": json.dumps(dict(GOOD, total=10**400)),
    "a total that is a fraction": json.dumps(dict(GOOD, total=1.5)),
    "no seconds": json.dumps({name: GOOD[name] for name in ("phase", "done", "total")}),
    "seconds that are none": json.dumps(dict(GOOD, seconds=float("nan"))),
    "seconds without end": json.dumps(dict(GOOD, seconds=float("inf"))),
    "seconds below zero": json.dumps(dict(GOOD, seconds=-1)),
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_an_answer_that_makes_no_sense_is_none(answer):
    assert seen_in(answer) is None
