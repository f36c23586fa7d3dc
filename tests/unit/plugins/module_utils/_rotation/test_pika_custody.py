# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys of a Pika as files: byte by byte, replaced in place, and none of them lost."""

from __future__ import annotations

import hashlib
import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, KeyFormatError, KeyMissingError
from ansible_collections.servos.ops.plugins.module_utils._rotation import pika_custody
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_custody import PikaCustody, make_key, parse_text


def key(text):
    return parse_text(text, where="the test")


@pytest.fixture
def custody(tmp_path):
    (tmp_path / "pika.env").write_text("A=1\nPIKA_ENCRYPTION_PASSWORD='old'  # ours\nB=2\n")
    (tmp_path / "server.key").write_text("old\n")
    return PikaCustody(
        key_file=str(tmp_path / "server.key"),
        env_file=str(tmp_path / "pika.env"),
        env_var="PIKA_ENCRYPTION_PASSWORD",
        env_duplicates="fail",
        state_dir=str(tmp_path / "state"),
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"k\n", "k"),
        (b"k\r\n", "k"),
        (b"k", "k"),
        (b"k\n\n", "k\n"),
        (b" k ", " k "),
        ("\u043a\n".encode(), "\u043a"),
        (b"00" * 32, "00" * 32),
    ],
    ids=ascii,
)
def test_a_key_file_is_read_byte_by_byte(tmp_path, content, text):
    (tmp_path / "k").write_bytes(content)
    found = pika_custody.read_key_file(str(tmp_path / "k"))
    assert found.reveal_text() == text
    assert found.reveal_bytes() == hashlib.sha256(text.encode("utf-8")).digest()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"], ids=ascii)
def test_what_is_no_key(tmp_path, content):
    (tmp_path / "k").write_bytes(content)
    with pytest.raises(KeyFormatError):
        pika_custody.read_key_file(str(tmp_path / "k"))


def test_a_key_is_put_in_force_in_both_places_and_nothing_else_changes(custody, tmp_path):
    os.chmod(str(tmp_path / "server.key"), 0o640)
    assert custody.put_in_force(key("new"), write=False) == [custody.env_file, custody.key_file]
    assert (tmp_path / "server.key").read_text() == "old\n"
    custody.put_in_force(key("new"), write=True)
    assert (tmp_path / "server.key").read_text() == "new\n"
    assert stat.S_IMODE((tmp_path / "server.key").stat().st_mode) == 0o640
    assert (tmp_path / "pika.env").read_text() == "A=1\nPIKA_ENCRYPTION_PASSWORD='new'  # ours\nB=2\n"
    assert custody.put_in_force(key("new"), write=True) == []


@pytest.mark.parametrize(
    ("before", "text", "after"),
    [
        (b"old", "new", b"new"),
        (b"old\n", "new", b"new\n"),
        (b"old", "new\n", b"new\n\n"),
        (b"old\n", "new\r", b"new\r"),
        (None, "new\r", b"new\r"),
        (None, "new", b"new\n"),
    ],
    ids=ascii,
)
def test_a_key_file_reads_back_as_the_key_that_was_written(custody, tmp_path, before, text, after):
    (tmp_path / "server.key").unlink()
    if before is not None:
        (tmp_path / "server.key").write_bytes(before)
    custody.write_key_file(key(text))
    assert (tmp_path / "server.key").read_bytes() == after
    assert custody.file_key() == key(text)


def test_a_key_that_is_replaced_is_kept_unless_it_is_kept_already(custody, tmp_path):
    (tmp_path / "server.key").write_text("another\n")
    custody.keep_previous(key("old"))
    custody.put_in_force(key("new"), write=True)
    assert custody.kept() == [key("another").fingerprint]
    assert parse_text((tmp_path / "state" / f"kept-{key('another').fingerprint[3:]}.key").read_text(), where="it") == key("another")
    custody.put_in_force(key("newer"), write=False)
    assert len(custody.kept()) == 1


def test_what_a_kill_left_of_a_key_that_was_to_be_kept_is_destroyed(custody, tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / ".kept-0123456789abcdef.key.servos-ops-new").write_text("hal")
    custody.clear_leftovers()
    assert list((tmp_path / "state").iterdir()) == []


@pytest.mark.parametrize(
    ("place", "words"),
    [("pika.env", "at once"), ("link", "at once"), ("state/previous.key", "state directory"), ("nowhere/server.key", "cannot be made")],
)
def test_a_place_that_is_none_for_a_key_is_told_before_anything_is_done(custody, tmp_path, place, words):
    os.symlink("pika.env", str(tmp_path / "link"))
    custody.key_file = str(tmp_path / place)
    with pytest.raises(FileError, match=words):
        custody.require_writable(None)


def test_a_key_that_the_env_file_holds_already_need_not_be_written(custody, tmp_path):
    (tmp_path / "pika.env").write_text("PIKA_ENCRYPTION_PASSWORD='two words'\n")
    custody.require_writable(key("two words"))


def test_no_key_before_the_previous_one_is_ever_destroyed(custody):
    for text in ("one", "two", "two", "three"):
        custody.keep_previous(key(text))
    assert custody.keyring.read("previous") == key("three")
    assert custody.kept() == sorted(key(text).fingerprint for text in ("one", "two"))


def test_where_there_is_no_key(custody, tmp_path):
    (tmp_path / "server.key").unlink()
    (tmp_path / "pika.env").write_text("A=1\n")
    with pytest.raises(KeyMissingError, match="PIKA_ENCRYPTION_PASSWORD"):
        custody.held()


def test_two_keys_are_told_by_their_fingerprints(custody, tmp_path):
    (tmp_path / "server.key").write_text("other\n")
    with pytest.raises(KeyFormatError) as caught:
        custody.in_force()
    assert key("other").fingerprint in str(caught.value)
    assert key("old").fingerprint in str(caught.value)


def test_a_file_that_cannot_be_replaced_is_told_before_anything_is_done(custody, tmp_path):
    (tmp_path / "server.key").unlink()
    os.mkdir(str(tmp_path / "server.key"))
    with pytest.raises(FileError):
        custody.put_in_force(key("new"), write=False)


def test_a_key_that_is_made_is_the_text_of_its_base64():
    made = make_key(lambda size: b"\x00" * size)
    assert made.reveal_text() == "A" * 43 + "="
    assert made.reveal_bytes() == hashlib.sha256(b"A" * 43 + b"=").digest()


@pytest.mark.parametrize(
    ("text", "count"), [("a long enough passphrase", 0), ("short", 1), (" long enough passphrase", 1), (" short", 2)], ids=ascii
)
def test_doubts(text, count):
    found = pika_custody.doubts(key(text))
    assert len(found) == count
    assert text not in " ".join(found)
