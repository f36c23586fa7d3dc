# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the model of ServOS seals a value: AES-256-GCM as Base64(nonce || ciphertext || tag).

ASSUMPTION model. The published pages state AES-256-GCM, a 12-byte nonce and Base64(nonce || ciphertext); that the tag
closes the ciphertext, that there is no AAD and that the alphabet is the padded standard one is assumed here. The file
exists apart so that the one place which does cryptography uses another library than the collection under test does.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from pathlib import Path

from Cryptodome.Cipher import AES

KEY_SIZE_BYTES = 32
NONCE_SIZE_BYTES = 12
TAG_SIZE_BYTES = 16
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


class KeyFormatError(ValueError):
    """A text is not a master key. Carries no part of the text."""


class OpenError(ValueError):
    """A sealed value does not open under the key, whatever the reason."""


def parse_key(key_text: str, *, accept_hex: bool) -> bytes:
    """Read a master key; nothing is trimmed.

    Note that 64 hex characters are well-formed Base64 too, of 48 bytes: only the length check refuses them.
    """
    if accept_hex and _HEX_KEY.fullmatch(key_text):
        return bytes.fromhex(key_text)
    try:
        key_bytes = base64.b64decode(key_text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise KeyFormatError("the key is not valid Base64") from None
    if len(key_bytes) != KEY_SIZE_BYTES:
        raise KeyFormatError(f"the key decodes to {len(key_bytes)} bytes, not {KEY_SIZE_BYTES}")
    return key_bytes


def read_key_file(path: str) -> bytes:
    """Read a key, Base64 or hex, from a file with at most one line end behind it."""
    key_text = Path(path).read_text(encoding="utf-8")
    return parse_key(key_text.removesuffix("\n"), accept_hex=True)


def seal(plaintext_bytes: bytes, key_bytes: bytes) -> str:
    """Seal under a fresh random nonce."""
    nonce_bytes = os.urandom(NONCE_SIZE_BYTES)
    cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=nonce_bytes, mac_len=TAG_SIZE_BYTES)
    ciphertext_bytes, tag_bytes = cipher.encrypt_and_digest(plaintext_bytes)
    return base64.b64encode(nonce_bytes + ciphertext_bytes + tag_bytes).decode("ascii")


def open_sealed(sealed_b64: str, key_bytes: bytes) -> bytes:
    """Authenticate and decrypt; a foreign alphabet, a short value and a wrong key are one error."""
    try:
        sealed_bytes = base64.b64decode(sealed_b64.encode("ascii"), validate=True)
        if len(sealed_bytes) < NONCE_SIZE_BYTES + TAG_SIZE_BYTES:
            raise OpenError("decryption failed")
        nonce_bytes, rest = sealed_bytes[:NONCE_SIZE_BYTES], sealed_bytes[NONCE_SIZE_BYTES:]
        cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=nonce_bytes, mac_len=TAG_SIZE_BYTES)
        return cipher.decrypt_and_verify(rest[:-TAG_SIZE_BYTES], rest[-TAG_SIZE_BYTES:])
    except (ValueError, AttributeError):
        raise OpenError("decryption failed") from None
