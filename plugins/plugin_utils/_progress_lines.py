# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""From what a module answers about its progress to a line that a person reads. Pure: no I/O, no clock.

An answer comes from a managed host, so nothing of it is shown but numbers, and phases that are known here.
"""

from __future__ import annotations

import json
import typing as t

from ansible_collections.servos.ops.plugins.module_utils._system.progress import PHASES

_NAMES = {
    "backup": "copying the database",
    "check": "checking the copy",
    "lock": "waiting for the database's lock",
    "restore": "putting the backup in place",
    "search": "searching for sealed values",
    "start": "waiting for the service to come up",
    "stop": "waiting for the service to stop",
}
# What is counted in a phase; the total of a census is an estimate.
_COUNTED = {"census": "rows", "rewrap": "values"}
_ESTIMATED = ("census",)
_MOST = 10**15


class Seen(t.NamedTuple):
    """What a module was at when it was asked; C(seconds) since it entered the phase."""

    phase: str
    done: int
    total: int | None
    seconds: float


def seen_in(output: str) -> Seen | None:
    """Find the answer in the output of a command; None where there is none, or one that makes no sense."""
    for text in reversed(output.splitlines()):
        if text.startswith("{"):
            return _parsed(text)
    return None


def _parsed(text: str) -> Seen | None:
    try:
        told = json.loads(text)
    except ValueError:
        return None
    phase, done, total, seconds = (told.get(name) for name in Seen._fields)
    if phase not in PHASES or not _is_count(done) or not (total is None or _is_count(total)):
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds < _MOST:
        return None
    return Seen(phase, done, total, seconds)


def _is_count(number: t.Any) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and 0 <= number < _MOST


def line_of(host: str, seen: Seen) -> str:
    """Render one line: host, phase, how much of how much, how fast, and for how long still."""
    if seen.phase not in _COUNTED or not (seen.done or seen.total):
        return f"{host}: {_NAMES.get(seen.phase, seen.phase)}: {_duration(seen.seconds)} so far"
    counted = _COUNTED[seen.phase]
    total = seen.total if seen.total is not None and seen.total >= seen.done else None
    parts = [f"{seen.done:,} {counted}"]
    if total is not None:
        about = "about " if seen.phase in _ESTIMATED else ""
        parts = [f"{seen.done:,} of {about}{total:,} {counted}"]
    per_s = seen.done / seen.seconds if seen.seconds else 0.0
    if total is not None and total == seen.done:
        parts.append("finishing")
    elif not per_s:
        parts.append(f"{_duration(seen.seconds)} so far")
    else:
        parts.append(f"{per_s:,.0f}/s" if per_s >= 10 else f"{per_s:.1f}/s")
        if total is not None:
            parts.append(f"{_duration((total - seen.done) / per_s)} left")
    return f"{host}: {seen.phase}: {', '.join(parts)}"


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{max(whole, 1)} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


__all__ = ("Seen", "line_of", "seen_in")
