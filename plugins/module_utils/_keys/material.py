# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a master key is: 32 bytes, the text they are written as, and the fingerprint they are shown as.

Pure: no I/O, no clock, no randomness that was not given.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import typing as t

from .._errors import KeyFormatError

KEY_SIZE_BYTES = 32
ENCODINGS = ("base64", "hex")
DERIVATIONS = ("raw32", "hex_or_sha256", "sha256")

_FINGERPRINT_DOMAIN = b"servos.ops master key fingerprint v1\x00"
_HEX_64 = re.compile(r"[0-9a-fA-F]{64}\Z")
_BASE64_44 = re.compile(r"[A-Za-z0-9+/_-]{43}=\Z")
_BASE64_43 = re.compile(r"[A-Za-z0-9+/_-]{43}\Z")
_SHORT_PASSPHRASE = 16


class OwnDerivation(t.Protocol):
    """A profile's own way from text to key bytes; see C(_sealing/derivation.py)."""

    def bytes_of(self, text: str, *, where: str) -> bytes:
        """Turn the text into what the derivation starts from."""

    def derive(self, source: bytes) -> bytes:
        """Return the key bytes."""

    def new_text(self, entropy: t.Callable[[int], bytes]) -> str:
        """Write a new key."""


Rule = t.Union[str, OwnDerivation]


class MasterKey:
    """A master key that cannot be shown by accident.

    Shapes: C(key_bytes) is 32 raw bytes; C(text) is exactly what stands in the env file, because a derived key
    (Provara's passphrases) cannot be turned back into its text. C(encoding) is V(base64), V(hex) or V(passphrase), or
    V(fixed), written in the one way that a profile's own derivation reads; then the bytes may be more or fewer than 32.
    Only C(reveal_bytes()) and C(reveal_text()) give the secret away, and both are easy to search for.
    """

    __slots__ = ("_key_bytes", "_text", "encoding", "fingerprint")

    def __init__(self, *, key_bytes: bytes, text: str, encoding: str) -> None:
        if not key_bytes or (len(key_bytes) != KEY_SIZE_BYTES and encoding != "fixed"):
            raise KeyFormatError(f"a master key is {KEY_SIZE_BYTES} bytes, not {len(key_bytes)}; give a whole one")
        self._key_bytes = key_bytes
        self._text = text
        self.encoding = encoding
        self.fingerprint = fingerprint_of(key_bytes)

    def reveal_bytes(self) -> bytes:
        """Return the 32 raw bytes."""
        return self._key_bytes

    def reveal_text(self) -> str:
        """Return the text as it stands, or will stand, in the env file."""
        return self._text

    @property
    def is_rewritable(self) -> bool:
        """Whether the same key can be written in another encoding."""
        return self.encoding in ENCODINGS

    def in_encoding(self, encoding: str) -> MasterKey:
        """Return the same key, written as V(base64) or V(hex)."""
        return MasterKey(key_bytes=self._key_bytes, text=encode_key(self._key_bytes, encoding), encoding=encoding)

    def forms(self) -> tuple[str, ...]:
        """Return every text form that a log could hold, for masking: as given, hex in both cases, Base64."""
        hexed = self._key_bytes.hex()
        b64 = base64.b64encode(self._key_bytes).decode("ascii")
        url = base64.urlsafe_b64encode(self._key_bytes).decode("ascii")
        return tuple(dict.fromkeys((self._text, hexed, hexed.upper(), b64, b64.rstrip("="), url, url.rstrip("="))))

    def __eq__(self, other: object) -> bool:
        """Compare the bytes in constant time: hex case, alphabet and padding make no other key."""
        if not isinstance(other, MasterKey):
            return NotImplemented
        return hmac.compare_digest(self._key_bytes, other._key_bytes)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<MasterKey {self.fingerprint}>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __reduce__(self) -> t.NoReturn:
        raise TypeError("a master key is not pickled")


def fingerprint_of(key_bytes: bytes) -> str:
    """Return C(mk:) and the first 16 hex digits of a domain-separated SHA-256 of the key bytes."""
    return "mk:" + hashlib.sha256(_FINGERPRINT_DOMAIN + key_bytes).hexdigest()[:16]


def parse_key(text: str, *, derivation: Rule, encoding: str = "auto", where: str) -> MasterKey:
    """Read a master key from its text form.

    Args:
        text: as it stands in the env file or key file; never trimmed here.
        derivation: V(raw32), the text is 32 bytes in hex or Base64; V(hex_or_sha256), Provara's rule: exactly 64
            hex digits are those 32 bytes, any other text is SHA-256 of its UTF-8 form; V(sha256), Pika's: any text at all
            is; or a profile's own rule.
        encoding: V(auto), V(base64) or V(hex); another than the text's own is an error. Only for V(raw32).
        where: what holds the text, for the error message.

    64 hex digits are also well-formed Base64, of 48 bytes, so the decision is by length and alphabet and the
    two never overlap.

    Raises:
        KeyFormatError: with the length and the reason, never the text.
    """
    if not text:
        raise KeyFormatError(f"{where} is empty; put the master key there")
    if derivation in ("hex_or_sha256", "sha256"):
        if derivation == "hex_or_sha256" and _HEX_64.match(text):
            return MasterKey(key_bytes=bytes.fromhex(text), text=text, encoding="hex")
        derived = hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
        return MasterKey(key_bytes=derived, text=text, encoding="passphrase")
    if not isinstance(derivation, str):
        return MasterKey(key_bytes=derivation.derive(derivation.bytes_of(text, where=where)), text=text, encoding="fixed")
    if derivation != "raw32":
        raise KeyFormatError(f"unknown key derivation {derivation!r}; choose one of {', '.join(DERIVATIONS)}")
    if _HEX_64.match(text):
        found, key_bytes = "hex", bytes.fromhex(text)
    else:
        found, key_bytes = "base64", _decode_base64_key(text, where)
    if encoding not in ("auto", found):
        raise KeyFormatError(
            f"{where} holds a key in {found}, but key_encoding says {encoding}; "
            "use key_encoding=auto, or convert the 32 bytes, not the text (64 hex digits are also Base64 of 48 bytes)"
        )
    return MasterKey(key_bytes=key_bytes, text=text, encoding=found)


def _decode_base64_key(text: str, where: str) -> bytes:
    if text != text.strip():
        raise KeyFormatError(f"{where} has white space around the key; remove it")
    if not (_BASE64_44.match(text) or _BASE64_43.match(text)):
        raise KeyFormatError(
            f"{where} is not a master key: {_describe(text)}; "
            "give 64 hex digits or 44 characters of Base64, 32 bytes either way"
        )
    standard = text.rstrip("=").replace("-", "+").replace("_", "/") + "="
    return base64.b64decode(standard)


def _describe(text: str) -> str:
    """Say how long a wrong text is, and what it would decode to, without showing any of it."""
    if re.match(r"[0-9a-fA-F]+\Z", text):
        return f"{len(text)} hex digits"
    try:
        size = len(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error):
        return f"{len(text)} characters that are neither hex nor Base64"
    return f"{len(text)} characters, Base64 of {size} bytes"


def encode_key(key_bytes: bytes, encoding: str) -> str:
    """Write 32 raw bytes as V(base64) (44 characters, padded, standard alphabet) or V(hex) (64, lower case)."""
    if encoding == "hex":
        return key_bytes.hex()
    if encoding == "base64":
        return base64.b64encode(key_bytes).decode("ascii")
    raise KeyFormatError(f"unknown key encoding {encoding!r}; choose one of {', '.join(ENCODINGS)}")


def generate_key(*, encoding: str, entropy: t.Callable[[int], bytes], derivation: Rule = "raw32") -> MasterKey:
    """Make a new key from C(entropy), for example C(os.urandom): 32 bytes, or what a profile's own derivation takes."""
    if not isinstance(derivation, str):
        return parse_key(derivation.new_text(entropy), derivation=derivation, where="a new key")
    key_bytes = entropy(KEY_SIZE_BYTES)
    return MasterKey(key_bytes=key_bytes, text=encode_key(key_bytes, encoding), encoding=encoding)


def encoding_for_new_key(replaced: MasterKey, wanted: str) -> str:
    """Choose how a new key is written: as asked, else as the one it replaces (a passphrase is followed by hex)."""
    if wanted != "auto":
        return wanted
    return replaced.encoding if replaced.is_rewritable else "hex"


def written_like(new_key: MasterKey, replaced: MasterKey, wanted: str) -> MasterKey:
    """Return the new key in the encoding that it will stand in: a passphrase has only its own."""
    if not new_key.is_rewritable or (not replaced.is_rewritable and wanted == "auto"):
        return new_key
    return new_key.in_encoding(encoding_for_new_key(replaced, wanted))


def doubts_about(key: MasterKey) -> list[str]:
    """List what is lawful but probably a mistake: white space at an edge, a short or a 64-character passphrase."""
    if key.is_rewritable:
        return []
    text, doubts = key.reveal_text(), []
    if text != text.strip():
        doubts.append("has white space at an edge, which is part of the key")
    if len(text) < _SHORT_PASSPHRASE:
        how = ", hashed once with SHA-256" if key.encoding == "passphrase" else ""
        doubts.append(f"is a passphrase of fewer than {_SHORT_PASSPHRASE} characters{how}")
    if len(text) in (63, 64, 65) and key.encoding == "passphrase":
        doubts.append(f"has {len(text)} characters but is not 64 hex digits, so it is used as a passphrase")
    return doubts


__all__ = (
    "DERIVATIONS",
    "ENCODINGS",
    "KEY_SIZE_BYTES",
    "MasterKey",
    "OwnDerivation",
    "Rule",
    "doubts_about",
    "encode_key",
    "encoding_for_new_key",
    "fingerprint_of",
    "generate_key",
    "parse_key",
    "written_like",
)
