# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """Databases without sealed values."""

    DOCUMENTATION = r"""
options:
  allow_empty:
    description:
      - Take a database in which nothing is sealed for what it seems. Without it that is an error, since it mostly is the
        wrong database.
    type: bool
    default: false
"""
