# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A text that everybody may read is found, and what was not looked into is named."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import tempfile

import pytest
from ansible_collections.servos.ops.plugins.module_utils._system import exposure

KEY = b"N0t-a-real-key-but-long-enough-to-be-one-1234"
NEEDLES = {"the key": [KEY]}
PADDING = b"GET /api/v1 200\n" * 20000


@pytest.fixture
def place():
    """A folder that everybody may enter, which pytest's own are not."""
    folder = tempfile.mkdtemp(dir="/var/tmp")
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


def write(content, *path):
    with open(os.path.join(*path), "wb") as stream:
        stream.write(content)
    os.chmod(os.path.join(*path), 0o644)


def search(*places, **options):
    return exposure.search_readable(places, NEEDLES, most_bytes=options.get("most_bytes", 10**8))


PACKED = {
    "plain": KEY,
    "gzip": gzip.compress(PADDING + KEY + PADDING),
    "bzip2": bz2.compress(PADDING + KEY + PADDING),
    "xz": lzma.compress(PADDING + KEY + KEY + PADDING),
}


@pytest.mark.parametrize("content", PACKED.values(), ids=PACKED)
def test_what_stands_in_a_file_or_a_packed_one_is_found(place, content):
    write(content, place, "log")
    result = search(place)
    assert (result.found, result.left_out) == ([(os.path.join(place, "log"), ["the key"])], [])


@pytest.mark.parametrize("begin", [b"\x28\xb5\x2f\xfd", b"PK\x03\x04", b"\x04\x22\x4d\x18"], ids=["Zstandard", "ZIP", "LZ4"])
def test_what_cannot_be_unpacked_is_named(place, begin):
    write(begin + b"more", place, "log")
    (left_out,) = search(place).left_out
    assert left_out.endswith(os.path.join(place, "log"))


def test_a_place_may_be_a_link_and_nothing_below_it_is_followed(place):
    os.mkdir(os.path.join(place, "real"))
    os.symlink(os.path.join(place, "real"), os.path.join(place, "named"))
    write(KEY, place, "real", "log")
    os.chmod(os.path.join(place, "real"), 0o755)
    assert search(os.path.join(place, "named")).found == [(os.path.join(place, "real", "log"), ["the key"])]
    assert len(search(place).found) == 1


def test_another_file_system_is_named(place, monkeypatch):
    other = os.path.join(place, "other")
    os.mkdir(other, 0o755)
    write(KEY, other, "log")
    there = os.lstat
    monkeypatch.setattr(exposure, "_device_of", lambda path: there(path).st_dev + (path == other))
    result = search(place)
    assert result.found == []
    assert result.left_out == [f"{other}: is another file system; name it as a place to search, if it is to be searched"]


def test_a_folder_that_cannot_be_listed_is_named(place, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert search(place).left_out == [f"{place}: Permission denied"]


def test_a_pipe_that_was_put_in_the_place_of_a_file_keeps_nobody_waiting(place, monkeypatch):
    path = os.path.join(place, "log")
    os.mkfifo(path)
    monkeypatch.setattr(exposure, "_readable", lambda places, left_out: [path])
    assert search(place).found == []


def test_a_link_that_was_put_in_the_place_of_a_file_is_not_followed(place, monkeypatch):
    write(KEY, place, "secret")
    path = os.path.join(place, "log")
    os.symlink(os.path.join(place, "secret"), path)
    monkeypatch.setattr(exposure, "_readable", lambda places, left_out: [path])
    assert search(place).found == []


def test_many_that_are_damaged_do_not_hide_that_the_search_has_ended(place):
    for number in range(30):
        write(b"\x1f\x8bdamaged", place, f"log{number:02}.gz")
    write(b"x" * 100, place, "rest")
    result = search(place, most_bytes=50)
    assert len(result.left_out) < 30
    assert "50 bytes were searched" in result.left_out[-1]
