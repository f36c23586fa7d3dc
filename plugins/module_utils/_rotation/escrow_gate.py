# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The gate between staging a key and using it: what was promised for it, and whether that is there.

The promise is in the record of the keyring; whether it is kept is seen from the files in the escrow directory.
"""

from __future__ import annotations

from .._errors import EscrowError
from .._keys.escrow import Wish, missing_kinds, read_note, wish_from_facts
from .._keys.keyring import Keyring
from .._keys.material import MasterKey
from .installation import Installation

_RECORD = "escrow"


def remember_wish(keyring: Keyring, wish: Wish, key: MasterKey) -> None:
    """Remember what a key needs before it may be used."""
    facts = dict(wish.as_facts(), fingerprint=key.fingerprint)
    if keyring.record().get(_RECORD) != facts:
        keyring.remember(**{_RECORD: facts})


def require_escrowed(installation: Installation, key: MasterKey | None) -> None:
    """Refuse to use a staged key whose escrow was asked for and is not there.

    Raises:
        EscrowError: naming what is missing.
    """
    facts = installation.keyring.record().get(_RECORD)
    if key is None or not isinstance(facts, dict) or facts.get("fingerprint") != key.fingerprint:
        return
    try:
        wish = wish_from_facts(facts)
    except (KeyError, TypeError):
        raise EscrowError(
            f"the record in {installation.state_dir} asks for an escrow of {key.fingerprint} and cannot be understood; "
            "nothing was changed; run servos_keyring state=staged with escrow again"
        ) from None
    missing = missing_kinds(wish, read_note(wish.directory, key.fingerprint))
    if missing:
        raise EscrowError(
            f"the staged key {key.fingerprint} is not in escrow yet ({', '.join(missing)} missing in {wish.directory}); nothing was "
            "changed; run servos_keyring state=staged with escrow again (the playbook servos.ops.rotate does)"
        )


__all__ = ("remember_wish", "require_escrowed")
