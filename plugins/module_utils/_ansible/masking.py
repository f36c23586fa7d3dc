# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Tell Ansible which texts must never be printed.

C(no_log) masks inputs only. What is generated or read on the host must be registered by hand: ansible-core 2.22 has an
API for it, before that the module's set of masked values is the way. Results of this collection hold no such text in
the first place; this is the second line.
"""

from __future__ import annotations

import typing as t

try:
    from ansible.module_utils.secrets import register_secrets
except ImportError:
    register_secrets = None

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from .._keys.material import MasterKey


def mask_keys(module: AnsibleModule, keys: t.Iterable[MasterKey | None]) -> None:
    """Register every text form of the keys."""
    mask_texts(module, [form for key in keys if key is not None for form in key.forms()])


def mask_texts(module: AnsibleModule, texts: t.Sequence[str]) -> None:
    """Register texts that are secret as a whole."""
    if register_secrets is not None:
        register_secrets(list(texts))
    else:
        module.no_log_values.update(texts)


def without_masked(module: AnsibleModule, text: str) -> str:
    """Return a text without what was registered, for the way out that ansible-core 2.19 to 2.21 do not mask: warnings."""
    for secret in sorted(filter(None, module.no_log_values), key=len, reverse=True):
        text = text.replace(secret, "********")
    return text


__all__ = ("mask_keys", "mask_texts", "without_masked")
