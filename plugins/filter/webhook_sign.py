# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Filter: the headers that sign a webhook."""

from __future__ import annotations

import typing as t

from ansible_collections.servos.ops.plugins.plugin_utils._webhook_calls import headers_of


def webhook_sign(body: t.Any, secret: t.Any, **options: t.Any) -> dict[str, str]:
    """Return the headers that sign a webhook."""
    return headers_of(body, secret, **options)


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"webhook_sign": webhook_sign}
