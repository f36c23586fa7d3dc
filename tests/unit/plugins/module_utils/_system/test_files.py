# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Private files: never readable by others for a moment, whole or not at all, and on disk before anybody goes on."""

from __future__ import annotations

import errno
import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._system import files


class Traced:
    """Records the calls that make a file safe, in their order, with paths instead of descriptors."""

    def __init__(self, monkeypatch):
        self.calls = []
        self.modes = []
        self.real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "fchown", "fchmod", "unlink", "rename")}
        for name in self.real:
            monkeypatch.setattr(os, name, getattr(self, name, None) or self.of(name))

    def path(self, descriptor):
        return os.readlink(f"/proc/self/fd/{descriptor}") if isinstance(descriptor, int) else str(descriptor)

    def of(self, name):
        def call(*arguments, **options):
            self.calls.append((name, os.path.basename(self.path(arguments[0]))))
            done = self.real[name](*arguments, **options)
            self.look()
            return done

        return call

    def open(self, path, flags, mode=0o777, **options):
        descriptor = self.real["open"](path, flags, mode, **options)
        if flags & os.O_CREAT:
            self.calls.append(("open", os.path.basename(str(path))))
            self.flags, self.mode = flags, mode
        self.look()
        return descriptor

    def look(self):
        for name in os.listdir(self.watched):
            self.modes.append((name, stat.S_IMODE(os.lstat(os.path.join(self.watched, name)).st_mode)))


@pytest.fixture
def traced(monkeypatch, tmp_path):
    before = os.umask(0)  # so that only the mode that is asked for counts
    tracer = Traced(monkeypatch)
    tracer.watched = str(tmp_path)
    yield tracer
    monkeypatch.undo()
    os.umask(before)


def test_a_pipe_in_the_place_of_a_secret_does_not_hold_us(tmp_path):
    os.mkfifo(str(tmp_path / "pipe"))
    assert files.destroy_file(str(tmp_path / "pipe")) is True
    assert not (tmp_path / "pipe").exists()


def test_a_private_file_is_private_from_the_first_moment_and_durable_at_the_last(traced, tmp_path):
    files.write_private_file(str(tmp_path / "k"), b"secret")
    assert traced.mode == 0o600
    wanted = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    assert traced.flags & wanted == wanted
    assert {mode for unused, mode in traced.modes} == {0o600}
    calls = [call for call in traced.calls if call[0] != "unlink"]
    new = ".k.servos-ops-new"
    assert calls == [("open", new), ("write", new), ("fsync", new), ("replace", new), ("fsync", tmp_path.name)]
    assert (tmp_path / "k").read_bytes() == b"secret"
    assert os.listdir(str(tmp_path)) == ["k"]


def test_a_swap_takes_owner_and_mode_over_before_the_file_is_seen(traced, tmp_path):
    target = tmp_path / "app.env"
    target.write_bytes(b"old")
    target.chmod(0o640)
    traced.calls.clear()
    traced.modes.clear()
    files.replace_file_content(str(target), b"new")
    new = ".app.env.servos-ops-new"
    calls = [call for call in traced.calls if call[0] != "unlink"]
    assert calls == [("open", new), ("write", new), ("fchmod", new), ("fsync", new), ("replace", new), ("fsync", tmp_path.name)]
    assert {mode for name, mode in traced.modes if name == new} == {0o600, 0o640}
    assert {mode for name, mode in traced.modes if name == "app.env"} == {0o640}


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o400, 0o4755], ids=oct)
def test_a_swap_keeps_owner_group_and_mode(tmp_path, mode):
    target = tmp_path / "app.env"
    target.write_bytes(b"old")
    if os.geteuid() == 0:
        os.chown(str(target), 1234, 2345)
    target.chmod(mode)
    before = target.stat()
    files.replace_file_content(str(target), b"new")
    after = target.stat()
    assert (before.st_mode, before.st_uid, before.st_gid) == (after.st_mode, after.st_uid, after.st_gid)
    assert target.read_bytes() == b"new"
    assert os.listdir(str(tmp_path)) == ["app.env"]


def test_a_swap_keeps_extended_attributes(tmp_path):
    target = tmp_path / "app.env"
    target.write_bytes(b"old")
    try:
        os.setxattr(str(target), "user.servos.one", b"1")
        os.setxattr(str(target), "user.servos.two", b"\x00\xff")
    except OSError:
        pytest.skip("this file system has no user attributes")
    files.replace_file_content(str(target), b"new")
    assert {name: os.getxattr(str(target), name) for name in os.listxattr(str(target))} == {
        "user.servos.one": b"1",
        "user.servos.two": b"\x00\xff",
    }


def test_a_swap_keeps_a_link_and_swaps_what_it_leads_to(tmp_path):
    (tmp_path / "etc").mkdir()
    (tmp_path / "data").mkdir()
    target = tmp_path / "data" / "real.env"
    target.write_bytes(b"old")
    (tmp_path / "etc" / "app.env").symlink_to("../data/real.env")
    files.replace_file_content(str(tmp_path / "etc" / "app.env"), b"new")
    assert os.readlink(str(tmp_path / "etc" / "app.env")) == "../data/real.env"
    assert target.read_bytes() == b"new"


def test_a_swap_is_a_rename_so_that_a_reader_has_the_old_or_the_new(tmp_path):
    target = tmp_path / "app.env"
    target.write_bytes(b"old")
    with open(str(target), "rb") as stream:
        files.replace_file_content(str(target), b"new")
        assert stream.read() == b"old"
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("failing", ["write", "fsync", "replace", "fchmod"])
@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "no space left"), (errno.EIO, "Input/output error"), (errno.EROFS, "read-only")],
    ids=["full", "io", "ro"],
)
def test_whatever_fails_the_old_content_stays_and_nothing_else(tmp_path, monkeypatch, failing, number, said):
    target = tmp_path / "app.env"
    target.write_bytes(b"old")

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(FileError, match=said) as caught:
        files.replace_file_content(str(target), b"SECRET")
    monkeypatch.undo()
    assert "SECRET" not in str(caught.value)
    assert target.read_bytes() == b"old"
    assert os.listdir(str(tmp_path)) == ["app.env"]


def test_short_writes_are_continued(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, content: real(descriptor, content[:3]))
    files.write_private_file(str(tmp_path / "k"), b"0123456789")
    assert (tmp_path / "k").read_bytes() == b"0123456789"


@pytest.mark.parametrize("left", ["file", "link"])
def test_what_a_killed_write_left_is_named_and_used_again(tmp_path, left):
    path = str(tmp_path / "k")
    assert files.leftover_of(path) is None
    leftover = tmp_path / ".k.servos-ops-new"
    if left == "file":
        leftover.write_bytes(b"half of a sec")
        leftover.chmod(0o666)
    else:
        (tmp_path / "victim").write_bytes(b"untouched")
        leftover.symlink_to(tmp_path / "victim")
    assert files.leftover_of(path) == str(leftover)
    files.write_private_file(path, b"secret")
    assert files.leftover_of(path) is None
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    if left == "link":
        assert (tmp_path / "victim").read_bytes() == b"untouched"


def test_a_kill_between_write_and_rename_leaves_the_old_content(tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(*arguments):
        raise Killed

    (tmp_path / "k").write_bytes(b"old")
    monkeypatch.setattr(os, "replace", kill)
    with pytest.raises(Killed):
        files.write_private_file(str(tmp_path / "k"), b"new")
    monkeypatch.undo()
    assert (tmp_path / "k").read_bytes() == b"old"
    files.write_private_file(str(tmp_path / "k"), b"newer")
    assert os.listdir(str(tmp_path)) == ["k"]


def test_destroying_overwrites_and_syncs_before_it_removes(traced, tmp_path):
    path = tmp_path / "k"
    path.write_bytes(b"secret")
    traced.calls.clear()
    assert files.destroy_file(str(path)) is True
    assert traced.calls == [("write", "k"), ("fsync", "k"), ("unlink", "k"), ("fsync", tmp_path.name)]


def test_destroying_overwrites_every_byte(tmp_path):
    path = tmp_path / "k"
    path.write_bytes(b"secret")
    os.link(str(path), str(tmp_path / "kept"))
    files.destroy_file(str(path))
    assert (tmp_path / "kept").read_bytes() == b"\x00" * 6
    assert files.destroy_file(str(path)) is False


def test_missing_parents_are_0755_whatever_the_umask(traced, tmp_path):
    files.ensure_private_directory(str(tmp_path / "a" / "b" / "state"))
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")] == [0o755, 0o755]


def test_a_directory_is_made_private_and_durable(traced, tmp_path):
    assert files.ensure_private_directory(str(tmp_path / "a" / "b" / "state")) is True
    assert stat.S_IMODE((tmp_path / "a" / "b" / "state").stat().st_mode) == 0o700
    assert ("fsync", "b") in traced.calls
    assert files.ensure_private_directory(str(tmp_path / "a" / "b" / "state")) is False


READS = [
    ("missing", "no such file"),
    ("directory", "not a regular file"),
    ("fifo", "not a regular file"),
    ("large", "larger than 10 bytes"),
]


@pytest.mark.parametrize(("kind", "said"), READS, ids=[row[0] for row in READS])
def test_what_is_no_moderate_file_is_refused_at_once(tmp_path, kind, said):
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(str(path))
    elif kind == "large":
        path.write_bytes(b"x" * 11)
    with pytest.raises(FileError, match=said):
        files.read_file(str(path), limit_bytes=10)


def test_a_file_of_just_the_limit_is_read(tmp_path):
    (tmp_path / "x").write_bytes(b"x" * 10)
    assert files.read_file(str(tmp_path / "x"), limit_bytes=10) == b"x" * 10


def test_reading_leaks_no_descriptor(tmp_path):
    (tmp_path / "d").mkdir()
    before = len(os.listdir("/proc/self/fd"))
    for name in ("missing", "d"):
        with pytest.raises(FileError):
            files.read_file(str(tmp_path / name))
    assert len(os.listdir("/proc/self/fd")) == before


def test_free_bytes_looks_at_the_nearest_parent(tmp_path):
    found = os.statvfs(str(tmp_path))
    assert files.free_bytes(str(tmp_path / "no" / "such")) == pytest.approx(found.f_bavail * found.f_frsize, rel=0.05)


def test_renaming_replaces_and_syncs(traced, tmp_path):
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "b").write_bytes(b"b")
    traced.calls.clear()
    files.rename_file(str(tmp_path / "a"), str(tmp_path / "b"))
    assert traced.calls == [("replace", "a"), ("fsync", tmp_path.name)]
    assert (tmp_path / "b").read_bytes() == b"a"


@pytest.mark.parametrize("remove", [files.remove_file, files.destroy_file], ids=["removed", "destroyed"])
def test_a_disk_that_fails_after_a_removal_is_named(tmp_path, monkeypatch, remove):
    path = tmp_path / "file"
    path.write_text("content")
    real = os.fsync

    def failing(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(FileError, match="file: Input/output error"):
        remove(str(path))


@pytest.mark.parametrize(("others", "left"), [([], []), (["staged.key"], ["lock", "staged.key"])], ids=["only-the-lock", "more"])
def test_a_directory_of_ours_goes_only_if_nothing_was_made_in_it(tmp_path, others, left):
    state = tmp_path / "state"
    state.mkdir()
    for name in ["lock", *others]:
        (state / name).write_bytes(b"")
    files.remove_if_only(str(state), str(state / "lock"))
    assert sorted(os.listdir(str(state))) == left if left else not state.exists()
