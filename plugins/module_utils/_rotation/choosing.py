# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Choose the next key so that no value can be taken for one that is under it already.

Where the cipher does not authenticate, a short value may come out in the right form under a key that it was not sealed under.
Such a key must not be staged: from then on nothing could tell which of two keys the value is under, on the way on or back.
"""

from __future__ import annotations

import os

from .._errors import ForeignValueError
from .._keys.material import MasterKey, encoding_for_new_key, generate_key
from .._sealing.aes_gcm import Cipher
from .census import take_census
from .installation import Installation
from .observe import Keys

_TRIES = 20


def choose_key(installation: Installation, keys: Keys, active: MasterKey, *, given: MasterKey | None) -> MasterKey:
    """Return the given key, or one made here. Writes nothing.

    Raises:
        ForeignValueError: values take on the right form under it as well.
    """
    for unused_try in range(1 if given is not None else _TRIES):
        fresh = given or generate_key(
            encoding=encoding_for_new_key(active, installation.key_encoding), entropy=os.urandom,
            derivation=installation.profile.derivation,
        )
        mistaken = _mistaken_under(installation, keys, fresh)
        if not mistaken:
            return fresh
    raise ForeignValueError(
        f"under {'the new key' if given is not None else 'each new key that was tried'} values come out in the right form that are not "
        f"under it ({'; '.join(mistaken)} ...): their cipher does not authenticate, and they are too short for their form to tell; "
        f"nothing was changed; {'give another key, or ' if given is not None else ''}write a stricter oracle into the codec of the profile"
    )


def _mistaken_under(installation: Installation, keys: Keys, fresh: MasterKey) -> tuple[str, ...]:
    profile = installation.profile
    if not profile.unauthenticated() or fresh.fingerprint in keys.by_fingerprint():
        return ()
    ciphers = dict(keys.ciphers(), **{fresh.fingerprint: Cipher(fresh.reveal_bytes())})
    census = installation.database().read(lambda reader: take_census(reader, profile, ciphers, progress=installation.progress))
    under_it = [str(counted.field) for counted in census.fields if counted.sealed.get(fresh.fingerprint)]
    return (*census.foreign_at, *under_it)


__all__ = ("choose_key",)
