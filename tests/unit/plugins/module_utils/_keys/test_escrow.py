# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes of escrowed keys: what is missing of a wish, and what a note that was tampered with is worth."""

from __future__ import annotations

import hashlib
import json
import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EscrowError
from ansible_collections.servos.ops.plugins.module_utils._keys import escrow
from ansible_collections.servos.ops.plugins.module_utils._keys.escrow import Wish

MARK = "mk:0123456789abcdef"
ANN, BOB, CY = "age1ann", "age1bob", "age1cy"


def entry(tmp_path, kind, name, *recipients):
    content = ("sealed " + name).encode("ascii")
    (tmp_path / name).write_bytes(content)
    return {"kind": kind, "name": name, "recipients": list(recipients), "sha256": hashlib.sha256(content).hexdigest()}


@pytest.fixture
def wish(tmp_path):
    return Wish(str(tmp_path), age_recipients=(ANN, BOB), threshold=2, holders=(ANN, BOB, CY), vault=True)


@pytest.fixture
def note(tmp_path):
    shares = [entry(tmp_path, "share", f"s{number}", holder) for number, holder in enumerate((ANN, BOB, CY))]
    files = [entry(tmp_path, "age", "a.age", BOB, ANN), *shares, {"kind": "vault", "path": "/elsewhere"}]
    return {"app": "servos", "fingerprint": MARK, "created_at": "2026-01-01T00:00:00Z", "threshold": 2, "files": files}


def test_a_whole_escrow_lacks_nothing(wish, note):
    assert escrow.missing_kinds(wish, note) == []


def test_without_a_note_all_is_missing(wish):
    assert escrow.missing_kinds(wish, {}) == ["age", "share", "vault"]


def test_what_nobody_wished_for_is_not_missing(tmp_path):
    assert escrow.missing_kinds(Wish(str(tmp_path), age_recipients=()), {}) == []


def spoil(directory, name):
    path = os.path.join(directory, name)
    with open(path, "ab") as stream:
        stream.write(b"x")


HARMS = {
    "the age file is gone": (lambda note, wish: os.unlink(os.path.join(wish.directory, "a.age")), ["age"]),
    "the age file changed": (lambda note, wish: spoil(wish.directory, "a.age"), ["age"]),
    "a share is gone": (lambda note, wish: os.unlink(os.path.join(wish.directory, "s1")), ["share"]),
    "a share changed": (lambda note, wish: spoil(wish.directory, "s2"), ["share"]),
    "another threshold": (lambda note, wish: note.update(threshold=3), ["share"]),
    "a share too few": (lambda note, wish: note["files"].pop(3), ["share"]),
    "one holder twice": (lambda note, wish: note["files"][3].update(recipients=[ANN]), ["share"]),
    "a recipient too few": (lambda note, wish: note["files"][0].update(recipients=[ANN]), ["age"]),
    "a recipient too many": (lambda note, wish: note["files"][0]["recipients"].append(CY), ["age"]),
    "no vault": (lambda note, wish: note["files"].pop(), ["vault"]),
    "no digest": (lambda note, wish: note["files"][0].pop("sha256"), ["age"]),
    "no name": (lambda note, wish: note["files"][0].pop("name"), ["age"]),
    "nothing": (lambda note, wish: note.update(files=[]), ["age", "share", "vault"]),
}


@pytest.mark.parametrize(("harm", "missing"), HARMS.values(), ids=HARMS)
def test_what_is_not_as_wished_is_missing(wish, note, harm, missing):
    harm(note, wish)
    assert escrow.missing_kinds(wish, note) == missing


def test_a_note_names_files_beside_it_only(tmp_path, wish, note):
    """A path in a note is not followed out of the directory."""
    inside = tmp_path / "a.age"
    note["files"][0]["name"] = "../" * 9 + str(inside).lstrip("/")
    assert escrow.missing_kinds(wish, note) == []
    inside.rename(tmp_path.parent / "a.age")
    assert escrow.missing_kinds(wish, note) == ["age"]


def test_a_note_is_read_as_it_was_written(tmp_path, note):
    escrow.write_note(str(tmp_path), note)
    assert escrow.read_note(str(tmp_path), MARK) == note
    assert oct((tmp_path / "escrow-0123456789abcdef.json").stat().st_mode)[-3:] == "600"
    assert escrow.list_notes(str(tmp_path), app="servos") == [note]
    assert escrow.list_notes(str(tmp_path), app="act") == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"{}", b'{"files": {}, "fingerprint": "x"}', b'{"files": []}', b"\xff"],
    ids=["empty", "cut off", "a list", "nothing", "no list", "no fingerprint", "no text"],
)
def test_a_note_that_cannot_be_understood_is_none(tmp_path, content):
    (tmp_path / "escrow-0123456789abcdef.json").write_bytes(content)
    assert escrow.read_note(str(tmp_path), MARK) == {}
    assert escrow.list_notes(str(tmp_path), app="servos") == []


def test_the_newest_note_comes_first(tmp_path, note):
    older = dict(note, fingerprint="mk:ffffffffffffffff", created_at="2025-01-01T00:00:00Z")
    for one in (older, note):
        escrow.write_note(str(tmp_path), one)
    assert escrow.list_notes(str(tmp_path), app="servos") == [note, older]


def test_no_directory_is_an_error_that_names_it(tmp_path):
    with pytest.raises(EscrowError, match="gone"):
        escrow.list_notes(str(tmp_path / "gone"), app="servos")


def test_a_wish_is_remembered_as_it_is(wish):
    assert escrow.wish_from_facts(json.loads(json.dumps(wish.as_facts()))) == wish
