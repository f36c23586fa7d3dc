# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """The attributes that every module states."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row with the same options, the second run changes nothing.
  platform:
    description: Target OS families that it works on.
    support: full
    platforms: linux
"""

    ACTIONGROUP_SERVOS = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/servos.ops.servos) in C(module_defaults) to describe an installation once.
    support: full
    membership:
      - servos.ops.servos
"""
