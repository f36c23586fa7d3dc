# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How templates ask about webhooks: what they give is checked here, and their authors are told what to mend."""

from __future__ import annotations

import time
import typing as t

from ansible.errors import AnsibleFilterError
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.servos.ops.plugins.plugin_utils import _webhooks as webhooks


def judged(
    kind: str, body: t.Any, headers: t.Any, secret: t.Any, *, scheme: str = webhooks.GITHUB, header: str | None = None,
    body_is_base64: t.Any = False, tolerance: t.Any = webhooks.TOLERANCE_S, now: t.Any = None,
) -> webhooks.Verdict:
    """Return the verdict on a webhook, as a test or filter is asked for it.

    Raises:
        AnsibleFilterError: a mistake in the template.
    """
    name = "webhook_signature" if kind == "test" else "webhook_verdict"
    if not isinstance(headers, t.Mapping):
        raise AnsibleFilterError(f"servos.ops.{name}: headers is no dictionary; give the webhook's headers as one")
    try:
        return webhooks.verdict(
            webhooks.body_bytes(body, is_base64=boolean(body_is_base64)), headers, _listed(secret), scheme=scheme, header=header,
            now=time.time() if now is None else float(now), tolerance_s=float(tolerance),
        )
    except (webhooks.WebhookError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"servos.ops.{name}: {error}") from None


def headers_of(
    body: t.Any, secret: t.Any, *, scheme: str = webhooks.GITHUB, header: str | None = None, body_is_base64: t.Any = False,
    id: str | None = None, timestamp: t.Any = None,  # noqa: A002 - the name that the specification gives it
) -> dict[str, str]:
    """Return the headers that sign a webhook, as a filter is asked for them.

    Raises:
        AnsibleFilterError: a mistake in the template.
    """
    newest = (_listed(secret) or [""])[0]
    try:
        return webhooks.signed(
            webhooks.body_bytes(body, is_base64=boolean(body_is_base64)), newest, scheme=scheme, header=header, message_id=id,
            timestamp=None if timestamp is None else int(timestamp),
        )
    except (webhooks.WebhookError, TypeError, ValueError) as error:
        raise AnsibleFilterError(f"servos.ops.webhook_sign: {error}") from None


def _listed(secret: t.Any) -> list[t.Any]:
    secrets = list(secret) if isinstance(secret, (list, tuple)) else [secret]
    # Before ansible-core 2.19 a value out of a vault is an object that opens as text.
    return [str(one) if hasattr(one, "vault") else one for one in secrets]


__all__ = ("headers_of", "judged")
