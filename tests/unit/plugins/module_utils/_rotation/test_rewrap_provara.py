# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provara's tables on real SQLite: three columns a value, two tables, and one of them is often missing."""

from __future__ import annotations

import hashlib
import shutil

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, ProfileError, UndeclaredFieldError
from ansible_collections.servos.ops.plugins.module_utils._rotation.loss import loss_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import read_keys

KEYS = "CREATE TABLE api_keys (id TEXT PRIMARY KEY, name TEXT, encrypted_value TEXT, iv TEXT, auth_tag TEXT, updated_at INTEGER);"
CONNECTORS = KEYS.replace("api_keys", "context_connector_credentials")
INTO_KEYS = "INSERT INTO api_keys VALUES (?, 'n', ?, ?, ?, 7)"
INTO_CONNECTORS = INTO_KEYS.replace("api_keys", "context_connector_credentials")


@pytest.fixture
def database(make_database, columns):
    rows = [(INTO_KEYS, (f"k{n}", *columns("A", f"key {n}"))) for n in range(4)]
    rows += [(INTO_CONNECTORS, (f"c{n}", *columns("A", f"credential {n}"))) for n in range(3)]
    return make_database(KEYS + CONNECTORS, rows)


def rows_of(dump, path, table):
    return [(row[0], row[2:5], row[5]) for row in dump(path)[table]]


def test_both_tables_move_and_no_other_column_does(rotation, database, dump, reveal):
    before = dump(database)
    assert rotation.rewrap(database, app="provara").rewrapped == 7
    after = dump(database)
    for table, word in (("api_keys", "key"), ("context_connector_credentials", "credential")):
        assert [reveal.columns(row[2:5]) for row in after[table]] == [
            ("S", (f"{word} {n}").encode("ascii")) for n in range(len(after[table]))
        ]
        assert [(row[:2], row[5]) for row in after[table]] == [(row[:2], row[5]) for row in before[table]]
        assert all(len(row[3]) == 32 and row[3] == row[3].lower() for row in after[table])
        assert not {row[3] for row in after[table]} & {row[3] for row in before[table]}


def test_the_census_counts_groups_once(rotation, database, mark):
    census = rotation.look(database, app="provara").census
    assert [(str(c.field), c.sealed, c.is_declared) for c in census.fields] == [
        ("api_keys.encrypted_value", {mark("A"): 4}, True),
        ("context_connector_credentials.encrypted_value", {mark("A"): 3}, True),
    ]


def test_a_database_older_than_the_second_table_is_whole(make_database, rotation, columns, reveal, dump):
    path = make_database(KEYS, [(INTO_KEYS, ("k", *columns("A", "v")))])
    assert rotation.rewrap(path, app="provara").rewrapped == 1
    assert reveal.columns(dump(path)["api_keys"][0][2:5]) == ("S", b"v")


def test_a_database_without_the_first_table_is_the_wrong_one(make_database, rotation):
    with pytest.raises(ProfileError, match="no table api_keys"):
        rotation.look(make_database("CREATE TABLE t (c)"), app="provara")


def test_a_table_of_the_same_columns_that_came_later_is_found(make_database, rotation, columns, reveal, dump):
    path = make_database(
        KEYS + KEYS.replace("api_keys", "webhook_secrets"),
        [(INTO_KEYS, ("k", *columns("A", "v"))), (INTO_KEYS.replace("api_keys", "webhook_secrets"), ("w", *columns("A", "hook")))],
    )
    seen = rotation.look(path, app="provara")
    with pytest.raises(UndeclaredFieldError, match=r"webhook_secrets\.encrypted_value"):
        seen.require_usable(discover="fail", allow_empty=False, canary_required=False)
    rotation.rewrap(path, app="provara")
    assert reveal.columns(dump(path)["webhook_secrets"][0][2:5]) == ("S", b"hook")


@pytest.mark.parametrize("part", [2, 3, 4], ids=["value", "iv", "tag"])
@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_a_row_that_lost_a_part_is_foreign(make_database, rotation, columns, part, nothing):
    broken = ["bad", *columns("A", "v")]
    broken[part - 1] = nothing
    path = make_database(KEYS, [(INTO_KEYS, ("ok", *columns("A", "v"))), (INTO_KEYS, tuple(broken))])
    with open(path, "rb") as stream:
        before = hashlib.sha256(stream.read()).hexdigest()
    census = rotation.look(path, app="provara").census
    assert (census.foreign, census.foreign_at) == (1, ("api_keys.encrypted_value of id=bad",))
    with pytest.raises(ForeignValueError, match=r"api_keys\.encrypted_value of id=bad"):
        rotation.rewrap(path, app="provara")
    with open(path, "rb") as stream:
        assert hashlib.sha256(stream.read()).hexdigest() == before


@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_a_row_without_any_part_is_empty(make_database, rotation, columns, nothing, dump):
    path = make_database(KEYS, [(INTO_KEYS, ("ok", *columns("A", "v"))), (INTO_KEYS, ("none", nothing, nothing, nothing))])
    assert rotation.look(path, app="provara").census.fields[0].empty == 1
    assert rotation.rewrap(path, app="provara").rewrapped == 1
    assert dump(path)["api_keys"][1][2:5] == (nothing, nothing, nothing)


def test_an_empty_plaintext_and_upper_case_hex_move_too(make_database, rotation, columns, reveal, dump):
    upper = tuple(part.upper() for part in columns("A", "v"))
    path = make_database(KEYS, [(INTO_KEYS, ("e", *columns("A", ""))), (INTO_KEYS, ("u", *upper))])
    assert rotation.rewrap(path, app="provara").rewrapped == 2
    assert [reveal.columns(row[2:5]) for row in dump(path)["api_keys"]] == [("S", b""), ("S", b"v")]
    assert all(part == part.lower() for row in dump(path)["api_keys"] for part in row[2:5])


def test_one_part_swapped_between_rows_is_foreign(make_database, rotation, columns):
    one, two = columns("A", "one"), columns("A", "two")
    path = make_database(KEYS, [(INTO_KEYS, ("1", one[0], one[1], two[2])), (INTO_KEYS, ("2", two[0], two[1], one[2]))])
    assert rotation.look(path, app="provara").census.foreign == 2


def test_a_rewrap_of_a_table_that_came_later_is_no_loss(make_database, rotation, columns, tmp_path):
    path = make_database(KEYS + KEYS.replace("api_keys", "later"), [
        (INTO_KEYS, ("k", *columns("A", "v"))), (INTO_KEYS.replace("api_keys", "later"), ("l", *columns("A", "w"))),
    ])  # fmt: skip
    shutil.copy(path, tmp_path / "backup.db")
    assert rotation.rewrap(path, app="provara").rewrapped == 2
    installation = rotation.installation(path, app="provara")
    found = loss_of(installation, {"path": str(tmp_path / "backup.db"), "created_at": "then"}, read_keys(installation))
    assert (found.is_none, found.tables) == (True, ())
