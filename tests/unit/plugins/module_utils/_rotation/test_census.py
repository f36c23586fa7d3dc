# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The census on a store in memory: what is counted where, what is named, and what is refused."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, ProfileError
from ansible_collections.servos.ops.plugins.module_utils._rotation.census import take_census
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import build_profile

T, B = "aes256gcm_base64", "aes256gcm_raw"


@pytest.fixture
def count(memory, ciphers):
    """Take the census of columns id and c of one table t."""

    def of(cells, keys="A", profile=None, app="servos", columns=("id", "c"), table="t", **options):
        rows = {number: (number, *(cell if isinstance(cell, tuple) else (cell,))) for number, cell in enumerate(cells, 1)}
        store = memory({table: (columns, ("id",), rows)})
        return take_census(store, build_profile(app, profile), ciphers(keys), **options)

    return of


def shown(census, mark):
    """Counts by field, keys by their letter."""
    letters = {mark(letter): letter for letter in "ASPX"}
    return {
        (c.field.columns[0], c.field.codec, c.field.path): dict(
            {letters[m]: n for m, n in c.sealed.items()}, empty=c.empty, plain=c.plain, foreign=c.unopened
        )
        for c in census.fields
    }


def test_counts_by_key_empty_plain_and_foreign(count, sealed, mark):
    cells = [
        sealed("A", "1"),
        None,
        sealed("S", "2"),
        "",
        "a note",
        sealed("A", "3"),
        sealed("P", "4"),
        7,
        1.5,
        sealed("X", "5"),
        b"",
        "x" * 60 + "!",
    ]
    census = count(cells, keys="ASP")
    assert shown(census, mark) == {("c", T, None): {"A": 2, "S": 1, "P": 1, "empty": 3, "plain": 4, "foreign": 1}}
    assert census.sealed == {mark("A"): 2, mark("S"): 1, mark("P"): 1}
    assert (census.foreign, census.foreign_at) == (1, ("t.c of id=10",))


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2), (2, 0, 3, 1)], ids=str)
def test_the_order_of_rows_does_not_matter(count, sealed, blob, mark, order):
    cells = [sealed("A", "1"), sealed("S", "2"), "prose that is long enough to be looked at, " * 2, sealed("X", "3")]
    assert shown(count([cells[i] for i in order], keys="AS"), mark) == {
        ("c", T, None): {"A": 1, "S": 1, "empty": 0, "plain": 1, "foreign": 1}
    }


def test_base64_with_line_ends_counts_wherever_it_stands(count, sealed, mark):
    wrapped = sealed("A", "1")
    wrapped = wrapped[:20] + "\n" + wrapped[20:]
    assert count([wrapped, sealed("A", "2")]).sealed == count([sealed("A", "2"), wrapped]).sealed


def test_an_empty_plaintext_counts_as_sealed(count, sealed, mark):
    assert shown(count([sealed("A", "")]), mark) == {("c", T, None): {"A": 1, "empty": 0, "plain": 0, "foreign": 0}}


@pytest.mark.parametrize(
    "cell",
    [
        pytest.param("Z" * 44, id="looks-sealed"),
        pytest.param("ab" * 32, id="a-digest"),
        pytest.param(b"\x00" * 64, id="a-blob"),
        pytest.param('{"a": "' + "Z" * 44 + '"}', id="in-json"),
        pytest.param("note", id="a-note"),
        pytest.param(None, id="null"),
    ],
)
def test_a_column_in_which_nothing_opens_is_no_field_unless_named(count, cell):
    assert count([cell]).fields == ()
    assert count([cell]).foreign == 0


def test_in_a_named_column_what_looks_sealed_and_opens_not_is_foreign(count, mark):
    profile = {"fields": [{"table": "t", "column": "c"}]}
    census = count(["Z" * 44, "a note", None], profile=profile)
    assert shown(census, mark) == {("c", T, None): {"empty": 1, "plain": 1, "foreign": 1}}
    assert count([None, ""], profile=profile).fields[0].empty == 2


def test_blobs_in_both_layouts(count, sealed, blob, mark):
    raw = count([blob("A", "1"), blob("X", "2"), b"short", None])
    assert shown(raw, mark) == {("c", B, None): {"A": 1, "empty": 1, "plain": 1, "foreign": 1}}
    text = count([sealed("A", "1").encode("ascii"), None])
    assert shown(text, mark) == {("c", T, None): {"A": 1, "empty": 1, "plain": 0, "foreign": 0}}
    both = count([blob("A", "1"), sealed("S", "2")], keys="AS")
    assert {key: (row.get("A"), row.get("S")) for key, row in shown(both, mark).items()} == {
        ("c", B, None): (1, None),
        ("c", T, None): (None, 1),
    }


def test_base64_in_a_blob_under_a_lost_key_is_foreign(count, sealed):
    assert count([sealed("A", "1").encode("ascii"), sealed("X", "2").encode("ascii")]).foreign == 1


def test_cells_of_a_column_of_both_layouts_are_counted_once(count, sealed, blob):
    census = count([blob("A", "1"), sealed("A", "2"), None, "note"])
    assert sum(c.empty for c in census.fields) == 1
    assert sum(c.plain for c in census.fields) == 1


def test_places_in_json_are_fields_of_their_own(count, sealed, mark):
    cells = [
        json.dumps({"name": "x", "env": {"TOKEN": sealed("A", "1"), "LIST": [sealed("A", "2"), sealed("S", "3")]}}),
        json.dumps({"env": {"TOKEN": sealed("X", "4"), "LIST": []}}, indent=1),
        "{broken " + sealed("A", "5"),
        json.dumps([sealed("A", "6")]),
    ]
    assert shown(count(cells, keys="AS"), mark) == {
        ("c", T, "$.env.TOKEN"): {"A": 1, "empty": 0, "plain": 0, "foreign": 1},
        ("c", T, "$.env.LIST[*]"): {"A": 1, "S": 1, "empty": 0, "plain": 0, "foreign": 0},
        ("c", T, "$[*]"): {"A": 1, "empty": 0, "plain": 0, "foreign": 0},
    }


def test_fields_that_the_profile_does_not_name_are_listed_only_if_it_names_some(count, sealed):
    rows = [(sealed("A", "1"), sealed("A", "2"), json.dumps({"k": sealed("A", "3")}))]
    columns = ("id", "c", "d", "e")
    assert count(rows, columns=columns).undeclared == ()
    named = [{"table": "t", "column": "c"}]
    assert [str(f) for f in count(rows, columns=columns, profile={"fields": named}).undeclared] == ["t.d", "t.e $.k"]
    named += [{"table": "t", "column": "e", "path": "$.k"}, {"table": "t", "column": "d"}]
    assert count(rows, columns=columns, profile={"fields": named}).undeclared == ()


@pytest.mark.parametrize(
    "whole_first",
    [True, pytest.param(False)],
)
def test_a_column_may_be_named_as_a_whole_and_by_a_path(count, sealed, whole_first):
    entries = [{"table": "t", "column": "c", "path": "$.k"}, {"table": "t", "column": "c"}]
    cells = [sealed("A", "1"), json.dumps({"k": sealed("A", "2")})]
    assert count(cells, profile={"fields": entries if whole_first else entries[::-1]}).undeclared == ()


def test_an_ignored_column_is_not_looked_at(count, sealed):
    rows = [(sealed("A", "1"), sealed("X", "2"))]
    census = count(rows, columns=("id", "c", "d"), profile={"ignore": [{"table": "t", "column": "d"}, {"table": "u", "column": "c"}]})
    assert [str(c.field) for c in census.fields] == ["t.c"]


def test_what_is_left_out_is_not_counted_again(count, sealed):
    rows = [(sealed("A", "1"), sealed("A", "2"))]
    assert [str(c.field) for c in count(rows, columns=("id", "c", "d"), leave_out={("t", "c")}).fields] == ["t.d"]
    assert count(rows, columns=("id", "c", "d"), leave_out={("t", "c"), ("t", "d"), ("t", "id")}).fields == ()


def test_at_most_three_foreign_values_are_named_and_all_are_counted(count, sealed):
    census = count([sealed("A", "0")] + [sealed("X", str(n)) for n in range(5)])
    assert (census.foreign, census.foreign_at) == (5, ("t.c of id=2", "t.c of id=3", "t.c of id=4"))
    with pytest.raises(ForeignValueError) as caught:
        census.refuse_foreign(["the active key mk:1"])
    assert [word for word in ("5 of 6", "the active key mk:1", "t.c of id=2", "nothing was changed") if word not in str(caught.value)] == []


def test_a_key_that_opens_nothing_at_all_is_the_wrong_key(count, sealed):
    census = count([sealed("X", "1")], profile={"fields": [{"table": "t", "column": "c"}]})
    with pytest.raises(ForeignValueError, match="not the key of this database"):
        census.refuse_foreign(["the active key mk:1"])
    count([sealed("A", "1")]).refuse_foreign([])


def test_where_nothing_opens_and_much_looks_sealed_it_is_the_wrong_key(count):
    with pytest.raises(ForeignValueError, match="opens none of the 2 values that look sealed") as caught:
        count(["Z" * 44, "note", "Y" * 44]).refuse_wrong_key(["the active key mk:1"])
    assert "t.c" in str(caught.value)
    assert "the active key mk:1" in str(caught.value)


def test_one_value_that_opens_or_a_profile_with_fields_says_otherwise(count, sealed):
    count([("Z" * 44, sealed("A", "1"))], columns=("id", "c", "d")).refuse_wrong_key([])
    count(["Z" * 44], profile={"fields": [{"table": "u", "column": "c", "optional": True}]}).refuse_wrong_key([])
    count(["ab" * 32, "note"]).refuse_wrong_key([])  # a digest in hex is no stranger
    count([b"\xfe" * 64]).refuse_wrong_key([])  # nor is a picture


CANARY_ROWS = [
    ("by-column-name", "settings", ("id", "integrity_canary"), lambda s: ("x", s)),
    ("by-table-name", "canary", ("id", "value"), lambda s: ("x", s)),
    ("by-row-name", "settings", ("id", "value"), lambda s: ("integrity_canary", s)),
    ("in-capitals", "settings", ("id", "value"), lambda s: ("Integrity-CANARY", s)),
]


@pytest.mark.parametrize(("table", "names", "row"), [row[1:] for row in CANARY_ROWS], ids=[row[0] for row in CANARY_ROWS])
def test_the_canary_is_known_by_its_place_and_says_which_key(memory, ciphers, sealed, mark, table, names, row):
    store = memory({table: (names, ("id",), {1: row(sealed("S", "canary"))})})
    census = take_census(store, build_profile("servos", None), ciphers("AS"))
    assert (census.canary, census.canary_expected) == (mark("S"), True)
    assert census.fields[0].field.class_name == "integrity canary"


def test_a_row_that_is_called_canary_and_not_sealed_changes_nothing(memory, ciphers, sealed, mark):
    rows = {1: ("a", sealed("A", "canary")), 2: ("b", "plain"), 3: ("c", None)}
    census = take_census(memory({"canary": (("id", "value"), ("id",), rows)}), build_profile("servos", None), ciphers("AS"))
    assert census.canary == mark("A")


def test_no_canary_is_none(count, sealed):
    census = count([sealed("A", "1"), "canary"])
    assert (census.canary, census.canary_expected) == (None, True)
    assert count([sealed("A", "1")], profile={"canary": None}).canary_expected is False


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"table": "u", "column": "c"}, "no table u"),
        ({"table": "t", "column": "z"}, "table t has no column z"),
        ({"table": "t", "column": "z", "optional": True}, "no column z"),
    ],
    ids=["table", "column", "optional-table-without-its-column"],
)
def test_what_the_profile_names_must_be_there(count, entry, said):
    with pytest.raises(ProfileError, match=said) as caught:
        count(["x"], profile={"fields": [entry]})
    assert "nothing was changed" in str(caught.value)


def test_an_optional_table_may_be_missing(count):
    assert count(["x"], profile={"fields": [{"table": "u", "column": "c", "optional": True}]}).fields == ()


class Noted:
    """Stands for the progress that a controller asks for."""

    def __init__(self, is_watched=True):
        self.is_watched = is_watched
        self.phases = []
        self.counts = []

    def begin(self, phase, total=None):
        self.phases.append((phase, total))

    def advance(self, count):
        self.counts.append(count)


@pytest.fixture
def two_tables(memory, sealed):
    """1,203 rows of which each is counted, and two of a table in which nothing is to be looked at; with what is known of their number."""
    value = sealed("A", "1")

    def make(about):
        store = memory({
            "t": (("id", "c"), ("id",), {n: (n, value) for n in range(1203)}),
            "left": (("id", "c"), ("id",), {1: (1, None), 2: (2, None)}),
        })
        store.rows_about = lambda table: about[table.name]
        return store

    return make


@pytest.mark.parametrize(
    ("about", "total", "counts"),
    [({"t": 1500, "left": 2}, 1502, [2, 500, 500, 203]), ({"t": 1500, "left": None}, None, [0, 500, 500, 203])],
    ids=["all tables are known", "one is not"],
)
def test_progress_counts_rows_by_the_page(two_tables, ciphers, about, total, counts):
    store, noted = two_tables(about), Noted()
    leave_out = {("left", "id"), ("left", "c"), ("t", "id")}
    census = take_census(store, build_profile("servos", None), ciphers("A"), leave_out=leave_out, progress=noted)
    assert (noted.phases, sorted(noted.counts)) == ([("census", total)], sorted(counts))
    assert census.rows == {"t": 1203}
    assert sum(census.sealed.values()) == 1203


def test_where_nobody_asks_nobody_is_asked_how_many_rows_there_are(two_tables, ciphers):
    noted = Noted(is_watched=False)
    take_census(two_tables({}), build_profile("servos", None), ciphers("A"), progress=noted)
    assert noted.phases == [("census", None)]
