# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Whether a rotation is due. Pure: the record and the clock are handed in.

A rotation has an id, a date or a ticket: the same id again is nothing to do. Without an id it is due when the active
key is older than it may be; a key of unknown age is adopted, which starts its clock, and is not rotated.
"""

from __future__ import annotations

import datetime
import typing as t

from .._errors import ServosError

_TIME = "%Y-%m-%dT%H:%M:%SZ"


_MOST_DAYS = 36500


def require_days(days: float) -> None:
    """Refuse a retention that is no number of days, such as C(nan).

    Raises:
        ServosError: it is below 0 or beyond a century.
    """
    if not 0 <= days <= _MOST_DAYS:
        raise ServosError(f"retention_days is not a number of days from 0 to {_MOST_DAYS}; nothing was done; correct it")


class Due(t.NamedTuple):
    """C(is_due), C(reason) in words, C(adopt) if the key's clock is to be started, and its age in days if known."""

    is_due: bool
    reason: str
    adopt: bool
    age_days: float | None


def judge_due(
    record: t.Mapping[str, t.Any], *, env_mark: str, rotation_id: str | None, max_age_days: float | None, now: datetime.datetime
) -> Due:
    """Judge from the record of the last rotation.

    Args:
        env_mark: fingerprint of the active key.
        max_age_days: None for no limit.
    """
    since = _since(record, env_mark)
    age = (now - since).total_seconds() / 86400 if since is not None else None
    if rotation_id:
        if record.get("rotation_id") == rotation_id:
            return Due(False, f"rotation {rotation_id} was done before", False, age)
        return Due(True, f"rotation {rotation_id} is asked for", False, age)
    if max_age_days is None:
        return Due(False, "no rotation id and no maximum age are given", since is None, age)
    if age is None:
        return Due(False, f"the age of {env_mark} is unknown; its clock starts now", True, None)
    if age > max_age_days:
        return Due(True, f"{env_mark} is {age:.0f} days old and may be {max_age_days:g}", False, age)
    return Due(False, f"{env_mark} is {age:.0f} days old and may be {max_age_days:g}", False, age)


def _since(record: t.Mapping[str, t.Any], mark: str) -> datetime.datetime | None:
    ages = record.get("in_force_since")
    text = ages.get(mark) if isinstance(ages, dict) else None
    try:
        return datetime.datetime.strptime(str(text), _TIME).replace(tzinfo=datetime.timezone.utc)
    except ValueError:
        return None


def written(moment: datetime.datetime) -> str:
    """Write a moment as the record holds it, UTC."""
    return moment.astimezone(datetime.timezone.utc).strftime(_TIME)


__all__ = ("Due", "judge_due", "require_days", "written")
