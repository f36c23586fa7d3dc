# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of pins: read or refused as a whole, written in one step under a lock, and left alone otherwise."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import tempfile

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import HeldLockError, PinStoreError
from ansible_collections.servos.ops.plugins.module_utils._hosts.host_key import HostKey
from ansible_collections.servos.ops.plugins.module_utils._hosts.pin_store import pinned_keys, read_pins, update_pins, who_we_are
from ansible_collections.servos.ops.plugins.module_utils._system.files import file_error

KEY = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIJd6r2Sm6C8Xi2rsL6VLDvDkDw1r/gT9BIkW3ZfkURmO")
KEY2 = HostKey("ssh-ed25519", "AAAAC3NzaC1lZDI1NTE5AAAAIPKtpPW0SlJ7xAwnc+L7YUlEqcm/MIoKQ99EyYeE/R2z")
LINE = " ".join(KEY)


def add(name):
    def edit(pins):
        if not pins.pins(name):
            pins.add([name], KEY, comment="c")
        return name

    return edit


def update(path, edit, write=True, lock_timeout_s=0.0):
    return update_pins(str(path), edit, lock_timeout_s=lock_timeout_s, purpose="test", write=write)


def test_a_new_file_is_private_and_so_is_its_new_directory(tmp_path):
    path = tmp_path / "new" / "known_hosts"
    before_umask = os.umask(0)
    try:
        outcome, before, after = update(path, add("node"))
    finally:
        os.umask(before_umask)
    assert (outcome, before, after) == ("node", b"", f"node {LINE} c\n".encode())
    assert path.read_bytes() == after
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644], ids=oct)
def test_an_existing_file_keeps_its_mode_and_owner(tmp_path, mode):
    path = tmp_path / "known_hosts"
    path.write_text("# mine\n")
    if os.geteuid() == 0:
        os.chown(str(path), 1234, 2345)
    path.chmod(mode)
    before = path.stat()
    update(path, add("node"))
    after = path.stat()
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert path.read_text() == f"# mine\nnode {LINE} c\n"


def test_a_link_stays_one_and_its_file_is_changed(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "real").write_text("# mine\n")
    (tmp_path / "known_hosts").symlink_to("data/real")
    update(tmp_path / "known_hosts", add("node"))
    assert os.readlink(str(tmp_path / "known_hosts")) == "data/real"
    assert "node" in (tmp_path / "data" / "real").read_text()
    assert sorted(os.listdir(str(tmp_path))) == ["data", "known_hosts"]


@pytest.mark.parametrize("write", [True, False], ids=["nothing differs", "check mode"])
def test_without_a_change_not_even_the_lock_is_made(tmp_path, write):
    path = tmp_path / "known_hosts"
    path.write_text(f"node {LINE} c\n")
    before = path.stat()
    unused, old, new = update(path, add("node" if write else "other"), write=write)
    assert (old == new) is write
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert os.listdir(str(tmp_path)) == ["known_hosts"]


def test_it_is_decided_again_from_what_is_read_under_the_lock(tmp_path):
    path = tmp_path / "known_hosts"
    asked = []

    def edit(pins):
        asked.append(len(pins.pins("other")))
        if len(asked) == 1:
            path.write_text(f"other {LINE} c\n")  # somebody is quicker
        pins.add(["node"], KEY, comment="c")
        return len(asked)

    outcome, before, after = update(path, edit)
    assert (outcome, asked) == (2, [0, 1])
    assert before == f"other {LINE} c\n".encode()
    assert path.read_bytes() == after == before + f"node {LINE} c\n".encode()


def test_it_is_not_decided_again_where_nothing_differs_under_the_lock(tmp_path):
    asked = []
    (tmp_path / "known_hosts").write_text("# mine\n")
    update(tmp_path / "known_hosts", lambda pins: asked.append(1) or pins.add(["node"], KEY, comment="c"))
    assert asked == [1]
    assert (tmp_path / "known_hosts").read_text() == f"# mine\nnode {LINE} c\n"


def test_a_held_lock_is_named_and_nothing_is_written(tmp_path):
    path = tmp_path / "known_hosts"
    with open(str(tmp_path / ".known_hosts.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(HeldLockError, match=r"the pins in .*known_hosts"):
            update(path, add("node"), lock_timeout_s=0.05)
        assert not path.exists()
    update(path, add("node"))
    assert path.exists()


def corrupt(path):
    path.write_text("# fine\nnot a known hosts line, hunter2\n")


def dangling(path):
    path.symlink_to("nowhere")


def unreadable_parent(path):
    path.parent.joinpath("file").write_text("")
    path.symlink_to("file/known_hosts")


BAD = {
    "corrupt": (corrupt, "is not a known_hosts file: line 2"),
    "a directory": (lambda path: path.mkdir(), "not a regular file"),
    "a fifo": (lambda path: os.mkfifo(str(path)), "not a regular file"),
    "a dangling link": (dangling, "symbolic link to .*nowhere, which is not there"),
    "a loop": (lambda path: path.symlink_to(path.name), "cannot read|symbolic link"),
    "a link through a file": (unreadable_parent, "cannot read|symbolic link"),
}


IN_THE_WAY = {
    "a linked lock": (".known_hosts.lock", lambda path: path.symlink_to("real"), "it is a symbolic link, .*; remove it"),
    "a lock that is a directory": (".known_hosts.lock", lambda path: path.mkdir(), "it is a directory; move it away"),
    "a directory in its way": (".known_hosts.servos-ops-new", lambda path: path.mkdir(), "it is a directory; move it away"),
}


@pytest.mark.parametrize(("name", "make", "said"), IN_THE_WAY.values(), ids=list(IN_THE_WAY))
def test_what_is_in_the_way_of_a_write_is_named(tmp_path, name, make, said):
    path = tmp_path / "known_hosts"
    path.write_text("# mine\n")
    make(tmp_path / name)
    with pytest.raises(PinStoreError, match=f"{name}: {said}"):
        update(path, add("node"))
    assert path.read_text() == "# mine\n"


def test_a_file_among_the_parents_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PinStoreError, match=re.escape(f"{tmp_path / 'file'} is not a directory; move that away")):
        update(tmp_path / "file" / "new" / "known_hosts", add("node"))


def as_another_user(work):
    """Do it in a process of uid 65534, and return what it raised, or nothing."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgid(65534)
            os.setuid(65534)
            work()
        except BaseException as error:
            os.write(writer, str(error).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
@pytest.mark.parametrize(("mode", "owner"), [(0o777, "its owner"), (0o755, "the owner of its directory")], ids=["lock", "directory"])
def test_what_belongs_to_another_is_named_with_its_owner(mode, owner):
    with tempfile.TemporaryDirectory() as name:  # pytest's own keeps other users out
        os.chmod(name, mode)
        lock = os.path.join(name, ".known_hosts.lock")
        if owner == "its owner":
            with open(lock, "w"):
                os.chmod(lock, 0o600)
        said = as_another_user(lambda: update(os.path.join(name, "known_hosts"), add("node")))
    assert said == f"cannot open the lock file {lock}: permission denied; run as root (become: true) or as {owner} (uid 0)"


def test_root_is_not_told_to_become_root(monkeypatch):
    """An immutable file is needed for the real thing, and not every file system has those."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said = str(file_error("write", "/x", PermissionError(errno.EPERM, "")))
    assert "permission denied even to root: it or its directory is immutable" in said
    assert "become" not in said


CALLS = {
    "read": lambda path: read_pins(str(path)),
    "update": lambda path: update(path, add("node")),
    "pinned_keys": lambda path: pinned_keys(str(path), "node"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize(("make", "said"), BAD.values(), ids=list(BAD))
def test_what_cannot_be_used_is_refused_with_one_clear_error(tmp_path, make, said, call):
    path = tmp_path / "known_hosts"
    make(path)
    names = sorted(os.listdir(str(tmp_path)))
    with pytest.raises(PinStoreError) as caught:
        call(path)
    assert re.search(said, str(caught.value))
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert sorted(os.listdir(str(tmp_path))) == names


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes a stranger's link")
def test_a_strangers_link_is_refused(tmp_path):
    (tmp_path / "real").write_text("")
    (tmp_path / "known_hosts").symlink_to("real")
    os.lchown(str(tmp_path / "known_hosts"), 1234, 1234)
    with pytest.raises(PinStoreError, match="symbolic link of uid 1234"):
        read_pins(str(tmp_path / "known_hosts"))


def test_pinned_keys_are_types_and_blobs_without_the_revoked(tmp_path):
    path = tmp_path / "known_hosts"
    assert pinned_keys(str(path), "node") == []
    path.write_text(f"node {LINE} c\nnode {' '.join(KEY2)}\n@revoked * {' '.join(KEY2)}\n[node]:2222 {LINE}\n")
    assert pinned_keys(str(path), "Node") == [tuple(KEY)]
    assert pinned_keys(str(path), "[node]:2222") == [tuple(KEY)]
    assert pinned_keys(str(path), "other") == []


def test_pinned_keys_of_an_address_are_found_by_its_canonical_form(tmp_path):
    path = tmp_path / "known_hosts"
    path.write_text(f"[::1]:2222 {LINE}\n::1 {' '.join(KEY2)}\n@revoked ::1 {LINE}\n0:0:0:0:0:0:0:1 {LINE}\n")
    assert pinned_keys(str(path), "[0:0:0:0:0:0:0:1]:2222") == [tuple(KEY)]
    assert pinned_keys(str(path), "0:0:0::1") == [tuple(KEY2)]
    assert pinned_keys(str(path), "0:0:0:0:0:0:0:1") == []
    assert pinned_keys(str(path), "[::2]:2222") == []


def test_who_we_are_fits_into_a_comment():
    assert re.match(r"[A-Za-z0-9._-]+@[A-Za-z0-9._-]+\Z", who_we_are())
