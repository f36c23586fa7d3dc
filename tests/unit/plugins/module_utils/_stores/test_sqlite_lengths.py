# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which columns of a SQLite table hold anything long enough: page by page, wherever in the table it lies."""

from __future__ import annotations

import sqlite3

import pytest
from ansible_collections.servos.ops.plugins.module_utils._stores import sqlite_tables

LAST = 2**63 - 1
LONG = "x" * 40


@pytest.mark.parametrize(
    ("row_ids", "long_at"),
    [
        ((1, 2, 3, 4, 5), 1), ((1, 2, 3, 4, 5), 2), ((1, 2, 3, 4, 5), 3), ((1, 2, 3, 4), 4), ((1, 2, 3, 4, 5), 5),
        ((-(2**63), 0, 7, 1000, LAST), -(2**63)), ((-(2**63), 0, 7, LAST), LAST), ((-5, -4, -3), -3), ((9,), 9), ((), None), ((1, 2), None),
    ],
    ids=["first", "end of a page", "start of a page", "end of the last page", "alone on a page", "smallest id", "largest id", "negative",
         "one row", "no rows", "nothing long"],
)  # fmt: skip
@pytest.mark.parametrize("names", [("i", "l0"), ("a", "b"), ('q"{}', "rowid")], ids=["as in our statement", "plain", "to be quoted"])
def test_what_is_long_is_found(monkeypatch, row_ids, long_at, names):
    monkeypatch.setattr(sqlite_tables, "_LENGTH_RANGE_ROWS", 2)
    connection = sqlite3.connect(":memory:")
    first, second = map(sqlite_tables.quoted, names)
    connection.execute(f"CREATE TABLE t ({first} TEXT, {second} TEXT)")
    rows = [(row_id, "short", LONG if row_id == long_at else "x") for row_id in row_ids]
    connection.executemany(f"INSERT INTO t (_rowid_, {first}, {second}) VALUES (?, ?, ?)", rows)
    reader = sqlite_tables.SqliteReader(connection)
    found = reader.long_columns(reader.tables()[0], names, text_bytes=40, blob_bytes=28)
    connection.close()
    assert found == (set() if long_at is None else {names[1]})


@pytest.mark.parametrize(
    ("cell", "is_found"),
    [
        ("x\x00" + "y" * 39, True), ("é" * 20, True), ("é" * 19, False), (b"\x00" * 28, True), (b"\x00" * 27, False), (10**15, False),
        (None, False),
    ],
    ids=["text after a null", "bytes of a text", "too few of them", "blob", "short blob", "number", "nothing"],
)  # fmt: skip
def test_what_counts_is_bytes(cell, is_found):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (v)")
    connection.execute("INSERT INTO t VALUES (?)", (cell,))
    reader = sqlite_tables.SqliteReader(connection)
    found = reader.long_columns(reader.tables()[0], ("v",), text_bytes=40, blob_bytes=28)
    connection.close()
    assert found == ({"v"} if is_found else set())
