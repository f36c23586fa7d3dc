# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Test: is this webhook from who knows the secret."""

from __future__ import annotations

import typing as t

from ansible_collections.servos.ops.plugins.plugin_utils._webhook_calls import judged


def webhook_signature(body: t.Any, headers: t.Any, secret: t.Any, **options: t.Any) -> bool:
    """Return whether a webhook's signature is right."""
    return judged("test", body, headers, secret, **options).accepted


class TestModule:
    """What Ansible looks for."""

    def tests(self) -> dict[str, t.Callable[..., bool]]:
        """Return the tests by name."""
        return {"webhook_signature": webhook_signature}
