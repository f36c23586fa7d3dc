# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is tried: the same examples in every run, or, with SERVOS_STATES_EXAMPLES=NUMBER, that many new ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_EXAMPLES = int(os.environ.get("SERVOS_STATES_EXAMPLES", "0"))
_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]

settings.register_profile(
    "states", max_examples=_EXAMPLES or 100, derandomize=not _EXAMPLES, stateful_step_count=20, deadline=None, database=None,
    suppress_health_check=_CHECKS,
)  # fmt: skip
settings.load_profile("states")
