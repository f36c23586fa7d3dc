# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports for the playbooks beside this folder: Ansible loads what lies here for them, without being told to."""

from __future__ import annotations

DOCUMENTATION = """
name: servos_ops_report
type: notification
short_description: What M(servos.ops.report#callback) is, for the collection's own playbooks
description: See P(servos.ops.report#callback).
author:
  - servos.ops contributors (@servos-ops)
options:
  report_dir:
    description: Where reports are written.
    type: path
    ini:
      - section: callback_servos_report
        key: report_dir
    env:
      - name: SERVOS_REPORT_DIR
"""

from ansible_collections.servos.ops.plugins.callback.report import CallbackModule as Report


class CallbackModule(Report):
    """The same, needing no word of the user's."""

    CALLBACK_NAME = "servos_ops_report"
    CALLBACK_NEEDS_ENABLED = False
