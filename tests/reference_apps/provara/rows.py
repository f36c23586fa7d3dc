# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How Provara seals a row, written anew from the facts: used by the judge and by the stand-in for its rotation tool.

FACT, seen by running the real Provara (revision c4493c1): AES-256-GCM without AAD, a 16-byte IV and a 16-byte tag in
their own columns, all lower-case hex; the key is hex-decoded if the text is exactly 64 hex characters, else the
SHA-256 of the text, untrimmed. The code here is a model of that, with another cryptographic library than the
collection's.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import NamedTuple

from Cryptodome.Cipher import AES

IV_SIZE_BYTES = 16
TAG_SIZE_BYTES = 16
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_IV_OR_TAG = re.compile(r"[0-9a-f]{32}")
_CIPHERTEXT = re.compile(r"(?:[0-9a-f]{2})*")


class OpenError(ValueError):
    """A row does not open under the key, whatever the reason."""


class SealedRow(NamedTuple):
    """The three sealed columns, in hex."""

    encrypted_value: str
    iv: str
    auth_tag: str

    @property
    def is_well_formed(self) -> bool:
        """Lower-case hex, IV and tag of 16 bytes: what Provara itself writes."""
        return bool(
            _IV_OR_TAG.fullmatch(self.iv)
            and _IV_OR_TAG.fullmatch(self.auth_tag)
            and _CIPHERTEXT.fullmatch(self.encrypted_value)
        )


def derive_key(key_text: str) -> bytes:
    """Turn the text of PROVARA_MASTER_KEY into 32 bytes."""
    if _HEX_KEY.fullmatch(key_text):
        return bytes.fromhex(key_text)
    return hashlib.sha256(key_text.encode("utf-8")).digest()


def read_key_text(path: str) -> str:
    """Read a key's text; one line feed at the very end belongs to the file, every other character to the key."""
    key_text = Path(path).read_bytes().decode("utf-8")
    return key_text.removesuffix("\n")


def open_row(row: SealedRow, key_bytes: bytes) -> bytes:
    """Authenticate and decrypt one row."""
    try:
        cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=bytes.fromhex(row.iv), mac_len=TAG_SIZE_BYTES)
        return cipher.decrypt_and_verify(bytes.fromhex(row.encrypted_value), bytes.fromhex(row.auth_tag))
    except (ValueError, TypeError):
        raise OpenError("decryption failed") from None


def seal_row(plaintext_bytes: bytes, key_bytes: bytes) -> SealedRow:
    """Seal under a fresh random IV."""
    iv_bytes = os.urandom(IV_SIZE_BYTES)
    cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=iv_bytes, mac_len=TAG_SIZE_BYTES)
    ciphertext_bytes, tag_bytes = cipher.encrypt_and_digest(plaintext_bytes)
    return SealedRow(ciphertext_bytes.hex(), iv_bytes.hex(), tag_bytes.hex())
