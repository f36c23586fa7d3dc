# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plugin of pytest: what was quick in the first run comes first. The first test that fails ends the trial of a defect."""

from __future__ import annotations

import json
import os
import sys


def pytest_configure(config):
    # Each trial is forked from a process that has run the tests: what modules make of defective functions has to be made anew.
    here = os.getcwd() + os.sep
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(here) and name != __name__:
            del sys.modules[name]
    # mutmut names each case; pytest does not find again those with a backslash in their name, so all cases of such a test run.
    config.args = list(dict.fromkeys(arg.partition("[")[0] if "\\" in arg else arg for arg in config.args))


def pytest_collection_modifyitems(items):
    try:
        with open("mutmut-stats.json", encoding="utf-8") as stream:
            lasted_s = json.load(stream)["duration_by_test"]
    except FileNotFoundError:
        return
    items.sort(key=lambda item: lasted_s.get(item.nodeid, 0.0))
