# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drop-in that is written, proven or put back, wherever a run was cut off; and the copy of a unit."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._system.unit_files import DropInFile, copied_unit

NAME = "50-x.conf"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "a.service.d"


@pytest.mark.parametrize("old", [None, "[Service]\nUMask=0022\n"], ids=["there was none", "there was one"])
@pytest.mark.parametrize("new", [None, "[Service]\nUMask=0077\n"], ids=["taken away", "written"])
def test_what_was_there_is_put_back(folder, old, new):
    if old is not None:
        folder.mkdir()
        (folder / NAME).write_text(old)
    drop_in = DropInFile(str(folder), NAME)
    assert drop_in.read() == old
    assert not drop_in.is_unproven()
    drop_in.keep_previous()
    drop_in.write(new)
    assert drop_in.is_unproven()
    assert drop_in.read() == new
    # A later run, after this one was killed, has something else in mind.
    later = DropInFile(str(folder), NAME)
    later.keep_previous()
    later.write("[Service]\nUMask=0000\n")
    later.put_back()
    assert later.read() == old
    assert not later.is_unproven()
    assert folder.exists() == (old is not None)


def test_a_proven_one_stays_and_everybody_can_read_it(folder):
    drop_in = DropInFile(str(folder), NAME)
    drop_in.keep_previous()
    umask = os.umask(0o077)
    try:
        drop_in.write("[Service]\n")
    finally:
        os.umask(umask)
    drop_in.forget_previous()
    assert os.listdir(str(folder)) == [NAME]
    assert (folder / NAME).stat().st_mode & 0o777 == 0o644
    assert drop_in.written_at() == (folder / NAME).stat().st_ctime


def test_systemd_reads_nothing_of_what_is_kept(folder):
    drop_in = DropInFile(str(folder), NAME)
    drop_in.keep_previous()
    assert [name for name in os.listdir(str(folder)) if name.endswith(".conf")] == []
    assert drop_in.written_at() is None


def test_a_drop_in_that_is_no_text_is_refused(folder):
    folder.mkdir()
    (folder / NAME).write_bytes(b"\xff\xfe")
    with pytest.raises(FileError, match="no text"):
        DropInFile(str(folder), NAME).read()


def test_a_copy_has_the_unit_its_drop_ins_and_ours(tmp_path, folder):
    folder.mkdir()
    for name in (NAME, "60-y.conf"):
        (folder / name).write_text("theirs " + name)
    (tmp_path / "a.service").write_text("unit")
    drop_ins = [str(folder / NAME), str(folder / "60-y.conf")]
    with copied_unit("a.service", {NAME: "ours"}, fragment=str(tmp_path / "a.service"), drop_ins=drop_ins) as path:
        copy = os.path.dirname(path)
        assert os.stat(copy).st_mode & 0o777 == 0o700
        found = {name: _text(os.path.join(path + ".d", name)) for name in os.listdir(path + ".d")}
        assert (_text(path), found) == ("unit", {NAME: "ours", "60-y.conf": "theirs 60-y.conf"})
    assert not os.path.exists(copy)


def test_a_unit_that_cannot_be_read_leaves_no_copy(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *unused: False)  # not /run, where others are at work
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(FileError, match="no such file"):
        with copied_unit("gone.service", {}, fragment=str(tmp_path / "gone.service"), drop_ins=[]):
            pytest.fail("a copy was made of nothing")
    assert os.listdir(str(tmp_path)) == []


def _text(path):
    with open(path, encoding="utf-8") as stream:
        return stream.read()
