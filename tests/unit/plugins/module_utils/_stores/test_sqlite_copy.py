# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies of whole databases: private, sound, of a live database too, and none at all where something is wrong."""

from __future__ import annotations

import os
import sqlite3
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores import sqlite_copy

# Two rows of one transaction always say the same; a torn copy would not.
WRITER = """
import sqlite3, sys, time
connection = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
connection.execute("PRAGMA journal_mode=" + sys.argv[2]).fetchall()
number = 0
while True:
    number += 1
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE t SET c = ? WHERE id = 1", (str(number),))
    connection.execute("UPDATE t SET c = ? WHERE id = 2", (str(number),))
    connection.execute("COMMIT")
    time.sleep(0.005)
    if number == 20:
        sys.stdout.write("ready\\n"); sys.stdout.flush()
"""


def rows(path):
    connection = sqlite3.connect("file:" + path + "?mode=ro&immutable=1", uri=True)
    found = connection.execute("SELECT c FROM t ORDER BY id").fetchall()
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()
    return [row[0] for row in found]


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077], ids=oct)
def test_every_state_is_copied_whole_and_for_our_eyes_only(state, database, tmp_path_factory, umask):
    directory = tmp_path_factory.mktemp("copies")
    target = str(directory / "copy.db")
    before = os.umask(umask)
    try:
        sqlite_copy.copy_database(database, target)
    finally:
        os.umask(before)
    assert os.listdir(str(directory)) == ["copy.db"]  # a log beside it would be part of it
    assert stat.S_IMODE(os.stat(target).st_mode) == 0o600
    assert rows(target) == state[1]
    sqlite_copy.check_integrity(target)


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_live_database_is_copied_between_two_transactions(make_database, spawn, tmp_path_factory, mode):
    path = make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c); INSERT INTO t VALUES (1, '0'), (2, '0')")
    assert spawn(WRITER, path, mode).stdout.readline() == b"ready\n"
    directory = tmp_path_factory.mktemp("copies")
    seen = []
    # Three at least, and until one of them shows that the writer was at work: on a busy machine it may be late.
    while len(seen) < 3 or (len(seen) < 200 and len({first for first, unused in seen}) == 1):
        target = str(directory / (f"copy{len(seen)}.db"))
        sqlite_copy.copy_database(path, target)
        seen.append(rows(target))
    assert all(first == second for first, second in seen)
    assert len({first for first, unused in seen}) > 1  # it was written to meanwhile


@pytest.mark.parametrize("share", [0.5, 1.0], ids=["half", "just-short"])
def test_without_room_nothing_is_made(database, tmp_path_factory, monkeypatch, share):
    directory = tmp_path_factory.mktemp("copies")
    size = os.path.getsize(database)
    monkeypatch.setattr(sqlite_copy, "free_bytes", lambda path: int(size * share))
    with pytest.raises(StoreError, match="no room") as caught:
        sqlite_copy.copy_database(database, str(directory / "copy.db"))
    assert str(size) in str(caught.value)
    assert os.listdir(str(directory)) == []


def test_the_log_counts_towards_the_room(database, holder):
    holder(database, "PRAGMA journal_mode=WAL;PRAGMA wal_autocheckpoint=0;INSERT INTO t (c) VALUES (hex(randomblob(50000)))")
    assert sqlite_copy.size_of(database) == os.path.getsize(database) + os.path.getsize(database + "-wal") > 100000


def test_a_target_that_is_there_is_not_overwritten(database, tmp_path):
    target = tmp_path / "copy.db"
    target.write_bytes(b"somebody's")
    with pytest.raises(StoreError, match="cannot make"):
        sqlite_copy.copy_database(database, str(target))
    assert target.read_bytes() == b"somebody's"
    (tmp_path / "link.db").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="cannot make"):
        sqlite_copy.copy_database(database, str(tmp_path / "link.db"))
    assert not (tmp_path / "nowhere").exists()


def test_a_copy_that_fails_leaves_nothing(database, tmp_path_factory):
    directory = tmp_path_factory.mktemp("copies")
    with open(database, "r+b") as stream:
        stream.seek(16)
        stream.write(b"\xff" * 8)
    with pytest.raises(StoreError):
        sqlite_copy.copy_database(database, str(directory / "copy.db"))
    assert os.listdir(str(directory)) == []


def test_a_copy_is_durable_before_it_counts(database, tmp_path, monkeypatch):
    synced = []
    real = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.readlink(f"/proc/self/fd/{fd}")), real(fd))[1])
    sqlite_copy.copy_database(database, str(tmp_path / "copy.db"))
    assert synced == [str(tmp_path / "copy.db"), str(tmp_path)]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_overwriting_keeps_the_file_and_replaces_its_content(database, make_database, mode):
    target = make_database(
        "CREATE TABLE other (x); CREATE TABLE t (id INTEGER PRIMARY KEY, c)",
        [("INSERT INTO t (c) VALUES (?)", (f"n{n}",)) for n in range(500)],
        "target.db",
    )
    connection = sqlite3.connect(target)
    connection.execute("PRAGMA journal_mode=" + mode)
    connection.close()
    os.chmod(target, 0o640)
    if os.geteuid() == 0:
        os.chown(target, 1234, 2345)
    before = os.stat(target)
    sqlite_copy.overwrite_database(database, target)
    after = os.stat(target)
    assert (before.st_ino, before.st_mode, before.st_uid, before.st_gid) == (after.st_ino, after.st_mode, after.st_uid, after.st_gid)
    assert rows(target) == ["before"]
    assert rows(database) == ["before"]
    connection = sqlite3.connect(target)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("t",)]
    connection.close()


def test_overwriting_by_something_damaged_leaves_the_target(database, make_database):
    target = make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c); INSERT INTO t (c) VALUES ('old')", name="target.db")
    with open(database, "r+b") as stream:
        stream.seek(16)
        stream.write(b"\xff" * 8)
    with pytest.raises(StoreError, match="nothing else was changed"):
        sqlite_copy.overwrite_database(database, target)
    assert rows(target) == ["old"]


def test_damage_is_found(make_database):
    path = make_database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c); CREATE INDEX i ON t (c)",
        [("INSERT INTO t (c) VALUES (?)", (f"v{n}",)) for n in range(500)],
    )
    sqlite_copy.check_integrity(path)
    size = os.path.getsize(path)
    with open(path, "r+b") as stream:
        stream.seek(size - 4096)
        stream.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match="is damaged"):
        sqlite_copy.check_integrity(path)


def test_an_index_that_lies_is_found(make_database):
    path = make_database("CREATE TABLE t (c); CREATE INDEX i ON t (c)", [("INSERT INTO t VALUES (?)", ("in both",))])
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema=ON")
    connection.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX i ON t (c) WHERE c IS NULL' WHERE name = 'i'")
    connection.commit()
    connection.close()
    with pytest.raises(StoreError, match="is damaged"):
        sqlite_copy.check_integrity(path)


def test_removing_takes_what_lies_beside_it(tmp_path):
    for end in ("", "-wal", "-shm", "-journal", ".json"):
        (tmp_path / ("x.db" + end)).write_bytes(b"x")
    sqlite_copy.remove_database(str(tmp_path / "x.db"))
    assert os.listdir(str(tmp_path)) == ["x.db.json"]
    sqlite_copy.remove_database(str(tmp_path / "x.db"))
