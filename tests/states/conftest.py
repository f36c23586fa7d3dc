# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How much is tried: the same examples in every run, or, with SERVOS_STATES_EXAMPLES=NUMBER, that many new ones."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
_COMMON = {"deadline": None, "database": None, "stateful_step_count": 20, "suppress_health_check": _CHECKS}
_EXAMPLES = int(os.environ.get("SERVOS_STATES_EXAMPLES", "0"))

_PHASES = [phase for phase in Phase if phase is not Phase.shrink or "SERVOS_STATES_NOSHRINK" not in os.environ]
settings.register_profile("states", phases=_PHASES, max_examples=_EXAMPLES or 120, derandomize=not _EXAMPLES, **_COMMON)
settings.load_profile("states")
