# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """Which sealed values of an installation become variables."""

    DOCUMENTATION = r"""
options:
  from_service:
    description:
      - Sealed values of the installation on this host, opened with its keys. What they hold is never returned.
    type: list
    elements: dict
    suboptions:
      table:
        description: The table.
        type: str
        required: true
      column:
        description: The column that holds the sealed value; of a value in several columns any one of them.
        type: str
        required: true
      row:
        description: What other columns of the row hold, by name; exactly one row must have it.
        type: dict
        required: true
      path:
        description: Where in the JSON of the cell the sealed value lies, such as V($.token), if the cell is not sealed as a whole.
        type: str
      variable:
        description: The name of the variable that the opened value becomes.
        type: str
      member:
        description: The member of the opened value, a JSON object, that becomes O(from_service[].variable).
        type: str
      all:
        description: Make every member of the opened value, a JSON object, a variable of its own name.
        type: bool
        default: false
"""
