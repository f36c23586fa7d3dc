# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What an escrow is asked to be, and what cannot be meant. Nothing is made here."""

from __future__ import annotations

import os
import typing as t

from .._errors import EscrowError
from .._keys.escrow import Wish, escrow_directory
from .._keys.shares import MOST_SHARES
from .._sealing import age_file


def wish_from(options: t.Mapping[str, t.Any], *, app: str, state_dir: str) -> Wish:
    """Read the option C(escrow), and refuse what cannot be meant.

    Raises:
        EscrowError: naming the suboption; never quoting what may be an identity.
    """
    shares = options.get("shares") or {}
    wish = Wish(
        directory=escrow_directory(options.get("directory"), app=app),
        age_recipients=_recipients(options.get("age_recipients") or (), "escrow.age_recipients"),
        threshold=shares.get("threshold"),
        holders=_recipients(shares.get("recipients") or (), "escrow.shares.recipients"),
        vault=bool(options.get("vault_file")),
    )
    if not wish.is_any:
        raise EscrowError("escrow names nobody to seal the key to; set age_recipients, shares or vault_file in it; nothing was changed")
    inside = os.path.realpath(wish.directory) + os.sep
    if inside.startswith(os.path.realpath(state_dir) + os.sep):
        raise EscrowError(
            f"the escrow directory {wish.directory} lies in the state directory {state_dir}, whose keys it is to outlive; "
            "nothing was changed; name another one (escrow.directory)"
        )
    if shares:
        _refuse_useless_sharing(wish)
    return wish


def _recipients(given: t.Sequence[str], where: str) -> tuple[str, ...]:
    recipients: list[str] = []
    for number, text in enumerate(given, start=1):
        reason = age_file.why_no_recipient(text.strip())
        if reason is not None:
            raise EscrowError(f"recipient {number} in {where} {reason}; nothing was changed; correct it")
        if age_file.same_recipient(text.strip()) in map(age_file.same_recipient, recipients):
            raise EscrowError(f"recipient {number} in {where} stands there twice; name each once; nothing was changed")
        recipients.append(text.strip())
    return tuple(recipients)


def _refuse_useless_sharing(wish: Wish) -> None:
    count, threshold = len(wish.holders), wish.threshold or 0
    if threshold < 2:
        raise EscrowError(
            f"escrow.shares.threshold is {threshold}; a share that opens the key alone is no share: use 2 or more, or "
            "age_recipients, each of whom opens it alone; nothing was changed"
        )
    if threshold > count:
        raise EscrowError(
            f"escrow.shares.threshold is {threshold} and there are {count} recipients, so that nobody could ever open the key; "
            "nothing was changed; name more recipients, or lower the threshold"
        )
    if count > MOST_SHARES:
        raise EscrowError(f"escrow.shares names {count} recipients; nothing was changed; name {MOST_SHARES} at most")


__all__ = ("wish_from",)
