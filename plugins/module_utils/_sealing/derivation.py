# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How an application turns the text of its key into key bytes, as data. Pure.

=======  ======================================================================================================
raw      the text stands for the bytes themselves
sha256   one SHA-256 of them (or C(hash): sha1, sha384, sha512, md5), cut to C(bytes)
hkdf     HKDF (RFC 5869) with C(hash), C(salt), C(info)
pbkdf2   PBKDF2-HMAC (RFC 8018) with C(hash), C(salt), C(iterations)
scrypt   scrypt (RFC 7914) with C(salt), C(n), C(r), C(p)
openssl  EVP_BytesToKey (openssl enc without -pbkdf2, CryptoJS) with C(hash), C(salt), C(iterations)
=======  ======================================================================================================

C(text) says how the text becomes bytes first: V(utf8), V(hex), V(base64) (either alphabet) or V(base64url) (the same, and
new keys are written so). C(prefix) is a fixed text before the key that is no part of it, such as Laravel's C(base64:).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import typing as t

from .._errors import KeyFormatError, ProfileError

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    pass  # the module says so before anything is derived

Spec = t.Mapping[str, t.Any]

_OPTIONS: dict[str, set[str]] = {
    "raw": set(),
    "sha256": {"hash"},
    "hkdf": {"hash", "salt", "info"},
    "pbkdf2": {"hash", "salt", "iterations"},
    "scrypt": {"salt", "n", "r", "p"},
    "openssl": {"hash", "salt", "iterations"},
}
_TEXTS = ("utf8", "hex", "base64", "base64url")
_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512")
_LEAST_RAW_BYTES, _MOST_BYTES = 16, 1024
_SCRYPT_MEMORY_BYTES = 512 * 1024 * 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}\Z")
_NEW_KEY_BYTES = 32
_PREFIX = re.compile(r"[A-Za-z0-9:._-]{0,32}\Z")


class Derivation(t.NamedTuple):
    """One way from input bytes to key bytes. C(salt) is None where each value brings its own."""

    kdf: str
    text: str
    size_bytes: int | None
    hash: str
    salt: bytes | None
    info: bytes
    iterations: int
    cost: tuple[int, int, int]
    prefix: str = ""

    def bytes_of(self, text: str, *, where: str) -> bytes:
        """Turn the text of a key into what the derivation starts from.

        Raises:
            KeyFormatError: it is not written as the profile says; never with the text itself.
        """
        if not text.startswith(self.prefix):
            raise KeyFormatError(f"{where} does not begin with {self.prefix!r}, which is prefix of the derivation; correct one of them")
        text = text[len(self.prefix) :]
        if self.text == "utf8":
            found = text.encode("utf-8", "surrogateescape")
        elif self.text == "hex":
            try:
                found = bytes.fromhex(text) if text == text.strip() else b""
            except ValueError:
                found = b""
        else:
            found = _decoded(text)
        if not found:
            raise KeyFormatError(
                f"{where} is not a key in {self.text}: {len(text)} characters that do not decode; correct it, or text of the derivation"
            )
        if self.kdf == "raw" and self.size_bytes is not None and len(found) != self.size_bytes:
            raise KeyFormatError(
                f"{where} is a key of {len(found)} bytes and not of {self.size_bytes}; correct it, or bytes of the derivation"
            )
        return found

    def derive(self, source: bytes, *, salt: bytes | None = None) -> bytes:
        """Return the key bytes. C(salt) is that of one value, where each brings its own."""
        size = self.size_bytes or _NEW_KEY_BYTES
        used = self.salt if salt is None else salt
        if self.kdf == "raw":
            return source
        if self.kdf == "sha256":
            return hashlib.new(self.hash, source).digest()[:size]
        if self.kdf == "hkdf":
            return HKDF(getattr(hashes, self.hash.upper())(), size, used or None, self.info).derive(source)
        if self.kdf == "pbkdf2":
            return hashlib.pbkdf2_hmac(self.hash, source, used or b"", self.iterations, size)
        if self.kdf == "openssl":
            return _bytes_to_key(source, used or b"", self.hash, self.iterations, size)
        n, r, p = self.cost
        return hashlib.scrypt(source, salt=used or b"", n=n, r=r, p=p, maxmem=_SCRYPT_MEMORY_BYTES, dklen=size)

    def new_text(self, entropy: t.Callable[[int], bytes]) -> str:
        """Write a new key as the application reads it."""
        return self.prefix + self._new_text(entropy)

    def _new_text(self, entropy: t.Callable[[int], bytes]) -> str:
        size = self.size_bytes if self.kdf == "raw" and self.size_bytes else _NEW_KEY_BYTES
        if self.text == "utf8" and self.kdf == "raw":
            # The text's own characters are the key: letters, digits, - and _, so many as it has bytes.
            return base64.urlsafe_b64encode(entropy(size)).decode("ascii")[:size]
        if self.text == "base64":
            return base64.b64encode(entropy(size)).decode("ascii")
        if self.text == "base64url":
            return base64.urlsafe_b64encode(entropy(size)).decode("ascii")
        return entropy(size).hex()


def derivation_of(spec: t.Any, *, of_values: bool = False) -> Derivation:
    """Read a derivation from a profile.

    Args:
        of_values: it starts from the key's bytes and may take the salt of each value (C(salt: value)), as in a codec's C(key).

    Raises:
        ProfileError: naming the option.
    """
    if not isinstance(spec, dict) or spec.get("kdf") not in _OPTIONS:
        raise ProfileError(f"a derivation is a dictionary with kdf, one of {', '.join(_OPTIONS)}")
    kdf = str(spec["kdf"])
    known = _OPTIONS[kdf] | {"kdf", "bytes"} | (set() if of_values else {"text", "prefix"})
    unknown = set(spec) - known
    if unknown:
        raise ProfileError(f"derivation {kdf} has no option {', '.join(sorted(map(str, unknown)))}; it has {', '.join(sorted(known))}")
    text = spec.get("text", "base64" if kdf == "raw" else "utf8")
    if text not in _TEXTS:
        raise ProfileError(f"text of derivation {kdf} is one of {', '.join(_TEXTS)}")
    name = spec.get("hash", "sha256")
    if name not in _HASHES:
        raise ProfileError(f"hash of derivation {kdf} is one of {', '.join(_HASHES)}")
    size = _number(spec, "bytes", None if kdf == "raw" and text == "utf8" else 32, most=_MOST_BYTES)
    if kdf == "raw" and size is not None and size < _LEAST_RAW_BYTES:
        raise ProfileError(f"bytes of derivation raw is at least {_LEAST_RAW_BYTES}")
    most = hashlib.new(str(name)).digest_size * (255 if kdf == "hkdf" else 1)
    if kdf in ("sha256", "hkdf") and size is not None and size > most:
        raise ProfileError(f"bytes of derivation {kdf} is at most {most} with {name}")
    iterations = _number(spec, "iterations", None if kdf == "pbkdf2" else 1, most=100_000_000)
    if iterations is None:
        raise ProfileError("derivation pbkdf2 needs iterations")
    salt: bytes | None = None
    if spec.get("salt") != "value" or not of_values:
        salt = given_bytes(spec.get("salt", ""), what=f"salt of derivation {kdf}")
    return Derivation(
        kdf=kdf, text=str(text), size_bytes=size, hash=str(name), salt=salt,
        info=given_bytes(spec.get("info", ""), what="info of derivation hkdf"), iterations=iterations,
        cost=_cost(spec) if kdf == "scrypt" else (16384, 8, 1), prefix=_prefix(spec),
    )


def given_bytes(value: t.Any, *, what: str) -> bytes:
    """Read bytes from a profile: a text stands for its UTF-8 form; a dictionary has one of hex, base64 and utf8.

    Raises:
        ProfileError: it is neither.
    """
    if isinstance(value, str):
        return value.encode("utf-8")
    if isinstance(value, dict) and len(value) == 1:
        (kind, text), = value.items()
        try:
            if kind == "hex":
                return bytes.fromhex(str(text))
            if kind == "base64":
                return base64.b64decode(str(text), validate=True)
            if kind == "utf8":
                return str(text).encode("utf-8")
        except (ValueError, binascii.Error):
            pass
    raise ProfileError(f"{what} is a text, or a dictionary with one of hex, base64 and utf8")


def _prefix(spec: Spec) -> str:
    prefix = spec.get("prefix", "")
    if not isinstance(prefix, str) or not _PREFIX.match(prefix):
        raise ProfileError("prefix of a derivation is a short text of letters, digits, and : . _ -")
    return prefix


def _number(spec: Spec, name: str, default: int | None, *, most: int) -> int | None:
    value = spec.get(name, default)
    if value is None:
        return None
    if isinstance(value, bool) or not str(value).isdigit() or not 1 <= int(value) <= most:
        raise ProfileError(f"{name} of a derivation is a number from 1 to {most}")
    return int(value)


def _cost(spec: Spec) -> tuple[int, int, int]:
    n, r, p = (_number(spec, name, default, most=2**24) or 1 for name, default in (("n", 16384), ("r", 8), ("p", 1)))
    if n < 2 or n & (n - 1) or 128 * n * r + 128 * r * p > _SCRYPT_MEMORY_BYTES // 2:
        raise ProfileError("n of derivation scrypt is a power of two, and n, r and p together need at most 256 MiB")
    return n, r, p


def _decoded(text: str) -> bytes:
    if not _BASE64.match(text):
        return b""
    bare = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True)
    except (ValueError, binascii.Error):
        return b""


def _bytes_to_key(source: bytes, salt: bytes, name: str, iterations: int, size: int) -> bytes:
    """Source: https://docs.openssl.org/3.0/man3/EVP_BytesToKey/#key-derivation-algorithm"""
    made, block = b"", b""
    while len(made) < size:
        block += source + salt
        for unused_turn in range(iterations):
            block = hashlib.new(name, block).digest()
        made += block
    return made[:size]


__all__ = ("Derivation", "derivation_of", "given_bytes")
