# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: why a webhook is refused."""

from __future__ import annotations

import typing as t

from ansible_collections.servos.ops.plugins.plugin_utils._webhook_calls import judged


def webhook_verdict(body: t.Any, headers: t.Any, secret: t.Any, **options: t.Any) -> dict[str, t.Any]:
    """Return C(accepted) and C(reason)."""
    found = judged("filter", body, headers, secret, **options)
    return {"accepted": found.accepted, "reason": found.reason}


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"webhook_verdict": webhook_verdict}
