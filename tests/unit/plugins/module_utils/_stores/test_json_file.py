# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A JSON file as a database: read whole, replaced whole, and never over somebody else's write."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, StoreChangedError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores import json_file
from ansible_collections.servos.ops.plugins.module_utils._stores.json_file import JsonDatabase, JsonFile
from ansible_collections.servos.ops.plugins.module_utils._stores.shapes import Rewrite
from ansible_collections.servos.ops.plugins.module_utils._stores.urls import form_of, open_snapshot, path_of, place_of
from ansible_collections.servos.ops.plugins.module_utils._system import files

TEXT = b'\xef\xbb\xbf{ "$" : "sealed",\r\n  "n": 1.50 }\r\n'


@pytest.fixture
def path(tmp_path):
    """A file as an application on another system may write it: byte order mark, CRLF, spaces of its own."""
    path = tmp_path / "flows_cred.json"
    path.write_bytes(TEXT)
    path.chmod(0o640)
    return path


def write(path, new, column="$", during=lambda: None):
    """Replace one column of every row, as a rewrap does."""
    with JsonDatabase(str(path)).writing(lock_timeout_s=0) as writer:
        (table,) = writer.tables()
        rows = []
        writer.rewrite(table, [Rewrite((column,), lambda unused_address, unused_cells: (new,))], in_python=False, progress=rows.append)
        during()
        return rows


def test_it_reads_as_one_table(path):
    with JsonDatabase(str(path)).reading() as reader:
        (table,) = reader.tables()
        assert (table.name, table.columns, table.key, table.row_id, table.triggers) == ("document", ("$", "n"), (), None, ())
        assert list(reader.rows(table, ("n", "$"))) == [((0,), (1.5, "sealed"))]
        assert reader.key_of(table, (0,)) == "the file"


@pytest.mark.parametrize(("least", "found"), [(6, {"$"}), (7, set())], ids=["as long", "shorter"])
def test_long_columns(path, least, found):
    with JsonDatabase(str(path)).reading(copied=True) as reader:
        assert reader.long_columns(reader.tables()[0], ("$", "n"), text_bytes=least, blob_bytes=0) == found


def test_an_element_has_its_number_for_a_name(path):
    path.write_text('["x","y"]')
    with JsonDatabase(str(path)).reading() as reader:
        assert reader.key_of(reader.tables()[0], (1,)) == "element 1"


def test_only_the_cell_is_replaced(path):
    before = path.stat()
    assert write(path, "new") == [1]
    assert path.read_bytes() == TEXT.replace(b"sealed", b"new")
    after = path.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert after.st_ino != before.st_ino
    assert os.listdir(path.parent) == [path.name]


def test_what_is_the_same_is_not_written(path):
    before = path.stat()
    write(path, "sealed")
    assert path.stat() == before


def test_a_link_stays_one(path, tmp_path):
    link = tmp_path / "link.json"
    link.symlink_to(path.name)
    write(link, "new")
    assert link.is_symlink()
    assert b"new" in path.read_bytes()


def test_what_raises_inside_changes_nothing(path):
    def fail():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write(path, "new", during=fail)
    assert path.read_bytes() == TEXT


def test_what_cannot_stand_there_is_refused(path):
    with pytest.raises(StoreError, match=r"cannot be changed: there is no text in n; nothing was changed"):
        write(path, "new", column="n")
    assert path.read_bytes() == TEXT


OTHERS = {
    "in place": lambda path: path.write_bytes(b'{"$":"of the application"}'),
    "as another file": lambda path: (path.with_name("t").write_bytes(b'{"$":"of the application"}'), path.with_name("t").rename(path)),
    "as no JSON": lambda path: path.write_bytes(b'{"$":'),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_others_write_meanwhile_stays(path, other):
    written = []

    def meanwhile():
        other(path)
        written.append(path.read_bytes())

    with pytest.raises(StoreChangedError, match=r"rewritten by another process during the run.*nothing was changed.*run again"):
        write(path, "new", during=meanwhile)
    assert [path.read_bytes()] == written
    assert os.listdir(path.parent) == [path.name]


def test_what_others_write_in_the_last_moment_stays(path, monkeypatch):
    """The new file is on disk already when it happens."""
    real = os.fsync

    def fsync(descriptor):
        path.write_bytes(b'{"$":"of the application"}')
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(StoreChangedError):
        write(path, "new")
    assert path.read_bytes() == b'{"$":"of the application"}'
    assert os.listdir(path.parent) == [path.name]


def test_who_removes_it_meanwhile_is_told(path):
    with pytest.raises(StoreError, match=r"no such file or directory; .*; nothing was changed"):
        write(path, "new", during=path.unlink)
    assert os.listdir(path.parent) == []


def test_a_file_that_is_being_written_is_read_again(path, monkeypatch):
    whole = path.read_bytes()
    database = JsonDatabase(str(path))
    path.write_bytes(whole[:20])
    real = json_file._stamp
    looks = []

    def stamp(of):
        looks.append(of)
        if len(looks) == 2:
            path.write_bytes(whole)
        return real(of)

    monkeypatch.setattr(json_file, "_stamp", stamp)
    monkeypatch.setattr(json_file, "_PAUSE_S", 0)
    assert database.read(lambda reader: reader.content()) == whole


def test_a_failure_after_the_rename_is_no_failure(path, monkeypatch):
    """To say that nothing was changed would start the application on the old key."""
    real = os.open

    def no_directory(name, flags, *mode):
        if flags & os.O_DIRECTORY and b"new" in path.read_bytes():
            raise OSError(5, "Input/output error")
        return real(name, flags, *mode)

    monkeypatch.setattr(os, "open", no_directory)
    write(path, "new")
    assert b"new" in path.read_bytes()


def test_what_a_killed_write_left_is_cleared(path):
    leftover = path.with_name(".flows_cred.json.servos-ops-new")
    leftover.write_text("half")
    write(path, "sealed")
    assert not leftover.exists()


def test_without_room_nothing_is_changed(path, monkeypatch):
    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match=r"no space left on its disk; make room and run again; nothing was changed"):
        write(path, "new")
    assert path.read_bytes() == TEXT


@pytest.mark.parametrize(("free", "is_enough"), [(len(TEXT) + 9, True), (len(TEXT), False)], ids=["room", "none"])
def test_room_is_asked_for_before(path, monkeypatch, free, is_enough):
    monkeypatch.setattr(files, "free_bytes", lambda unused_path: free)
    database = JsonDatabase(str(path))
    if is_enough:
        database.require_room(scrub=True)
        return
    with pytest.raises(StoreError, match=r"no room in .* are needed and .* are free; nothing was changed; make room"):
        database.require_room(scrub=True)


def test_a_file_that_cannot_be_replaced_is_refused_before(path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *unused: False)
    with pytest.raises(StoreError, match=r"read-only file system.*nothing was changed"):
        JsonDatabase(str(path)).require_room(scrub=False)


# Nothing is left inside; what lies beside it is named


def test_a_scrub_has_nothing_to_do(path):
    assert JsonDatabase(str(path)).scrub(lock_timeout_s=0) == {"vacuumed": False, "wal_bytes": 0}
    assert JsonDatabase(str(path)).empty_log(lock_timeout_s=0) == {"vacuumed": False, "wal_bytes": 0}


@pytest.mark.parametrize("name", [".flows_cred.json.backup", "flows_cred.json~", "flows_cred.json.bak"])
def test_an_earlier_content_beside_it_is_named(path, name):
    beside = path.with_name(name)
    beside.write_text("{}")
    warning = JsonDatabase(str(path)).scrub(lock_timeout_s=0)["warning"]
    assert str(beside) in warning
    assert "may hold values under the old key" in warning
    assert beside.read_text() == "{}"


# What is no JSON file

BAD = {
    "empty": (b"", "is an empty file"),
    "no JSON": (b"SQLite format 3\x00", "is not a JSON file, or damaged .line 1, column 1"),
    "cut off": (b'{"$":"abc', "is not a JSON file, or damaged .line 1"),
    "not UTF-8": (b'{"$":"\xff"}', "byte 6 is not UTF-8"),
    "UTF-16": ('{"$":"x"}'.encode("utf-16"), "byte 0 is not UTF-8"),
    "a name twice": (b'{"$":"x","$":"y"}', r"the name '\$' stands twice"),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_what_is_no_json_file_is_refused(path, content, words):
    path.write_bytes(content)
    with pytest.raises(StoreError, match=words + ".*nothing was changed; name the right file"):
        JsonDatabase(str(path))
    assert path.read_bytes() == content


def test_no_file_is_made(tmp_path):
    with pytest.raises(StoreError, match=r"there is no file .*name the right one .database.; it was not created"):
        JsonDatabase(str(tmp_path / "none.json"))
    assert os.listdir(tmp_path) == []


MAKERS = {"directory": os.mkdir, "pipe": os.mkfifo}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_what_is_no_file_is_refused(tmp_path, make):
    make(str(tmp_path / "x"))
    with pytest.raises(StoreError, match=r"not a regular file; .*; nothing was changed"):
        JsonDatabase(str(tmp_path / "x"))


def test_a_file_too_large_is_refused(path, monkeypatch):
    monkeypatch.setattr(json_file, "_MOST_BYTES", len(TEXT) - 1)
    with pytest.raises(StoreError, match=r"larger than .* bytes; .*; nothing was changed"):
        JsonDatabase(str(path))


def test_who_may_not_read_is_told(path, monkeypatch):
    def denied(*unused, **unused_too):
        raise FileError("cannot read it: permission denied; run as root (become: true)")

    monkeypatch.setattr(files, "read_file", denied)
    with pytest.raises(StoreError, match=r"permission denied; run as root .become: true.; nothing was changed"):
        JsonDatabase(str(path))


# Snapshots


def test_a_snapshot_is_the_same_bytes_and_private(path, tmp_path):
    place, copy = JsonFile(str(path)), str(tmp_path / "copy.json")
    assert place.copy_to(copy) == []
    assert files.read_file(copy) == TEXT
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    place.form.check(copy)
    assert open_snapshot(copy).name == copy
    place.form.copy(copy, copy + "2")
    place.form.rename(copy + "2", copy + "3")
    place.form.remove(copy)
    place.form.remove(copy)
    assert sorted(os.listdir(tmp_path)) == ["copy.json3", "flows_cred.json"]


def test_a_snapshot_replaces_nothing(path, tmp_path):
    (tmp_path / "copy.json").write_text("kept")
    with pytest.raises(StoreError, match=r"cannot write .*copy.json: File exists"):
        JsonFile(str(path)).copy_to(str(tmp_path / "copy.json"))
    with pytest.raises(StoreError, match=r"cannot copy .*copy.json: File exists"):
        JsonFile(str(path)).copy_as_it_is(str(tmp_path / "copy.json"))
    assert (tmp_path / "copy.json").read_text() == "kept"


def test_a_snapshot_that_fails_is_not_left_behind(path, tmp_path, monkeypatch):
    def broken(unused_path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(files, "fsync_file", broken)
    with pytest.raises(StoreError, match=r"cannot write .*copy.json: Input/output error; nothing was changed"):
        JsonFile(str(path)).copy_to(str(tmp_path / "copy.json"))
    assert os.listdir(tmp_path) == [path.name]


def test_what_is_damaged_is_copied_only_as_it_is(path, tmp_path):
    path.write_bytes(b'{"$":')
    place, copy = JsonFile(str(path)), tmp_path / "copy.json"
    with pytest.raises(StoreError, match=r"damaged"):
        place.copy_to(str(copy))
    assert not copy.exists()
    place.copy_as_it_is(str(copy))
    assert copy.read_bytes() == b'{"$":'
    with pytest.raises(StoreError, match=r"damaged"):
        place.form.check(str(copy))


@pytest.mark.parametrize("before", [None, b'{"$":"now"}', b"damaged"], ids=["gone", "whole", "damaged"])
def test_a_snapshot_is_put_back(path, tmp_path, before):
    place, copy = JsonFile(str(path)), tmp_path / "copy.json"
    place.copy_to(str(copy))
    path.unlink()
    if before is not None:
        path.write_bytes(before)
        path.chmod(0o644)
    assert place.put_back(str(copy)) == []
    assert path.read_bytes() == TEXT
    assert stat.S_IMODE(path.stat().st_mode) == (0o644 if before is not None else 0o600)
    assert sorted(os.listdir(tmp_path)) == ["copy.json", "flows_cred.json"]


# URLs

URLS = {
    "three slashes": "json:///srv/a/flows_cred.json",
    "four slashes": "json:////srv/a/flows_cred.json",
    "no host": "json:/srv/a/flows_cred.json",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS)
def test_a_url_names_a_json_file(url):
    assert path_of(url) == "/srv/a/flows_cred.json"
    place = place_of(url)
    assert isinstance(place, JsonFile)
    assert (place.name, place.identity, place.exists()) == ("/srv/a/flows_cred.json", "/srv/a/flows_cred.json", False)


@pytest.mark.parametrize("url", ["json:flows.json", "json://host/flows.json"])
def test_a_relative_url_is_refused(url):
    with pytest.raises(StoreError, match=r"relative path"):
        place_of(url)


NAMES = {"nodered-20260101T000000.000000Z.copy.json": True, "nodered-20260101T000000.000000Z.copy.json.json": False, "n.json": False}


@pytest.mark.parametrize(("name", "is_one"), NAMES.items(), ids=NAMES)
def test_a_snapshot_is_known_by_its_name(name, is_one):
    assert (form_of("/b/" + name) is not None) == is_one
