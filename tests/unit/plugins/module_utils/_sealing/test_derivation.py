# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Derivations as data, against published vectors and against what applications write."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyFormatError, ProfileError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import generate_key, parse_key
from ansible_collections.servos.ops.plugins.module_utils._sealing.derivation import derivation_of

RAW = bytes(range(32))

VECTORS = {
    "RFC 5869, A.1": (
        {"kdf": "hkdf", "text": "hex", "salt": {"hex": "000102030405060708090a0b0c"}, "info": {"hex": "f0f1f2f3f4f5f6f7f8f9"}, "bytes": 42},
        "0b" * 22,
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
    ),
    "RFC 5869, A.7": (
        {"kdf": "hkdf", "text": "hex", "hash": "sha1", "bytes": 42},
        "0c" * 22,
        "2c91117204d745f3500d636a62f64f0ab3bae548aa53d423b0d1f27ebba6f5e5673a081d70cce7acfc48",
    ),
    "RFC 7914, 11 (PBKDF2-HMAC-SHA-256)": (
        {"kdf": "pbkdf2", "salt": "salt", "iterations": 1, "bytes": 64},
        "passwd",
        "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
        "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783",
    ),
    "RFC 6070 (PBKDF2-HMAC-SHA-1, 4096)": (
        {"kdf": "pbkdf2", "hash": "sha1", "salt": "salt", "iterations": 4096, "bytes": 20},
        "password",
        "4b007901b765489abead49d926f721d065a429c1",
    ),
    "RFC 7914, 12 (scrypt)": (
        {"kdf": "scrypt", "salt": "NaCl", "n": 1024, "r": 8, "p": 16, "bytes": 64},
        "password",
        "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
        "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640",
    ),
    "SHA-256 of a text": ({"kdf": "sha256"}, "a secret ", hashlib.sha256(b"a secret ").hexdigest()),
    "SHA-512, its first half": ({"kdf": "sha256", "hash": "sha512", "bytes": 32}, "s", hashlib.sha512(b"s").hexdigest()[:64]),
    "raw, hex": ({"kdf": "raw", "text": "hex"}, RAW.hex(), RAW.hex()),
    "raw, Base64": ({"kdf": "raw"}, base64.b64encode(RAW).decode(), RAW.hex()),
    "raw, Base64 without padding, URL alphabet": ({"kdf": "raw"}, base64.urlsafe_b64encode(b"\xfb" * 32).decode().rstrip("="), "fb" * 32),
    "raw, the text's own bytes": ({"kdf": "raw", "text": "utf8", "bytes": 16}, "sixteen letters!", b"sixteen letters!".hex()),
}


@pytest.mark.parametrize(("spec", "text", "expected"), VECTORS.values(), ids=VECTORS)
def test_derives_as_published(spec, text, expected):
    rule = derivation_of(spec)
    assert parse_key(text, derivation=rule, where="here").reveal_bytes().hex() == expected


@pytest.mark.parametrize("spec", [spec for spec, unused_text, unused_made in VECTORS.values()], ids=VECTORS)
def test_a_new_key_is_written_as_the_application_reads_it(spec):
    rule = derivation_of(spec)
    made = generate_key(encoding="hex", entropy=lambda size: bytes(range(size)), derivation=rule)
    again = parse_key(made.reveal_text(), derivation=rule, where="here")
    assert again == made
    assert made.reveal_text().isascii()
    assert rule.size_bytes in (None, len(made.reveal_bytes()))


def test_the_new_key_of_fernet_is_in_the_url_alphabet():
    rule = derivation_of({"kdf": "raw", "text": "base64url"})
    made = generate_key(encoding="auto", entropy=lambda size: b"\xfb" * size, derivation=rule)
    assert "+" not in made.reveal_text()
    assert "/" not in made.reveal_text()
    assert made.reveal_text().endswith("=")


WRONG_TEXTS = {
    "too short": ({"kdf": "raw", "text": "hex"}, "00" * 31, "31 bytes and not of 32"),
    "not hex": ({"kdf": "raw", "text": "hex"}, "zz" * 32, "not a key in hex: 64 characters"),
    "white space around hex": ({"kdf": "raw", "text": "hex"}, " " + "00" * 32, "not a key in hex"),
    "not Base64": ({"kdf": "raw"}, "*" * 44, "not a key in base64"),
    "wrong padding": ({"kdf": "raw"}, "A" * 41, "not a key in base64"),
    "empty": ({"kdf": "sha256"}, "", "is empty"),
    "of another length": ({"kdf": "raw", "text": "utf8", "bytes": 32}, "short", "5 bytes and not of 32"),
}


@pytest.mark.parametrize(("spec", "text", "said"), WRONG_TEXTS.values(), ids=WRONG_TEXTS)
def test_a_wrong_key_is_refused_without_being_shown(spec, text, said):
    with pytest.raises(KeyFormatError, match=said) as caught:
        parse_key(text, derivation=derivation_of(spec), where="the env file")
    assert not text or text not in str(caught.value)


WRONG = {
    "not a dictionary": ("scrypt", "kdf, one of"),
    "unknown kdf": ({"kdf": "argon2id"}, "kdf, one of"),
    "unknown option": ({"kdf": "sha256", "salt": "x"}, "no option salt"),
    "unknown hash": ({"kdf": "hkdf", "hash": "blake3"}, "hash of derivation hkdf"),
    "unknown text": ({"kdf": "sha256", "text": "utf16"}, "text of derivation sha256"),
    "no iterations": ({"kdf": "pbkdf2", "salt": "s"}, "needs iterations"),
    "no number": ({"kdf": "pbkdf2", "iterations": "many"}, "iterations of a derivation"),
    "negative": ({"kdf": "pbkdf2", "iterations": -1}, "iterations of a derivation"),
    "bad salt": ({"kdf": "hkdf", "salt": {"hex": "zz"}}, "salt of derivation hkdf"),
    "too few bytes": ({"kdf": "raw", "bytes": 8}, "at least 16"),
    "too much of a hash": ({"kdf": "sha256", "bytes": 64}, "at most 32"),
    "cost no power of two": ({"kdf": "scrypt", "n": 1000}, "power of two"),
    "cost beyond the memory": ({"kdf": "scrypt", "n": 2**22, "r": 8}, "256 MiB"),
}


@pytest.mark.parametrize(("spec", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_derivation_is_refused_by_name(spec, said):
    with pytest.raises(ProfileError, match=said):
        derivation_of(spec)


def test_a_fixed_text_before_the_key_is_no_part_of_it():
    rule = derivation_of({"kdf": "raw", "text": "base64", "prefix": "base64:"})
    written = "base64:" + base64.b64encode(RAW).decode()
    assert parse_key(written, derivation=rule, where="x").reveal_bytes() == RAW
    assert generate_key(encoding="auto", entropy=lambda size: RAW[:size], derivation=rule).reveal_text() == written
    with pytest.raises(KeyFormatError, match="does not begin with 'base64:'"):
        parse_key(written[7:], derivation=rule, where="x")


@pytest.mark.parametrize("prefix", ["a b", 5, "x" * 33], ids=["blank", "number", "long"])
def test_a_prefix_is_a_short_plain_text(prefix):
    with pytest.raises(ProfileError, match="prefix of a derivation"):
        derivation_of({"kdf": "raw", "prefix": prefix})
