# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write every result, as it came, into one JSON file a run: what a pipeline keeps. ansible-core has no such callback of its own."""

from __future__ import annotations

DOCUMENTATION = r"""
name: leaks_json
type: notification
short_description: Write every result as JSON
version_added: 0.1.0
description:
  - Writes names of plays and tasks, and each result with all its fields, into a file of the directory LEAKS_JSON_DIR.
"""

import json  # noqa: E402
import os  # noqa: E402

from ansible.plugins.callback import CallbackBase  # noqa: E402


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "leaks_json"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self._told = []

    def v2_playbook_on_play_start(self, play):
        self._told.append({"play": play.get_name()})

    def v2_playbook_on_task_start(self, task, is_conditional):
        self._told.append({"task": task.get_name(), "arguments": repr(task.args)})

    def _take(self, result):
        facts = json.loads(self._dump_results(getattr(result, "result", None) or result._result))
        self._told.append({"host": result._host.get_name(), "task": result._task.get_name(), "result": facts})

    v2_runner_on_ok = v2_runner_on_skipped = v2_runner_on_unreachable = _take
    v2_runner_item_on_ok = v2_runner_item_on_failed = v2_runner_item_on_skipped = v2_runner_on_async_ok = _take

    def v2_runner_on_failed(self, result, ignore_errors=False):
        self._take(result)

    def v2_playbook_on_stats(self, stats):
        folder = os.environ["LEAKS_JSON_DIR"]
        with open(os.path.join(folder, f"{len(os.listdir(folder))}.json"), "w") as stream:
            json.dump(self._told, stream, indent=1)
