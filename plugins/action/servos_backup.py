# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of M(servos.ops.servos_backup): lines on its progress. All else is the module's."""

from __future__ import annotations

import typing as t

from ansible_collections.servos.ops.plugins.plugin_utils._watched_action import Result, WatchedAction


class ActionModule(WatchedAction):
    """Run the module, and say how far it has come."""

    def run(self, tmp: t.Any = None, task_vars: t.Any = None) -> Result:
        result: Result = super().run(tmp, task_vars)
        result.update(self._execute_watched("servos.ops.servos_backup", task_vars))
        return result
