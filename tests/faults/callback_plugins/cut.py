# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts the boundaries of tasks on the controller, and kills its whole process group at one of them."""

from __future__ import annotations

import os
import signal
import typing

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = r"""
name: cut
type: notification
short_description: Kills the controller between two tasks
description:
  - Writes a line for each start and each result of a task to the file that FAULTS_LOG names.
  - At the one whose number or line is FAULTS_CUT_AT, it kills the process group, which the tests have made for this playbook. Where
    FAULTS_LOSE names a file, it makes that instead, and the connection plugin `losable` reaches a host no more.
"""


class CallbackModule(CallbackBase):
    """One number for each start and each result, in their order."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "cut"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self) -> None:
        super().__init__()
        self._path, self._at, self._count = os.environ["FAULTS_LOG"], os.environ.get("FAULTS_CUT_AT", "0"), 0

    def _cross(self, what: str) -> None:
        self._count += 1
        with open(self._path, "a", encoding="utf-8") as stream:
            stream.write(f"{what}\n")
        if self._at not in (str(self._count), what):
            return
        if "FAULTS_LOSE" in os.environ:
            with open(os.environ["FAULTS_LOSE"], "w", encoding="utf-8"):
                pass
        else:
            os.killpg(0, signal.SIGKILL)

    def v2_playbook_on_task_start(self, task: typing.Any, is_conditional: bool) -> None:
        self._cross(f"before {task.get_name()}")

    def v2_runner_on_ok(self, result: typing.Any) -> None:
        self._cross("ok")

    def v2_runner_on_failed(self, result: typing.Any, ignore_errors: bool = False) -> None:
        self._cross("failed")

    def v2_runner_on_skipped(self, result: typing.Any) -> None:
        self._cross("skipped")

    def v2_playbook_on_stats(self, stats: typing.Any) -> None:
        self._cross("the end")
