# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module that takes a secret, without and with no_log."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main():
    AnsibleModule({"value": {"type": "str"}, "masked": {"type": "str", "no_log": True}}).exit_json(changed=False)


if __name__ == "__main__":
    main()
