# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What lies where, against the kernel's own answer."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._system import files, mounts
from ansible_collections.servos.ops.plugins.module_utils._system.mounts import file_system_of, has_swap, is_mounted


@pytest.mark.parametrize("path", ["/proc", "/proc/self", "/sys", "/dev/shm"])
def test_known_places(path):
    wanted = {"/proc": "proc", "/proc/self": "proc", "/sys": "sysfs", "/dev/shm": "tmpfs"}[path]
    assert file_system_of(path) == wanted


def test_what_is_missing_lies_where_its_parent_does(tmp_path):
    assert file_system_of(str(tmp_path / "not" / "there")) == file_system_of(str(tmp_path))
    assert file_system_of("/dev/shm/not-there/at/all") == "tmpfs"


def test_a_link_is_followed(tmp_path):
    (tmp_path / "link").symlink_to("/dev/shm")
    assert file_system_of(str(tmp_path / "link" / "x")) == "tmpfs"


def test_the_same_as_df(tmp_path):
    told = subprocess.run(["df", "--output=fstype", str(tmp_path)], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert file_system_of(str(tmp_path)) == told.split()[1]


def test_swap_is_what_the_kernel_lists():
    with open("/proc/swaps", encoding="ascii") as stream:
        assert has_swap() == any(line.startswith(os.sep) for line in stream)


def test_what_is_mounted_by_itself(tmp_path):
    assert is_mounted("/proc")
    assert not is_mounted(str(tmp_path))
    assert not is_mounted(str(tmp_path / "not-there"))


def test_a_file_that_is_mounted_from_its_own_file_system_is_not_to_be_swapped(tmp_path, monkeypatch):
    """As a container mounts one; C(os.path.ismount) compares devices, and sees nothing."""
    (tmp_path / "server.key").write_text("k")
    files.require_replaceable(str(tmp_path / "server.key"))
    monkeypatch.setattr(mounts, "_mounts", lambda: [("/", "ext4"), (str((tmp_path / "server.key").resolve()), "ext4")])
    with pytest.raises(FileError, match="mounted by itself"):
        files.require_replaceable(str(tmp_path / "server.key"))
