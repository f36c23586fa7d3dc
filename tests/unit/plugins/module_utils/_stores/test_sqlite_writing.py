# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing to a SQLite file: one transaction or none, never waiting longer than asked, and nothing old left behind."""

from __future__ import annotations

import os
import sqlite3
import time

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreBusyError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores import sqlite
from ansible_collections.servos.ops.plugins.module_utils._stores.shapes import Rewrite
from ansible_collections.servos.ops.plugins.module_utils._stores.sqlite import SqliteDatabase


def content_of(path):
    with open(path, "rb") as stream:
        return stream.read()


def rewrite(writer, function):
    (table,) = [table for table in writer.tables() if table.name == "t"]
    writer.rewrite(table, [Rewrite(("c",), lambda address, cells: (function(cells[0]),))], in_python=False, progress=lambda rows: None)


def values(path):
    connection = sqlite3.connect(path)
    found = [row[0] for row in connection.execute("SELECT c FROM t ORDER BY id")]
    connection.close()
    return found


def test_a_block_that_ends_is_committed(database):
    with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
        rewrite(writer, str.upper)
        assert values(database) == ["before"]  # nobody sees half of it
    assert values(database) == ["BEFORE"]


@pytest.mark.parametrize("mode", ["DELETE", "WAL", "TRUNCATE", "PERSIST"])
@pytest.mark.parametrize("raised", [ZeroDivisionError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_changes_nothing(database, mode, raised):
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=" + mode)
    connection.close()
    before = content_of(database)
    with pytest.raises(raised):  # noqa: PT012
        with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
            rewrite(writer, str.upper)
            raise raised
    assert content_of(database) == before
    assert values(database) == ["before"]


def test_what_a_function_raises_comes_out_as_it_was(database):
    def fail(cell):
        raise ZeroDivisionError("of the function")

    with pytest.raises(ZeroDivisionError, match="of the function"):
        with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
            rewrite(writer, fail)
    assert values(database) == ["before"]


def test_the_commit_is_durable(database, monkeypatch):
    asked = []
    real = sqlite._connect

    def connect(*arguments, **options):
        connection = real(*arguments, **options)
        connection.set_trace_callback(asked.append)
        return connection

    monkeypatch.setattr(sqlite, "_connect", connect)
    with SqliteDatabase(database).writing(lock_timeout_s=1):
        pass
    begin = asked.index("BEGIN IMMEDIATE")
    assert asked.index("PRAGMA synchronous=FULL") < begin < asked.index("COMMIT")


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_lock_of_another_process_is_waited_for_and_then_named(database, holder, mode):
    child = holder(database, "PRAGMA journal_mode=" + mode + ";BEGIN IMMEDIATE;DELETE FROM t")
    started = time.monotonic()
    with pytest.raises(StoreBusyError) as caught:
        with SqliteDatabase(database).writing(lock_timeout_s=0.3):
            pytest.fail("the lock was not held")
    assert 0.25 <= time.monotonic() - started < 30
    assert [word for word in (str(child.pid), "0.3 s", "nothing was changed", "lock_timeout") if word not in str(caught.value)] == []
    child.stdin.write(b"\n")
    child.stdin.flush()
    child.wait()
    with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
        rewrite(writer, str.upper)
    assert values(database) == ["BEFORE"]


def test_a_reader_of_another_process_that_does_not_end_is_named_too(database, holder):
    child = holder(database, "BEGIN;SELECT * FROM t")
    with pytest.raises(StoreBusyError, match=str(child.pid)):
        with SqliteDatabase(database).writing(lock_timeout_s=0.3) as writer:
            rewrite(writer, str.upper)
    child.kill()
    child.wait()
    assert values(database) == ["before"]


def test_what_a_killed_process_left_is_recovered_first(database, killed):
    killed(database, "PRAGMA cache_size=2;BEGIN;DELETE FROM t;INSERT INTO t (c) SELECT hex(randomblob(90000))")
    with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
        rewrite(writer, str.upper)
    assert values(database) == ["BEFORE"]


def test_a_damaged_table_is_refused_in_our_words(database):
    with open(database, "r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xff" * 4096)
    with pytest.raises(StoreError, match="nothing was changed"):
        with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
            rewrite(writer, str.upper)


SECRET = "c2VhbGVkIHVuZGVyIHRoZSBvbGQga2V5"


def everything_beside(path):
    directory = os.path.dirname(path)
    return b"".join(content_of(os.path.join(directory, name)) for name in sorted(os.listdir(directory)) if not name.endswith("-shm"))


@pytest.mark.parametrize("mode", ["DELETE", "WAL", "PERSIST"])
@pytest.mark.parametrize("length", [20, 300], ids=["on-leaf-pages", "on-overflow-pages"])
@pytest.mark.parametrize("kept_open", [False, True], ids=["closed", "open"])
def test_nothing_of_the_old_values_is_left_after_a_scrub(make_database, holder, mode, length, kept_open):
    rows = [("INSERT INTO t (c) VALUES (?)", (SECRET * length,)) for number in range(50)]
    path = make_database("PRAGMA secure_delete=OFF; CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT); CREATE INDEX i ON t (c)", rows)
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode=" + mode)
    connection.close()
    if kept_open and mode == "WAL":
        holder(path, "SELECT * FROM t")
    with SqliteDatabase(path).writing(lock_timeout_s=1) as writer:
        rewrite(writer, lambda cell: "x")
    assert SECRET.encode("ascii") in everything_beside(path)  # else this test shows nothing
    done = SqliteDatabase(path).scrub(lock_timeout_s=1)
    assert SECRET.encode("ascii") not in everything_beside(path)
    assert done == {"vacuumed": True, "wal_bytes": 0}
    assert set(values(path)) == {"x"}


@pytest.mark.parametrize("overwrite", [True, False], ids=["asked", "not-asked"])
def test_freed_pages_are_overwritten_at_once_if_asked(make_database, overwrite):
    path = make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT)", [("INSERT INTO t (c) VALUES (?)", (SECRET * 300,))] * 5)
    with SqliteDatabase(path).writing(lock_timeout_s=1, overwrite_freed=overwrite) as writer:
        rewrite(writer, lambda cell: "x")
    assert (SECRET.encode("ascii") not in everything_beside(path)) is overwrite


def test_the_log_is_emptied_beside_a_process_that_uses_it(database, holder):
    holder(database, "PRAGMA journal_mode=WAL;PRAGMA wal_autocheckpoint=0;INSERT INTO t (c) VALUES ('in the log')")
    assert os.path.getsize(database + "-wal")
    assert SqliteDatabase(database).empty_log(lock_timeout_s=1) == {"vacuumed": False, "wal_bytes": 0}
    assert os.path.getsize(database + "-wal") == 0
    assert values(database) == ["before", "in the log"]


def test_a_scrub_without_room_is_refused_before_it_begins(database, monkeypatch):
    before = content_of(database)
    monkeypatch.setattr(sqlite, "free_bytes", lambda path: 2 * os.path.getsize(database) - 1)
    with pytest.raises(StoreError, match="no room"):
        SqliteDatabase(database).scrub(lock_timeout_s=1)
    assert content_of(database) == before


@pytest.mark.parametrize(("scrub", "factor", "hint"), [(True, 2, "scrub=false"), (False, 1, "make room")])
def test_room_is_asked_for_by_what_will_be_done(database, monkeypatch, scrub, factor, hint):
    size = os.path.getsize(database)
    monkeypatch.setattr(sqlite, "free_bytes", lambda path: factor * size)
    SqliteDatabase(database).require_room(scrub=scrub)
    monkeypatch.setattr(sqlite, "free_bytes", lambda path: factor * size - 1)
    with pytest.raises(StoreError, match=hint) as caught:
        SqliteDatabase(database).require_room(scrub=scrub)
    assert str(factor * size) in str(caught.value)


def test_a_scrub_of_a_database_in_use_is_refused(database, holder):
    child = holder(database, "BEGIN IMMEDIATE")
    with pytest.raises(StoreBusyError, match=str(child.pid)):
        SqliteDatabase(database).scrub(lock_timeout_s=0.3)


class CuttingConnection(sqlite3.Connection):
    """Its functions are those of Python 3.8: they get, and give, no more of a text than what stands before a NUL."""

    def create_function(self, name, arguments, function, **options):
        def of_cut_cells(*cells):
            return cut(function(*map(cut, cells)))

        super().create_function(name, arguments, of_cut_cells, **options)


def cut(cell):
    return cell.partition("\x00")[0] if isinstance(cell, str) else cell


@pytest.mark.parametrize("kind", [CuttingConnection, sqlite3.Connection], ids=["as in Python 3.8", "as in this Python"])
def test_text_with_a_nul_survives(database, monkeypatch, kind):
    plain = sqlite3.connect(database)
    plain.execute("INSERT INTO t (c) VALUES (?)", ("be\x00fore",))
    plain.commit()
    plain.close()
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *arguments, **options: connect(*arguments, **options, factory=kind))
    with SqliteDatabase(database).writing(lock_timeout_s=1) as writer:
        rewrite(writer, lambda cell: "AFTER\x00IT" if cell == "before" else cell)
    monkeypatch.undo()
    assert values(database) == ["AFTER\x00IT", "be\x00fore"]
