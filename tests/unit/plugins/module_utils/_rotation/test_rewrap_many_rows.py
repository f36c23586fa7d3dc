# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""More rows than one page of reading (2000) or one range of writing (400) holds, dense, sparse and at the edges."""

from __future__ import annotations

import pytest

PLAIN = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
KEYED = "CREATE TABLE t (k TEXT PRIMARY KEY, c) WITHOUT ROWID"
TAKEN = "CREATE TABLE t (rowid INT, oid INT, _rowid_ INT, c, PRIMARY KEY (oid, rowid))"
INSERT = "INSERT INTO t VALUES (?, ?)"

IDS = {
    "one": range(1),
    "a-range": range(400),
    "a-range-and-one": range(401),
    "a-page": range(2000),
    "a-page-and-one": range(2001),
    "two-pages-and-one": range(4001),
    "negative": range(-2500, -100),
    "across-zero": range(-300, 300),
    "sparse": range(-(10**12), 10**12, 10**9),
    "edges": [-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2, 2**63 - 1],
    "far-apart": [-(2**62), 2**62, 2**62 + 1],
}


def check(rotation, dump, reveal, path, count):
    assert rotation.look(path).sight.sealed == {rotation.installation(path).env_key().fingerprint: count}
    assert rotation.rewrap(path).rewrapped == count
    cells = [reveal.cell(row[-1]) for row in dump(path)["t"]]
    assert len(cells) == count
    assert {cell[1] for cell in cells} == {"S"}
    return [cell[2] for cell in cells]


@pytest.mark.parametrize("ids", IDS.values(), ids=IDS.keys())
def test_every_row_id_is_reached_once(make_database, rotation, dump, reveal, sealed, ids):
    path = make_database(PLAIN, [(INSERT, (number, sealed("A", str(number)))) for number in ids])
    plaintexts = check(rotation, dump, reveal, path, len(ids))
    assert plaintexts == [str(number).encode("ascii") for number in sorted(ids)]


@pytest.mark.parametrize("count", [400, 2000, 2001], ids=str)
def test_every_primary_key_is_reached_once_without_row_ids(make_database, rotation, dump, reveal, sealed, count):
    path = make_database(KEYED, [(INSERT, (f"{n:06d}", sealed("A", str(n)))) for n in range(count)])
    assert check(rotation, dump, reveal, path, count) == [str(n).encode("ascii") for n in range(count)]


def test_every_row_is_reached_where_all_names_of_the_row_id_are_taken(make_database, rotation, dump, reveal, sealed):
    path = make_database(TAKEN, [("INSERT INTO t VALUES (?, ?, 0, ?)", (n % 50, n // 50, sealed("A", "v"))) for n in range(2100)])
    check(rotation, dump, reveal, path, 2100)


def test_no_row_is_lost_behind_a_null_in_the_key(make_database, rotation, dump, reveal, sealed):
    path = make_database(
        TAKEN, [("INSERT INTO t VALUES (?, ?, 0, ?)", (n, None if n < 2050 else n, sealed("A", "v"))) for n in range(2100)]
    )
    check(rotation, dump, reveal, path, 2100)


def test_keys_of_many_types_come_in_sqlites_order(make_database, rotation, dump, reveal, sealed):
    keys = (
        [n * 7 for n in range(700)] + [n / 3 for n in range(1, 700, 3)] + [f"k{n}" for n in range(700)] + [b"b%d" % n for n in range(700)]
    )
    path = make_database(
        "CREATE TABLE t (k, c, PRIMARY KEY (k)) WITHOUT ROWID", [(INSERT, (k, sealed("A", "v"))) for k in dict.fromkeys(keys)]
    )
    check(rotation, dump, reveal, path, len(dict.fromkeys(keys)))


def test_a_value_of_five_megabytes(make_database, rotation, dump, reveal, sealed):
    path = make_database(PLAIN, [(INSERT, (1, sealed("A", "x" * 5000000))), (INSERT, (2, sealed("A", "y")))])
    assert check(rotation, dump, reveal, path, 2) == [b"x" * 5000000, b"y"]
