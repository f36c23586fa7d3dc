# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a key reaches the controller: sealed to one key pair, as a document that YAML reads as it was written."""

from __future__ import annotations

import base64
import os

import pytest
import yaml
from ansible_collections.servos.ops.plugins.module_utils._errors import EscrowError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.vault_escrow import key_text_in, open_on_controller, seal_for_controller
from ansible_collections.servos.ops.plugins.module_utils._sealing import hpke

PRIVATE = bytes(range(1, 33))
HEX = "c0ffee" * 10 + "beef"


def handed(text, derivation="raw32", private=PRIVATE):
    key = parse_key(text, derivation=derivation, where="the test")
    recipient = hpke.public_key_of(private)
    sealed = seal_for_controller(
        key, app="servos", derivation=derivation, created_at="2026-01-01T00:00:00Z", recipient=recipient, entropy=os.urandom
    )
    return key, sealed


TEXTS = {
    "hex": (HEX, "raw32", HEX),
    "Base64": (base64.b64encode(bytes(32)).decode(), "raw32", base64.b64encode(bytes(32)).decode()),
    "a passphrase": ("it's: a #\"passphrase\" \\n {{ x }}", "hex_or_sha256", "it's: a #\"passphrase\" \\n {{ x }}"),
    "yes": ("yes", "hex_or_sha256", "yes"),
    "a number": ("0123", "hex_or_sha256", "0123"),
    "umlauts": ("schl\u00fcssel", "hex_or_sha256", None),
    "no UTF-8": ("\udcff\udcfe", "hex_or_sha256", None),
    "a line end": ("two\nlines", "hex_or_sha256", None),
}


@pytest.mark.parametrize(("text", "derivation", "written"), TEXTS.values(), ids=TEXTS)
def test_the_document_is_read_as_the_same_key(text, derivation, written):
    key, sealed = handed(text, derivation)
    found = open_on_controller(PRIVATE, sealed)
    assert (found.fingerprint, found.derivation) == (key.fingerprint, derivation)
    document = yaml.safe_load(found.document)
    assert document["key"] == (written or key.reveal_bytes().hex()) == key_text_in(found.document.encode())
    assert parse_key(document["key"], derivation=derivation, where="the document") == key
    assert (document["app"], document["fingerprint"], document["created_at"]) == ("servos", key.fingerprint, "2026-01-01T00:00:00Z")


def test_nothing_of_it_stands_in_what_is_carried():
    unused_key, sealed = handed(HEX)
    content = base64.b64decode(sealed)
    assert bytes.fromhex(HEX) not in content and HEX.encode() not in content and b"fingerprint" not in content


def test_it_is_shown_as_a_fingerprint():
    key, sealed = handed(HEX)
    assert repr(open_on_controller(PRIVATE, sealed)) == f"<Handed {key.fingerprint}>"


@pytest.mark.parametrize("change", [lambda s: "", lambda s: "?", lambda s: s[:-8] + "AAAAAAA=", lambda s: s[4:]], ids=range(4))
def test_what_was_changed_on_the_way_is_refused(change):
    with pytest.raises(EscrowError, match="no data was touched; run again"):
        open_on_controller(PRIVATE, change(handed(HEX)[1]))


def test_another_controller_cannot_open_it():
    with pytest.raises(EscrowError):
        open_on_controller(bytes(range(2, 34)), handed(HEX)[1])


@pytest.mark.parametrize("document", [b"", b"key\n", b"key: x\n", b"key: 1\n", b'other: "x"\n', b"\xff"])
def test_a_document_without_a_key_has_none(document):
    assert key_text_in(document) is None
