# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Databases in the states that other processes leave them in; those processes use plain sqlite3 and nothing of ours."""

from __future__ import annotations

import os
import sqlite3

import pytest

# argv: path, statements to run, and whether to stay in a transaction; prints when it is done, then waits.
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
for statement in sys.argv[2].split(";"):
    connection.execute(statement).fetchall()
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
"""
FILL = "INSERT INTO t (c) WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT hex(randomblob(40)) FROM n"


@pytest.fixture
def holder(spawn):
    """Let another process run statements on a database and keep it open; returns the process."""

    def hold(path, statements):
        child = spawn(HOLDER, path, statements)
        assert child.stdout.readline() == b"ready\n"
        return child

    return hold


@pytest.fixture
def killed(holder):
    """The same, then SIGKILL."""

    def run(path, statements):
        child = holder(path, statements)
        child.kill()
        child.wait()

    return run


@pytest.fixture
def database(make_database):
    """A database with one table of one row, c = 'before'."""
    return make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT)", [("INSERT INTO t (c) VALUES (?)", ("before",))])


@pytest.fixture(params=["delete", "wal", "wal-open", "wal-killed", "journal-killed", "journal-alive"])
def state(request, database, holder, killed):
    """Bring the database into a state; returns its name and the values that a reader must see."""
    name = request.param
    if name in ("wal", "wal-open", "wal-killed"):
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    seen = ["before"]
    if name == "wal-open":
        holder(database, "INSERT INTO t (c) VALUES ('in the log')")
        seen.append("in the log")
    elif name == "wal-killed":
        killed(database, "PRAGMA wal_autocheckpoint=0;INSERT INTO t (c) VALUES ('in the log')")
        seen.append("in the log")
        assert os.path.getsize(database + "-wal")
    elif name == "journal-killed":
        killed(database, "PRAGMA cache_size=2;BEGIN;DELETE FROM t;" + FILL)
        assert os.path.getsize(database + "-journal")
        assert os.path.getsize(database) > 100000
    elif name == "journal-alive":
        holder(database, "BEGIN IMMEDIATE;DELETE FROM t")
    return name, seen
