# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Seal a message to a host's public key, so that whoever carries it sees ciphertext only.

HPKE in base mode, one message a key, with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM. Newer versions of
cryptography have it built in; the ones that managed hosts have do not.

Pure: the ephemeral private key is handed in.

Source: RFC 9180, sections 4.1, 5.1 and 6.1; identifiers from section 7.
"""

from __future__ import annotations

import hashlib
import hmac
import typing as t

from .._errors import KeyFormatError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:  # a module that needs it asks for cryptography before it comes here
    pass

KEY_BYTES = 32
_KEM_SUITE = b"KEM" + b"\x00\x20"
_HPKE_SUITE = b"HPKE" + b"\x00\x20" + b"\x00\x01" + b"\x00\x02"
_BASE_MODE = b"\x00"


def public_key_of(private_bytes: bytes) -> bytes:
    """Return the public key, 32 bytes, of a private key, 32 bytes."""
    return _raw(X25519PrivateKey.from_private_bytes(private_bytes).public_key())


def seal_to(public_bytes: bytes, plaintext: bytes, *, info: bytes, entropy: t.Callable[[int], bytes]) -> bytes:
    """Return the ephemeral public key (32 bytes) and the ciphertext with its tag, as one message.

    Args:
        public_bytes: the recipient's public key.
        info: what the message is for; it opens under the same C(info) only.
        entropy: for example C(os.urandom).

    Raises:
        KeyFormatError: the public key is none.
    """
    ephemeral = X25519PrivateKey.from_private_bytes(entropy(KEY_BYTES))
    enc = _raw(ephemeral.public_key())
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public_bytes))
    except ValueError:  # not 32 bytes, or a point of low order
        raise KeyFormatError("the recipient's public key is not an X25519 key; ask the host for a new one") from None
    secret, nonce = _schedule(_shared_secret(shared, enc + public_bytes), info)
    return enc + AESGCM(secret).encrypt(nonce, plaintext, None)


def open_sealed(private_bytes: bytes, message: bytes, *, info: bytes) -> bytes | None:
    """Return the authenticated plaintext of a message, or None for any reason why not."""
    private = X25519PrivateKey.from_private_bytes(private_bytes)
    enc, ciphertext = message[:KEY_BYTES], message[KEY_BYTES:]
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(enc))
        secret, nonce = _schedule(_shared_secret(shared, enc + _raw(private.public_key())), info)
        return AESGCM(secret).decrypt(nonce, ciphertext, None)
    except (InvalidTag, ValueError):
        return None


def _raw(public_key: X25519PublicKey) -> bytes:
    return public_key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def _shared_secret(exchanged: bytes, kem_context: bytes) -> bytes:
    extracted = _extract(_KEM_SUITE, b"", b"eae_prk", exchanged)
    return _expand(_KEM_SUITE, extracted, b"shared_secret", kem_context, 32)


def _schedule(shared_secret: bytes, info: bytes) -> tuple[bytes, bytes]:
    """Return key (32 bytes) and nonce (12 bytes) of the first message."""
    context = _BASE_MODE + _extract(_HPKE_SUITE, b"", b"psk_id_hash", b"") + _extract(_HPKE_SUITE, b"", b"info_hash", info)
    secret = _extract(_HPKE_SUITE, shared_secret, b"secret", b"")
    return _expand(_HPKE_SUITE, secret, b"key", context, 32), _expand(_HPKE_SUITE, secret, b"base_nonce", context, 12)


def _extract(suite: bytes, salt: bytes, label: bytes, material: bytes) -> bytes:
    return hmac.new(salt, b"HPKE-v1" + suite + label + material, hashlib.sha256).digest()


def _expand(suite: bytes, extracted: bytes, label: bytes, info: bytes, size_bytes: int) -> bytes:
    # One block of HKDF-Expand: nothing longer than a SHA-256 is asked for.
    labelled = size_bytes.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    return hmac.new(extracted, labelled + b"\x01", hashlib.sha256).digest()[:size_bytes]


__all__ = ("KEY_BYTES", "open_sealed", "public_key_of", "seal_to")
