# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state directory on a real file system: private, durable, never overwritten, and destroyed for good."""

from __future__ import annotations

import json
import os
import signal
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, KeyFormatError
from ansible_collections.servos.ops.plugins.module_utils._keys.keyring import ROLES, Keyring, key_file_text
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key

HEX = "ab" * 32
OTHER = "cd" * 32


def key(text=HEX, derivation="raw32"):
    return parse_key(text, derivation=derivation, where="the test")


def mode_of(path):
    return stat.S_IMODE(os.lstat(str(path)).st_mode)


@pytest.fixture
def ring(tmp_path):
    return Keyring(str(tmp_path / "state"), derivation="raw32")


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=["umask-000", "umask-022", "umask-077"])
def any_umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def test_an_absent_keyring_is_empty_and_reading_makes_nothing(ring, tmp_path):
    assert [ring.read(role) for role in ROLES] == [None, None, None]
    assert ring.record() == {}
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize("role", ROLES)
def test_a_key_is_written_as_its_text_and_read_back(ring, role):
    assert ring.write(role, key()) is True
    with open(ring.path_of(role), "rb") as stream:
        assert stream.read() == HEX.encode("ascii")
    assert ring.read(role) == key()
    assert [other for other in ROLES if other != role and ring.read(other) is not None] == []


def test_modes_do_not_depend_on_the_umask(ring, any_umask):
    ring.write("staged", key())
    ring.remember(rotation_id="1")
    assert mode_of(ring.state_dir) == 0o700
    assert {name: oct(mode_of(os.path.join(ring.state_dir, name))) for name in os.listdir(ring.state_dir)} == {
        "staged.key": "0o600",
        "record.json": "0o600",
    }


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o777, 0o701], ids=oct)
def test_a_directory_that_others_can_enter_is_narrowed(ring, mode):
    os.mkdir(ring.state_dir)
    os.chmod(ring.state_dir, mode)
    ring.write("staged", key())
    assert mode_of(ring.state_dir) == 0o700


def test_the_same_key_again_is_no_change(ring):
    ring.write("staged", key())
    before = os.stat(ring.path_of("staged"))
    assert ring.write("staged", key()) is False
    after = os.stat(ring.path_of("staged"))
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_the_same_key_written_otherwise_is_the_same_key(ring):
    ring.write("staged", key())
    assert ring.write("staged", key().in_encoding("base64")) is False
    assert ring.read("staged").reveal_text() == HEX


@pytest.mark.parametrize(
    "held",
    [
        pytest.param(OTHER.encode("ascii"), id="another-key"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00garbage", id="garbage"),
        pytest.param(HEX[:-1].encode("ascii"), id="cut-short"),
    ],
)
def test_what_lies_there_is_never_overwritten(ring, held):
    os.mkdir(ring.state_dir, 0o700)
    with open(ring.path_of("staged"), "wb") as stream:
        stream.write(held)
    with pytest.raises((FileError, KeyFormatError)) as caught:
        ring.write("staged", key())
    with open(ring.path_of("staged"), "rb") as stream:
        assert stream.read() == held
    assert ring.path_of("staged") in str(caught.value)
    assert OTHER[:8] not in str(caught.value)
    assert HEX[:8] not in str(caught.value)


def test_a_dangling_link_is_no_free_place(ring):
    os.mkdir(ring.state_dir, 0o700)
    os.symlink(os.path.join(ring.state_dir, "nowhere"), ring.path_of("staged"))
    with pytest.raises(FileError):
        ring.write("staged", key())
    assert os.listdir(ring.state_dir) == ["staged.key"]


def test_a_disk_that_does_not_keep_what_is_written_is_noticed(ring, monkeypatch):
    from ansible_collections.servos.ops.plugins.module_utils._keys import keyring

    real = keyring.files.write_private_file
    monkeypatch.setattr(keyring.files, "write_private_file", lambda path, content: real(path, OTHER.encode("ascii")))
    with pytest.raises(FileError, match="does not hold what was written"):
        ring.write("staged", key())


def test_a_linked_directory_is_refused(ring, tmp_path):
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    os.symlink(str(tmp_path / "elsewhere"), ring.state_dir)
    with pytest.raises(FileError, match="symbolic link"):
        ring.write("staged", key())
    assert os.listdir(str(tmp_path / "elsewhere")) == []


def test_a_file_in_the_place_of_the_directory_is_refused(ring):
    with open(ring.state_dir, "wb"):
        pass
    with pytest.raises(FileError, match="is not a directory"):
        ring.write("staged", key())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_another_user_is_refused(ring):
    os.mkdir(ring.state_dir, 0o700)
    os.chown(ring.state_dir, 12345, 12345)
    with pytest.raises(FileError, match="belongs to uid 12345"):
        ring.write("staged", key())
    with pytest.raises(FileError, match="belongs to uid 12345"):
        ring.remember(rotation_id="1")
    assert os.listdir(ring.state_dir) == []


@pytest.mark.parametrize("role", ROLES)
def test_destroying_overwrites_the_blocks(ring, role, tmp_path):
    ring.write(role, key())
    os.link(ring.path_of(role), str(tmp_path / "kept"))
    assert ring.destroy(role) is True
    assert not os.path.lexists(ring.path_of(role))
    assert (tmp_path / "kept").read_bytes() == b"\x00" * len(HEX)
    assert ring.destroy(role) is False


def test_a_kill_while_a_key_is_overwritten_leaves_no_half_key(ring, monkeypatch):
    ring.write("staged", key())
    pid = os.fork()
    if pid == 0:
        write = os.write

        def torn(descriptor, content):
            write(descriptor, content[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)

        monkeypatch.setattr(os, "write", torn)
        try:
            ring.destroy("staged")
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    assert ring.read("staged") is None
    ring.clear_leftovers()
    assert os.listdir(ring.state_dir) == []


def test_destroying_a_link_spares_what_it_leads_to(ring, tmp_path):
    os.mkdir(ring.state_dir, 0o700)
    (tmp_path / "other").write_text(OTHER)
    os.symlink(str(tmp_path / "other"), ring.path_of("staged"))
    with pytest.raises(FileError):
        ring.destroy("staged")
    assert (tmp_path / "other").read_text() == OTHER


def test_withdrawing_moves_the_staged_key_in_one_step(ring):
    ring.write("staged", key())
    inode = os.stat(ring.path_of("staged")).st_ino
    ring.withdraw_staged()
    assert (ring.read("staged"), ring.read("withdrawn")) == (None, key())
    assert os.stat(ring.path_of("withdrawn")).st_ino == inode


@pytest.mark.parametrize(
    ("content", "text"),
    [
        pytest.param(b"abc", "abc", id="none"),
        pytest.param(b"abc\n", "abc", id="lf"),
        pytest.param(b"abc\r\n", "abc", id="crlf"),
        pytest.param(b"abc\n\n", "abc\n", id="only-one"),
        pytest.param(b"abc\r\n\r\n", "abc\r\n", id="only-one-crlf"),
        pytest.param(b"abc\r", "abc\r", id="cr-is-no-line-end"),
        pytest.param(b" abc \n", " abc ", id="spaces-stay"),
        pytest.param(b"\n", "", id="only-a-line-end"),
        pytest.param(b"", "", id="empty"),
        pytest.param(b"\xff\n", "\udcff", id="not-utf-8"),
    ],
)
def test_one_line_end_belongs_to_the_file(content, text):
    assert key_file_text(content) == text


@pytest.mark.parametrize("line_end", [b"", b"\n", b"\r\n"], ids=["none", "lf", "crlf"])
def test_a_key_file_made_by_hand_is_read(ring, line_end):
    os.mkdir(ring.state_dir, 0o700)
    with open(ring.path_of("previous"), "wb") as stream:
        stream.write(HEX.upper().encode("ascii") + line_end)
    assert ring.read("previous") == key()


@pytest.mark.parametrize(
    "text",
    [
        "gr\u00fc\u00dfe ",
        "\udcff\udcfe bytes",
        # One line end of the file is not the key's; a passphrase that ends in one must come back all the same.
        pytest.param("a final newline\n"),
        pytest.param("a final\r\n"),
    ],
    ids=ascii,
)
def test_a_passphrase_keeps_its_bytes(text, tmp_path):
    ring = Keyring(str(tmp_path / "state"), derivation="hex_or_sha256")
    kept = key(text, "hex_or_sha256")
    ring.write("staged", kept)
    assert ring.read("staged") == kept
    assert ring.read("staged").reveal_text() == text


RECORD_GARBAGE = [b"", b"\x00\xff", b"[1, 2]", b"null", b'"text"', b'{"rotation_id": ', b"{'a': 1}", b"\xef\xbb\xbf{}"]


@pytest.mark.parametrize("content", RECORD_GARBAGE, ids=repr)
def test_a_record_that_cannot_be_understood_is_an_empty_one(ring, content):
    os.mkdir(ring.state_dir, 0o700)
    path = os.path.join(ring.state_dir, "record.json")
    with open(path, "wb") as stream:
        stream.write(content)
    assert ring.record() == {}
    ring.remember(rotation_id="2026-11")
    with open(path, "rb") as stream:
        assert json.loads(stream.read().decode("utf-8")) == {"rotation_id": "2026-11"}


def test_facts_are_added_and_replaced_one_by_one(ring):
    ring.remember(rotation_id="1", old_key="mk:a")
    ring.remember(rotation_id="2", staged_at=None)
    assert ring.record() == {"rotation_id": "2", "old_key": "mk:a", "staged_at": None}


def test_a_key_that_cannot_be_read_is_an_error_and_not_an_absent_one(ring):
    os.mkdir(ring.state_dir, 0o700)
    os.mkdir(ring.path_of("staged"))
    with pytest.raises(FileError):
        ring.read("staged")
