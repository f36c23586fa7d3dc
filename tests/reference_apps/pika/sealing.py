# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pika's cipher and the three forms in which it leaves bytes: verifier, sealed blob, backup envelope.

It seals with pycryptodomex, the collection with `cryptography`: a mistake cannot be shared.
"""

from __future__ import annotations

import base64
import hashlib
import os

from Cryptodome.Cipher import ChaCha20_Poly1305

VERIFIER_MAGIC = b"PIKA_KEY_VERIFIER_v1|"
_FORMAT_BYTE = b"\x01"
_NONCE_SIZE_BYTES, _TAG_SIZE_BYTES = 24, 16


class OpenError(Exception):
    """Bytes that do not open under a key; why is not said."""


def derive(passphrase: str) -> bytes:
    """Hash the passphrase once; nothing is trimmed."""
    return hashlib.sha256(passphrase.encode("utf-8", "surrogatepass")).digest()


def seal_bare(key_bytes: bytes, plaintext: bytes) -> bytes:
    """Seal as nonce, ciphertext, tag."""
    nonce_bytes = os.urandom(_NONCE_SIZE_BYTES)
    cipher = ChaCha20_Poly1305.new(key=key_bytes, nonce=nonce_bytes)
    ciphertext, tag_bytes = cipher.encrypt_and_digest(plaintext)
    return nonce_bytes + ciphertext + tag_bytes


def open_bare(key_bytes: bytes, sealed_bytes: bytes) -> bytes:
    """Open what seal_bare made."""
    if len(sealed_bytes) < _NONCE_SIZE_BYTES + _TAG_SIZE_BYTES:
        raise OpenError
    nonce_bytes, rest = sealed_bytes[:_NONCE_SIZE_BYTES], sealed_bytes[_NONCE_SIZE_BYTES:]
    try:
        cipher = ChaCha20_Poly1305.new(key=key_bytes, nonce=nonce_bytes)
        return cipher.decrypt_and_verify(rest[:-_TAG_SIZE_BYTES], rest[-_TAG_SIZE_BYTES:])
    except ValueError:
        raise OpenError from None


def seal_blob(key_bytes: bytes, plaintext: bytes) -> str:
    """Seal with the format byte in front, as Base64."""
    return base64.b64encode(_FORMAT_BYTE + seal_bare(key_bytes, plaintext)).decode()


def open_blob(key_bytes: bytes, blob_b64: str) -> bytes:
    """Open what seal_blob made."""
    blob_bytes = base64.b64decode(blob_b64)
    if blob_bytes[:1] != _FORMAT_BYTE:
        raise OpenError
    return open_bare(key_bytes, blob_bytes[1:])


def new_verifier_plaintext() -> bytes:
    """Make what a verifier holds; a rotation seals the same again."""
    return VERIFIER_MAGIC + os.urandom(16)


def seal_verifier(key_bytes: bytes, plaintext: bytes) -> str:
    """Seal a verifier: without a format byte."""
    return base64.b64encode(seal_bare(key_bytes, plaintext)).decode()


def open_verifier(key_bytes: bytes, verifier_b64: str) -> bytes:
    """Open a verifier; whether the magic is there is the caller's question."""
    return open_bare(key_bytes, base64.b64decode(verifier_b64))
