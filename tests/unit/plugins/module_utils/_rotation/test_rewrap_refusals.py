# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data step on real SQLite where it must refuse: by name, and with the file as it was."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, StoreError, UndeclaredFieldError

PLAIN = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
INSERT = "INSERT INTO t VALUES (?, ?)"


def digest(path):
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def execute(path, statement, *values):
    connection = sqlite3.connect(path)
    connection.execute(statement, values)
    connection.commit()
    connection.close()


FOREIGN = [
    ("integer-key", PLAIN, INSERT, 5, "t.c of id=5"),
    ("text-key", "CREATE TABLE t (k TEXT PRIMARY KEY, c)", INSERT, "row five", "t.c of k=row five"),
    ("without-rowid", "CREATE TABLE t (k TEXT PRIMARY KEY, c) WITHOUT ROWID", INSERT, "row five", "t.c of k=row five"),
    ("no-key", "CREATE TABLE t (k, c)", INSERT, "x", "t.c of rowid=2"),
    ("composite", "CREATE TABLE t (k, c, n DEFAULT 9, PRIMARY KEY (n, k))", "INSERT INTO t (k, c) VALUES (?, ?)", "x", "t.c of n=9, k=x"),
    ("blob-key", "CREATE TABLE t (k BLOB PRIMARY KEY, c)", INSERT, b"\x00\xff", "t.c of k=00ff"),
    ("odd-name", 'CREATE TABLE "a""b" (k PRIMARY KEY, "c d")', 'INSERT INTO "a""b" VALUES (?, ?)', 5, 'a"b.c d of k=5'),
    ("long-key", "CREATE TABLE t (k PRIMARY KEY, c)", INSERT, "k" * 500, "t.c of k=" + "k" * 61 + "..."),
]


@pytest.mark.parametrize(("script", "insert", "key", "named"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_a_foreign_value_is_named_by_table_column_and_key(make_database, rotation, sealed, script, insert, key, named):
    first = -1 if isinstance(key, int) else b"0" if isinstance(key, bytes) else "0"
    path = make_database(script, [(insert, (first, sealed("A", "1")))])
    census = rotation.look(path).census
    execute(path, insert, key, sealed("X", "secret"))
    before = digest(path)
    # In the census, and in the transaction itself where the value came in between.
    with pytest.raises(ForeignValueError, match="1 of 2") as caught:
        rotation.look(path).require_usable(discover="include", allow_empty=False, canary_required=False)
    assert named in str(caught.value)
    with pytest.raises(ForeignValueError) as caught:
        rotation.rewrap(path, census=census)
    assert named in str(caught.value)
    assert sealed("X", "secret")[:8] not in str(caught.value)
    assert digest(path) == before


def test_the_last_of_many_rows_undoes_all_before_it(make_database, rotation, sealed, dump):
    path = make_database(PLAIN, [(INSERT, (n, sealed("A", "v"))) for n in range(900)])
    census = rotation.look(path).census
    execute(path, INSERT, 10**6, sealed("X", "v"))
    before = dump(path)
    with pytest.raises(ForeignValueError, match="id=1000000"):
        rotation.rewrap(path, census=census)
    assert dump(path) == before


def test_base64_in_a_blob_that_nothing_opens_ends_the_transaction(make_database, rotation, sealed):
    path = make_database(PLAIN, [(INSERT, (1, sealed("A", "1").encode("ascii")))])
    census = rotation.look(path).census
    execute(path, INSERT, 2, sealed("X", "2").encode("ascii"))
    with pytest.raises(ForeignValueError):
        rotation.rewrap(path, census=census)


def test_a_place_in_json_that_nothing_opens_ends_the_transaction(make_database, rotation, sealed):
    path = make_database(PLAIN, [(INSERT, (1, json.dumps({"k": sealed("A", "1")})))])
    census = rotation.look(path).census
    execute(path, INSERT, 2, json.dumps({"k": sealed("X", "2")}))
    with pytest.raises(ForeignValueError):
        rotation.rewrap(path, census=census)


def test_a_value_of_its_own_in_a_column_of_json_is_found_in_the_transaction(make_database, rotation, sealed, reveal, dump):
    path = make_database(PLAIN, [(INSERT, (1, json.dumps({"k": sealed("A", "1")})))])
    census = rotation.look(path).census
    execute(path, INSERT, 2, sealed("A", "2"))
    rotation.rewrap(path, census=census)
    assert "'A', b" not in str(reveal.rows(dump(path)))


TRIGGERS = [
    ("copies-old", "CREATE TABLE h (v); CREATE TRIGGER g AFTER UPDATE ON t BEGIN INSERT INTO h VALUES (old.c); END"),
    ("copies-old-of-column", "CREATE TABLE h (v); CREATE TRIGGER g BEFORE UPDATE OF c ON t BEGIN INSERT INTO h VALUES (old.c); END"),
    ("copies-old-into-json", "CREATE TABLE h (v); CREATE TRIGGER g AFTER UPDATE ON t BEGIN INSERT INTO h VALUES (json_array(old.c)); END"),
    ("puts-it-back", "CREATE TRIGGER g AFTER UPDATE ON t WHEN old.c <> new.c BEGIN UPDATE t SET c = old.c WHERE id = new.id; END"),
]


@pytest.mark.parametrize("trigger", [row[1] for row in TRIGGERS], ids=[row[0] for row in TRIGGERS])
def test_a_trigger_that_keeps_old_values_ends_the_transaction(make_database, rotation, sealed, trigger):
    path = make_database(PLAIN + ";" + trigger, [(INSERT, (n, sealed("A", "v"))) for n in range(3)])
    before = digest(path)
    with pytest.raises(StoreError, match="a trigger copied values under the old key into") as caught:
        rotation.rewrap(path)
    assert "drop the trigger" in str(caught.value)
    assert digest(path) == before


def test_a_trigger_that_refuses_ends_the_transaction(make_database, rotation, sealed):
    path = make_database(
        PLAIN + "; CREATE TRIGGER g BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, 'read only'); END", [(INSERT, (1, sealed("A", "v")))]
    )
    before = digest(path)
    with pytest.raises(StoreError, match="read only; nothing was changed"):
        rotation.rewrap(path)
    assert digest(path) == before


def test_triggers_are_named_in_a_warning(make_database, rotation, sealed):
    path = make_database(
        PLAIN + "; CREATE TABLE l (n); CREATE TRIGGER stamp AFTER UPDATE ON t BEGIN DELETE FROM l; END; "
        "CREATE TRIGGER other AFTER INSERT ON t BEGIN DELETE FROM l; END",
        [(INSERT, (1, sealed("A", "v")))],
    )
    found = [text for text in rotation.look(path).warnings() if "trigger" in text]
    assert found == ["rewriting t updates up to 1 rows, and triggers fire: stamp"]


def test_a_field_outside_the_profile_stops_or_is_included(make_database, rotation, sealed, dump, reveal, moved):
    profile = {"fields": [{"table": "t", "column": "c"}]}
    path = make_database(
        PLAIN + "; CREATE TABLE u (d)", [(INSERT, (1, sealed("A", "1"))), ("INSERT INTO u VALUES (?)", (sealed("A", "2"),))]
    )
    seen = rotation.look(path, profile)
    with pytest.raises(UndeclaredFieldError) as caught:
        seen.require_usable(discover="fail", allow_empty=False, canary_required=False)
    assert "u.d" in str(caught.value)
    assert str({"table": "u", "codec": "aes256gcm_base64", "column": "d"}) in str(caught.value)
    assert seen.require_usable(discover="include", allow_empty=False, canary_required=False) is seen.census
    before = reveal.rows(dump(path))
    rotation.rewrap(path, profile, census=seen.census)
    assert reveal.rows(dump(path)) == moved(before)


@pytest.mark.parametrize("include", [True, False])
def test_a_field_that_fills_between_census_and_transaction_is_not_left_behind(make_database, rotation, sealed, dump, reveal, include):
    path = make_database(PLAIN + "; CREATE TABLE u (d)", [(INSERT, (1, sealed("A", "1")))])
    census = rotation.look(path).census
    execute(path, "INSERT INTO u VALUES (?)", sealed("A", "2"))
    if include:
        rotation.rewrap(path, census=census, include_new_fields=True)
        assert "'A', b" not in str(reveal.rows(dump(path)))
    else:
        before = digest(path)
        with pytest.raises(UndeclaredFieldError, match=r"u\.d began to hold sealed values"):
            rotation.rewrap(path, census=census, include_new_fields=False)
        assert digest(path) == before


def test_what_fills_between_and_opens_only_in_part_ends_the_transaction(make_database, rotation, sealed):
    path = make_database(PLAIN + "; CREATE TABLE u (d)", [(INSERT, (1, sealed("A", "1")))])
    census = rotation.look(path).census
    execute(path, "INSERT INTO u VALUES (?)", json.dumps([sealed("A", "2"), sealed("X", "3")]))
    before = digest(path)
    with pytest.raises(ForeignValueError, match=r"u\.d"):
        rotation.rewrap(path, census=census)
    assert digest(path) == before


def test_an_ignored_column_is_left_as_it_is(make_database, rotation, sealed, dump):
    old = sealed("A", "2")
    path = make_database("CREATE TABLE t (c, d)", [("INSERT INTO t VALUES (?, ?)", (sealed("A", "1"), old))])
    rotation.rewrap(path, {"ignore": [{"table": "t", "column": "d"}]})
    assert dump(path)["t"][0][1] == old


EMPTY = [
    ("no-tables", "CREATE TABLE x (a); DROP TABLE x"),
    ("no-rows", PLAIN),
    ("nothing-sealed", PLAIN + "; INSERT INTO t VALUES (1, 'x')"),
]


@pytest.mark.parametrize("script", [row[1] for row in EMPTY], ids=[row[0] for row in EMPTY])
def test_nothing_found_is_never_success(make_database, rotation, script):
    seen = rotation.look(make_database(script))
    with pytest.raises(StoreError, match="allow_empty=true"):
        seen.require_usable(discover="fail", allow_empty=False, canary_required=False)
    assert seen.require_usable(discover="fail", allow_empty=True, canary_required=False).sealed == {}


def test_a_missing_canary_is_refused_where_it_is_required(make_database, rotation, sealed):
    seen = rotation.look(make_database(PLAIN, [(INSERT, (1, sealed("A", "1")))]))
    with pytest.raises(StoreError, match="canary was not found"):
        seen.require_usable(discover="fail", allow_empty=False, canary_required=True)
    assert any("no integrity canary" in text for text in seen.warnings())


NOT_UTF_8 = "INSERT INTO t VALUES (2, CAST(? AS TEXT))"


def test_text_that_is_not_utf_8_beside_json_stays(make_database, rotation, sealed, dump, reveal, moved):
    path = make_database(PLAIN, [(INSERT, (1, json.dumps({"k": sealed("A", "1")}))), (NOT_UTF_8, (b"\xff\xfe",))])
    before = reveal.rows(dump(path))
    rotation.rewrap(path)
    assert reveal.rows(dump(path)) == moved(before)


def test_text_that_is_not_utf_8_beside_blobs_stays(make_database, rotation, blob, dump, reveal, moved):
    path = make_database(PLAIN, [(INSERT, (1, blob("A", "1"))), (NOT_UTF_8, (b"\xff\xfe",))])
    before = reveal.rows(dump(path))
    rotation.rewrap(path)
    assert reveal.rows(dump(path)) == moved(before)


def test_text_that_is_not_utf_8_in_the_same_row_stays_or_is_refused(make_database, rotation, sealed):
    path = make_database(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, c, d)",
        [
            ("INSERT INTO t VALUES (1, ?, ?)", (sealed("A", "1"), sealed("A", "2"))),
            ("INSERT INTO t VALUES (2, ?, CAST(? AS TEXT))", (sealed("A", "3"), b"\xff")),
        ],
    )
    before = digest(path)
    with pytest.raises(StoreError, match="not UTF-8"):
        rotation.rewrap(path)
    assert digest(path) == before


def test_a_key_that_is_not_utf_8_is_rewrapped_or_refused(make_database, rotation, sealed):
    path = make_database(
        "CREATE TABLE t (k TEXT PRIMARY KEY, c) WITHOUT ROWID", [("INSERT INTO t VALUES (CAST(? AS TEXT), ?)", (b"\xff", sealed("A", "1")))]
    )
    with contextlib.suppress(StoreError):
        rotation.rewrap(path)
