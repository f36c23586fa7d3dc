# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Fernet: AES-128-CBC and HMAC-SHA256 in one URL-safe text, with the time at which it was made. Pure.

The time of a value is kept when it is sealed anew, as MultiFernet.rotate does, since an application may judge its age by it.

Source: https://github.com/fernet/spec/blob/master/Spec.md
"""

from __future__ import annotations

import base64
import re
import typing as t

from .._errors import ProfileError
from .aes_gcm import Cipher, Codec
from .key_schedule import KeySchedule
from .layouts import as_text, of_kind

try:
    from cryptography.fernet import Fernet, InvalidToken
    from cryptography.hazmat.primitives import hashes, hmac, padding
    from cryptography.hazmat.primitives.ciphers import Cipher as RawCipher
    from cryptography.hazmat.primitives.ciphers import algorithms, modes
except ImportError:
    pass  # the module says so before anything is opened

_TOKEN = re.compile(r"gAAAA[A-Za-z0-9_-]{93,}={0,2}\Z")
_KEY_BYTES = 32
_TIME = slice(1, 9)


class FernetCodec(Codec):
    """C(cipher: fernet); its key is 32 bytes, C(prefix) a fixed text before each token."""

    is_authenticated = True

    def __init__(self, spec: t.Mapping[str, t.Any], name: str) -> None:
        unknown = set(spec) - {"cipher", "key", "prefix"}
        if unknown:
            raise ProfileError(f"the codec fernet has no option {', '.join(sorted(map(str, unknown)))}; it has key and prefix")
        self.name = name
        self._prefix = str(spec.get("prefix", ""))
        self._keys = KeySchedule(spec.get("key"), _KEY_BYTES, 0)
        if self._keys.takes_salt:
            raise ProfileError("a Fernet token has no salt of its own; give the salt of its key")
        self.shortest = 100 + len(self._prefix)

    def key_bytes_wanted(self) -> int | None:
        """Return how many bytes the master key must have, or None where any will do."""
        return None if self._keys.has_derivation else _KEY_BYTES

    def key_bytes_needed(self) -> int:
        """Return how many bytes of the master key are used at least."""
        return self._keys.source_bytes_needed

    def looks_sealed(self, stored: t.Any) -> bool:
        return self._token(stored) is not None

    def _token(self, stored: t.Any) -> bytes | None:
        text = as_text(stored)
        if text is None or not text.startswith(self._prefix) or _TOKEN.match(text[len(self._prefix) :]) is None:
            return None
        return text[len(self._prefix) :].encode("ascii")

    def _key(self, cipher: Cipher) -> bytes | None:
        return self._keys.of(cipher, b"")[0]

    def open(self, cipher: Cipher, stored: t.Any) -> bytes | None:
        token, key = self._token(stored), self._key(cipher)
        if token is None or key is None:
            return None
        bound = cipher.made.get((Fernet, key))
        if bound is None:
            bound = cipher.made[(Fernet, key)] = Fernet(base64.urlsafe_b64encode(key))
        try:
            opened: bytes = bound.decrypt(token)
        except InvalidToken:
            return None
        return opened

    def seal(self, cipher: Cipher, plaintext: bytes, nonce_of: t.Callable[[int], bytes], like: t.Any = None) -> t.Any:
        key, token = self._key(cipher), self._token(like)
        if key is None or token is None:
            raise ProfileError("a Fernet token needs a key of 32 bytes, and the token that it replaces for its time")
        # The library's own sealing takes no nonce from outside, and a nonce is the caller's to give.
        nonce, padder = nonce_of(16), padding.PKCS7(128).padder()
        encryptor = RawCipher(algorithms.AES(key[16:]), modes.CBC(nonce)).encryptor()
        sealed = encryptor.update(padder.update(plaintext) + padder.finalize()) + encryptor.finalize()
        message = b"\x80" + base64.urlsafe_b64decode(token)[_TIME] + nonce + sealed
        signer = hmac.HMAC(key[:16], hashes.SHA256())
        signer.update(message)
        return of_kind(self._prefix + base64.urlsafe_b64encode(message + signer.finalize()).decode("ascii"), like)


__all__ = ("FernetCodec",)
