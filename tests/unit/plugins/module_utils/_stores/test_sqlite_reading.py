# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looking at a SQLite file: what is no database is refused, and what is one is read without a trace."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores.sqlite import SqliteDatabase
from ansible_collections.servos.ops.plugins.module_utils._stores.urls import open_database


def trace(path):
    """Everything that a writer would leave behind: names, sizes, times, and the directory's own time."""
    directory = os.path.dirname(path)
    found = {"": os.stat(directory).st_mtime_ns}
    for name in os.listdir(directory):
        stat = os.stat(os.path.join(directory, name))
        # SQLite keeps who reads what in shared memory, which is not of the database.
        found[name] = (stat.st_ino, stat.st_mode, stat.st_uid, stat.st_size) + (() if name.endswith("-shm") else (stat.st_mtime_ns,))
        if not name.endswith("-shm"):
            with open(os.path.join(directory, name), "rb") as stream:
                found[name] += (stream.read(),)
    return found


def values(reader):
    (table,) = reader.tables()
    return [cells[0] for unused, cells in reader.rows(table, ["c"])]


def test_every_state_is_read_whole_and_without_a_trace(state, database):
    before = trace(database)
    with SqliteDatabase(database).reading() as reader:
        assert values(reader) == state[1]
    assert trace(database) == before


def test_no_copy_stays_behind(state, database, monkeypatch, tmp_path_factory):
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    with contextlib.suppress(ZeroDivisionError), SqliteDatabase(database).reading():
        # What a crash left can only be read through a copy, which is for our eyes only.
        copies = os.listdir(str(scratch))
        assert len(copies) == (1 if state[0] == "journal-killed" else 0)
        assert all(os.stat(str(scratch / name)).st_mode & 0o777 == 0o700 for name in copies)
        raise ZeroDivisionError
    assert os.listdir(str(scratch)) == []


def test_a_log_without_shared_memory_is_read_through_a_copy(database, killed):
    killed(database, "PRAGMA journal_mode=WAL;PRAGMA wal_autocheckpoint=0;INSERT INTO t (c) VALUES ('in the log')")
    os.unlink(database + "-shm")
    before = trace(database)
    with SqliteDatabase(database).reading() as reader:
        assert values(reader) == ["before", "in the log"]
    assert trace(database) == before


def test_no_place_for_a_copy_is_said(database, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(StoreError, match=r"no directory for it can be made .No such file or directory.*nothing was changed.*TMPDIR"):
        with SqliteDatabase(database).reading(copied=True):
            pass


def test_a_database_that_is_opened_meanwhile_is_not_believed(database, holder):
    holder(database, "PRAGMA journal_mode=WAL").kill()
    connection = sqlite3.connect(database)
    connection.execute("SELECT * FROM t").fetchall()
    connection.close()  # the last one takes the log away
    assert not os.path.exists(database + "-wal")
    with pytest.raises(StoreError, match="was opened by another process"):  # noqa: PT012
        with SqliteDatabase(database).reading() as reader:
            values(reader)
            holder(database, "INSERT INTO t (c) VALUES ('meanwhile')")


def test_a_reader_cannot_write(database):
    for mode in ("DELETE", "WAL"):
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA journal_mode=" + mode)
        connection.close()
        with SqliteDatabase(database).reading() as reader:
            with pytest.raises(sqlite3.OperationalError, match="readonly"):
                reader._connection.execute("DELETE FROM t")


def test_a_missing_file_is_refused_and_not_made(tmp_path):
    with pytest.raises(StoreError, match="it was not created"):
        open_database(str(tmp_path / "no.db"))
    assert os.listdir(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "an empty file"),
        (b"x" * 4096, "not a SQLite database"),
        (b"SQLite format 2\x00", "not a SQLite database"),
        (b"SQLite", "not a SQLite database"),
    ],
    ids=["empty", "text", "other-magic", "short"],
)
def test_what_is_no_database_is_refused_and_left_alone(tmp_path, content, said):
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=said):
        open_database(str(path))
    assert path.read_bytes() == content
    assert os.listdir(str(tmp_path)) == ["x.db"]


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(StoreError, match="is a directory"):
        open_database(str(tmp_path))


@pytest.mark.parametrize("damage", [slice(100, 200), slice(16, 24)], ids=["first-page", "header"])
def test_a_damaged_database_is_refused_in_our_words(database, damage):
    with open(database, "r+b") as stream:
        stream.seek(damage.start)
        stream.write(b"\xff" * (damage.stop - damage.start))
    with pytest.raises(StoreError, match="SQLite refused"):
        with SqliteDatabase(database).reading():
            pass


@pytest.fixture
def nobody():
    """Act as a user without rights, in a directory that everybody may enter."""
    directory = tempfile.mkdtemp()
    os.chmod(directory, 0o755)

    @contextlib.contextmanager
    def act():
        if os.geteuid() != 0:
            yield
            return
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)

    yield directory, act
    for name in os.listdir(directory):
        os.unlink(os.path.join(directory, name))
    os.rmdir(directory)


def test_a_file_that_may_not_be_read_is_refused(nobody):
    directory, act = nobody
    path = os.path.join(directory, "x.db")
    sqlite3.connect(path).execute("CREATE TABLE t (c)").connection.close()
    os.chmod(path, 0)
    with act(), pytest.raises(StoreError, match="may not be read by uid"):
        open_database(path)


def test_a_directory_that_may_not_be_entered_is_refused(nobody, tmp_path):
    directory, act = nobody
    os.chmod(directory, 0)
    with act(), pytest.raises(StoreError, match="may not be read"):
        open_database(os.path.join(directory, "x.db"))
    os.chmod(directory, 0o755)


def test_a_file_that_may_only_be_read_is_read_and_not_written(nobody):
    directory, act = nobody
    path = os.path.join(directory, "x.db")
    connection = sqlite3.connect(path)
    connection.executescript("CREATE TABLE t (c); INSERT INTO t VALUES ('before')")
    connection.close()
    os.chmod(path, 0o444)
    with act():
        with SqliteDatabase(path).reading() as reader:
            assert values(reader) == ["before"]
        with pytest.raises(StoreError, match="read-only"):
            with SqliteDatabase(path).writing(lock_timeout_s=1) as writer:
                writer._connection.execute("DELETE FROM t")


@pytest.mark.parametrize(
    "form", ["{path}", "sqlite:///{path}", "file:{path}", "sqlite:{path}", "sqlite:///{path}?mode=rwc", "file:{path}?mode=ro"], ids=str
)
def test_urls_of_an_absolute_path(form, database):
    assert open_database(form.format(path=database)).path == database


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:///relative.db", "four slashes"),
        ("sqlite:relative.db", "four slashes"),
        ("file:relative.db", "four slashes"),
        ("sqlite:///:memory:", "four slashes"),
        ("relative.db", "not supported"),
        ("./x.db", "not supported"),
        ("", "not supported"),
        ("postgresql://u:hunter2@h/d", "holds a password"),
        ("mysql:///x", "'mysql' is not supported"),
    ],
)
def test_other_urls_are_refused_without_repeating_them(url, said):
    with pytest.raises(StoreError, match=said) as caught:
        open_database(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["a b.db", "a%20b.db", "a#b.db", "a?b.db", "\u00e9.db", "a&b=c.db"])
def test_odd_file_names(tmp_path, name):
    path = str(tmp_path / name)
    sqlite3.connect(path).execute("CREATE TABLE t (c)").connection.close()
    with SqliteDatabase(path).reading() as reader:
        assert [table.name for table in reader.tables()] == ["t"]
    assert os.listdir(str(tmp_path)) == [name]


@pytest.mark.parametrize(
    ("schema", "ids", "about"),
    [("id INTEGER PRIMARY KEY", [], 0), ("id INTEGER PRIMARY KEY", [7], 1), ("id INTEGER PRIMARY KEY", [-2, 3, 7], 10),
     ("id TEXT PRIMARY KEY", ["b", "a"], 2), ("id TEXT PRIMARY KEY) WITHOUT ROWID; --", ["a"], None)],
    ids=["none", "one", "gaps count", "a key of text", "without row id"],
)  # fmt: skip
def test_about_how_many_rows(make_database, schema, ids, about):
    path = make_database(f"CREATE TABLE t ({schema})", [("INSERT INTO t VALUES (?)", (each,)) for each in ids])
    with SqliteDatabase(path).reading() as reader:
        assert reader.rows_about(reader.tables()[0]) == about
