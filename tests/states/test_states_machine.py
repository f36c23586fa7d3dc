# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The game of C(machine.py): the same games in every run.

More of them, and new ones: C(SERVOS_STATES_EXAMPLES=5000 python -m pytest --ansible-unit-inject-only tests/states); with
C(--hypothesis-seed=NUMBER) such a run can be repeated.
"""

from __future__ import annotations

import os

from calls import STOPPED
from hypothesis.stateful import run_state_machine_as_test
from machine import PHASES, Rotations


def test_every_game_ends_settled_and_loses_nothing():
    PHASES.clear()
    run_state_machine_as_test(Rotations)
    if "SERVOS_STATES_REPORT" in os.environ:
        print(dict(PHASES), *(f"{count:6} {' '.join(where)}" for where, count in sorted(STOPPED.items())), sep="\n")
    assert set(PHASES) == {"settled", "staged", "mixed", "rewrapped", "swapped", "activated", "foreign"}
