# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key of the digests: made once, private, whole."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._injection.node_key import make_node_key, read_node_key
from ansible_collections.servos.ops.plugins.module_utils._system.ephemeral import EphemeralFolder


@pytest.fixture
def folder(tmp_path):
    with EphemeralFolder(str(tmp_path / "secrets")) as opened:
        yield opened


def test_it_is_made_once(folder):
    assert read_node_key(folder) is None
    made = make_node_key(folder)
    assert (len(made), make_node_key(folder), read_node_key(folder)) == (32, made, made)
    assert stat.S_IMODE(os.lstat(os.path.join(folder.path, "digest.key")).st_mode) == 0o600


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_one_that_is_not_whole_is_made_anew(folder, content):
    with open(os.path.join(folder.path, "digest.key"), "wb") as stream:
        stream.write(content)
    assert read_node_key(folder) is None
    assert len(make_node_key(folder)) == 32


def test_a_link_is_not_followed(folder, tmp_path):
    (tmp_path / "known").write_bytes(b"k" * 32)
    os.symlink(str(tmp_path / "known"), os.path.join(folder.path, "digest.key"))
    with pytest.raises(FileError):
        read_node_key(folder)
