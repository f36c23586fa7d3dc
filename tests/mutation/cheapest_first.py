# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plugin of pytest: what was quick in the first run comes first. The first test that fails ends the trial of a defect."""

from __future__ import annotations

import json


def pytest_collection_modifyitems(items):
    try:
        with open("mutmut-stats.json", encoding="utf-8") as stream:
            lasted_s = json.load(stream)["duration_by_test"]
    except FileNotFoundError:
        return
    items.sort(key=lambda item: lasted_s.get(item.nodeid, 0.0))
