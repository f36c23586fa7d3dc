# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The edges of codecs as data: alphabets, sizes, associated data, slices, oracles, and what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os

import pytest
import test_layout_codec as layouts
from ansible_collections.servos.ops.plugins.module_utils._errors import ProfileError
from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import Cipher
from ansible_collections.servos.ops.plugins.module_utils._sealing.codecs import codec_name, codec_named
from ansible_collections.servos.ops.plugins.module_utils._sealing.key_schedule import KeySchedule
from ansible_collections.servos.ops.plugins.module_utils._sealing.layouts import ENCODINGS
from ansible_collections.servos.ops.plugins.module_utils._sealing.oracles import oracle_of

AES = pytest.importorskip("Cryptodome.Cipher.AES")
ChaCha20_Poly1305 = pytest.importorskip("Cryptodome.Cipher.ChaCha20_Poly1305")

KEY, NEW = layouts.KEY, layouts.NEW


def codec_of(**spec):
    return codec_named(codec_name(spec))


def gcm_of(key, plaintext=b"v"):
    nonce = os.urandom(12)
    sealed, tag = AES.new(key, AES.MODE_GCM, nonce=nonce).encrypt_and_digest(plaintext)
    return (nonce + sealed + tag).hex()


RAW = bytes([0xFB, 0xEF, 0xFF, 0xFE])
WRITTEN = {
    "hex": "fbefFFfe", "base64": "++///g==", "base64url": "--___g==", "base64_unpadded": "++///g", "base64url_unpadded": "--___g",
}


@pytest.mark.parametrize("name", WRITTEN)
def test_each_encoding_reads_its_own_form(name):
    encoding = ENCODINGS[name]
    assert encoding.decode(WRITTEN[name]) == RAW
    assert encoding.encode(RAW) == (WRITTEN[name].lower() if name == "hex" else WRITTEN[name])
    assert encoding.length_of(4) == len(WRITTEN[name])


OTHERS = [(reader, other) for reader in WRITTEN for other in WRITTEN if reader != other and "hex" not in (reader, other)]


@pytest.mark.parametrize(("reader", "other"), OTHERS, ids="-".join)
def test_no_encoding_reads_the_form_of_another(reader, other):
    with pytest.raises(ValueError):  # noqa: PT011
        ENCODINGS[reader].decode(WRITTEN[other])


@pytest.mark.parametrize("name", [name for name in WRITTEN if name.startswith("base64url")])
@pytest.mark.parametrize("text", ["+AAA", "/AAA"], ids=["plus", "slash"])
def test_the_url_alphabet_has_neither_plus_nor_slash(name, text):
    with pytest.raises(ValueError):  # noqa: PT011
        ENCODINGS[name].decode(text)


@pytest.mark.parametrize("size", [0, 11, 12, 27], ids=str)
def test_what_is_too_short_is_not_sealed(size):
    codec = codec_of(cipher="aes-256-gcm", layout=["nonce", "tag", "ciphertext"], encoding="raw")
    assert not codec.looks_sealed(bytes(size))
    assert codec.open(Cipher(KEY), bytes(size)) is None


@pytest.mark.parametrize(
    "spec",
    [
        {"layout": ["nonce", "tag", "ciphertext"], "encoding": "raw"},
        {"layout": ["nonce", "tag", "ciphertext"], "prefix": "x:"},
        {"text": "v1:{nonce}:{tag}:{ciphertext}", "encoding": "hex"},
    ],
    ids=["raw", "prefix", "text"],
)
def test_the_shortest_value_is_the_empty_plaintext(spec):
    codec = codec_of(cipher="aes-256-gcm", **spec)
    assert codec.shortest == len(codec.seal(Cipher(KEY), b"", os.urandom))


@pytest.mark.parametrize("name", ["chacha20-poly1305", "xchacha20-poly1305"])
def test_associated_data_is_part_of_the_proof(name):
    cipher = ChaCha20_Poly1305.new(key=KEY, nonce=os.urandom(12 if name.startswith("cha") else 24))
    cipher.update(b"context")
    sealed, tag = cipher.encrypt_and_digest(b"v")
    stored = cipher.nonce + sealed + tag
    told = codec_of(cipher=name, layout=["nonce", "ciphertext"], encoding="raw", aad="context")
    assert told.open(Cipher(KEY), stored) == b"v"
    assert codec_of(cipher=name, layout=["nonce", "ciphertext"], encoding="raw").open(Cipher(KEY), stored) is None
    new = told.renewer(Cipher(KEY), Cipher(NEW), os.urandom)(stored)
    opened = ChaCha20_Poly1305.new(key=NEW, nonce=new[: len(cipher.nonce)])
    opened.update(b"context")
    assert opened.decrypt_and_verify(new[len(cipher.nonce) : -16], new[-16:]) == b"v"


def test_a_slice_of_the_master_key():
    codec = codec_of(cipher="aes-128-gcm", layout=["nonce", "ciphertext"], encoding="hex", key={"slice": [16, 32]})
    assert codec.key_bytes_wanted() is None
    assert codec.open(Cipher(KEY), gcm_of(KEY[16:])) == b"v"
    assert codec.open(Cipher(KEY), gcm_of(KEY[:16])) is None


SPLIT = {
    "cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext", "mac"], "key": {"slice": [0, 32]},
    "mac": {"over": ["nonce", "ciphertext"], "key": {"slice": [32, 64]}},
}


def test_a_key_too_short_for_the_mac_makes_no_mac_under_an_empty_one():
    codec = codec_of(**SPLIT)
    iv, sealed = bytes(16), layouts.cbc(KEY, bytes(16), b"forged")
    forged = base64.b64encode(iv + sealed + hmac.new(b"", iv + sealed, "sha256").digest()).decode()
    assert codec.key_bytes_needed() == 64
    assert codec.open(Cipher(KEY), forged) is None
    with pytest.raises(ProfileError, match="too short for the mac"):
        codec.seal(Cipher(KEY), b"v", os.urandom)
    assert codec.open(Cipher(KEY + NEW), codec.seal(Cipher(KEY + NEW), b"v", os.urandom)) == b"v"


def test_an_empty_ciphertext_without_authentication_is_not_sealed():
    codec = codec_of(cipher="aes-256-ctr", layout=["nonce", "ciphertext"], oracle="utf8")
    stored = codec.seal(Cipher(KEY), b"", os.urandom)
    assert not codec.looks_sealed(stored)
    assert codec.open(Cipher(KEY), stored) is None


def test_a_derived_key_has_the_size_that_the_cipher_takes():
    codec = codec_of(cipher="aes-128-gcm", layout=["nonce", "ciphertext"], encoding="hex", key={"kdf": "sha256"})
    assert codec.open(Cipher(KEY), gcm_of(hashlib.sha256(KEY).digest()[:16])) == b"v"


@pytest.mark.parametrize("size", [16, 31, 33], ids=str)
def test_a_master_key_of_another_size_opens_nothing_and_seals_nothing(size):
    codec = codec_of(cipher="aes-256-gcm", layout=["nonce", "ciphertext"], encoding="hex")
    assert codec.open(Cipher(bytes(size)), gcm_of(KEY)) is None
    with pytest.raises(ProfileError, match="does not have the size"):
        codec.seal(Cipher(bytes(size)), b"v", os.urandom)


def test_keys_of_many_salts_are_not_all_remembered():
    schedule, cipher = KeySchedule({"kdf": "pbkdf2", "iterations": 1, "salt": "value"}, 32, 0), Cipher(KEY)
    found = [schedule.of(cipher, bytes([number])) for number in range(100)]
    assert len({key for key, unused_more in found}) == 100
    assert max(len(known) for known in cipher.made.values()) <= 8


PLAINTEXTS = [
    b'{"a": 1}', b"[1]", b'"text"', b"1", b"{", b"two\nlines\tand a tab\r\n", "ümlaut".encode(), b"\x00", b"\x07bell", b"\xff", b"",
]
ACCEPTED = {
    "json_object": {0},
    "json": {0, 1, 2},
    "utf8": {0, 1, 2, 3, 4, 5, 6, 10},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_an_oracle_takes_for_a_plaintext(name):
    oracle = oracle_of(name)
    assert {place for place, plaintext in enumerate(PLAINTEXTS) if oracle(plaintext)} == ACCEPTED[name]


def test_a_pattern_must_fit_as_a_whole():
    oracle = oracle_of({"pattern": r"sk-[a-z]{3}"})
    assert [oracle(text) for text in (b"sk-abc", b"sk-abcd", b"xsk-abc", b"\xff")] == [True, False, False, False]


CBC = {"cipher": "aes-256-cbc", "layout": ["nonce", "ciphertext", "mac"]}
WRONG = {
    "mac not over the ciphertext": (dict(CBC, mac={"over": ["nonce"]}), "names the ciphertext"),
    "mac over nothing": (dict(CBC, mac={"over": []}), "names the ciphertext"),
    "slice beyond what is derived": (
        dict(CBC, mac={"over": ["ciphertext"]}, key={"kdf": "sha256", "bytes": 32, "slice": [32, 64]}), "goes to byte 64"
    ),
    "mac no dictionary": (dict(CBC, mac="hmac"), "mac of a codec is a dictionary"),
    "over no list": (dict(CBC, mac={"over": "nonce"}), "mac of a codec is a dictionary"),
    "mac option unknown": (dict(CBC, mac={"over": ["nonce"], "size": 3}), "mac of a codec is a dictionary"),
    "mac hash unknown": (dict(CBC, mac={"over": ["ciphertext"], "hash": "md5"}), "hash of a mac"),
    "mac too long": (dict(CBC, mac={"over": ["ciphertext"], "bytes": 33}), "at most 32"),
    "no nonce": (dict(CBC, mac={"over": ["ciphertext"]}, nonce_bytes=0), "nonce_bytes of a codec"),
    "huge nonce": (dict(CBC, mac={"over": ["ciphertext"]}, nonce_bytes=1025), "nonce_bytes of a codec"),
    "a truth for a number": (dict(CBC, mac={"over": ["ciphertext"]}, nonce_bytes=True), "nonce_bytes of a codec"),
    "slice of one": (dict(CBC, mac={"over": ["ciphertext"]}, key={"slice": [1]}), "slice of a codec's key"),
    "empty slice": (dict(CBC, mac={"over": ["ciphertext"]}, key={"slice": [8, 8]}), "slice of a codec's key"),
    "key no dictionary": (dict(CBC, mac={"over": ["ciphertext"]}, key="hkdf"), "key of a codec"),
    "oracle with more": (dict(CBC, mac={"over": ["ciphertext"]}, oracle={"pattern": "x", "flags": "i"}), "oracle of a codec"),
    "json no dictionary": ({"cipher": "aes-256-gcm", "json": ["nonce"]}, "json of a codec is a dictionary"),
    "layout no list": ({"cipher": "aes-256-gcm", "layout": "nonce"}, "layout of a codec is a list"),
    "columns no list": ({"cipher": "aes-256-gcm", "columns": {"nonce": "iv"}}, "columns of a codec is the list"),
    "salt a value in a fernet token": ({"cipher": "fernet", "key": {"kdf": "hkdf", "salt": "value"}}, "no salt of its own"),
}


@pytest.mark.parametrize(("spec", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_description_is_refused_by_name(spec, text):
    with pytest.raises(ProfileError, match=text):
        codec_named(codec_name(spec))


def test_fernet_under_a_derived_key_and_behind_a_prefix():
    codec = codec_of(cipher="fernet", key={"kdf": "hkdf", "info": "django-fernet-fields"}, prefix="f:")
    token = layouts.fernet(layouts.hkdf(KEY, b"", b"django-fernet-fields", 32), b"v")
    assert codec.key_bytes_wanted() is None
    assert codec.open(Cipher(KEY), "f:" + token) == b"v"
    assert codec.open(Cipher(KEY), token) is None
    assert codec.shortest == 102
    assert codec.renewer(Cipher(KEY), Cipher(NEW), os.urandom)("f:" + token).startswith("f:gAAAA")


def test_a_fernet_token_that_is_cut_or_tampered_with_does_not_open():
    token = layouts.fernet(KEY, b"v")
    raw = bytearray(base64.urlsafe_b64decode(token))
    raw[12] ^= 1
    codec = codec_of(cipher="fernet")
    assert codec.open(Cipher(KEY), token) == b"v"
    assert codec.open(Cipher(KEY), token[:-4]) is None
    assert codec.open(Cipher(KEY), base64.urlsafe_b64encode(bytes(raw)).decode()) is None
    assert codec.open(Cipher(KEY), "gAAAA" + "A" * 95) is None


@pytest.mark.parametrize("encoding", ["raw", "hex"])
def test_columns_are_written_where_nothing_was(encoding):
    codec = codec_of(cipher="aes-256-gcm", columns=["ciphertext", "nonce"], encoding=encoding)
    sealed, nonce = codec.seal(Cipher(KEY), b"v", os.urandom)
    assert isinstance(sealed, bytes if encoding == "raw" else str)
    sealed, nonce = (cell if encoding == "raw" else bytes.fromhex(cell) for cell in (sealed, nonce))
    assert AES.new(KEY, AES.MODE_GCM, nonce=nonce).decrypt_and_verify(sealed[:-16], sealed[-16:]) == b"v"


def test_members_in_objects_are_written_where_nothing_was():
    codec = codec_of(cipher="aes-256-gcm", json={"nonce": "h.iv", "ciphertext": "data"}, encoding="hex", wrapped="base64")
    document = json.loads(base64.b64decode(codec.seal(Cipher(KEY), b"v", os.urandom)))
    sealed = bytes.fromhex(document.pop("data"))
    opened = AES.new(KEY, AES.MODE_GCM, nonce=bytes.fromhex(document["h"].pop("iv")))
    assert opened.decrypt_and_verify(sealed[:-16], sealed[-16:]) == b"v"
    assert document == {"h": {}}
