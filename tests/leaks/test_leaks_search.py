# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The search finds what other tools have written down, names it, and does not call an empty place clean."""

from __future__ import annotations

import base64
import gzip
import io
import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from audit import new_key
from search import Finding, Item, NothingSearchedError, Secret, search

KEY = new_key()
RAW = base64.b64decode(KEY)
TEXT = "first line of a longer secret\nsecond line, with \"quotes\" and a \\\n" + KEY[:30] + "\n"


IT = Secret("it", KEY, "key")


def found(tmp_path: Path, *contents: bytes, secret: Secret = IT, must_hold: frozenset[str] = frozenset()) -> set[str]:
    """Return the forms that were found, with the number of the content."""
    items = (Item("place", str(number), content) for number, content in enumerate(contents))
    searched = search(items, [secret], corpus=tmp_path / "corpus", must_hold=must_hold)
    return {f"{finding.name}: {finding.form}" for finding in searched.findings}


def tool(*argv: str) -> Callable[[bytes], bytes]:
    """Let a program spell it, not the code that is tested."""
    return lambda raw: subprocess.run(argv, input=raw, stdout=subprocess.PIPE, check=True).stdout


def zipped(content: bytes) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("noise", base64.b64encode(bytes(range(256)) * 2))
        archive.writestr("key", content)
    return held.getvalue()


SPELT = {
    "plain": KEY.encode,
    "hex": lambda: tool("od", "-An", "-v", "-tx1")(RAW).replace(b" ", b"").replace(b"\n", b""),
    "base64url": lambda: tool("basenc", "--base64url", "-w0")(RAW),
    "raw bytes": lambda: RAW,
    "base64 of the text": lambda: tool("base64", "-w0")(KEY.encode()),
    "JSON-escaped": lambda: KEY.replace("/", "\\/").encode(),
    "list of numbers": lambda: json.dumps(list(RAW)).encode(),
    "Python literal": lambda: repr({"k": RAW}).encode(),
    "URL-encoded": lambda: b"http://h/?k=" + KEY.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d").encode(),
    "plain, in gzip": lambda: b"noise" + gzip.compress(KEY.encode()),
    "plain, in zip": lambda: zipped(KEY.encode()),
    "plain, in base64, in zip": lambda: b"DATA = '''" + base64.b64encode(zipped(KEY.encode())) + b"'''",
    "hex, split by line breaks": lambda: tool("fold", "-w", "64")(b"x" * 30 + RAW.hex().encode()),
    "plain, split by line breaks": lambda: json.dumps(KEY[:20] + "\n" + KEY[20:]).encode(),
}


@pytest.mark.parametrize("form", SPELT)
def test_a_form_is_found_and_named(tmp_path: Path, form: str) -> None:
    assert f"1: {form}" in found(tmp_path, b"nothing", b"before " + SPELT[form]() + b" after")


@pytest.mark.parametrize("length", range(40, 46))
@pytest.mark.parametrize("text", [RAW, KEY.encode(), RAW.hex().encode()], ids=["bytes", "text", "hex"])
def test_it_is_found_at_every_offset_of_a_longer_base64(tmp_path: Path, text: bytes, length: int) -> None:
    encoded = tool("base64", "-w0")(b"y" * length + text + b"z" * 7)
    assert any("base64" in form for form in found(tmp_path, encoded))
    split = tool("base64", "-w76")(b"y" * length + text + b"z" * 7)
    assert any("base64" in form for form in found(tmp_path, split))


@pytest.mark.parametrize(
    "content", [b"", KEY[:41].encode(), RAW.hex()[:60].encode(), KEY[::-1].encode()], ids=["empty", "a part", "a part in hex", "reversed"]
)
def test_what_is_not_the_key_is_not_found(tmp_path: Path, content: bytes) -> None:
    assert found(tmp_path, content) == set()


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(), json.dumps(json.dumps(TEXT)).encode(), TEXT.split("\n")[1].encode(), tool("base64", "-w76")(b"x" + TEXT.encode()),
        TEXT.encode().hex().encode(),
    ],
    ids=["whole", "JSON in JSON", "one line", "Base64", "hex"],
)  # fmt: skip
def test_a_text_of_many_lines_is_found(tmp_path: Path, content: bytes) -> None:
    assert found(tmp_path, content, secret=Secret("it", TEXT, "plaintext")) != set()


def test_the_same_content_in_two_places_is_a_finding_in_both(tmp_path: Path) -> None:
    items = [Item(place, "name", gzip.compress(KEY.encode(), mtime=0)) for place in ("one", "two")]
    searched = search(iter(items), [IT], corpus=tmp_path / "corpus", must_hold=frozenset({"one", "two"}))
    assert set(searched.findings) == {Finding("it", "key", "plain, in gzip", place, "name") for place in ("one", "two")}
    assert searched.counts["two"][0] == 1


@pytest.mark.parametrize("contents", [[], [b""]], ids=["no item", "an empty item"])
def test_a_place_with_nothing_in_it_is_not_clean(tmp_path: Path, contents: list[bytes]) -> None:
    with pytest.raises(NothingSearchedError, match="place"):
        found(tmp_path, *contents, must_hold=frozenset({"place"}))


def test_a_search_for_nothing_is_not_clean(tmp_path: Path) -> None:
    with pytest.raises(NothingSearchedError):
        search(iter([Item("place", "name", b"x")]), [], corpus=tmp_path / "corpus", must_hold=frozenset())
