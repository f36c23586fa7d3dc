# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Applications that nobody has seen: each seals and opens in a layout of its own, with other libraries than the collection's."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from Cryptodome.Cipher import AES, ChaCha20_Poly1305
from Cryptodome.Hash import MD5, SHA256
from Cryptodome.Protocol.KDF import HKDF, PBKDF2
from Cryptodome.Util.Padding import pad, unpad
from nacl.secret import SecretBox


class Invented(NamedTuple):
    """C(columns) hold one sealed value; C(seal) and C(unseal) take the key's text; C(new_key) makes such a text."""

    columns: tuple[str, ...]
    new_key: Callable[[], str]
    seal: Callable[[str, bytes], tuple[Any, ...]]
    unseal: Callable[[str, tuple[Any, ...]], bytes]
    is_proven: bool = True


def hex_key() -> str:
    return os.urandom(32).hex()


def base64_key() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def passphrase() -> str:
    return "a-phrase-of-words-" + os.urandom(6).hex()


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def b64decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def gcm(key: bytes, plaintext: bytes, nonce: bytes) -> tuple[bytes, bytes]:
    return AES.new(key, AES.MODE_GCM, nonce=nonce).encrypt_and_digest(plaintext)


def ungcm(key: bytes, nonce: bytes, sealed: bytes, tag: bytes) -> bytes:
    return AES.new(key, AES.MODE_GCM, nonce=nonce).decrypt_and_verify(sealed, tag)


def seal_fernet(text: str, plaintext: bytes) -> tuple[str]:
    key = base64.urlsafe_b64decode(text)
    iv = os.urandom(16)
    signed = b"\x80" + (1_700_000_000).to_bytes(8, "big") + iv + AES.new(key[16:], AES.MODE_CBC, iv).encrypt(pad(plaintext, 16))
    return (base64.urlsafe_b64encode(signed + hmac.digest(key[:16], signed, "sha256")).decode(),)


def unseal_fernet(text: str, cells: tuple[Any, ...]) -> bytes:
    key, raw = base64.urlsafe_b64decode(text), base64.urlsafe_b64decode(cells[0])
    if not hmac.compare_digest(hmac.digest(key[:16], raw[:-32], "sha256"), raw[-32:]):
        raise ValueError("signature")
    return unpad(AES.new(key[16:], AES.MODE_CBC, raw[9:25]).decrypt(raw[25:-32]), 16)


def seal_columns(text: str, plaintext: bytes) -> tuple[str, str, str]:
    nonce = os.urandom(12)
    sealed, tag = gcm(bytes.fromhex(text), plaintext, nonce)
    return sealed.hex(), nonce.hex(), tag.hex()


def unseal_columns(text: str, cells: tuple[Any, ...]) -> bytes:
    sealed, nonce, tag = map(bytes.fromhex, cells)
    return ungcm(bytes.fromhex(text), nonce, sealed, tag)


def seal_laravel(text: str, plaintext: bytes) -> tuple[str]:
    key, iv = b64decode(text.removeprefix("base64:")), os.urandom(16)
    value = b64(AES.new(key, AES.MODE_CBC, iv).encrypt(pad(plaintext, 16)))
    mac = hmac.digest(key, (b64(iv) + value).encode(), "sha256").hex()
    return (b64(json.dumps({"iv": b64(iv), "value": value, "mac": mac, "tag": ""}).encode()),)


def unseal_laravel(text: str, cells: tuple[Any, ...]) -> bytes:
    key, document = b64decode(text.removeprefix("base64:")), json.loads(b64decode(cells[0]))
    mac = hmac.digest(key, (document["iv"] + document["value"]).encode(), "sha256").hex()
    if mac != document["mac"] or document["tag"] != "":
        raise ValueError("mac")
    return unpad(AES.new(key, AES.MODE_CBC, b64decode(document["iv"])).decrypt(b64decode(document["value"])), 16)


def seal_box(text: str, plaintext: bytes) -> tuple[bytes]:
    return (bytes(SecretBox(hashlib.sha256(text.encode()).digest()).encrypt(plaintext)),)


def unseal_box(text: str, cells: tuple[Any, ...]) -> bytes:
    return SecretBox(hashlib.sha256(text.encode()).digest()).decrypt(cells[0])


def bytes_to_key(text: str, salt: bytes) -> bytes:
    made = block = b""
    while len(made) < 48:
        block = MD5.new(block + text.encode() + salt).digest()
        made += block
    return made


def seal_cryptojs(text: str, plaintext: bytes) -> tuple[str]:
    salt = os.urandom(8)
    made = bytes_to_key(text, salt)
    return (b64(b"Salted__" + salt + AES.new(made[:32], AES.MODE_CBC, made[32:]).encrypt(pad(plaintext, 16))),)


def unseal_cryptojs(text: str, cells: tuple[Any, ...]) -> bytes:
    raw = b64decode(cells[0])
    made = bytes_to_key(text, raw[8:16])
    opened = unpad(AES.new(made[:32], AES.MODE_CBC, made[32:]).decrypt(raw[16:]), 16)
    json.loads(opened)
    return opened


def seal_stretched(text: str, plaintext: bytes) -> tuple[str]:
    salt, nonce = os.urandom(16), os.urandom(12)
    key = PBKDF2(text, salt, 32, count=10000, hmac_hash_module=SHA256)
    sealed, tag = gcm(key, plaintext, nonce)
    return (b64(salt + nonce + tag + sealed),)


def unseal_stretched(text: str, cells: tuple[Any, ...]) -> bytes:
    raw = b64decode(cells[0])
    return ungcm(PBKDF2(text, raw[:16], 32, count=10000, hmac_hash_module=SHA256), raw[16:28], raw[44:], raw[28:44])


def derived(text: str) -> bytes:
    made = HKDF(text.encode(), 32, b"", SHA256, context=b"")
    return made if isinstance(made, bytes) else made[0]


def seal_hkdf(text: str, plaintext: bytes) -> tuple[str]:
    cipher = ChaCha20_Poly1305.new(key=derived(text), nonce=os.urandom(12))
    sealed, tag = cipher.encrypt_and_digest(plaintext)
    return (f"v1:{b64(cipher.nonce)}:{b64(tag)}:{b64(sealed)}",)


def unseal_hkdf(text: str, cells: tuple[Any, ...]) -> bytes:
    unused_version, nonce, tag, sealed = cells[0].split(":")
    return ChaCha20_Poly1305.new(key=derived(text), nonce=b64decode(nonce)).decrypt_and_verify(b64decode(sealed), b64decode(tag))


def seal_record(text: str, plaintext: bytes) -> tuple[str]:
    nonce = os.urandom(12)
    sealed, tag = gcm(hashlib.sha256(text.encode()).digest(), plaintext, nonce)
    return (json.dumps({"p": b64(sealed), "h": {"iv": b64(nonce), "at": b64(tag), "e": "VVRGLTg="}}),)


def unseal_record(text: str, cells: tuple[Any, ...]) -> bytes:
    document = json.loads(cells[0])
    head = document["h"]
    if head["e"] != "VVRGLTg=":
        raise ValueError("the other members are gone")
    key = hashlib.sha256(text.encode()).digest()
    return ungcm(key, b64decode(head["iv"]), b64decode(document["p"]), b64decode(head["at"]))


APPLICATIONS = {
    "Fernet": Invented(("token",), lambda: base64.urlsafe_b64encode(os.urandom(32)).decode(), seal_fernet, unseal_fernet),
    "AES-GCM in three columns of hex": Invented(("content", "iv", "auth_tag"), hex_key, seal_columns, unseal_columns),
    "AES-CBC and HMAC in JSON, as Laravel": Invented(("settings",), lambda: "base64:" + base64_key(), seal_laravel, unseal_laravel),
    "secretbox in a blob, SHA-256": Invented(("sealed",), passphrase, seal_box, unseal_box),
    "CryptoJS, salted": Invented(("data",), passphrase, seal_cryptojs, unseal_cryptojs, is_proven=False),
    "PBKDF2 with a salt a value": Invented(("secret",), passphrase, seal_stretched, unseal_stretched),
    "HKDF and ChaCha20 in pieces": Invented(("secret",), passphrase, seal_hkdf, unseal_hkdf),
    "AES-GCM in nested JSON, as ActiveRecord": Invented(("secret",), passphrase, seal_record, unseal_record),
}
