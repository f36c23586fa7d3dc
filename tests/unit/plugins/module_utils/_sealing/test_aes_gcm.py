# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sealed values against another library: what it seals opens here, what is sealed here opens there, in one format only."""

from __future__ import annotations

import base64
import re

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ProfileError
from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import Cipher
from ansible_collections.servos.ops.plugins.module_utils._sealing.codecs import CODECS, codec_named
from hypothesis import given
from hypothesis import strategies as st

KEY = bytes(range(32))
WRONG = bytes(range(1, 33))
TEXT, RAW, COLUMNS = "aes256gcm_base64", "aes256gcm_raw", "aes256gcm_hex_columns"
ALL = [TEXT, RAW, COLUMNS]
PLAINTEXTS = [b"", b"x", b"-----BEGIN KEY-----\n\xff\x00", "gr\u00fc\u00dfe".encode("utf-8"), b"A" * 5000]


def nonces(size):
    return bytes(range(0xA0, 0xA0 + size))


@pytest.fixture(params=ALL)
def name(request):
    return request.param


def seal_elsewhere(gcm, name, key_bytes, plaintext, nonce=None):
    return {TEXT: gcm.text, RAW: gcm.raw, COLUMNS: gcm.columns}[name](key_bytes, plaintext, nonce)


def open_elsewhere(gcm, name, key_bytes, stored):
    return {TEXT: gcm.open_text, RAW: gcm.open_raw, COLUMNS: gcm.open_columns}[name](key_bytes, stored)


@pytest.mark.parametrize("plaintext", PLAINTEXTS, ids=["empty", "one", "binary", "utf-8", "long"])
def test_opens_what_the_other_library_sealed(gcm, name, plaintext):
    stored = seal_elsewhere(gcm, name, KEY, plaintext)
    assert CODECS[name].open(Cipher(KEY), stored) == plaintext
    assert CODECS[name].open(Cipher(WRONG), stored) is None
    assert CODECS[name].looks_sealed(stored)


LINE_ENDS = {
    "one at the end": lambda text: text + "\n",
    "lines": lambda text: "\n".join(re.findall(".{1,76}", text)),
    "lines of Windows": lambda text: "".join(line + "\r\n" for line in re.findall(".{1,76}", text)),
    "a space behind": lambda text: text + " ",
    "white space around": lambda text: "\t " + text + " \r\n",
}


@pytest.mark.parametrize("write", LINE_ENDS.values(), ids=LINE_ENDS)
@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
def test_text_in_lines_is_opened_and_sealed_anew(gcm, write, kind):
    stored, codec = kind(write(gcm.text(KEY, b"A" * 500))), CODECS[TEXT]
    assert codec.open(Cipher(KEY), stored) == b"A" * 500
    assert codec.open(Cipher(WRONG), stored) is None
    assert codec.looks_sealed(stored) == (kind is str)
    renewed = codec.renewer(Cipher(KEY), Cipher(WRONG), nonces)(stored)
    assert gcm.open_text(WRONG, renewed) == b"A" * 500


@pytest.mark.parametrize("kind", [str, str.encode], ids=["text", "bytes"])
@pytest.mark.parametrize("place", [0, 76, None], ids=["before", "within", "behind"])
@pytest.mark.parametrize("rest", ["-", "!", ",", "\x00", "\n-", "!!", "-=", "!!!", "-==", "!!!!"], ids=ascii)
@pytest.mark.parametrize("size", [500, 501, 502])
def test_text_with_anything_else_in_it_is_not_opened(gcm, size, rest, place, kind):
    """What an application tells its values by, such as one sign before them, would be lost with a new value in their place."""
    sealed = gcm.text(KEY, b"A" * size)
    end = len(sealed) if place is None else place
    stored = kind(sealed[:end] + rest + sealed[end:])
    assert CODECS[TEXT].open(Cipher(KEY), stored) is None
    assert CODECS[TEXT].renewer(Cipher(KEY), Cipher(WRONG), nonces)(stored) is None
    assert not CODECS[TEXT].looks_sealed(stored)


@pytest.mark.parametrize("plaintext", PLAINTEXTS, ids=["empty", "one", "binary", "utf-8", "long"])
def test_seals_byte_for_byte_as_the_other_library(gcm, name, plaintext):
    codec = CODECS[name]
    sealed = codec.seal(Cipher(KEY), plaintext, nonces)
    assert sealed == seal_elsewhere(gcm, name, KEY, plaintext, nonces(16 if name == COLUMNS else 12))
    assert open_elsewhere(gcm, name, KEY, sealed) == plaintext


def test_asks_for_one_nonce_of_the_right_size_each_time(name):
    asked = []
    for unused in range(2):
        CODECS[name].seal(Cipher(KEY), b"x", lambda size: asked.append(size) or nonces(size))
    assert asked == [16, 16] if name == COLUMNS else [12, 12]


def test_the_text_is_padded_standard_base64_without_line_ends():
    # Nonce and ciphertext are chosen so that both + and / occur, and 1000 bytes would be wrapped by other encoders.
    for size in range(30):
        sealed = CODECS[TEXT].seal(Cipher(KEY), b"a" * (1000 + size), lambda n: b"\xfb\xff" * (n // 2))
        assert isinstance(sealed, str)
        assert len(sealed) % 4 == 0
        assert sealed.startswith("+//7")
        assert re.match(r"[A-Za-z0-9+/]+={0,2}\Z", sealed)
        assert base64.b64encode(base64.b64decode(sealed, validate=True)).decode("ascii") == sealed


def test_the_columns_are_lower_case_hex_with_a_nonce_of_16_bytes():
    ciphertext, nonce, tag = CODECS[COLUMNS].seal(Cipher(KEY), b"12345", nonces)
    assert re.match(r"[0-9a-f]{10}\Z", ciphertext)
    assert nonce == nonces(16).hex()
    assert re.match(r"[0-9a-f]{32}\Z", tag)


def test_the_raw_layout_is_bytes():
    sealed = CODECS[RAW].seal(Cipher(KEY), b"12345", nonces)
    assert isinstance(sealed, bytes)
    assert (sealed[:12], len(sealed)) == (nonces(12), 12 + 5 + 16)


def test_upper_case_hex_opens_too(gcm):
    stored = tuple(part.upper() for part in gcm.columns(KEY, b"value", b"\xab" * 16))
    assert CODECS[COLUMNS].open(Cipher(KEY), stored) == b"value"
    assert CODECS[COLUMNS].looks_sealed(stored)


@given(plaintext=st.binary(max_size=40), nonce=st.binary(min_size=16, max_size=16), bit=st.integers(0, 10**6), which=st.sampled_from(ALL))
def test_any_bit_flipped_opens_nothing(gcm, plaintext, nonce, bit, which):
    if which == COLUMNS:
        stored = [bytearray.fromhex(part) for part in gcm.columns(KEY, plaintext, nonce)]
        lengths = [len(part) * 8 for part in stored]
        bit %= sum(lengths)
        part = 0
        while bit >= lengths[part]:
            bit -= lengths[part]
            part += 1
        stored[part][bit // 8] ^= 1 << bit % 8
        tampered = tuple(bytes(part).hex() for part in stored)
    else:
        raw = bytearray(gcm.raw(KEY, plaintext, nonce[:12]))
        bit %= len(raw) * 8
        raw[bit // 8] ^= 1 << bit % 8
        tampered = bytes(raw) if which == RAW else base64.b64encode(bytes(raw)).decode("ascii")
    assert CODECS[which].looks_sealed(tampered)
    assert CODECS[which].open(Cipher(KEY), tampered) is None


@given(plaintext=st.binary(max_size=40), cut=st.integers(1, 60), which=st.sampled_from(ALL))
def test_a_value_cut_short_opens_nothing(gcm, plaintext, cut, which):
    stored = seal_elsewhere(gcm, which, KEY, plaintext)
    if which == COLUMNS:
        shorter = [(stored[0][:-cut], stored[1], stored[2])] if plaintext else []
        shorter += [(stored[0], stored[1][:-cut], stored[2]), (stored[0], stored[1], stored[2][:-cut])]
    else:
        shorter = [stored[:-cut]]
    # Base64 may only lose padding and still name the same bytes; then nothing was cut from the value.
    for value in shorter:
        if which == TEXT and stored.rstrip("=") == value.rstrip("="):
            continue
        assert CODECS[which].open(Cipher(KEY), value) is None


@given(
    stored=st.one_of(st.none(), st.integers(), st.floats(), st.binary(max_size=80), st.text(max_size=80)),
    which=st.sampled_from([TEXT, RAW]),
)
def test_nothing_else_opens_or_raises(stored, which):
    assert CODECS[which].open(Cipher(KEY), stored) is None
    assert CODECS[which].looks_sealed(stored) in (True, False)


_PART = st.one_of(
    st.none(), st.integers(), st.binary(max_size=40), st.text(max_size=40), st.text(alphabet="0123456789abcdef", min_size=30, max_size=34)
)


@given(stored=st.tuples(_PART, _PART, _PART))
def test_no_other_three_columns_open_or_raise(stored):
    assert CODECS[COLUMNS].open(Cipher(KEY), stored) is None
    assert CODECS[COLUMNS].looks_sealed(stored) in (True, False)


@pytest.mark.parametrize("missing", [0, 1, 2])
def test_a_partly_empty_group_opens_nothing_and_is_not_taken_for_sealed(gcm, missing):
    for nothing in (None, ""):
        stored = list(gcm.columns(KEY, b"value"))
        stored[missing] = nothing
        assert CODECS[COLUMNS].open(Cipher(KEY), tuple(stored)) is None
        assert CODECS[COLUMNS].looks_sealed(tuple(stored)) is (missing == 0 and nothing == "")


@pytest.mark.parametrize("moved", [-32, -2, 2, 32], ids=str)
def test_a_tag_is_a_column_of_its_own(gcm, moved):
    # Ciphertext and tag are joined to be opened; where the one ends and the other begins must not be up to the data.
    ciphertext, nonce, tag = gcm.columns(KEY, b"a value of some length")
    joined, cut = ciphertext + tag, len(ciphertext) - moved
    assert CODECS[COLUMNS].open(Cipher(KEY), (joined[:cut], nonce, joined[cut:])) is None


LOOKS = [
    (TEXT, "Z" * 40, True, "shortest"),
    (TEXT, "Z" * 38 + "==", True, "shortest-padded"),
    (TEXT, "Z" * 36, False, "shorter"),
    (TEXT, "Z" * 41, False, "not-a-multiple-of-4"),
    (TEXT, "Z" * 39 + "-", False, "url-alphabet"),
    (TEXT, "Z" * 40 + "\n", True, "line-end"),
    (TEXT, "Z" * 20 + "\n" + "Z" * 19, False, "wrapped"),
    (TEXT, "Z" * 20 + "=" + "Z" * 19, False, "padding-inside"),
    (TEXT, "Z" * 37 + "===", False, "too-much-padding"),
    (TEXT, "word " * 8, False, "prose"),
    (TEXT, b"Z" * 40, False, "bytes"),
    (TEXT, "ab" * 32, False, "digest"),
    (TEXT, "AB" * 32, False, "digest-in-capitals"),
    (TEXT, "aB" * 32, True, "letters-of-both-cases"),
    (TEXT, "0" * 39 + "g", True, "one-letter-more-than-hex"),
    (TEXT, None, False, "null"),
    (TEXT, 5, False, "number"),
    (TEXT, "\u00e9" * 40, False, "unicode"),
    (RAW, b"\x00" * 28, True, "shortest"),
    (RAW, b"\x00" * 27, False, "shorter"),
    (RAW, "A" * 40, False, "text"),
    (RAW, None, False, "null"),
    (COLUMNS, ("", "0" * 32, "0" * 32), True, "empty-plaintext"),
    (COLUMNS, ("ab", "0" * 32, "F" * 32), True, "upper-case"),
    (COLUMNS, ("abc", "0" * 32, "0" * 32), False, "odd"),
    (COLUMNS, ("ab", "0" * 24, "0" * 32), False, "nonce-of-12"),
    (COLUMNS, ("ab", "0" * 32, "0" * 30), False, "short-tag"),
    (COLUMNS, ("xy", "0" * 32, "0" * 32), False, "no-hex"),
    (COLUMNS, ("ab\n", "0" * 32, "0" * 32), False, "line-end"),
    (COLUMNS, (b"ab", "0" * 32, "0" * 32), False, "bytes"),
    (COLUMNS, (None, None, None), False, "nulls"),
]


@pytest.mark.parametrize(("which", "stored", "expected"), [row[:3] for row in LOOKS], ids=[f"{row[0]}-{row[3]}" for row in LOOKS])
def test_what_looks_sealed(which, stored, expected):
    assert CODECS[which].looks_sealed(stored) is expected


def test_codecs_have_the_names_that_profiles_use():
    assert sorted(CODECS) == sorted(ALL)
    assert all(codec_named(name).name == name for name in ALL)
    with pytest.raises(ProfileError, match="aes256gcm_base64, aes256gcm_hex_columns, aes256gcm_raw"):
        codec_named("rot13")
