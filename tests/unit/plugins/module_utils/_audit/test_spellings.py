# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key is found however programs have written it down, and nothing else is taken for it."""

from __future__ import annotations

import base64
import binascii
import json
import urllib.parse

import pytest
from ansible_collections.servos.ops.plugins.module_utils._audit.spellings import is_short, spellings_of
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key

RAW = bytes.fromhex("fbefbe3ffbff" + "3e" * 26)  # its Base64 has plus, slash and an equals sign
TEXT = base64.b64encode(RAW).decode("ascii")
WRITTEN = {
    "as it is": TEXT.encode("ascii"),
    "its bytes": RAW,
    "hex": binascii.hexlify(RAW),
    "upper hex": RAW.hex().upper().encode("ascii"),
    "other alphabet": base64.urlsafe_b64encode(RAW).rstrip(b"="),
    "URL": urllib.parse.quote(TEXT, safe="").encode("ascii"),
    "URL with lower escapes": TEXT.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d").encode("ascii"),
    "path": urllib.parse.quote(TEXT).encode("ascii"),
    "PHP's JSON": json.dumps(TEXT).replace("/", "\\/").encode("ascii"),
    ".NET's JSON": json.dumps(TEXT).replace("+", "\\u002B").encode("ascii"),
    "UTF-16": TEXT.encode("utf-16"),
    "big UTF-16": TEXT.encode("utf-16-be"),
    "Base64 at the begin": base64.b64encode(TEXT.encode("ascii") + b"\n"),
    "Base64 after one": base64.b64encode(b"=" + TEXT.encode("ascii") + b"\n"),
    "Base64 after two": base64.b64encode(b"K=" + TEXT.encode("ascii") + b"\nMODE=fast\n"),
    "Base64 of URLs": base64.urlsafe_b64encode(b"K=" + TEXT.encode("ascii")),
}


@pytest.mark.parametrize("content", WRITTEN.values(), ids=WRITTEN)
def test_a_key_is_found_however_it_was_written_down(content):
    spelled = spellings_of(parse_key(TEXT, derivation="raw32", where="a test"))
    assert [one for one in spelled if one in b"KEY=" + content + b"\n"]


def test_none_is_a_part_of_another_and_none_is_short():
    spelled = spellings_of(parse_key(TEXT, derivation="raw32", where="a test"))
    assert [(one, other) for one in spelled for other in spelled if one is not other and one in other] == []
    assert min(map(len, spelled)) >= 32


def test_a_passphrase_in_json_and_one_that_is_short():
    key = parse_key('say "when" \\ now', derivation="sha256", where="a test")
    assert [one for one in spellings_of(key) if one in json.dumps({"K": key.reveal_text()}).encode("utf-8")]
    short = parse_key("hunter2", derivation="sha256", where="a test")
    assert (is_short(key), is_short(short)) == (False, True)
    assert [one for one in spellings_of(short) if one in b"hunter2, and more words of a log"] == []
