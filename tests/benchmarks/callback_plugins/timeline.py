# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes down when each task began and ended, one line of JSON each, to the file that BENCH_TIMELINE names."""

from __future__ import annotations

import json
import os
import time
import typing

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: timeline
type: notification
short_description: Writes down when each task began
description:
  - One line of JSON for each task, with its name, its action and the seconds since the start of the playbook.
"""


class CallbackModule(CallbackBase):
    """Notes starts; what lies between two of them is a task with all that the controller does around it."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "timeline"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path = os.environ["BENCH_TIMELINE"]

    def _note(self, name: str, action: str) -> None:
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"at": time.time(), "name": name, "action": action}) + "\n")

    def v2_playbook_on_start(self, playbook: object) -> None:
        self._note("(start)", "")

    def v2_playbook_on_task_start(self, task: typing.Any, is_conditional: bool) -> None:
        self._note(task.get_name(), task.action)

    def v2_playbook_on_stats(self, stats: object) -> None:
        self._note("(end)", "")
