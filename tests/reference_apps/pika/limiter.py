# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limiter of versions from B on: it counts failures, makes the failing caller wait, and at last answers 429."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

FIRST_SLOW_FAILURE = 3
LONGEST_SLEEP_S = 15.0
PER_ADDRESS, PER_USERNAME = 30, 15


class Limiter:
    """Failures by what they are counted under, within a window of seconds; `sleep_scale` shortens the sleeps of a test."""

    def __init__(self, sleep_scale: float, window_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        self._scale, self._window_s, self._sleep = sleep_scale, window_s, sleep
        self._guard = threading.Lock()
        self._failures: dict[str, list[float]] = {}
        self.slept_s = 0.0

    def _count(self, name: str) -> int:
        oldest = time.monotonic() - self._window_s
        self._failures[name] = [at for at in self._failures.get(name, []) if at > oldest]
        return len(self._failures[name])

    def retry_after_s(self, address: str, username: str = "") -> int | None:
        """Return how long a caller has to stay away, or None."""
        with self._guard:
            limits = {f"address {address}": PER_ADDRESS}
            if username:
                limits[f"username {username}"] = PER_USERNAME
            for name, limit in limits.items():
                if self._count(name) >= limit:
                    return max(1, round(self._failures[name][0] + self._window_s - time.monotonic()))
            return None

    def failed(self, address: str, username: str = "") -> None:
        """Count a failure and sleep for it: 1 s from the third on, doubled each time, 15 s at most."""
        with self._guard:
            now = time.monotonic()
            self._failures.setdefault(f"address {address}", []).append(now)
            if username:
                self._failures.setdefault(f"username {username}", []).append(now)
            count = self._count(f"address {address}")
        if count >= FIRST_SLOW_FAILURE:
            sleep_s = min(LONGEST_SLEEP_S, 2.0 ** (count - FIRST_SLOW_FAILURE))
            self.slept_s += sleep_s
            self._sleep(sleep_s * self._scale)
