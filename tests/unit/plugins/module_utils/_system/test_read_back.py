# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading back: what the disk has, never through a link, and an error that names the file."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._system.read_back import read_from_disk


@pytest.mark.parametrize("size", [0, 1, 65536, 200000])
def test_the_whole_of_a_file_comes_back(tmp_path, size):
    content = os.urandom(size)
    (tmp_path / "a").write_bytes(content)
    assert read_from_disk(str(tmp_path / "a")) == content


def test_the_file_is_made_durable_before_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"x")
    seen = []
    sync, forget, read = os.fsync, os.posix_fadvise, os.read
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append("sync") or sync(descriptor))
    monkeypatch.setattr(os, "posix_fadvise", lambda *what: seen.append("forget") or forget(*what))
    monkeypatch.setattr(os, "read", lambda *what: seen.append("read") or read(*what))
    read_from_disk(str(tmp_path / "a"))
    assert seen[:3] == ["sync", "forget", "read"]


def test_a_file_system_that_does_not_heed_the_wish_is_read_all_the_same(tmp_path, monkeypatch):
    def refuse(*unused_what):
        raise OSError("not here")

    (tmp_path / "a").write_bytes(b"x")
    monkeypatch.setattr(os, "posix_fadvise", refuse)
    assert read_from_disk(str(tmp_path / "a")) == b"x"


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to("a")
    with pytest.raises(FileError, match="link"):
        read_from_disk(str(tmp_path / "link"))


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(FileError, match=r"read back .*/gone"):
        read_from_disk(str(tmp_path / "gone"))
