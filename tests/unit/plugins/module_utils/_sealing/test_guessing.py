# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Layouts are found from a few values and the key's text; the values are sealed by other libraries."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os

import pytest
import test_layout_codec as layouts
from ansible_collections.servos.ops.plugins.module_utils._sealing.guessing import Guesser
from cryptography.fernet import Fernet

TEXTS = [b"first secret", "zwölf".encode(), b'{"user": "u", "password": "p"}', b"a" * 40]
RAW = layouts.KEY
# For each layout of the other test: its maker, and the text of a key from which it can be found without being told anything.
FOUND = {
    name: (make, spec)
    for name, (make, spec) in layouts.LAYOUTS.items()
    if not spec.get("key") and not spec.get("aad") and not spec.get("columns")
}


@pytest.mark.parametrize(("make", "spec"), FOUND.values(), ids=FOUND)
@pytest.mark.parametrize("written", [bytes.hex, lambda raw: base64.urlsafe_b64encode(raw).decode()], ids=["hex", "base64url"])
def test_finds_the_layout_under_a_raw_key(make, spec, written):
    guess = Guesser(written(RAW)).cells([make(RAW, text) for text in TEXTS])
    assert guess is not None
    assert (guess.codec["cipher"], guess.opened, guess.tried) == (spec["cipher"], 4, 4)
    assert guess.is_proven == ("oracle" not in spec)
    assert guess.derivation["kdf"] == "raw"


def sha256_of(text):
    return hashlib.sha256(text.encode()).digest()


@pytest.fixture(scope="module")
def guesser():
    """One for all that lies under the same key: it tries the usual ways to stretch it once."""
    return Guesser(RAW.hex())


@pytest.mark.parametrize("order", list(itertools.permutations(["nonce", "ciphertext", "tag"])), ids="-".join)
@pytest.mark.parametrize("separator", [":", ".", "$"])
def test_finds_three_pieces_in_any_order(guesser, order, separator):
    values = []
    for text in TEXTS:
        nonce = os.urandom(12)
        ciphertext, tag = layouts.gcm(RAW, text, nonce)
        pieces = {"nonce": nonce, "ciphertext": ciphertext, "tag": tag}
        values.append(separator.join(pieces[name].hex() for name in order))
    guess = guesser.cells(values)
    assert guess is not None
    assert (guess.codec["text"], guess.codec["encoding"]) == (separator.join("{%s}" % name for name in order), "hex")  # noqa: UP031
    assert (guess.opened, guess.tried, guess.is_proven) == (4, 4, True)


DERIVED = {
    "SHA-256": (sha256_of, {"kdf": "sha256"}),
    "SHA-512, half": (lambda text: hashlib.sha512(text.encode()).digest()[:32], {"kdf": "sha256", "hash": "sha512", "bytes": 32}),
    "scrypt with the salt of the manual": (
        lambda text: hashlib.scrypt(text.encode(), salt=b"salt", n=16384, r=8, p=1, dklen=32), {"kdf": "scrypt", "salt": "salt"}
    ),
    "the text itself": (lambda text: text.encode(), {"kdf": "raw", "text": "utf8", "bytes": 32}),
}


@pytest.mark.parametrize(("derive", "spec"), DERIVED.values(), ids=DERIVED)
def test_finds_the_derivation(derive, spec):
    text = "correct horse battery staple 32!"
    guess = Guesser(text).cells([layouts.plain_gcm(derive(text), plaintext) for plaintext in TEXTS])
    assert guess is not None
    assert (guess.derivation, guess.codec["layout"], guess.is_proven) == (spec, ["nonce", "ciphertext", "tag"], True)


WRITTEN = {
    "hex": (bytes.hex, {"text": "hex"}, (16, 24, 32)),
    "base64": (lambda raw: base64.b64encode(raw).decode(), {"text": "base64"}, (16, 24, 32)),
    "utf8": (bytes.decode, {"text": "utf8"}, (16, 24, 32)),
    "base64 behind a prefix": (lambda raw: f"base64:{base64.b64encode(raw).decode()}", {"text": "base64", "prefix": "base64:"}, (16, 32)),
    "hex behind a prefix": (lambda raw: f"hex:{raw.hex()}", {"text": "hex", "prefix": "hex:"}, (16, 32)),
}


@pytest.mark.parametrize(
    ("write", "rule", "size"),
    [(write, rule, size) for write, rule, sizes in WRITTEN.values() for size in sizes],
    ids=[f"{name}, {size} bytes" for name, (unused, unused_too, sizes) in WRITTEN.items() for size in sizes],
)
def test_finds_keys_of_every_size(write, rule, size):
    raw = b"the 32 bytes of a key, in ASCII!"[:size]
    guess = Guesser(write(raw)).cells([layouts.plain_gcm(raw, text) for text in TEXTS])
    assert guess is not None
    assert guess.derivation == dict(rule, kdf="raw", bytes=size)
    assert (guess.codec["cipher"], guess.opened) == (f"aes-{8 * size}-gcm", 4)


def test_finds_fernet_behind_a_prefix():
    key = base64.urlsafe_b64encode(RAW)
    guess = Guesser(key.decode()).cells(["enc:" + Fernet(key).encrypt(text).decode() for text in TEXTS])
    assert guess is not None
    assert (guess.codec, guess.opened) == ({"cipher": "fernet", "prefix": "enc:"}, 4)


@pytest.mark.parametrize("name", ["AES-GCM, PBKDF2 with a salt a value", "AES-CBC, key and IV by OpenSSL's way"])
def test_finds_what_is_stretched_for_each_value(name):
    make, spec = layouts.LAYOUTS[name]
    guess = Guesser("a passphrase").cells([make(b"a passphrase", text) for text in TEXTS])
    assert guess is not None
    assert guess.derivation == {"kdf": "raw", "text": "utf8"}
    assert guess.codec["key"] == dict(spec["key"])
    assert guess.opened == 4


@pytest.mark.parametrize("salt_bytes", [8, 16, 32])
def test_finds_a_salt_among_four_pieces(salt_bytes):
    values = []
    for text in TEXTS:
        salt, nonce = os.urandom(salt_bytes), os.urandom(12)
        key = hashlib.scrypt(b"a passphrase", salt=salt, n=16384, r=8, p=1, dklen=32)
        values.append(":".join(piece.hex() for piece in (salt, nonce, *reversed(layouts.gcm(key, text, nonce)))))
    guess = Guesser("a passphrase").cells(values)
    assert guess is not None
    assert (guess.codec["text"], guess.codec["salt_bytes"]) == ("{salt}:{nonce}:{tag}:{ciphertext}", salt_bytes)
    assert (guess.codec["key"]["kdf"], guess.opened) == ("scrypt", 4)


def test_finds_values_in_several_columns(guesser):
    rows = []
    for text in TEXTS:
        nonce = os.urandom(16)
        sealed, tag = layouts.gcm(RAW, text, nonce)
        picture = {"id": "x", "picture": b"\x89PNG"}
        rows.append(dict(picture, encrypted_value=sealed.hex(), iv=nonce.hex(), auth_tag=tag.hex(), name="n"))
    (guess,) = guesser.rows(rows)
    assert guess.columns == ("encrypted_value", "iv", "auth_tag")
    assert (guess.codec["columns"], guess.codec["nonce_bytes"], guess.is_proven) == (["ciphertext", "nonce", "tag"], 16, True)


def test_finds_blobs_in_several_columns(guesser):
    rows = []
    for text in TEXTS:
        nonce = os.urandom(12)
        sealed, tag = layouts.gcm(RAW, text, nonce)
        rows.append({"id": "x", "value": sealed, "nonce": nonce, "tag": tag})
    (guess,) = guesser.rows(rows)
    assert (guess.columns, guess.codec["columns"]) == (("value", "nonce", "tag"), ["ciphertext", "nonce", "tag"])
    assert (guess.codec["encoding"], guess.opened, guess.is_proven) == ("raw", 4, True)


@pytest.mark.parametrize("layout", [["nonce", "ciphertext", "mac"], ["mac", "nonce", "ciphertext"]], ids="-".join)
def test_finds_a_mac_at_either_end(guesser, layout):
    cells = []
    for text in TEXTS:
        nonce = os.urandom(16)
        sealed = nonce + layouts.cbc(RAW, nonce, text)
        mac = hmac.new(RAW, sealed, "sha256").digest()
        cells.append(mac + sealed if layout[0] == "mac" else sealed + mac)
    guess = guesser.cells(cells)
    assert guess is not None
    assert (guess.codec["layout"], guess.codec["mac"], guess.is_proven) == (layout, {"over": ["nonce", "ciphertext"]}, True)


NOTHING = {
    "prose": ["hello", "world", "again"],
    "noise in Base64": [base64.b64encode(os.urandom(60)).decode() for unused in range(4)],
    "noise": [os.urandom(64)] * 3,
    "empty": [""],
    "no texts": [None, 3],
    "pieces": ["a:b:c"] * 4,
}


@pytest.mark.parametrize("cells", NOTHING.values(), ids=NOTHING)
def test_finds_nothing_where_nothing_is(guesser, cells):
    assert guesser.cells(cells) is None


def test_a_wrong_key_finds_nothing():
    assert Guesser("00" * 32).cells([layouts.plain_gcm(RAW, text) for text in TEXTS]) is None


def test_two_values_prove_nothing_without_authentication():
    assert Guesser(RAW.hex()).cells([layouts.node_tutorial(RAW, text) for text in TEXTS[:2]]) is None
