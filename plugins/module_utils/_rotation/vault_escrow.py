# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Hand a key to the controller for its vault file, through results that are logged: sealed to a key of one moment.

The action plugin of M(servos.ops.servos_keyring) makes a key pair for one call and never writes it down; the managed host
seals the key to the public half. What goes into the vault file is the document that this makes.

Pure: the randomness is handed in.
"""

from __future__ import annotations

import base64
import binascii
import json
import typing as t

from .._errors import EscrowError
from .._keys.material import MasterKey
from .._sealing import hpke

_PURPOSE = b"servos.ops escrow to the controller v1\x00"


class Handed(t.NamedTuple):
    """C(document) is secret: the YAML for the vault file. C(derivation) is how its key is read."""

    fingerprint: str
    derivation: t.Any
    document: str

    def __repr__(self) -> str:
        return f"<Handed {self.fingerprint}>"


def seal_for_controller(
    key: MasterKey, *, app: str, derivation: t.Any, created_at: str, recipient: bytes, entropy: t.Callable[[int], bytes]
) -> str:
    """Return the key's document, sealed to the controller's public key, in Base64."""
    message = {"fingerprint": key.fingerprint, "derivation": derivation, "document": _document_of(key, app, created_at)}
    sealed = hpke.seal_to(recipient, json.dumps(message).encode("ascii"), info=_PURPOSE, entropy=entropy)
    return base64.b64encode(sealed).decode("ascii")


def open_on_controller(private: bytes, sealed: str) -> Handed:
    """Return what was handed over.

    Raises:
        EscrowError: it was sealed to another key, or changed on the way.
    """
    try:
        message = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError):
        message = b""
    opened = hpke.open_sealed(private, message, info=_PURPOSE)
    if opened is None:
        raise EscrowError("the key for the vault file was changed on its way to the controller; no data was touched; run again")
    return Handed(**json.loads(opened.decode("ascii")))


def _document_of(key: MasterKey, app: str, created_at: str) -> str:
    """Write YAML by JSON's rules for texts; a text that YAML could read otherwise is written as hex, which is the same key."""
    text = key.reveal_text()
    if key.encoding == "passphrase" and not (text.isascii() and text.isprintable()):
        text = key.reveal_bytes().hex()
    lines = {"app": app, "fingerprint": key.fingerprint, "created_at": created_at, "key": text}
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in lines.items())


def key_text_in(document: bytes) -> str | None:
    """Return the key's text in such a document, or None where there is none."""
    for line in document.decode("utf-8", "replace").splitlines():
        name, unused_separator, value = line.partition(": ")
        if name == "key":
            try:
                found = json.loads(value)
            except ValueError:
                return None
            return found if isinstance(found, str) else None
    return None


__all__ = ("Handed", "key_text_in", "open_on_controller", "seal_for_controller")
