# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Windows without service, from a sequence of good and bad answers.

It exists apart from the traffic because the definition is what a measurement stands on: a window runs from the last
good answer before a failure to the first good answer after. One kind of failure is not healed by any answer: a server
with a stale key takes writes and shows what it wrote itself, while every older value fails. After such a failure the
window ends only when the same kind of request has succeeded again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any


class WindowRecorder:
    """Feed it each answer in order; times are seconds of one clock."""

    def __init__(self, started_at: float) -> None:
        self._last_good_at = started_at
        self._opened_at: float | None = None
        self._failing: set[str] = set()
        self._causes: Counter[str] = Counter()
        self.windows: list[dict[str, Any]] = []

    def good(self, kind: str, at: float) -> None:
        """Record a good answer to a request of this kind."""
        self._failing.discard(kind)
        if self._opened_at is not None and not self._failing:
            self._close(at, is_over=True)
        self._last_good_at = at

    def bad(self, cause: str, *, until_good: str | None = None) -> None:
        """Record a failure; the window began with the last good answer, and lasts at least until this kind is good."""
        if self._opened_at is None:
            self._opened_at = self._last_good_at
        if until_good is not None:
            self._failing.add(until_good)
        self._causes[cause] += 1

    def finish(self, at: float) -> None:
        """Close a window that is still open, marked as not over."""
        if self._opened_at is not None:
            self._close(at, is_over=False)

    def _close(self, at: float, *, is_over: bool) -> None:
        assert self._opened_at is not None
        self.windows.append(
            {
                "start": round(self._opened_at, 6),
                "end": round(at, 6),
                "seconds": round(at - self._opened_at, 6),
                "over": is_over,
                "causes": dict(self._causes),
            }
        )
        self._opened_at = None
        self._failing = set()
        self._causes = Counter()
