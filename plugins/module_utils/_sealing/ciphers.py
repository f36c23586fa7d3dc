# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The ciphers that a profile can name, behind one shape: key, nonce and what authenticates in, plaintext or nothing out. Pure.

The library is cryptography; for the two of libsodium's own (secretbox and XChaCha20) it is PyNaCl.
"""

from __future__ import annotations

import traceback
import typing as t

from .._errors import ProfileError, ServosError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import padding
    from cryptography.hazmat.primitives.ciphers import Cipher as RawCipher
    from cryptography.hazmat.primitives.ciphers import algorithms, modes
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
except ImportError:
    pass  # the module says so before anything is opened

try:
    from nacl import bindings as sodium
    from nacl.exceptions import CryptoError
except ImportError:
    SODIUM_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    SODIUM_IMPORT_ERROR = None

_BLOCK_BYTES = 16


class CipherKind(t.NamedTuple):
    """A cipher: sizes in bytes. C(tag_bytes) is 0 where it does not authenticate by itself."""

    name: str
    key_bytes: int
    nonce_bytes: int
    tag_bytes: int
    open: t.Callable[[bytes, bytes, bytes, bytes], bytes | None]
    seal: t.Callable[[bytes, bytes, bytes, bytes], bytes]
    takes_other_nonces: bool = False
    takes_aad: bool = False
    is_sodium: bool = False
    least_bytes: int = 0

    @property
    def is_authenticated(self) -> bool:
        """Whether a plaintext that comes out proves the key."""
        return self.tag_bytes > 0


def cipher_named(name: t.Any) -> CipherKind:
    """Return a cipher by its name in a profile.

    Raises:
        ProfileError: there is none of that name.
        ServosError: its library is missing, which is not the profile's fault.
    """
    if name not in CIPHERS:
        raise ProfileError(f"there is no cipher {name!r}; choose one of {', '.join(CIPHERS)}, or fernet")
    kind = CIPHERS[name]
    if kind.is_sodium and SODIUM_IMPORT_ERROR is not None:
        raise ServosError(
            f"the cipher {name} needs PyNaCl on the managed host (package python3-nacl), and it is missing; nothing was changed; install it"
        )
    return kind


# Each function below takes key, nonce, ciphertext with its tag at the end (or plaintext), and associated data.


def _open_gcm(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    try:
        return AESGCM(key).decrypt(nonce, sealed, aad or None)
    except (InvalidTag, ValueError):
        return None


def _seal_gcm(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    return AESGCM(key).encrypt(nonce, plaintext, aad or None)


def _open_chacha(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, aad or None)
    except (InvalidTag, ValueError):
        return None


def _seal_chacha(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    return ChaCha20Poly1305(key).encrypt(nonce, plaintext, aad or None)


def _open_xchacha(key: bytes, nonce: bytes, sealed: bytes, aad: bytes) -> bytes | None:
    try:
        opened: bytes = sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, aad or None, nonce, key)
    except (CryptoError, ValueError, TypeError):
        return None
    return opened


def _seal_xchacha(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> bytes:
    return bytes(sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plaintext, aad or None, nonce, key))


def _open_secretbox(key: bytes, nonce: bytes, sealed: bytes, unused_aad: bytes) -> bytes | None:
    # libsodium puts the tag first; here it stands last, as in every other cipher.
    try:
        opened: bytes = sodium.crypto_secretbox_open(sealed[-_BLOCK_BYTES:] + sealed[:-_BLOCK_BYTES], nonce, key)
    except (CryptoError, ValueError, TypeError):
        return None
    return opened


def _seal_secretbox(key: bytes, nonce: bytes, plaintext: bytes, unused_aad: bytes) -> bytes:
    sealed = bytes(sodium.crypto_secretbox(plaintext, nonce, key))
    return sealed[_BLOCK_BYTES:] + sealed[:_BLOCK_BYTES]


def _open_cbc(key: bytes, nonce: bytes, sealed: bytes, unused_aad: bytes) -> bytes | None:
    if not sealed or len(sealed) % _BLOCK_BYTES or len(nonce) != _BLOCK_BYTES:
        return None
    decryptor = RawCipher(algorithms.AES(key), modes.CBC(nonce)).decryptor()
    padded = decryptor.update(sealed) + decryptor.finalize()
    unpadder = padding.PKCS7(128).unpadder()
    try:
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        return None


def _seal_cbc(key: bytes, nonce: bytes, plaintext: bytes, unused_aad: bytes) -> bytes:
    padder = padding.PKCS7(128).padder()
    encryptor = RawCipher(algorithms.AES(key), modes.CBC(nonce)).encryptor()
    return encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()


def _open_ctr(key: bytes, nonce: bytes, sealed: bytes, unused_aad: bytes) -> bytes | None:
    if len(nonce) != _BLOCK_BYTES:
        return None
    decryptor = RawCipher(algorithms.AES(key), modes.CTR(nonce)).decryptor()
    return decryptor.update(sealed) + decryptor.finalize()


def _seal_ctr(key: bytes, nonce: bytes, plaintext: bytes, unused_aad: bytes) -> bytes:
    encryptor = RawCipher(algorithms.AES(key), modes.CTR(nonce)).encryptor()
    return encryptor.update(plaintext) + encryptor.finalize()


CIPHERS: dict[str, CipherKind] = {
    kind.name: kind
    for kind in (
        *(
            CipherKind(f"aes-{8 * size}-gcm", size, 12, 16, _open_gcm, _seal_gcm, takes_other_nonces=True, takes_aad=True)
            for size in (16, 24, 32)
        ),
        CipherKind("chacha20-poly1305", 32, 12, 16, _open_chacha, _seal_chacha, takes_aad=True),
        CipherKind("xchacha20-poly1305", 32, 24, 16, _open_xchacha, _seal_xchacha, takes_aad=True, is_sodium=True),
        CipherKind("secretbox", 32, 24, 16, _open_secretbox, _seal_secretbox, is_sodium=True),
        *(CipherKind(f"aes-{8 * size}-cbc", size, 16, 0, _open_cbc, _seal_cbc, least_bytes=_BLOCK_BYTES) for size in (16, 24, 32)),
        *(CipherKind(f"aes-{8 * size}-ctr", size, 16, 0, _open_ctr, _seal_ctr) for size in (16, 24, 32)),
    )
}

__all__ = ("CIPHERS", "SODIUM_IMPORT_ERROR", "CipherKind", "cipher_named")
