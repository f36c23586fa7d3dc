# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a backup has not: a rewrap and a VACUUM lose nothing, in whichever form values and tables are; a change is counted once."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest
from ansible_collections.servos.ops.plugins.module_utils._rotation.loss import loss_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import read_keys

VALUE = "CREATE TABLE v (id INTEGER PRIMARY KEY, c);"
INTO = "INSERT INTO t VALUES (?, ?)"


def execute(path, *statements):
    connection = sqlite3.connect(path)
    for statement, values in statements:
        connection.execute(statement, values)
    connection.commit()
    connection.close()


@pytest.fixture
def database(make_database, sealed):
    return make_database(VALUE, [("INSERT INTO v VALUES (1, ?)", (sealed("A", "a value"),))])


@pytest.fixture
def lost_since(rotation, database, tmp_path):
    """Return a function that backs up, rewraps, vacuums, executes what is given, and returns what the backup has not."""

    def compare(*statements, rewrapped=1):
        backup = str(tmp_path / "backup.db")
        shutil.copy(database, backup)
        assert rotation.rewrap(database).rewrapped == rewrapped
        execute(database, *statements)
        connection = sqlite3.connect(database)
        connection.execute("VACUUM")
        connection.close()
        installation = rotation.installation(database)
        found = loss_of(installation, {"path": backup, "created_at": "then"}, read_keys(installation))
        assert found.unreadable == ""
        return (found.added, found.changed, found.deleted), found.tables

    return compare


NONE = (0, 0, 0), ()


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(lambda make: make("A", "x").encode("ascii"), id="text-in-a-blob"),
        pytest.param(lambda make: json.dumps({"k": make("A", "x"), "n": 1.50}).encode("utf-8"), id="JSON-in-a-blob"),
        pytest.param(lambda make: json.dumps({"k": make("A", "x"), "n": 1.50}), id="JSON"),
    ],
)
def test_a_rewrap_is_no_change(lost_since, database, sealed, cell):
    execute(database, ("CREATE TABLE t (id INTEGER PRIMARY KEY, c)", ()), (INTO, (1, cell(sealed))))
    assert lost_since(rewrapped=2) == NONE


def test_nor_is_that_of_a_raw_blob(lost_since, database, blob):
    execute(database, ("CREATE TABLE t (id INTEGER PRIMARY KEY, c)", ()), (INTO, (1, blob("A", "x"))))
    assert lost_since(rewrapped=2) == NONE


def test_nor_is_that_of_a_value_which_is_part_of_the_key(lost_since, database, sealed):
    execute(
        database, ("CREATE TABLE t (id, c, PRIMARY KEY (id, c)) WITHOUT ROWID", ()), (INTO, (1, sealed("A", "x"))),
    )  # fmt: skip
    assert lost_since(rewrapped=2) == NONE


@pytest.mark.parametrize("shape", ["id, c", "id TEXT PRIMARY KEY, c", "id, rowid, _rowid_ DEFAULT 0, oid DEFAULT 0"])
def test_nor_are_new_row_ids(lost_since, database, shape):
    second = "rowid" if "rowid" in shape else "c"
    rows = [(f"INSERT INTO t (id, {second}) VALUES (?, 'x')", (f"k{number}",)) for number in range(20)]
    execute(database, (f"CREATE TABLE t ({shape})", ()), *rows, ("DELETE FROM t WHERE id IN ('k3', 'k9')", ()))
    assert lost_since() == NONE


def test_equal_rows_without_a_key_are_counted(lost_since, database):
    execute(database, ("CREATE TABLE t (id, c)", ()), *[(INTO, (1, "same"))] * 3)
    assert lost_since(("DELETE FROM t WHERE rowid = 2", ())) == ((0, 0, 1), ("t",))


def test_what_was_written_is_counted(lost_since, database, sealed):
    execute(database, ("CREATE TABLE t (id TEXT PRIMARY KEY, c)", ()), *[(INTO, (f"k{n}", sealed("A", f"{n}"))) for n in range(4)])
    written = [
        (INTO, ("new", sealed("S", "new"))), ("UPDATE t SET c = ? WHERE id = 'k0'", (sealed("S", "other"),)),
        ("UPDATE t SET c = ? WHERE id = 'k1'", (sealed("S", "1"),)), ("DELETE FROM t WHERE id = 'k2'", ()),
    ]  # fmt: skip
    assert lost_since(*written, rewrapped=5) == ((1, 1, 1), ("t",))
