# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The third-party library that a managed host needs, checked in one place.

The minimum version stands in the doc fragment C(_installation) too.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.basic import missing_required_lib

from .._sealing.aes_gcm import CRYPTOGRAPHY_IMPORT_ERROR

MINIMUM_CRYPTOGRAPHY = "3.3"

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def require_cryptography(module: AnsibleModule) -> None:
    """Fail the module with Ansible's own text where the library is missing."""
    if CRYPTOGRAPHY_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib(
                f"cryptography >= {MINIMUM_CRYPTOGRAPHY}",
                reason="on the managed host (Debian, Ubuntu, Fedora: package python3-cryptography)",
            ),
            exception=CRYPTOGRAPHY_IMPORT_ERROR,
        )


__all__ = ("MINIMUM_CRYPTOGRAPHY", "require_cryptography")
