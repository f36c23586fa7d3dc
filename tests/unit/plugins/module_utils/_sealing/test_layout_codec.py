# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Codecs as data, against values sealed by other libraries in the layouts of real applications."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ProfileError
from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import Cipher
from ansible_collections.servos.ops.plugins.module_utils._sealing.codecs import codec_name, codec_named

AES = pytest.importorskip("Cryptodome.Cipher.AES")
ChaCha20_Poly1305 = pytest.importorskip("Cryptodome.Cipher.ChaCha20_Poly1305")
KDF = pytest.importorskip("Cryptodome.Protocol.KDF")
Hash = pytest.importorskip("Cryptodome.Hash.SHA256")
padding = pytest.importorskip("Cryptodome.Util.Padding")
secret = pytest.importorskip("nacl.secret")

KEY, OTHER, NEW = bytes(range(32)), bytes(32), bytes(range(100, 132))
TEXT = "pässword {1}".encode()


def b64(raw):
    return base64.b64encode(raw).decode()


def gcm(key, plaintext, nonce, aad=b""):
    cipher = AES.new(key, AES.MODE_GCM, nonce=nonce)
    cipher.update(aad)
    return cipher.encrypt_and_digest(plaintext)


def cbc(key, iv, plaintext):
    return AES.new(key, AES.MODE_CBC, iv=iv).encrypt(padding.pad(plaintext, 16))


def hkdf(key, salt, info, size):
    return KDF.HKDF(key, size, salt, Hash, context=info)


def plain_gcm(key, plaintext):
    nonce = os.urandom(12)
    sealed, tag = gcm(key, plaintext, nonce)
    return b64(nonce + sealed + tag)


def tag_first_with_version(key, plaintext):
    nonce = os.urandom(12)
    sealed, tag = gcm(key, plaintext, nonce)
    return "enc:" + (b"\x01" + nonce + tag + sealed).hex()


def text_of_parts(key, plaintext):
    nonce = os.urandom(16)
    sealed, tag = gcm(key, plaintext, nonce, b"vault")
    return f"v1:{nonce.hex()}:{tag.hex()}:{sealed.hex()}"


def in_columns(key, plaintext):
    nonce = os.urandom(12)
    sealed, tag = gcm(key, plaintext, nonce)
    return sealed + tag, nonce


def hkdf_gcm(key, plaintext):
    return plain_gcm(hkdf(key, b"install-salt", b"secrets", 32), plaintext)


def pbkdf2_salt_a_value(key, plaintext):
    salt, nonce = os.urandom(16), os.urandom(12)
    derived = hashlib.pbkdf2_hmac("sha512", key, salt, 1000, 32)
    sealed, tag = gcm(derived, plaintext, nonce)
    return b64(salt + nonce + tag + sealed)


def chacha(key, plaintext):
    cipher = ChaCha20_Poly1305.new(key=key, nonce=os.urandom(12))
    sealed, tag = cipher.encrypt_and_digest(plaintext)
    return cipher.nonce + sealed + tag


def xchacha(key, plaintext):
    cipher = ChaCha20_Poly1305.new(key=key, nonce=os.urandom(24))
    sealed, tag = cipher.encrypt_and_digest(plaintext)
    return b"\x01" + cipher.nonce + sealed + tag


def secretbox(key, plaintext):
    return base64.urlsafe_b64encode(bytes(secret.SecretBox(key).encrypt(plaintext))).decode().rstrip("=")


def fernet(key, plaintext):
    iv = os.urandom(16)
    message = b"\x80" + struct.pack(">Q", 1_700_000_000) + iv + cbc(key[16:], iv, plaintext)
    return base64.urlsafe_b64encode(message + hmac.new(key[:16], message, "sha256").digest()).decode()


def laravel(key, plaintext):
    iv = os.urandom(16)
    value = b64(cbc(key, iv, plaintext))
    mac = hmac.new(key, (b64(iv) + value).encode(), "sha256").hexdigest()
    return b64(json.dumps({"iv": b64(iv), "value": value, "mac": mac, "tag": ""}).encode())


def jwe_like(key, plaintext):
    made, iv = hashlib.sha512(key).digest(), os.urandom(16)
    sealed = cbc(made[32:], iv, plaintext)
    return (iv + sealed + hmac.new(made[:32], iv + sealed, "sha512").digest()[:32]).hex()


def crypto_js(key, plaintext):
    salt, made, block = os.urandom(8), b"", b""
    while len(made) < 48:
        block = hashlib.md5(block + key + salt).digest()
        made += block
    return b64(b"Salted__" + salt + cbc(made[:32], made[32:48], plaintext))


def node_tutorial(key, plaintext):
    iv = os.urandom(16)
    return f"{iv.hex()}:{cbc(key, iv, plaintext).hex()}"


def counter_mode(key, plaintext):
    iv = os.urandom(16)
    return iv.hex() + b64(AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=iv).encrypt(plaintext))


def active_record(key, plaintext):
    nonce = os.urandom(12)
    sealed, tag = gcm(key, plaintext, nonce)
    return json.dumps({"p": b64(sealed), "h": {"iv": b64(nonce), "at": b64(tag), "c": True}})


LAYOUTS = {
    "AES-GCM, packed": (plain_gcm, {"cipher": "aes-256-gcm", "layout": ["nonce", "ciphertext", "tag"]}),
    "AES-GCM, JSON in JSON, as Rails writes it": (
        active_record, {"cipher": "aes-256-gcm", "json": {"ciphertext": "p", "nonce": "h.iv", "tag": "h.at"}}
    ),
    "AES-GCM, version byte, prefix, tag first": (
        tag_first_with_version,
        {"cipher": "aes-256-gcm", "layout": ["0x01", "nonce", "tag", "ciphertext"], "encoding": "hex", "prefix": "enc:"},
    ),
    "AES-GCM, text of parts, AAD": (
        text_of_parts,
        {"cipher": "aes-256-gcm", "text": "v1:{nonce}:{tag}:{ciphertext}", "encoding": "hex", "nonce_bytes": 16, "aad": "vault"},
    ),
    "AES-GCM, blobs in two columns": (in_columns, {"cipher": "aes-256-gcm", "columns": ["ciphertext", "nonce"], "encoding": "raw"}),
    "AES-GCM under HKDF": (
        hkdf_gcm,
        {"cipher": "aes-256-gcm", "layout": ["nonce", "ciphertext"], "key": {"kdf": "hkdf", "salt": "install-salt", "info": "secrets"}},
    ),
    "AES-GCM, PBKDF2 with a salt a value": (
        pbkdf2_salt_a_value,
        {
            "cipher": "aes-256-gcm", "layout": ["salt", "nonce", "tag", "ciphertext"],
            "key": {"kdf": "pbkdf2", "hash": "sha512", "iterations": 1000, "salt": "value"},
        },
    ),
    "ChaCha20-Poly1305, raw": (chacha, {"cipher": "chacha20-poly1305", "layout": ["nonce", "ciphertext", "tag"], "encoding": "raw"}),
    "XChaCha20-Poly1305, raw": (xchacha, {"cipher": "xchacha20-poly1305", "layout": ["0x01", "nonce", "ciphertext"], "encoding": "raw"}),
    "secretbox": (secretbox, {"cipher": "secretbox", "layout": ["nonce", "tag", "ciphertext"], "encoding": "base64url_unpadded"}),
    "Fernet": (fernet, {"cipher": "fernet"}),
    "AES-CBC and HMAC over texts, in JSON in Base64": (
        laravel,
        {
            "cipher": "aes-256-cbc", "json": {"nonce": "iv", "ciphertext": "value", "mac": "mac:hex"}, "wrapped": "base64",
            "mac": {"over": ["nonce:text", "ciphertext:text"]},
        },
    ),
    "AES-CBC and HMAC, halves of one key": (
        jwe_like,
        {
            "cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext", "mac"], "encoding": "hex",
            "key": {"kdf": "sha256", "hash": "sha512", "slice": [32, 64]},
            "mac": {
                "hash": "sha512", "bytes": 32, "over": ["nonce", "ciphertext"],
                "key": {"kdf": "sha256", "hash": "sha512", "slice": [0, 32]},
            },
        },
    ),
    "AES-CBC, key and IV by OpenSSL's way": (
        crypto_js,
        {
            "cipher": "aes-256-cbc", "nonce": "derived", "layout": ["0x53616c7465645f5f", "salt", "ciphertext"], "salt_bytes": 8,
            "key": {"kdf": "openssl", "hash": "md5", "salt": "value"}, "oracle": "utf8",
        },
    ),
    "AES-CBC without authentication": (
        node_tutorial, {"cipher": "aes-256-cbc", "text": "{nonce}:{ciphertext}", "encoding": "hex", "oracle": "utf8"},
    ),
    "AES-CTR without authentication": (counter_mode, {"cipher": "aes-256-ctr", "text": "{nonce:hex}{ciphertext:base64}", "oracle": "utf8"}),
}
each_layout = pytest.mark.parametrize(("make", "spec"), LAYOUTS.values(), ids=LAYOUTS)


def codec_of(spec):
    return codec_named(codec_name(spec))


@each_layout
def test_opens_what_another_library_sealed(make, spec):
    codec, stored = codec_of(spec), make(KEY, TEXT)
    assert codec.looks_sealed(stored)
    assert codec.open(Cipher(KEY), stored) == TEXT
    assert codec.open(Cipher(OTHER), stored) is None


@each_layout
def test_seals_anew_under_another_key_in_the_same_form(make, spec):
    codec, stored = codec_of(spec), make(KEY, TEXT)
    new = codec.renewer(Cipher(KEY), Cipher(NEW), os.urandom)(stored)
    assert type(new) is type(stored)
    assert len(new) == len(stored) or spec.get("json")
    assert new != stored
    assert codec.open(Cipher(NEW), new) == TEXT
    assert codec.open(Cipher(KEY), new) is None


@each_layout
def test_a_changed_value_does_not_open_where_the_layout_authenticates(make, spec):
    codec, stored = codec_of(spec), make(KEY, TEXT)
    last = stored[0] if isinstance(stored, tuple) else stored
    changed = last[:-8] + (bytes([last[-8] ^ 1]) if isinstance(last, bytes) else "0" if last[-8] != "0" else "1") + last[-7:]
    opened = codec.open(Cipher(KEY), (changed, *stored[1:]) if isinstance(stored, tuple) else changed)
    assert opened is None or not codec.is_authenticated
    assert opened != TEXT or spec.get("json")  # in Base64 of JSON, the end is not the value's


@each_layout
@pytest.mark.parametrize("cell", ["", "short", "prose that is no secret, and long enough to be one: 0123456789" * 2, "{}", "[1]", "=" * 60])
def test_other_texts_are_not_sealed(make, spec, cell):
    codec = codec_of(spec)
    stored = (cell,) * len(codec.parts) if len(codec.parts) > 1 else cell
    assert codec.open(Cipher(KEY), stored) is None
    assert codec.open(Cipher(KEY), (b"\xff\x00",) * len(codec.parts) if len(codec.parts) > 1 else b"\xff\x00") is None


def test_other_members_of_a_json_object_stay():
    make, spec = LAYOUTS["AES-CBC and HMAC over texts, in JSON in Base64"]
    document = dict(json.loads(base64.b64decode(make(KEY, TEXT))), keep={"me": 1})
    new = codec_of(spec).renewer(Cipher(KEY), Cipher(NEW), os.urandom)(b64(json.dumps(document).encode()))
    assert json.loads(base64.b64decode(new))["keep"] == {"me": 1}


def test_a_fernet_token_keeps_its_time():
    new = codec_of({"cipher": "fernet"}).renewer(Cipher(KEY), Cipher(NEW), os.urandom)(fernet(KEY, TEXT))
    assert struct.unpack(">Q", base64.urlsafe_b64decode(new)[1:9]) == (1_700_000_000,)


def test_text_in_a_blob_stays_a_blob():
    spec = LAYOUTS["AES-GCM, packed"][1]
    new = codec_of(spec).renewer(Cipher(KEY), Cipher(NEW), os.urandom)(plain_gcm(KEY, TEXT).encode())
    assert isinstance(new, bytes)
    assert codec_of(spec).open(Cipher(NEW), new) == TEXT


def test_two_ways_to_say_the_same_are_one_codec():
    assert codec_of({"cipher": "aes-256-gcm", "layout": ["nonce", "ciphertext"]}) is codec_of(
        {"layout": ["nonce", "ciphertext"], "cipher": "aes-256-gcm"}
    )


GCM = {"cipher": "aes-256-gcm", "layout": ["nonce", "ciphertext"]}
WRONG = {
    "unknown cipher": ({"cipher": "rot13", "layout": ["ciphertext"]}, "no cipher 'rot13'"),
    "unknown option": (dict(GCM, nonce_size=12), "no option nonce_size"),
    "no layout": ({"cipher": "aes-256-gcm"}, "exactly one way"),
    "two layouts": (dict(GCM, text="{nonce}{ciphertext}"), "exactly one way"),
    "no ciphertext": (dict(GCM, layout=["nonce", "tag"]), "ciphertext among them"),
    "part twice": (dict(GCM, layout=["nonce", "nonce", "ciphertext"]), "each of its parts once"),
    "unknown part": (dict(GCM, layout=["iv", "ciphertext"]), "out of nonce, ciphertext"),
    "no nonce": (dict(GCM, layout=["ciphertext"]), "lacks nonce"),
    "idle salt": (dict(GCM, layout=["salt", "nonce", "ciphertext"]), "names salt, which nothing uses"),
    "salt not there": (dict(GCM, key={"kdf": "hkdf", "salt": "value"}), "lacks salt"),
    "unknown encoding": (dict(GCM, encoding="base32"), "no encoding 'base32'"),
    "prefix of bytes": (dict(GCM, encoding="raw", prefix="v1"), "prefix goes with a text"),
    "nonce of another size": ({"cipher": "chacha20-poly1305", "layout": ["nonce", "ciphertext"], "nonce_bytes": 16}, "nonce_bytes of"),
    "no authentication": ({"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext"]}, "does not authenticate"),
    "unknown oracle": ({"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext"], "oracle": "magic"}, "oracle of a codec"),
    "bad pattern": ({"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext"], "oracle": {"pattern": "("}}, "regular expression"),
    "mac without over": ({"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext", "mac"], "mac": {}}, "lacks|names mac|does not|over"),
    "mac over what is not there": (
        {"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext", "mac"], "mac": {"over": ["salt", "ciphertext"]}}, "names salt"
    ),
    "mac over a text that is none": (
        {"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext", "mac"], "mac": {"over": ["nonce:text", "ciphertext"]}},
        "names nonce:text",
    ),
    "aad where there is none": ({"cipher": "secretbox", "layout": ["nonce", "ciphertext"], "aad": "x"}, "takes no aad"),
    "unknown derivation": (dict(GCM, key={"kdf": "argon2"}), "kdf, one of"),
    "iterations missing": (dict(GCM, key={"kdf": "pbkdf2"}), "needs iterations"),
    "slice reversed": (dict(GCM, key={"slice": [32, 0]}), "slice of a codec's key"),
    "fernet with a layout": ({"cipher": "fernet", "layout": ["nonce"]}, "fernet has no option layout"),
}


@pytest.mark.parametrize(("spec", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_description_is_refused_by_name(spec, text):
    with pytest.raises(ProfileError, match=text):
        codec_of(spec)


def test_members_that_are_no_part_stay_in_inner_objects_too():
    codec = codec_named(codec_name(LAYOUTS["AES-GCM, JSON in JSON, as Rails writes it"][1]))
    stored = active_record(KEY, TEXT)
    sealed = json.loads(codec.seal(Cipher(NEW), TEXT, os.urandom, stored))
    assert (sorted(sealed), sorted(sealed["h"]), sealed["h"]["c"]) == (["h", "p"], ["at", "c", "iv"], True)
    assert sealed["h"]["iv"] != json.loads(stored)["h"]["iv"]


@pytest.mark.parametrize("stored", ['{"p": "QUJD", "h": "x"}', '{"p": "QUJD", "h": {"iv": 5}}', '{"p": "QUJD"}', "[]"])
def test_an_inner_object_of_another_form_is_not_sealed(stored):
    codec = codec_named(codec_name(LAYOUTS["AES-GCM, JSON in JSON, as Rails writes it"][1]))
    assert not codec.looks_sealed(stored)
