# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read an age file without age: whom it is sealed to, and, with one X25519 key, what it holds.

What age wrote is opened by other code than age's own, so that the two would have to be wrong in the same way. Nothing
is sealed here; that is age's business, with whatever kinds of recipients it and its plug-ins know.

Pure.

Source: the age file format, C2SP age.md (age-encryption.org/v1); BIP 173 for Bech32; RFC 5869.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import typing as t

from .hpke import public_key_of

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:  # a module that needs it asks for cryptography before it comes here
    pass

CHUNK_BYTES = 64 * 1024
_VERSION = b"age-encryption.org/v1\n"
_ARMOR = re.compile(rb"\s*-----BEGIN AGE ENCRYPTED FILE-----\r?\n(.*?)-----END AGE ENCRYPTED FILE-----\s*\Z", re.S)
_BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32_STEPS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_SSH_RECIPIENT = re.compile(r"(ssh-ed25519|ssh-rsa) [A-Za-z0-9+/]{40,}={0,2}(?: [^\n]*)?\Z")


class Stanza(t.NamedTuple):
    """One recipient's way to the file key: its type first among C(words)."""

    words: tuple[str, ...]
    body: bytes


class _Sealed(t.NamedTuple):
    header: bytes
    stanzas: tuple[Stanza, ...]
    mac: bytes
    payload: bytes


def recipient_of(public_bytes: bytes) -> str:
    """Write an X25519 public key, 32 bytes, as age's C(age1...)."""
    groups, pending, size = [], 0, 0
    for byte in public_bytes:
        pending, size = pending << 8 | byte, size + 8
        while size >= 5:
            size -= 5
            groups.append(pending >> size & 31)
    if size:
        groups.append(pending << 5 - size & 31)
    check = _polymod(_expanded("age") + groups + [0] * 6) ^ 1
    return "age1" + "".join(_BECH32[value] for value in [*groups, *(check >> 5 * (5 - place) & 31 for place in range(6))])


def why_no_recipient(text: str) -> str | None:
    """Say why a text is no recipient, without quoting it, since it may be an identity; None where it is one.

    Recipients are C(age1...) (of age, or of a plug-in of it), C(ssh-ed25519 ...) and C(ssh-rsa ...).
    """
    if text.upper().startswith("AGE-"):
        return "is an identity, which is secret; give the recipient that belongs to it (age-keygen -y shows it)"
    if _SSH_RECIPIENT.match(text):
        return None
    if not re.match(r"age1[a-z0-9]+\Z", text):
        return "is neither age1... nor an SSH public key (ssh-ed25519 or ssh-rsa)"
    name, unused_separator, rest = text.rpartition("1")
    values = [_BECH32.find(letter) for letter in rest]
    if len(values) < 7 or -1 in values or _polymod(_expanded(name) + values) != 1:
        return "is misspelled: its checksum is wrong"
    return None


def same_recipient(text: str) -> str:
    """Return what two spellings of one recipient have in common: an SSH key without its comment."""
    return " ".join(text.split()[:2])


def is_native(text: str) -> bool:
    """Whether a recipient is of age itself (X25519), and not of a plug-in or SSH."""
    return text.startswith("age1") and text.rpartition("1")[0] == "age"


def stanzas_of(content: bytes) -> tuple[Stanza, ...] | None:
    """Return the stanzas in the header of an age file, armored or not, or None where it is none."""
    found = _parsed(content)
    return found.stanzas if found is not None else None


def open_age(private_bytes: bytes, content: bytes) -> bytes | None:
    """Return the authenticated content of a small age file (one chunk), armored or not, or None for any reason why not."""
    found = _parsed(content)
    if found is None:
        return None
    for stanza in found.stanzas:
        file_key = _unwrapped(private_bytes, stanza)
        if file_key is None:
            continue
        mac = hmac.new(_hkdf(file_key, b"", b"header"), found.header, hashlib.sha256).digest()
        if not hmac.compare_digest(mac, found.mac) or not 16 <= len(found.payload) - 16 <= CHUNK_BYTES + 16:
            return None
        nonce, chunk = found.payload[:16], found.payload[16:]
        return _decrypted(_hkdf(file_key, nonce, b"payload"), b"\x00" * 11 + b"\x01", chunk)
    return None


def _parsed(content: bytes) -> _Sealed | None:
    armored = _ARMOR.match(content)
    try:
        raw = base64.b64decode(b"".join(armored.group(1).split()), validate=True) if armored else content
        return _parsed_raw(raw)
    except (binascii.Error, ValueError):
        return None


def _parsed_raw(raw: bytes) -> _Sealed | None:
    if not raw.startswith(_VERSION):
        return None
    position, stanzas = len(_VERSION), []
    while raw[position : position + 3] == b"-> ":
        line, position = _line(raw, position)
        body = b""
        while True:
            part, position = _line(raw, position)
            body += part
            if len(part) < 64:
                break
        stanzas.append(Stanza(tuple(line.decode("ascii").split(" ")[1:]), _base64(body)))
    end, payload_at = _line(raw, position)
    if not end.startswith(b"--- ") or not stanzas:
        return None
    return _Sealed(raw[: position + 3], tuple(stanzas), _base64(end[4:]), raw[payload_at:])


def _line(raw: bytes, position: int) -> tuple[bytes, int]:
    end = raw.index(b"\n", position)
    return raw[position:end], end + 1


def _base64(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def _unwrapped(private_bytes: bytes, stanza: Stanza) -> bytes | None:
    """Return the file key in a stanza that is sealed to this key, or None."""
    if stanza.words[0] != "X25519" or len(stanza.words) != 2 or len(stanza.body) != 32:
        return None
    private = X25519PrivateKey.from_private_bytes(private_bytes)
    try:
        share = _base64(stanza.words[1].encode("ascii"))
        shared = private.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError:  # no Base64, not 32 bytes, or a point of low order
        return None
    salt = share + public_key_of(private_bytes)
    return _decrypted(_hkdf(shared, salt, b"age-encryption.org/v1/X25519"), b"\x00" * 12, stanza.body)


def _decrypted(secret: bytes, nonce: bytes, ciphertext: bytes) -> bytes | None:
    try:
        return ChaCha20Poly1305(secret).decrypt(nonce, ciphertext, None)
    except InvalidTag:
        return None


def _hkdf(material: bytes, salt: bytes, info: bytes) -> bytes:
    derived: bytes = HKDF(hashes.SHA256(), 32, salt, info).derive(material)
    return derived


def _expanded(name: str) -> list[int]:
    return [ord(letter) >> 5 for letter in name] + [0] + [ord(letter) & 31 for letter in name]


def _polymod(values: t.Iterable[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for place, step in enumerate(_BECH32_STEPS):
            check ^= step if top >> place & 1 else 0
    return check


__all__ = ("CHUNK_BYTES", "Stanza", "is_native", "open_age", "recipient_of", "same_recipient", "stanzas_of", "why_no_recipient")
