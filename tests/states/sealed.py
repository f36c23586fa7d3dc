# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sealed values as another library makes and opens them (pycryptodomex), and key texts as another reader takes them.

Nothing here asks the collection.
"""

from __future__ import annotations

import base64
import binascii
import os
import re

from Cryptodome.Cipher import AES

Parts = tuple[str, str, str]


def raw(key_bytes: bytes, plaintext: bytes, nonce_bytes: int = 12) -> bytes:
    """Seal: nonce, ciphertext, tag."""
    nonce = os.urandom(nonce_bytes)
    ciphertext, tag = AES.new(key_bytes, AES.MODE_GCM, nonce=nonce, mac_len=16).encrypt_and_digest(plaintext)
    return nonce + ciphertext + tag


def text(key_bytes: bytes, plaintext: bytes) -> str:
    """The same in Base64."""
    return base64.b64encode(raw(key_bytes, plaintext)).decode("ascii")


def columns(key_bytes: bytes, plaintext: bytes) -> Parts:
    """The same as three columns of hex, with a nonce of 16 bytes."""
    sealed = raw(key_bytes, plaintext, 16)
    return sealed[16:-16].hex(), sealed[:16].hex(), sealed[-16:].hex()


def _split(stored: str | bytes | Parts) -> tuple[bytes, bytes, bytes] | None:
    """Return nonce, ciphertext and tag, or None where the layout does not fit."""
    try:
        if isinstance(stored, tuple):
            ciphertext, nonce, tag = (bytes.fromhex(part) for part in stored)
            return (nonce, ciphertext, tag) if len(tag) == 16 else None
        whole = base64.b64decode(stored, validate=True) if isinstance(stored, str) else stored
    except (ValueError, TypeError, binascii.Error):
        return None
    return (whole[:12], whole[12:-16], whole[-16:]) if len(whole) >= 28 else None


class Opener:
    """Opens values under every key that was ever seen; what was opened once is not opened again."""

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self._opened: dict[str | bytes | Parts, tuple[bytes, bytes]] = {}
        self._in_vain: dict[str | bytes | Parts, int] = {}

    def learn(self, key_bytes: bytes) -> None:
        """Add a key."""
        if key_bytes not in self.keys:
            self.keys.append(key_bytes)

    def open(self, stored: str | bytes | Parts) -> tuple[bytes, bytes] | None:
        """Return key and plaintext, or None where no key opens it."""
        found = self._opened.get(stored)
        if found is None and self._in_vain.get(stored) != len(self.keys):
            parts = _split(stored)
            for key_bytes in reversed(self.keys) if parts else ():
                nonce, ciphertext, tag = parts
                try:
                    plaintext = AES.new(key_bytes, AES.MODE_GCM, nonce=nonce, mac_len=16).decrypt_and_verify(ciphertext, tag)
                except ValueError:
                    continue
                found = self._opened[stored] = (key_bytes, plaintext)
                break
            else:
                self._in_vain[stored] = len(self.keys)
        return found


def key_of(key_text: str) -> bytes | None:
    """Return the 32 bytes that a text spells."""
    if re.fullmatch("[0-9a-f]{64}", key_text):
        return bytes.fromhex(key_text)
    if re.fullmatch("[A-Za-z0-9+/]{43}=", key_text):
        return base64.b64decode(key_text)
    return None


def key_in_env(content: bytes | None, variable: str) -> bytes | None:
    """Return the key that an env file sets."""
    for line in (content or b"").decode("ascii").splitlines():
        name, unused, value = line.partition("=")
        if name == variable:
            return key_of(value)
    return None


def key_in_file(content: bytes | None) -> bytes | None:
    """Return the key in a key file; one that is missing, empty or overwritten with zeros holds none."""
    return key_of(content.decode("ascii").strip()) if content else None


def spellings(key_bytes: bytes) -> list[bytes]:
    """Return a key in every form that it could leak in."""
    b64 = base64.b64encode(key_bytes)
    url = base64.urlsafe_b64encode(key_bytes)
    return [key_bytes, key_bytes.hex().encode(), key_bytes.hex().upper().encode(), b64.rstrip(b"="), url.rstrip(b"=")]
