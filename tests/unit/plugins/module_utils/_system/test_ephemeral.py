# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are to be gone a moment later: private, held while they live, swept when their maker died."""

from __future__ import annotations

import fcntl
import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._system.ephemeral import EphemeralFile, EphemeralFolder, require_private

ONE, TWO = "0b9f2a52-8d6e-4d4e-9d3f-3a4a3d0f9a11", "1b9f2a52-8d6e-4d4e-9d3f-3a4a3d0f9a12"


@pytest.fixture
def folder(tmp_path):
    with EphemeralFolder(str(tmp_path / "secrets")) as opened:
        yield opened


def test_a_file_is_private_whole_and_gone(folder):
    before = os.umask(0)
    try:
        with EphemeralFile(folder, ONE + ".env", b"A=secret\n") as passing:
            seen = os.lstat(passing.path)
            assert stat.S_IMODE(seen.st_mode) == 0o600
            with open(passing.path, "rb") as stream:
                assert stream.read() == b"A=secret\n"
    finally:
        os.umask(before)
    assert os.listdir(folder.path) == []
    assert 0 < passing.lifetime_s < 60


def test_a_file_goes_when_the_block_fails(folder):
    with pytest.raises(KeyError):
        with EphemeralFile(folder, ONE + ".env", b"A=secret\n"):
            raise KeyError("x")
    assert os.listdir(folder.path) == []


def test_its_bytes_are_overwritten_before_its_name_goes(folder, tmp_path):
    with EphemeralFile(folder, ONE + ".env", b"A=secret\n") as passing:
        os.link(passing.path, str(tmp_path / "kept"))
    assert (tmp_path / "kept").read_bytes() == b"\x00" * 9


def test_a_file_that_is_there_already_is_neither_followed_nor_taken(folder, tmp_path):
    target = tmp_path / "target"
    target.write_text("stays")
    os.symlink(str(target), os.path.join(folder.path, ONE + ".env"))
    with pytest.raises(FileError):
        with EphemeralFile(folder, ONE + ".env", b"A=secret\n"):
            pass
    assert target.read_text() == "stays"


def test_a_file_of_the_same_name_is_not_written_over(folder):
    path = os.path.join(folder.path, ONE + ".env")
    with open(path, "wb") as stream:
        stream.write(b"somebody else's")
    with pytest.raises(FileError):
        with EphemeralFile(folder, ONE + ".env", b"A=secret\n"):
            pass
    with open(path, "rb") as stream:
        assert stream.read() == b"somebody else's"


def test_the_living_is_not_swept_and_the_dead_is(folder):
    dead = os.path.join(folder.path, TWO + ".env")
    with EphemeralFile(folder, ONE + ".env", b"A=secret\n") as passing:
        with open(dead, "wb") as stream:
            stream.write(b"B=left over\n")
        assert folder.leftovers() == [dead]
        with EphemeralFolder(folder.path) as other:
            assert other.sweep_files() == [dead]
        assert os.listdir(folder.path) == [os.path.basename(passing.path)]


@pytest.mark.parametrize("name", ["app.env", ONE, ONE + ".env.bak", "." + ONE + ".env", ONE.upper() + ".env", "x" + ONE + ".env"])
def test_what_is_not_ours_by_name_is_left(folder, name):
    with open(os.path.join(folder.path, name), "wb") as stream:
        stream.write(b"x")
    assert folder.sweep_files() == folder.leftovers() == []
    assert os.listdir(folder.path) == [name]


def test_a_link_is_removed_and_not_followed(folder, tmp_path):
    target = tmp_path / "target"
    target.write_text("stays")
    link = os.path.join(folder.path, ONE + ".env")
    os.symlink(str(target), link)
    assert folder.leftovers() == [link]
    assert folder.sweep_files() == [link]
    assert target.read_text() == "stays"


def test_a_swap_of_the_folder_underneath_changes_nothing(folder, tmp_path):
    with EphemeralFile(folder, ONE + ".env", b"A=secret\n"):
        os.rename(folder.path, str(tmp_path / "moved"))
        os.mkdir(folder.path)
    assert os.listdir(str(tmp_path / "moved")) == os.listdir(folder.path) == []


def test_a_held_directory_stays_for_who_needs_it_and_goes_when_nobody_does(folder):
    with folder.held_directory(ONE) as descriptor:
        os.close(os.open("A", os.O_WRONLY | os.O_CREAT, 0o400, dir_fd=descriptor))
        with EphemeralFolder(folder.path) as other:
            assert other.sweep_directories(lambda: ()) == []
    assert folder.sweep_directories(lambda: (ONE,)) == []
    assert os.listdir(os.path.join(folder.path, ONE)) == ["A"]
    assert folder.sweep_directories(lambda: ()) == [os.path.join(folder.path, ONE)]
    assert os.listdir(folder.path) == []


def test_a_held_directory_goes_when_the_block_fails(folder):
    def fail():
        with folder.held_directory(ONE) as descriptor:
            os.close(os.open("A", os.O_WRONLY | os.O_CREAT, 0o400, dir_fd=descriptor))
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(folder.path) == []


def test_who_needs_a_directory_is_asked_while_it_is_held(folder):
    with folder.held_directory(ONE):
        pass
    asked = []

    def needed():
        descriptor = os.open(os.path.join(folder.path, ONE), os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            asked.append("held")
        finally:
            os.close(descriptor)
        return [ONE]

    folder.sweep_directories(needed)
    assert asked == ["held"]


@pytest.mark.parametrize(("mode", "words"), [(0o777, "by others"), (0o770, "by others"), (0o720, "by others"), (0o702, "by others")])
def test_a_folder_that_others_may_write_is_refused_and_left(tmp_path, mode, words):
    path = tmp_path / "secrets"
    path.mkdir()
    path.chmod(mode)
    with pytest.raises(FileError, match=words):
        EphemeralFolder(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_folder_that_others_may_read_is_narrowed_unless_it_is_only_looked_at(tmp_path):
    path = tmp_path / "secrets"
    path.mkdir()
    path.chmod(0o755)
    with EphemeralFolder(str(path), write=False):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    with EphemeralFolder(str(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_link_and_a_file_are_no_folder(tmp_path):
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(str(tmp_path / "real"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="is a symbolic link"):
        require_private(str(tmp_path / "link"))
    with pytest.raises(FileError, match="is not a directory"):
        require_private(str(tmp_path / "file"))
    assert require_private(str(tmp_path / "missing" / "too")) is False


@pytest.mark.parametrize(("mode", "is_refused"), [(0o777, True), (0o1777, False), (0o755, False)])
def test_a_folder_below_what_others_can_change_is_refused(tmp_path, mode, is_refused):
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(mode)
    if is_refused:
        with pytest.raises(FileError, match="lies below"):
            EphemeralFolder(str(above / "deep" / "secrets"))
        assert os.listdir(str(above)) == []
    else:
        EphemeralFolder(str(above / "deep" / "secrets")).close()


def test_a_link_above_leads_to_a_place_that_is_held_to_the_same(tmp_path):
    shared = tmp_path / "shared"
    (shared / "inner").mkdir(parents=True)
    shared.chmod(0o777)
    (tmp_path / "way").symlink_to(str(shared / "inner"))
    with pytest.raises(FileError, match="lies below"):
        EphemeralFolder(str(tmp_path / "way" / "secrets"))
