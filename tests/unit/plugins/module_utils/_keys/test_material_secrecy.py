# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key never shows itself by accident, and no error repeats the text that it refuses."""

from __future__ import annotations

import base64
import copy
import json
import pickle
import pprint
import traceback

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyFormatError
from ansible_collections.servos.ops.plugins.module_utils._keys import material
from hypothesis import given
from hypothesis import strategies as st

RAW = bytes(range(0xDC, 0xFC))
B64 = base64.b64encode(RAW).decode("ascii")
FORMS = {
    "as given": "3N3e3-Dh4uPk5ebn6Onq6-zt7u_w8fLz9PX29_j5-vs",
    "hex": RAW.hex(),
    "HEX": RAW.hex().upper(),
    "base64": B64,
    "base64 unpadded": B64.rstrip("="),
    "url": base64.urlsafe_b64encode(RAW).decode("ascii"),
    "url unpadded": base64.urlsafe_b64encode(RAW).decode("ascii").rstrip("="),
}


def key():
    return material.parse_key(FORMS["as given"], derivation="raw32", where="the test")


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(lambda k: f"{k}", id="format"),
        pytest.param(lambda k: f"{k!r:>60}", id="format-width"),
        pytest.param(lambda k: "%s %r" % (k, k), id="percent"),  # noqa: UP031
        pytest.param(lambda k: pprint.pformat({"key": [k]}), id="pprint"),
        pytest.param(lambda k: repr(KeyFormatError(k)), id="exception"),
    ],
)
def test_shows_the_fingerprint_only(show):
    shown = show(key())
    assert key().fingerprint in shown
    assert not [name for name, form in FORMS.items() if form[:12] in shown]


@pytest.mark.parametrize(
    "leave",
    [
        pytest.param(lambda k: pickle.dumps(k, 2), id="pickle-2"),
        pytest.param(pickle.dumps, id="pickle"),
        pytest.param(copy.copy, id="copy"),
        pytest.param(copy.deepcopy, id="deepcopy"),
        pytest.param(json.dumps, id="json"),
    ],
)
def test_is_not_serialised(leave):
    with pytest.raises(TypeError) as caught:
        leave(key())
    assert not [name for name, form in FORMS.items() if form[:12] in str(caught.value)]


def test_has_no_dictionary_to_print():
    assert not hasattr(key(), "__dict__")


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_every_form_that_a_log_could_hold_is_masked(form):
    assert form in key().forms()
    assert form in material.parse_key(RAW.hex(), derivation="raw32", where="the test").forms()


def test_forms_are_distinct_and_not_empty():
    forms = key().forms()
    assert len(forms) == len(set(forms))
    assert all(len(form) >= 43 for form in forms)
    assert "a passphrase" in material.parse_key("a passphrase", derivation="hex_or_sha256", where="x").forms()


# Letters that no message of ours has, so that a hit is a leak and no chance.
_ODD = st.text(alphabet="qQ\u00e6\u00f8#@%&\u4e16\udc80" + "\t\n", min_size=4, max_size=80)
_NEARLY = st.builds(
    lambda head, tail: head + tail, st.sampled_from(list(FORMS.values())), st.sampled_from(["q", " ", "==", "0", "\n", "\u00e6"])
)
_CUT = st.builds(lambda form, size: form[:size], st.sampled_from(list(FORMS.values())), st.integers(6, 42))


@given(text=st.one_of(_ODD, _NEARLY, _CUT), encoding=st.sampled_from(["auto", "hex", "base64"]))
def test_no_error_repeats_any_part_of_the_text(text, encoding):
    try:
        material.parse_key(text, derivation="raw32", encoding=encoding, where="W")
    except KeyFormatError:
        printed = traceback.format_exc()
        # A traceback prints our source lines too; what it prints of values is in its last line.
        said = printed[printed.index("KeyFormatError:") :]
        pieces = {text[start : start + 6] for start in range(max(1, len(text) - 5))}
        assert not [piece for piece in pieces if piece.strip() and piece in said and len(piece.strip()) >= 4]


@given(st.binary(min_size=32, max_size=32), st.sampled_from(["hex", "base64"]))
def test_every_key_survives_its_text(key_bytes, encoding):
    made = material.generate_key(encoding=encoding, entropy=lambda _: key_bytes)
    read = material.parse_key(made.reveal_text(), derivation="raw32", encoding=encoding, where="W")
    assert (read.reveal_bytes(), read.fingerprint, read.encoding) == (key_bytes, made.fingerprint, encoding)
