# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The layouts in which AES-256-GCM ciphertext is stored.

A sealed value proves its key: GCM's tag authenticates it, so a value that opens under a key was sealed under it, and no
other evidence is needed (NIST SP 800-38D). A value that does not open says nothing about why: one opaque answer, None.

Pure: no I/O, and the only randomness is the nonce source that is handed in.
"""

from __future__ import annotations

import binascii
import re
import traceback
import typing as t

from .._errors import StoreError

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    CRYPTOGRAPHY_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    CRYPTOGRAPHY_IMPORT_ERROR = None

UNSOUND = "a value that was just sealed does not open again; is this machine sound? nothing was changed"
_KEY_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
SMALLEST = _NONCE_BYTES + _TAG_BYTES
SMALLEST_BASE64 = 40
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})+(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
# A digest in hex is well-formed Base64 too, but no 40 random characters of Base64 are all hex digits.
_HEX_ONLY = re.compile(r"[0-9a-f]+\Z|[0-9A-F]+\Z")
_HEX = re.compile(r"(?:[0-9a-f]{2})*\Z")
_PADDING = ("=", "==", b"=", b"==")
_LONG_NONCE_HEX = 32
_TAG_HEX = 32


def _bare(stored: t.Any) -> t.Any:
    """Return text without line ends, and without the white space around it."""
    space, line_end, carriage_return = (" \t\r\n", "\n", "\r") if isinstance(stored, str) else (b" \t\r\n", b"\n", b"\r")
    return stored.strip(space).replace(line_end, stored[:0]).replace(carriage_return, stored[:0])


def _strictly_decoded(stored: t.Any) -> bytes:
    """Decode Base64 that is nothing but Base64, with or without line ends and white space around it.

    binascii passes over what does not belong, so that C(["SEALED", "x"]) would decode to what is sealed in it, and the
    rest of the text would be lost. What it passed over shows in the length: fours of characters become threes of bytes.
    Its own strict mode needs Python 3.11.

    Raises:
        ValueError: there is anything else in it.
    """
    raw = binascii.a2b_base64(stored)
    missing = (len(stored) * 3 >> 2) - len(raw)
    if not len(stored) & 3 and (not missing or (missing <= 2 and stored[-missing:] in _PADDING)):
        return raw
    bare = _bare(stored)
    if len(bare) < len(stored):
        return _strictly_decoded(bare)
    raise ValueError("not Base64")


class Cipher:
    """AES-256-GCM under one key; the key object is built once, which doubles the speed for small values.

    A codec that a profile describes starts from C(source), the key's bytes, and keeps what it makes of them in C(made).
    """

    __slots__ = ("decrypt", "encrypt", "made", "source")

    def __init__(self, key_bytes: bytes) -> None:
        self.source = key_bytes
        self.made: dict[t.Any, t.Any] = {}
        self.decrypt: t.Callable[[bytes, bytes, bytes | None], bytes] = _refuse
        self.encrypt: t.Callable[[bytes, bytes, bytes | None], bytes] = _refuse
        if len(key_bytes) == _KEY_BYTES:
            bound = AESGCM(key_bytes)
            self.decrypt, self.encrypt = bound.decrypt, bound.encrypt


def _refuse(unused_nonce: bytes, unused_content: bytes, unused_data: bytes | None) -> t.NoReturn:
    """A key of another size opens nothing that lies in this room's own layouts."""
    raise ValueError("not a key of 32 bytes")


class Codec:
    """One format of sealed value.

    C(parts) names what a stored value consists of. With one part, C(stored) is the cell itself; with several, a tuple
    of cells in that order. C(is_blob) says that it is bytes and no text, C(shortest) how long it is at least. Where
    C(is_authenticated) is False, only the form of the plaintext tells the right key from a wrong one.
    """

    name = ""
    parts: tuple[str, ...] = ("value",)
    is_blob = False
    is_authenticated = True
    shortest = SMALLEST_BASE64

    def looks_sealed(self, stored: t.Any) -> bool:
        """Tell whether the format fits, whatever the key."""
        raise NotImplementedError

    def open(self, cipher: Cipher, stored: t.Any) -> bytes | None:
        """Return the authenticated plaintext, or None for any reason why not."""
        raise NotImplementedError

    def seal(self, cipher: Cipher, plaintext: bytes, nonce_of: t.Callable[[int], bytes], like: t.Any = None) -> t.Any:
        """Return a new stored value with a fresh nonce of C(nonce_of(size)), in the place of C(like)."""
        raise NotImplementedError

    def key_bytes_wanted(self) -> int | None:
        """Return how many bytes the master key must have, or None where any will do."""
        return _KEY_BYTES

    def key_bytes_needed(self) -> int:
        """Return how many bytes of the master key are used at least."""
        return _KEY_BYTES

    def renewer(
        self, source: Cipher, target: Cipher, nonce_of: t.Callable[[int], bytes]
    ) -> t.Callable[[t.Any], t.Any]:
        """Return a function that opens a stored value under one key and seals it under another; None if it does not open.

        What was sealed is opened again and compared; the function raises StoreError if it differs.
        """

        def renew(stored: t.Any) -> t.Any:
            plaintext = self.open(source, stored)
            if plaintext is None:
                return None
            sealed = self.seal(target, plaintext, nonce_of, stored)
            if self.open(target, sealed) != plaintext:
                raise StoreError(UNSOUND)
            return sealed

        return renew


class Base64Codec(Codec):
    """Base64 of nonce (12 bytes), ciphertext and tag, in one text (or, rarely, the same ASCII in a blob).

    Source: ServOS, "Security Architecture", Algorithm Details.
    """

    name = "aes256gcm_base64"

    def looks_sealed(self, stored: t.Any) -> bool:
        if not isinstance(stored, str) or len(stored) < SMALLEST_BASE64:
            return False
        bare = _bare(stored)
        return _BASE64.match(bare) is not None and _HEX_ONLY.match(bare) is None

    def open(self, cipher: Cipher, stored: t.Any) -> bytes | None:
        try:
            raw = _strictly_decoded(stored)
            return cipher.decrypt(raw[:12], raw[12:], None)
        except (InvalidTag, ValueError, TypeError):
            return None

    def seal(self, cipher: Cipher, plaintext: bytes, nonce_of: t.Callable[[int], bytes], unused_like: t.Any = None) -> str:
        nonce = nonce_of(_NONCE_BYTES)
        return binascii.b2a_base64(nonce + cipher.encrypt(nonce, plaintext, None), newline=False).decode("ascii")

    def renewer(
        self, source: Cipher, target: Cipher, nonce_of: t.Callable[[int], bytes]
    ) -> t.Callable[[t.Any], t.Any]:
        # The same as the base class does, in one go: for short values the calls cost as much as the cipher.
        decrypt, encrypt, decrypt_again = source.decrypt, target.encrypt, target.decrypt
        decode, encode = _strictly_decoded, binascii.b2a_base64

        def renew(stored: t.Any) -> str | None:
            try:
                raw = decode(stored)
                plaintext = decrypt(raw[:12], raw[12:], None)
            except (InvalidTag, ValueError, TypeError):
                return None
            nonce = nonce_of(12)
            raw = nonce + encrypt(nonce, plaintext, None)
            sealed = encode(raw, newline=False)
            try:
                # The bytes are opened again, and the text is held against a second encoding of them: decoding it would
                # prove the same, and is more than twice as slow as encoding.
                if decrypt_again(raw[:12], raw[12:], None) == plaintext and encode(raw, newline=False) == sealed:
                    return sealed.decode("ascii")
            except InvalidTag:
                pass
            raise StoreError(UNSOUND)

        return renew


class RawCodec(Codec):
    """Nonce (12 bytes), ciphertext and tag as the bytes of a blob."""

    name = "aes256gcm_raw"
    is_blob = True
    shortest = SMALLEST

    def looks_sealed(self, stored: t.Any) -> bool:
        return isinstance(stored, bytes) and len(stored) >= SMALLEST

    def open(self, cipher: Cipher, stored: t.Any) -> bytes | None:
        if not isinstance(stored, bytes) or len(stored) < SMALLEST:
            return None
        try:
            return cipher.decrypt(stored[:_NONCE_BYTES], stored[_NONCE_BYTES:], None)
        except (InvalidTag, ValueError):
            return None

    def seal(self, cipher: Cipher, plaintext: bytes, nonce_of: t.Callable[[int], bytes], unused_like: t.Any = None) -> bytes:
        nonce = nonce_of(_NONCE_BYTES)
        return nonce + cipher.encrypt(nonce, plaintext, None)


class HexColumnsCodec(Codec):
    """Three columns of lower-case hex: ciphertext, a nonce of 16 bytes, and the tag.

    Source: Provara, packages/gateway/src/crypto/index.ts at c4493c1.
    """

    name = "aes256gcm_hex_columns"
    parts = ("ciphertext", "nonce", "tag")

    def looks_sealed(self, stored: t.Any) -> bool:
        ciphertext, nonce, tag = stored
        return (
            isinstance(ciphertext, str) and isinstance(nonce, str) and isinstance(tag, str)
            and len(nonce) == _LONG_NONCE_HEX and len(tag) == _TAG_HEX
            and _HEX.match(ciphertext.lower()) is not None
            and _HEX.match(nonce.lower()) is not None and _HEX.match(tag.lower()) is not None
        )

    def open(self, cipher: Cipher, stored: t.Any) -> bytes | None:
        ciphertext, nonce, tag = stored
        try:
            if len(tag) != _TAG_HEX:
                return None
            return cipher.decrypt(bytes.fromhex(nonce), bytes.fromhex(ciphertext + tag), None)
        except (InvalidTag, ValueError, TypeError):
            return None

    def seal(
        self, cipher: Cipher, plaintext: bytes, nonce_of: t.Callable[[int], bytes], unused_like: t.Any = None
    ) -> tuple[str, str, str]:
        nonce = nonce_of(_LONG_NONCE_HEX // 2)
        sealed = cipher.encrypt(nonce, plaintext, None).hex()
        return sealed[:-_TAG_HEX], nonce.hex(), sealed[-_TAG_HEX:]

    def renewer(
        self, source: Cipher, target: Cipher, nonce_of: t.Callable[[int], bytes]
    ) -> t.Callable[[t.Any], t.Any]:
        # As in Base64Codec, for the same reason; here decoding is as quick as encoding.
        decrypt, encrypt, decrypt_again, decode = source.decrypt, target.encrypt, target.decrypt, bytes.fromhex

        def renew(stored: t.Any) -> tuple[str, str, str] | None:
            ciphertext, nonce, tag = stored
            try:
                if len(tag) != 32:
                    return None
                plaintext = decrypt(decode(nonce), decode(ciphertext + tag), None)
            except (InvalidTag, ValueError, TypeError):
                return None
            fresh = nonce_of(16)
            sealed, fresh_hex = encrypt(fresh, plaintext, None).hex(), fresh.hex()
            try:
                if decrypt_again(decode(fresh_hex), decode(sealed), None) == plaintext:
                    return sealed[:-32], fresh_hex, sealed[-32:]
            except InvalidTag:
                pass
            raise StoreError(UNSOUND)

        return renew


__all__ = ("CRYPTOGRAPHY_IMPORT_ERROR", "Base64Codec", "Cipher", "Codec", "HexColumnsCodec", "RawCodec")
