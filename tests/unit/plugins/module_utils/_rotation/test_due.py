# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a rotation is due: by its id, else by the age of the key."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation.due import judge_due, require_days, written

NOW = datetime.datetime(2026, 6, 1, 12, 0, 0, tzinfo=datetime.timezone.utc)
MARK = "mk:0123456789abcdef"


def since(text):
    return {"in_force_since": {MARK: text}}


DAY_OLD = since("2026-05-31T12:00:00Z")
YEAR_OLD = since("2025-06-01T12:00:00Z")

ROWS = [
    # name, record, rotation_id, max_age_days -> is_due, adopt, age
    ("id-first", {}, "2026", None, True, False, None),
    ("id-first-beats-young-key", DAY_OLD, "2026", 365, True, False, 1),
    ("id-again", {"rotation_id": "2026"}, "2026", None, False, False, None),
    ("id-again-beats-old-key", dict(YEAR_OLD, rotation_id="2026"), "2026", 1, False, False, 365),
    ("id-next", {"rotation_id": "2025"}, "2026", None, True, False, None),
    ("id-withdrawn", {"rotation_id": None, "withdrawn_id": "2026"}, "2026", None, True, False, None),
    ("empty-id-is-no-id", dict(DAY_OLD, rotation_id="2025"), "", 365, False, False, 1),
    ("nothing-asked-age-known", DAY_OLD, None, None, False, False, 1),
    ("nothing-asked-age-unknown", {}, None, None, False, True, None),
    ("young", DAY_OLD, None, 365, False, False, 1),
    ("exactly-as-old-as-it-may-be", YEAR_OLD, None, 365, False, False, 365),
    ("a-second-older", since("2025-06-01T11:59:59Z"), None, 365, True, False, 365 + 1 / 86400),
    ("max-age-zero", DAY_OLD, None, 0, True, False, 1),
    ("max-age-of-half-a-day", DAY_OLD, None, 0.5, True, False, 1),
    ("in-the-future", since("2026-06-02T12:00:00Z"), None, 0, False, False, -1),
    ("another-key's-age", {"in_force_since": {"mk:other": "2020-01-01T00:00:00Z"}}, None, 365, False, True, None),
    ("unknown-age", {}, None, 365, False, True, None),
    ("garbage-time", since("yesterday"), None, 365, False, True, None),
    ("garbage-type", since(5), None, 365, False, True, None),
    ("garbage-record", {"in_force_since": ["x"]}, None, 365, False, True, None),
]


@pytest.mark.parametrize(
    ("record", "rotation_id", "max_age_days", "is_due", "adopt", "age"), [r[1:] for r in ROWS], ids=[r[0] for r in ROWS]
)
def test_table(record, rotation_id, max_age_days, is_due, adopt, age):
    found = judge_due(record, env_mark=MARK, rotation_id=rotation_id, max_age_days=max_age_days, now=NOW)
    assert (found.is_due, found.adopt) == (is_due, adopt)
    assert found.age_days == (None if age is None else pytest.approx(age))


@pytest.mark.parametrize(
    ("record", "rotation_id", "max_age_days", "words"),
    [
        pytest.param({"rotation_id": "T-1"}, "T-1", None, ["T-1", "done before"], id="again"),
        pytest.param({}, "T-1", None, ["T-1", "asked for"], id="asked"),
        pytest.param({}, None, 365, [MARK, "unknown", "clock"], id="unknown"),
        pytest.param(YEAR_OLD, None, 90, [MARK, "365 days old", "may be 90"], id="old"),
        pytest.param(DAY_OLD, None, 90, ["1 days old", "may be 90"], id="young"),
        pytest.param({}, None, None, ["no rotation id", "no maximum age"], id="nothing"),
    ],
)
def test_the_reason_says_what_was_compared(record, rotation_id, max_age_days, words):
    reason = judge_due(record, env_mark=MARK, rotation_id=rotation_id, max_age_days=max_age_days, now=NOW).reason
    assert [word for word in words if word not in reason] == []


def test_a_written_moment_is_utc_and_is_read_back():
    berlin = datetime.timezone(datetime.timedelta(hours=2))
    text = written(datetime.datetime(2026, 5, 31, 14, 0, 0, tzinfo=berlin))
    assert text == "2026-05-31T12:00:00Z"
    assert judge_due(since(text), env_mark=MARK, rotation_id=None, max_age_days=365, now=NOW).age_days == 1


@pytest.mark.parametrize("days", [float("nan"), float("inf"), -1, 1e300, 36501], ids=str)
def test_a_retention_that_is_no_number_of_days_is_refused(days):
    with pytest.raises(ServosError, match="retention_days is not a number of days"):
        require_days(days)


@pytest.mark.parametrize("days", [0, 0.5, 30, 36500], ids=str)
def test_a_retention_in_days_passes(days):
    assert require_days(days) is None
