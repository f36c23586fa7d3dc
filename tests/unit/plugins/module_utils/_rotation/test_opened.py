# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Named values are opened, and only those; what is not there, not alone, or not ours is refused by name."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, ProfileError, ServosError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._rotation.opened import open_rows, open_variables

SCRIPT = """
CREATE TABLE services (id INTEGER PRIMARY KEY, name TEXT, env_vars TEXT, note TEXT);
CREATE TABLE blobs (id INTEGER PRIMARY KEY, v BLOB);
CREATE TABLE nested (id TEXT PRIMARY KEY, doc TEXT);
"""
SERVICE = "INSERT INTO services VALUES (?, ?, ?, ?)"
VARIABLES = {"DB_URL": "postgres://u:p@h/d", "MOTD": "one\ntwo", "PORT": 5432, "RATIO": 1.50, "ON": True, "EMPTY": ""}
KEYS = {"A": b"\xaa" * 32, "S": b"\x5e" * 32}


@pytest.fixture
def installation(make_installation, make_database, sealed, blob):
    return make_installation(
        make_database(
            SCRIPT,
            [
                (SERVICE, (1, "web", sealed("A", json.dumps(VARIABLES).replace("1.5,", "1.50,")), "plain")),
                (SERVICE, (2, "twin", sealed("A", "{}"), "plain")),
                (SERVICE, (3, "twin", sealed("A", "{}"), "plain")),
                (SERVICE, (4, "text", sealed("A", "just a text"), "plain")),
                (SERVICE, (5, "lost", sealed("X", "under a lost key"), "plain")),
                (SERVICE, (6, "empty", "", "plain")),
                (SERVICE, (7, "next", sealed("S", '{"A": "under the staged key"}'), "plain")),
                (SERVICE, (8, "list", sealed("A", "[1]"), "plain")),
                (SERVICE, (9, "deep", sealed("A", '{"A": {"B": 1}}'), "plain")),
                (SERVICE, (10, "plain", "not sealed at all", "plain")),
                ("INSERT INTO blobs VALUES (?, ?)", (1, blob("A", "from a blob"))),
                ("INSERT INTO blobs VALUES (?, ?)", (2, blob("A", "")[:12] + b"x" * 40)),
                ("INSERT INTO nested VALUES (?, ?)", ("x", json.dumps({"token": sealed("A", "leaf"), "twice": [sealed("A", "a")] * 2}))),
                ("INSERT INTO nested VALUES (?, ?)", ("bytes", json.dumps({"token": sealed("A", "in a blob")}).encode("utf-8"))),
            ],
        ),
        key_bytes=KEYS["A"],
        staged=KEYS["S"],
    )


def entry(name="web", **more):
    return dict({"table": "services", "column": "env_vars", "row": {"name": name}}, **more)


def test_all_members_become_variables(installation):
    assert open_variables(installation, [entry(all=True)]) == {
        "DB_URL": "postgres://u:p@h/d", "MOTD": "one\ntwo", "PORT": "5432", "RATIO": "1.50", "ON": "true", "EMPTY": "",
    }


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (entry(variable="X", member="DB_URL"), "postgres://u:p@h/d"),
        (entry("text", variable="X"), "just a text"),
        (entry("next", variable="X", member="A"), "under the staged key"),
        ({"table": "blobs", "column": "v", "row": {"id": 1}, "variable": "X"}, "from a blob"),
        ({"table": "nested", "column": "doc", "row": {"id": "x"}, "path": "$.token", "variable": "X"}, "leaf"),
        ({"table": "nested", "column": "doc", "row": {"id": "bytes"}, "path": "$.token", "variable": "X"}, "in a blob"),
    ],
    ids=["a member", "a text", "under the staged key", "a blob", "a place in JSON", "a place in JSON in a blob"],
)
def test_one_variable(installation, wanted, text):
    assert open_variables(installation, [wanted]) == {"X": text}


@pytest.mark.parametrize(
    ("entries", "error", "said"),
    [
        ([entry("nobody", all=True)], StoreError, "0 rows of services have name=nobody"),
        ([entry("web2", all=True)], StoreError, "0 rows of services have name=web2"),
        ([entry("twin", all=True)], StoreError, "2 rows of services have name=twin"),
        ([entry("lost", all=True)], ForeignValueError, "services at id=5 opens under no known key"),
        ([entry("plain", all=True)], ForeignValueError, "services at id=10 opens under no known key"),
        ([entry("empty", all=True)], StoreError, "is empty where name=empty"),
        ([entry("text", all=True)], StoreError, "not a JSON object"),
        ([entry("list", all=True)], StoreError, "not a JSON object"),
        ([entry("deep", all=True)], StoreError, "the member A .* is not a text"),
        ([entry(variable="X", member="NOPE")], StoreError, "has no member NOPE"),
        ([entry(all=True), entry(variable="DB_URL", member="DB_URL")], StoreError, "DB_URL comes from two entries"),
        ([dict(entry(all=True), table="nowhere")], StoreError, "has no table nowhere"),
        ([dict(entry(all=True), column="nope")], StoreError, "has no column nope"),
        ([dict(entry(all=True), row={"nope": 1})], StoreError, "has no column nope"),
        ([dict(entry(all=True), row={})], ProfileError, "names no row"),
        ([entry()], ProfileError, "give variable, or set all=true"),
        ([entry(all=True, variable="X")], ProfileError, "give variable, or set all=true"),
        ([{"table": "nested", "column": "doc", "row": {"id": "x"}, "path": "$.twice[*]", "variable": "X"}], StoreError, "2 values lie at"),
        ([{"table": "nested", "column": "doc", "row": {"id": "x"}, "path": "$.nope", "variable": "X"}], StoreError, "0 values lie at"),
        ([{"table": "blobs", "column": "v", "row": {"id": 2}, "variable": "X"}], ForeignValueError, "blobs at id=2"),
    ],
    ids=lambda value: None if not isinstance(value, str) else value.split(" ", 3)[-1][:24],
)
def test_refused(installation, entries, error, said):
    with pytest.raises(error, match=said) as raised:
        open_variables(installation, entries)
    assert not any(text in str(raised.value) for text in ("postgres", "just a text", "lost key", "staged key"))


def test_no_text(make_installation, make_database, gcm):
    cell = gcm.text(KEYS["A"], b"\xff\xfe\x00")
    installation = make_installation(make_database(SCRIPT, [(SERVICE, (1, "bin", cell, ""))]), key_bytes=KEYS["A"])
    with pytest.raises(StoreError, match="is no text"):
        open_variables(installation, [entry("bin", variable="X")])


def test_every_row_with_what_stands_beside_it(installation):
    rows = open_rows(installation, table="services", sealed=["env_vars"], plain=["name", "note"], where={"name": "twin"})
    assert [(row.key, row.plain, row.opened) for row in rows] == [
        ("id=2", {"name": "twin", "note": "plain"}, {"env_vars": b"{}"}),
        ("id=3", {"name": "twin", "note": "plain"}, {"env_vars": b"{}"}),
    ]


def test_an_empty_value_is_none(installation):
    (row,) = open_rows(installation, table="services", sealed=["env_vars"], where={"id": 6})
    assert row.opened == {"env_vars": None}


def test_values_in_several_columns(make_installation, make_database, columns):
    script = "CREATE TABLE api_keys (id TEXT PRIMARY KEY, name TEXT, encrypted_value TEXT, iv TEXT, auth_tag TEXT)"
    insert = "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?)"
    database = make_database(script, [(insert, ("k1", "openai", *columns("A", "sk-live")))])
    installation = make_installation(database, app="provara", key_bytes=KEYS["A"])
    wanted = {"table": "api_keys", "column": "encrypted_value", "row": {"name": "openai"}, "variable": "OPENAI_API_KEY"}
    assert open_variables(installation, [wanted]) == {"OPENAI_API_KEY": "sk-live"}


def test_a_missing_database(make_installation, tmp_path):
    with pytest.raises(ServosError, match="nowhere"):
        open_variables(make_installation(str(tmp_path / "nowhere.db")), [entry(all=True)])
