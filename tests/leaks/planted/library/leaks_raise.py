# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module whose error quotes the secret that it stumbled over."""

from __future__ import annotations

from ansible.module_utils.basic import AnsibleModule


def main():
    module = AnsibleModule({"path": {"type": "path", "required": True}})
    with open(module.params["path"], encoding="utf-8") as stream:
        raise ValueError(f"{stream.read()} is not a number")


if __name__ == "__main__":
    main()
