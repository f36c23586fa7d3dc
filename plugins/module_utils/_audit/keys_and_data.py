# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What is wrong with keys, data and backups that were observed. Pure."""

from __future__ import annotations

import datetime
import typing as t

from .._keys.material import doubts_about
from .._rotation.observe import Observation
from .findings import LOW, MEDIUM, Ledger

_MOST_NAMED = 5
_CLOCK_DAYS = 1  # by so much clocks may differ
_SETTLED = ("settled", "activated")


def judge_keys(ledger: Ledger, seen: Observation, *, where: str, age_days: float | None, max_age_days: float) -> None:
    """Judge the active key, those that are still kept, and the processes."""
    sight, active = seen.sight, seen.keys.active
    if active is not None:
        ledger.held("key_doubtful", where, "; ".join(f"the key {active.fingerprint} {doubt}" for doubt in doubts_about(active)) or None)
    if age_days is not None and age_days < -_CLOCK_DAYS:
        ledger.found("key_age_unknown", where, f"{sight.env} is noted to be in force from a time to come; was a clock set back?")
    elif age_days is None:
        ledger.found("key_age_unknown", where, f"nothing says since when {sight.env} is in force")
    else:
        old = f"{sight.env} has been in force for {age_days:.0f} days, and may be for {max_age_days:g}" if age_days > max_age_days else None
        ledger.held("key_old", where, old)
    for role in ("previous", "withdrawn"):
        mark = getattr(sight, role)
        since = f", {age_days:.0f} days after it was replaced" if age_days is not None and role == "previous" else ""
        ledger.held("previous_key_kept", f"the {role} key", f"{mark} is still kept{since}" if mark else None)
    if not seen.process_seen:
        ledger.skipped("process_key_differs", "the service", "no service is described (service_manager=none)")
    elif seen.process is None:
        ledger.skipped("process_key_differs", "the service", "it does not run, or its key cannot be seen")
    else:
        differs = f"the process runs on {seen.process}, and the env file holds {sight.env}" if seen.process != sight.env else None
        ledger.held("process_key_differs", "the service", differs)
    forgotten = [f"{one} runs with the {seen.keys.role_of(one.mark)} key {one.mark}" for one in seen.forgotten()]
    if seen.holders.unread and not forgotten:
        ledger.skipped("process_forgotten", "other processes", f"{seen.holders.unread} of them are not ours to look at")
    else:
        ledger.held("process_forgotten", "other processes", "; ".join(forgotten[:_MOST_NAMED]) or None)


def judge_data(ledger: Ledger, seen: Observation, *, where: str, canary_is_expected: bool) -> None:
    """Judge the census."""
    census, sight = seen.census, seen.sight
    if census is None:
        ledger.skipped("values_foreign", where, "the data was not looked at")
        return
    if not sum(census.sealed.values()) and not census.foreign:
        _judge_nothing(ledger, seen, where=where)
        return
    at = ", ".join(census.foreign_at[:_MOST_NAMED])
    ledger.held("values_foreign", where, f"{census.foreign} values open under no known key ({at})" if census.foreign else None)
    elsewhere = {mark: count for mark, count in sight.sealed.items() if mark != sight.env and count}
    shown = ", ".join(f"{count} under {mark} ({seen.keys.role_of(mark)})" for mark, count in elsewhere.items())
    ledger.held("values_elsewhere", where, f"not all values are under {sight.env}: {shown}" if elsewhere else None)
    unfinished = f"a rotation stands at {seen.phase}" if seen.phase not in _SETTLED else None
    ledger.held("rotation_unfinished", where, unfinished)
    names = ", ".join(map(str, census.undeclared[:_MOST_NAMED]))
    ledger.held("values_undeclared", where, f"{names} hold sealed values, and the profile does not name them" if names else None)
    if canary_is_expected:
        ledger.held("canary_missing", where, None if census.canary else "the application's own sealed word is not there")


def _judge_nothing(ledger: Ledger, seen: Observation, *, where: str) -> None:
    """A database in which nothing is sealed is sound only if nothing was ever put into it, and hardly anybody audits that."""
    census = seen.census
    strangers = ", ".join(f"{one.unopened} in {one.field}" for one in (census.strangers if census is not None else ())[:_MOST_NAMED])
    if strangers:
        ledger.found("values_foreign", where, f"no value opens under any known key, and some look sealed ({strangers})")
    else:
        ledger.found("could_not_look", where, "nothing in it opens under any known key or looks sealed: is it the right database?")
    for kind in ("values_elsewhere", "rotation_unfinished", "values_undeclared", "canary_missing"):
        ledger.skipped(kind, where, "no sealed value was found")


def judge_backups(
    ledger: Ledger, backups: t.Sequence[t.Mapping[str, t.Any]], *, where: str, known: t.Container[str], now: datetime.datetime,
    amiss: t.Mapping[str, str], aside: t.Container[str],
) -> None:
    """Judge the notes of the backups: what each needs, and until when it is to be kept.

    C(amiss) says of a path why its note cannot be true, and C(aside) are those that are never restored by themselves.
    """
    whole = [note for note in backups if note["path"] not in aside and not amiss.get(str(note["path"]))]
    ledger.held("backup_missing", where, None if whole else "there is no whole backup of this database")
    stamp = now.strftime("%Y-%m-%dT%H:%M:%S")
    for note in backups:
        path, needed = str(note["path"]), [mark for mark, count in (note.get("keys") or {}).items() if count]
        lost = [mark for mark in needed if mark not in known]
        text = f"it needs {', '.join(lost)}, which is not kept here" if lost else None
        is_partly = bool(lost) and len(lost) < len(needed) and not amiss.get(path)
        ledger.held("backup_unreadable", path, amiss.get(path) or text, severity=MEDIUM if is_partly else None)
        expires = str(note.get("expires_at") or "")
        old = expires and expires < stamp
        evidence = f"it was to be kept until {expires}, and {', '.join(needed) or 'no key'} opens it" if old else None
        ledger.held("backup_expired", path, evidence, severity=LOW)


__all__ = ("judge_backups", "judge_data", "judge_keys")
