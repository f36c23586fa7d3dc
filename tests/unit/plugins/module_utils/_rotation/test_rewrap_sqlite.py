# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data step on real SQLite, table shape by table shape: every value moves, and not one other cell."""

from __future__ import annotations

import json

import pytest

PLAIN = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
INSERT = "INSERT INTO t VALUES (?, ?)"


def _mixed(s, b):
    cells = [s("A", "1"), None, "", "a note", s("S", "2"), 7, 1.5, s("P", "3"), b"", b"\x00bin", s("A", ""), s("A", "gr\u00fc\u00df")]
    return [(INSERT, (number, cell)) for number, cell in enumerate(cells)]


def _one(statement, *cells):
    return lambda s, b: [(statement, tuple(s("A", c[2:]) if isinstance(c, str) and c.startswith("A:") else c for c in cells))]


SHAPES = {
    "mixed-column": (PLAIN, _mixed),
    "blobs-raw": (PLAIN, lambda s, b: [(INSERT, (n, b(k, f"v{n}"))) for n, k in enumerate("AASP")]),
    "blobs-base64": (PLAIN, lambda s, b: [(INSERT, (n, s(k, "v").encode("ascii"))) for n, k in enumerate("AASP")]),
    "blobs-and-text": (
        PLAIN,
        lambda s, b: [(INSERT, (1, b("A", "x"))), (INSERT, (2, s("A", "y"))), (INSERT, (3, s("A", "z").encode("ascii")))],
    ),
    "json-nested": (
        PLAIN,
        lambda s, b: [
            (INSERT, (1, json.dumps({"a": {"b": [{"c": s("A", "1"), "n": 1.0}, {"c": s("S", "2")}]}, "t": "\u00e9"}, indent=3))),
            (INSERT, (2, json.dumps([s("P", "3"), "x", [s("A", "4")]], separators=(",", ":")))),
            (INSERT, (3, "{broken")),
            (INSERT, (4, None)),
        ],
    ),
    # A lenient Base64 decoder opens the last one as if the value in it were all there is.
    "json-that-begins-with-a-value": (
        PLAIN,
        lambda s, b: [
            (INSERT, (1, s("A", "1"))),
            (INSERT, (2, json.dumps([s("A", "22"), "x"]))),
        ],
    ),
    "json-and-whole": (PLAIN, lambda s, b: [(INSERT, (1, s("A", "1"))), (INSERT, (2, json.dumps({"k": s("A", "2")})))]),
    "not-utf-8-beside": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, note TEXT)",
        lambda s, b: [
            ("INSERT INTO t VALUES (?, ?, CAST(? AS TEXT))", (1, s("A", "1"), b"\xff\xfe note")),
            ("INSERT INTO t VALUES (2, CAST(? AS TEXT), ?)", (b"\xe9t\xe9", "x")),
        ],
    ),
    "nul-inside-text": (PLAIN, lambda s, b: [(INSERT, (1, s("A", "1"))), (INSERT, (2, "a\x00b"))]),
    "without-rowid": (
        "CREATE TABLE t (k TEXT PRIMARY KEY, c) WITHOUT ROWID",
        lambda s, b: [(INSERT, (f"k{n}", s("A", "v"))) for n in range(5)],
    ),
    "without-rowid-composite": (
        "CREATE TABLE t (b BLOB, c, n INT, x, PRIMARY KEY (n, b)) WITHOUT ROWID",
        lambda s, b: [("INSERT INTO t VALUES (?, ?, ?, ?)", (bytes([n % 3]), s("A", "v"), n // 3, n)) for n in range(9)],
    ),
    "without-rowid-nocase": (
        "CREATE TABLE t (k TEXT COLLATE NOCASE PRIMARY KEY, c) WITHOUT ROWID",
        lambda s, b: [(INSERT, (k, s("A", k))) for k in ("b", "A", "C", "a2")],
    ),
    "no-primary-key": ("CREATE TABLE t (a, c)", lambda s, b: [(INSERT, (None, s("A", "1"))), (INSERT, (None, s("A", "1")))]),
    "key-with-null": (
        "CREATE TABLE t (a, b, c, PRIMARY KEY (a, b))",
        lambda s, b: [("INSERT INTO t VALUES (NULL, ?, ?)", (n, s("A", "1"))) for n in (1, None, 1)],
    ),
    "column-called-rowid": ("CREATE TABLE t (rowid TEXT, c)", lambda s, b: [(INSERT, ("x", s("A", "1"))), (INSERT, ("x", s("A", "2")))]),
    "columns-called-rowid-oid": (
        "CREATE TABLE t (RowId, OID, c)",
        lambda s, b: [("INSERT INTO t VALUES (1, 1, ?)", (s("A", n),)) for n in "12"],
    ),
    "every-rowid-name-taken": (
        "CREATE TABLE t (rowid, oid, _rowid_, c, PRIMARY KEY (oid))",
        lambda s, b: [("INSERT INTO t VALUES (0, ?, 0, ?)", (n, s("A", n))) for n in "12"],
    ),
    "every-rowid-name-taken-no-key": (
        "CREATE TABLE t (rowid, oid, _rowid_, c)",
        lambda s, b: [("INSERT INTO t VALUES (0, NULL, 0, ?)", (v,)) for v in [s("A", "1")] * 2 + [s("A", "2")]],
    ),
    "rowid-is-the-integer-key": (
        "CREATE TABLE t (rowid INTEGER PRIMARY KEY, c)",
        lambda s, b: [(INSERT, (n, s("A", "1"))) for n in (-5, 9)],
    ),
    "odd-table-name": (
        'CREATE TABLE "a""b \'c [d] %s ? :x" ("e""f" INTEGER PRIMARY KEY, "g h" TEXT, "select" TEXT, "\u00e9-\u4e16" TEXT)',
        _one('INSERT INTO "a""b \'c [d] %s ? :x" VALUES (1, ?, ?, ?)', "A:1", "A:2", "A:3"),
    ),
    "keywords": (
        'CREATE TABLE "table" ("order" TEXT, "group" TEXT, "where" TEXT, PRIMARY KEY ("order")) WITHOUT ROWID',
        _one('INSERT INTO "table" VALUES (?, ?, ?)', "k", "A:1", "x"),
    ),
    "name-of-a-function": ("CREATE TABLE servos_rewrite_0_0 (count, c)", _one("INSERT INTO servos_rewrite_0_0 VALUES (?, ?)", 1, "A:1")),
    "name-like-sqlites-own": (
        "CREATE TABLE sqliteXtable (id INTEGER PRIMARY KEY, c)",
        _one("INSERT INTO sqliteXtable VALUES (1, ?)", "A:1"),
    ),
    "declared-number": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c INTEGER, d REAL, e NUMERIC)",
        _one("INSERT INTO t VALUES (1, ?, ?, ?)", "A:1", "A:2", "12"),
    ),
    "strict": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, d BLOB) STRICT",
        lambda s, b: [("INSERT INTO t VALUES (1, ?, ?)", (s("A", "1"), b("A", "2")))],
    ),
    "constraints": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT NOT NULL UNIQUE CHECK (length(c) > 20), d TEXT DEFAULT 'x'); "
        "CREATE INDEX i ON t (c, d); "
        "CREATE INDEX j ON t (substr(c, 1, 4)) WHERE d IS NOT NULL",
        lambda s, b: [("INSERT INTO t VALUES (?, ?, 'y')", (n, s("A", "v"))) for n in range(3)],
    ),
    "generated-from-others": (
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, n INT, v AS (n + 1) VIRTUAL, w AS (n * 2) STORED, z TEXT)",
        _one("INSERT INTO t (c, n, z) VALUES (?, ?, ?)", "A:1", 4, "x"),
    ),
    "foreign-key": (
        "CREATE TABLE p (id INTEGER PRIMARY KEY, c TEXT); CREATE TABLE q (p REFERENCES p (id) ON UPDATE CASCADE ON DELETE CASCADE, c TEXT)",
        lambda s, b: [("INSERT INTO p VALUES (1, ?)", (s("A", "1"),)), ("INSERT INTO q VALUES (1, ?)", (s("A", "2"),))],
    ),
    "harmless-trigger": (
        PLAIN + "; CREATE TABLE log (n); CREATE TRIGGER g AFTER UPDATE ON t BEGIN DELETE FROM log; END",
        lambda s, b: [(INSERT, (1, s("A", "1")))],
    ),
    "views-and-virtual-tables": (
        PLAIN + "; CREATE VIEW v AS SELECT c FROM t; CREATE TRIGGER g INSTEAD OF UPDATE ON v BEGIN SELECT RAISE(ABORT, 'no'); END; "
        "CREATE VIRTUAL TABLE f USING fts5(title, content='')",
        lambda s, b: [(INSERT, (1, s("A", "1")))],
    ),
    "a-megabyte": (PLAIN, lambda s, b: [(INSERT, (1, s("A", "x" * 1000000))), (INSERT, (2, b("A", "y" * 1000000)))]),
}


@pytest.mark.parametrize(("script", "rows"), SHAPES.values(), ids=SHAPES.keys())
def test_every_value_moves_and_nothing_else(make_database, rotation, dump, reveal, moved, sealed, blob, script, rows):
    path = make_database(script, rows(sealed, blob))
    before = reveal.rows(dump(path))
    done = rotation.rewrap(path, previous=True)
    assert reveal.rows(dump(path)) == moved(before)
    assert done.rewrapped == sum(str(before).count(f"'{name}', b") for name in "AP")
    assert done.kept == str(before).count("'S', b")
    assert done.rewrapped


@pytest.mark.parametrize(("script", "rows"), SHAPES.values(), ids=SHAPES.keys())
def test_the_census_agrees_before_and_after(make_database, rotation, dump, reveal, mark, sealed, blob, script, rows):
    path = make_database(script, rows(sealed, blob))
    text = str(reveal.rows(dump(path)))
    before = rotation.look(path, previous=True)
    assert before.census.sealed == {mark(n): text.count(f"'{n}', b") for n in "ASP" if f"'{n}', b" in text}
    rotation.rewrap(path, previous=True, census=before.census)
    after = rotation.look(path, previous=True)
    assert after.census.sealed == {mark("S"): sum(before.census.sealed.values())}
    assert (before.census.foreign, after.census.foreign, after.phase) == (0, 0, "rewrapped")


def test_generated_columns_follow_and_are_not_counted(make_database, rotation, dump, reveal, sealed):
    script = "CREATE TABLE t (id INTEGER PRIMARY KEY, c TEXT, head AS (substr(c, 1, 10)) STORED, copy AS (c) VIRTUAL)"
    path = make_database(script, [("INSERT INTO t (c) VALUES (?)", (sealed("A", "value"),))])
    assert rotation.rewrap(path).rewrapped == 1
    ((unused_id, cell, head, copy),) = dump(path)["t"]
    assert reveal.cell(cell) == ("text", "S", b"value")
    assert (head, copy) == (cell[:10], cell)


def test_values_in_a_virtual_table_are_counted_where_they_lie(make_database, rotation, dump, reveal, sealed):
    path = make_database("CREATE VIRTUAL TABLE f USING fts5(title, body)", [("INSERT INTO f VALUES (?, ?)", ("x", sealed("A", "value")))])
    assert [str(counted.field) for counted in rotation.look(path).census.fields] == ["f_content.c1"]
    assert rotation.rewrap(path).rewrapped == 1
    assert reveal.cell(dump(path)["f"][0][1]) == ("text", "S", b"value")
