# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a master key is: which texts are keys, which are not, and what two texts of one key have in common."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyFormatError
from ansible_collections.servos.ops.plugins.module_utils._keys import material

RAW = bytes(range(0xDC, 0xFC))  # its Base64 has both + and /, its hex has letters
HEX = "dcdddedfe0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafb"
B64 = "3N3e3+Dh4uPk5ebn6Onq6+zt7u/w8fLz9PX29/j5+vs="
URL = "3N3e3-Dh4uPk5ebn6Onq6-zt7u_w8fLz9PX29_j5-vs="


def parse(text, **options):
    options.setdefault("derivation", "raw32")
    return material.parse_key(text, where="the env file", **options)


def test_the_vectors_are_what_they_say():
    assert bytes.fromhex(HEX) == RAW
    assert base64.b64decode(B64) == RAW
    assert base64.urlsafe_b64decode(URL) == RAW


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        pytest.param(HEX, "hex", id="hex-lower"),
        pytest.param(HEX.upper(), "hex", id="hex-upper"),
        pytest.param(HEX[:32] + HEX[32:].upper(), "hex", id="hex-mixed"),
        pytest.param(B64, "base64", id="base64-44"),
        pytest.param(B64[:-1], "base64", id="base64-43"),
        pytest.param(URL, "base64", id="url-44"),
        pytest.param(URL[:-1], "base64", id="url-43"),
    ],
)
def test_reads_every_form_of_one_key(text, encoding):
    key = parse(text)
    assert key.reveal_bytes() == RAW
    assert key.reveal_text() == text
    assert key.encoding == encoding
    assert parse(text, encoding=encoding) == key


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(HEX[:-1], id="hex-63"),
        pytest.param(HEX + "0", id="hex-65"),
        pytest.param(HEX + "\n", id="hex-and-newline"),
        pytest.param(" " + HEX, id="hex-after-space"),
        pytest.param(HEX[:32] + " " + HEX[32:], id="hex-with-inner-space"),
        pytest.param(HEX[:-1] + "g", id="hex-with-a-g"),
        pytest.param("0x" + HEX, id="hex-with-prefix"),
        pytest.param("\uff10" * 64, id="full-width-digits"),
        pytest.param(B64 + "\n", id="base64-and-newline"),
        pytest.param(B64 + " ", id="base64-and-space"),
        pytest.param(B64[:-2], id="base64-42"),
        pytest.param(B64 + "=", id="base64-45"),
        pytest.param(B64[:-2] + "==", id="base64-31-bytes"),
        pytest.param(B64[:20] + "=" + B64[21:], id="padding-inside"),
        pytest.param(B64[:20] + "*" + B64[21:], id="foreign-letter"),
        pytest.param("\u00e9" * 44, id="unicode"),
        pytest.param("A" * 64 + "==", id="base64-of-48-bytes-padded"),
        pytest.param("+" + "A" * 63, id="base64-of-48-bytes"),
        pytest.param("\udcff" * 44, id="not-utf-8"),
    ],
)
def test_refuses_what_is_no_key(text):
    with pytest.raises(KeyFormatError):
        parse(text)


def test_64_hex_digits_are_never_read_as_base64_of_48_bytes():
    # The trap of SERVOS.md C1: the same text is well-formed Base64.
    assert len(base64.b64decode(HEX, validate=True)) == 48
    assert parse(HEX).reveal_bytes() == RAW
    with pytest.raises(KeyFormatError, match="key_encoding"):
        parse(HEX, encoding="base64")


@pytest.mark.parametrize(("text", "wanted"), [(HEX, "base64"), (B64, "hex"), (URL[:-1], "hex")], ids=["hex", "base64", "url"])
def test_refuses_another_encoding_than_asked_for(text, wanted):
    with pytest.raises(KeyFormatError, match="key_encoding=auto"):
        parse(text, encoding=wanted)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param(HEX[:-1], "63 hex digits", id="63"),
        pytest.param(HEX + "0", "65 hex digits", id="65"),
        pytest.param("+" + "A" * 63, "Base64 of 48 bytes", id="48-bytes"),
        pytest.param("*" * 44, "neither hex nor Base64", id="neither"),
        pytest.param(B64 + " ", "white space", id="space"),
        pytest.param("", "is empty", id="empty"),
    ],
)
def test_says_why(text, said):
    with pytest.raises(KeyFormatError, match=said) as caught:
        parse(text)
    assert "the env file" in str(caught.value)


def test_writes_32_bytes_in_either_encoding():
    assert material.encode_key(RAW, "hex") == HEX
    assert material.encode_key(RAW, "base64") == B64
    with pytest.raises(KeyFormatError):
        material.encode_key(RAW, "base32")


def test_the_same_key_in_the_other_encoding():
    converted = parse(HEX).in_encoding("base64")
    assert (converted.reveal_text(), converted.encoding, converted.reveal_bytes()) == (B64, "base64", RAW)


@pytest.mark.parametrize("size", [0, 16, 31, 33, 48], ids=str)
def test_a_key_has_32_bytes(size):
    with pytest.raises(KeyFormatError, match="32 bytes"):
        material.MasterKey(key_bytes=b"\x00" * size, text="", encoding="hex")


def test_equality_is_of_bytes_and_not_of_text():
    same = [parse(text) for text in (HEX, HEX.upper(), B64, B64[:-1], URL)]
    assert len(set(same)) == 1
    assert all(key == same[0] for key in same)
    other = parse("00" * 32)
    assert other != same[0]
    assert same[0] != HEX
    assert same[0] != RAW


def test_fingerprint_is_a_domain_separated_sha256():
    expected = hashlib.sha256(b"servos.ops master key fingerprint v1\x00" + RAW).hexdigest()[:16]
    assert material.fingerprint_of(RAW) == "mk:" + expected
    assert parse(B64).fingerprint == "mk:" + expected
    assert expected != hashlib.sha256(RAW).hexdigest()[:16]


@pytest.mark.parametrize(
    ("text", "key_bytes", "encoding"),
    [
        pytest.param(HEX, RAW, "hex", id="64-hex"),
        pytest.param(HEX.upper(), RAW, "hex", id="64-HEX"),
        pytest.param(HEX + "\n", None, "passphrase", id="newline-is-part-of-it"),
        pytest.param(HEX + " ", None, "passphrase", id="space-is-part-of-it"),
        pytest.param(HEX[:-1], None, "passphrase", id="63-hex"),
        pytest.param("x", None, "passphrase", id="one-letter"),
        pytest.param(B64, None, "passphrase", id="base64-is-a-passphrase"),
        pytest.param("gr\u00fc\u00dfe", None, "passphrase", id="utf-8"),
    ],
)
def test_provara_derives_hex_or_sha256(text, key_bytes, encoding):
    key = parse(text, derivation="hex_or_sha256")
    assert key.reveal_bytes() == (key_bytes or hashlib.sha256(text.encode("utf-8")).digest())
    assert key.reveal_text() == text
    assert key.encoding == encoding


@pytest.mark.parametrize(
    ("text", "hexed"),
    [
        pytest.param("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", id="FIPS-180-vector"),
        pytest.param("abc\n", "edeaaff3f1774ad2888673770c6d64097e391bc362d7d6fb34982ddf0efd18cb", id="line-end-counts"),
        pytest.param("00" * 32, "60e05bd1b195af2f94112fa7197a5c88289058840ce7c6df9693756bc6250f55", id="hex-is-text-too"),
    ],
)
def test_pika_derives_sha256_of_any_text(text, hexed):
    key = parse(text, derivation="sha256")
    assert (key.reveal_bytes().hex(), key.reveal_text(), key.encoding) == (hexed, text, "passphrase")


def test_provara_hashes_bytes_that_are_not_utf_8_as_they_are():
    key = parse(b"\xff\xfe!".decode("utf-8", "surrogateescape"), derivation="hex_or_sha256")
    assert key.reveal_bytes() == hashlib.sha256(b"\xff\xfe!").digest()


def test_refuses_an_empty_text_and_an_unknown_derivation():
    with pytest.raises(KeyFormatError):
        parse("", derivation="hex_or_sha256")
    with pytest.raises(KeyFormatError, match="unknown key derivation"):
        parse(HEX, derivation="md5")


@pytest.mark.parametrize(("encoding", "text"), [("hex", HEX), ("base64", B64)])
def test_makes_a_key_from_32_bytes_of_the_given_entropy(encoding, text):
    asked = []
    made = material.generate_key(encoding=encoding, entropy=lambda size: asked.append(size) or RAW)
    assert asked == [32]
    assert (made.reveal_bytes(), made.reveal_text(), made.encoding) == (RAW, text, encoding)


@pytest.mark.parametrize(
    ("text", "derivation", "wanted", "chosen"),
    [
        pytest.param(HEX, "raw32", "auto", "hex", id="as-before-hex"),
        pytest.param(B64, "raw32", "auto", "base64", id="as-before-base64"),
        pytest.param(HEX, "raw32", "base64", "base64", id="as-asked"),
        pytest.param("a passphrase", "hex_or_sha256", "auto", "hex", id="hex-after-passphrase"),
    ],
)
def test_a_new_key_is_written_as_the_old_one_unless_asked(text, derivation, wanted, chosen):
    assert material.encoding_for_new_key(parse(text, derivation=derivation), wanted) == chosen


@pytest.mark.parametrize(
    ("new", "replaced", "wanted", "text"),
    [
        pytest.param(HEX, "00" * 32, "auto", HEX, id="hex-like-hex"),
        pytest.param(HEX.upper(), "00" * 32, "auto", HEX, id="capitals-are-normalised"),
        pytest.param(B64, "00" * 32, "auto", HEX, id="base64-like-hex"),
        pytest.param(URL[:-1], "A" * 43, "auto", B64, id="url-like-base64"),
        pytest.param(HEX, "00" * 32, "base64", B64, id="as-asked"),
    ],
)
def test_a_key_that_is_brought_along_is_written_as_the_one_it_replaces(new, replaced, wanted, text):
    made = material.written_like(parse(new), parse(replaced), wanted)
    assert (made.reveal_text(), made.reveal_bytes()) == (text, RAW)


@pytest.mark.parametrize(("new", "replaced"), [("a passphrase", HEX), (HEX.upper(), "a passphrase"), ("one", "other")])
def test_a_passphrase_is_written_only_as_itself(new, replaced):
    made = material.written_like(parse(new, derivation="hex_or_sha256"), parse(replaced, derivation="hex_or_sha256"), "auto")
    assert made.reveal_text() == new


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(HEX, [], id="hex"),
        pytest.param("a long enough passphrase", [], id="good-passphrase"),
        pytest.param("fifteen letters", ["fewer than 16"], id="15"),
        pytest.param("sixteen lettersX", [], id="16"),
        pytest.param(HEX + "\n", ["white space", "65 characters"], id="newline"),
        pytest.param(HEX[:-1], ["63 characters"], id="63"),
        pytest.param("g" * 64, ["64 characters"], id="64-no-hex"),
        pytest.param(" short", ["white space", "fewer than 16"], id="space-and-short"),
    ],
)
def test_doubts_about_lawful_keys(text, words):
    doubts = material.doubts_about(parse(text, derivation="hex_or_sha256"))
    assert len(doubts) == len(words)
    assert all(word in doubt for word, doubt in zip(words, doubts))
    assert not any(text.strip() in doubt for doubt in doubts)
