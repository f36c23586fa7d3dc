# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """A key that is brought along instead of made on the host."""

    DOCUMENTATION = r"""
options:
  new_key_file:
    description:
      - A file on the managed host that holds the new master key. One line end at its end does not belong to the key.
    type: path
  new_key:
    description:
      - The new master key itself. Better is O(new_key_file), or no key at all, since then it never leaves the managed host.
      - Use pipelining with this option; without it, Ansible writes the options of a module to the managed host's disk.
    type: str
"""
