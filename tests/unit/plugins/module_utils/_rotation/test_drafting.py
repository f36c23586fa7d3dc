# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Guesses of single places, brought under one profile; values are sealed by another library."""

from __future__ import annotations

import base64
import hashlib
import json
import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ProfileError
from ansible_collections.servos.ops.plugins.module_utils._rotation.drafting import draft_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import build_profile
from ansible_collections.servos.ops.plugins.module_utils._rotation.sampling import TableSamples
from ansible_collections.servos.ops.plugins.module_utils._stores.shapes import Table

AES = pytest.importorskip("Cryptodome.Cipher.AES")

KEY_TEXT = "5e" * 32
KNOWN = {"name": "ledger", "env_var": "LEDGER_KEY", "service": None}
TEXTS = [b'{"token": %d}' % number for number in range(5)]


def gcm(key, plaintext):
    cipher = AES.new(key, AES.MODE_GCM, nonce=os.urandom(12))
    sealed, tag = cipher.encrypt_and_digest(plaintext)
    return base64.b64encode(cipher.nonce + sealed + tag).decode()


def ctr(key, plaintext):
    nonce = os.urandom(16)
    return nonce.hex() + AES.new(key, AES.MODE_CTR, initial_value=nonce, nonce=b"").encrypt(plaintext).hex()


def table(name, **columns):
    samples = TableSamples(Table(name, tuple(columns), (), None, ()))
    for cells in zip(*columns.values()):
        samples.take(cells)
    return samples


def drafted(*tables, key_text=KEY_TEXT, known=None, is_time_up=lambda: False):
    return draft_of(tables, key_text, known=KNOWN if known is None else known, is_time_up=is_time_up)


HEX, HASHED = bytes.fromhex(KEY_TEXT), hashlib.sha256(KEY_TEXT.encode()).digest()


def test_a_draft_is_a_whole_profile():
    draft = drafted(table("a", token=[gcm(HEX, text) for text in TEXTS]))
    assert build_profile("custom", draft.profile).app == "ledger"
    assert draft.profile["derivation"] == {"kdf": "raw", "text": "hex", "bytes": 32}
    assert [(row["table"], row["opened"], row["samples"], row["proven"], row["note"]) for row in draft.fields] == [("a", 5, 5, True, "")]
    assert (draft.unopened, draft.skipped, draft.warnings, "service" in draft.profile) == ([], [], [], False)


def test_keys_that_are_read_in_two_ways_are_not_one_profile():
    sealed, apart = [gcm(HEX, text) for text in TEXTS], [gcm(HASHED, text) for text in TEXTS]
    draft = drafted(table("a", x=sealed, y=sealed[::-1], z=apart))
    assert [row["column"] for row in draft.fields] == ["x", "y"]
    (warning,) = draft.warnings
    assert "a.z is sealed under the same key" in warning
    assert "leave it behind" in warning
    assert "# WARNING: a.z is sealed" in draft.text


def test_a_hash_and_the_text_itself_are_one_profile():
    key_text = "correct horse battery staple 32!"
    draft = drafted(
        table("a", x=[gcm(key_text.encode(), text) for text in TEXTS]),
        table("b", y=[gcm(hashlib.sha256(key_text.encode()).digest(), text) for text in TEXTS]), key_text=key_text,
    )
    assert draft.profile["derivation"] == {"kdf": "raw", "text": "utf8", "bytes": 32}
    assert [field["codec"].get("key") for field in draft.profile["fields"]] == [None, {"kdf": "sha256"}]
    assert [row["opened"] for row in draft.fields] == [5, 5]


def test_without_authentication_it_is_a_guess_and_says_from_how_much():
    draft = drafted(table("a", x=[ctr(HEX, text) for text in TEXTS]))
    assert [(row["proven"], "5 samples" in row["note"]) for row in draft.fields] == [(False, True)]
    assert draft.warnings[0].startswith("a.x: a guess")


def test_short_plaintexts_of_a_form_say_nothing():
    with pytest.raises(ProfileError, match=r"a\.x"):
        drafted(table("a", x=[ctr(HEX, b"%d" % number) for number in range(4)]))


def test_short_plaintexts_beside_their_nonces_say_nothing_either():
    key, nonces = bytes.fromhex(KEY_TEXT), [os.urandom(16) for unused in range(4)]
    sealed = [AES.new(key, AES.MODE_CBC, nonce).encrypt(b"ok" + bytes([14]) * 14).hex() for nonce in nonces]
    with pytest.raises(ProfileError, match=r"a\.secret"):
        drafted(table("a", secret=sealed, iv=[nonce.hex() for nonce in nonces]))


def test_plaintexts_beside_their_nonces_are_a_guess_when_they_are_long_enough():
    key, nonces = bytes.fromhex(KEY_TEXT), [os.urandom(16) for unused in range(4)]
    sealed = [AES.new(key, AES.MODE_CBC, nonce).encrypt(b"long enough" + bytes([5]) * 5).hex() for nonce in nonces]
    (row,) = drafted(table("a", secret=sealed, iv=[nonce.hex() for nonce in nonces])).fields
    assert (row["opened"], row["proven"]) == (4, False)


def test_without_time_places_are_named_and_the_likely_ones_come_first():
    answers = iter([False, False, True])
    sealed = [gcm(HEX, text) for text in TEXTS]
    draft = drafted(table("a", note=sealed, token=sealed), is_time_up=lambda: next(answers))
    assert ([row["column"] for row in draft.fields], draft.skipped) == (["token"], ["a.note"])
    assert "no time for a.note" in draft.text


def test_a_draft_without_the_variable_says_what_to_put_there():
    draft = drafted(table("a", x=[gcm(HEX, text) for text in TEXTS]), known={"name": "x", "env_var": None})
    assert draft.profile["env_var"] == "THE_VARIABLE_OF_THE_KEY"
    assert "# THE_VARIABLE_OF_THE_KEY: name the variable" in draft.text


def test_nothing_secret_is_in_a_draft():
    draft = drafted(table("a", x=[gcm(HEX, text) for text in TEXTS]))
    assert KEY_TEXT not in repr(draft)
    assert "token" not in draft.text


def test_what_does_not_open_is_named_with_what_it_looks_like():
    uuids = ["123e4567-e89b-42d3-a456-42661417400%d" % number for number in range(3)]  # noqa: UP031
    draft = drafted(table("a", token=[gcm(HEX, text) for text in TEXTS]), table("b", ids=uuids, mixed=[*uuids[:2], "5e" * 20]))
    assert {row["column"]: (row["samples"], row["looks_like"]) for row in draft.unopened} == {
        "ids": (3, "UUID"), "mixed": (3, "of several looks"),
    }


def test_one_sample_looks_as_it_does():
    draft = drafted(table("a", token=[gcm(HEX, text) for text in TEXTS]), table("b", alone=["5e" * 20]))
    assert [(row["column"], row["looks_like"]) for row in draft.unopened] == [("alone", "digest or token in hex")]


def test_a_value_that_is_itself_an_object_has_no_places_in_it():
    inner = [gcm(HEX, text) for text in TEXTS]
    values = [dict(zip(("iv", "data"), (each[:16], each[16:])), note=gcm(HEX, b"another")) for each in inner]
    (row,) = drafted(table("a", doc=[json.dumps(value) for value in values])).fields
    assert (row["column"], row["path"], row["codec"]["json"]) == ("doc", None, {"nonce": "iv", "ciphertext": "data"})


def test_places_in_an_object_are_a_field_each():
    documents = [json.dumps({"first": gcm(HEX, text), "second": gcm(HEX, text)}) for text in TEXTS]
    draft = drafted(table("a", doc=documents))
    assert [(row["column"], row["path"]) for row in draft.fields] == [("doc", "$.first"), ("doc", "$.second")]
