# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The third-party library that scanning host keys needs, checked in one place.

The minimum version stands in the requirements of M(servos.ops.servos_hostkey) too.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._hosts.scan import PARAMIKO_IMPORT_ERROR, paramiko_version

MINIMUM_PARAMIKO = "2.12"

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def require_paramiko(module: AnsibleModule) -> None:
    """Fail the module with Ansible's own text where the library is missing or too old."""
    reason = PARAMIKO_IMPORT_ERROR
    if reason is None:
        found = paramiko_version()
        if found >= tuple(map(int, MINIMUM_PARAMIKO.split("."))):
            return
        reason = f"found paramiko {'.'.join(map(str, found))}"
    module.fail_json(
        msg=missing_required_lib(
            f"paramiko >= {MINIMUM_PARAMIKO}", reason="on the host that scans (Debian, Ubuntu, Fedora: package python3-paramiko)"
        ),
        exception=reason,
    )


__all__ = ("MINIMUM_PARAMIKO", "require_paramiko")
