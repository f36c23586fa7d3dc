# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles that do not fit the database, and columns that a profile forgets."""

from __future__ import annotations

from typing import Any

import pytest
from installations import NEW, OLD, Servos, assert_refused, assert_same, b64, seal, unseal
from provara_installation import NEW_TEXT, Provara

COLUMNS = {"ciphertext": "encrypted_value", "nonce": "iv", "tag": "auth_tag"}
WRONG: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown option": ({"feilds": []}, ["no option 'feilds'", "fields"]),
    "unknown codec": ({"fields": [{"table": "servers", "column": "name", "codec": "rot13"}]}, ["rot13", "aes256gcm_base64"]),
    "unknown derivation": ({"derivation": "scrypt"}, ["scrypt", "raw32"]),
    "unknown option of a field": ({"fields": [{"table": "servers", "colum": "name"}]}, ["servers", "colum"]),
    "field without a table": ({"fields": [{"column": "token"}]}, ["fields", "table"]),
    "field without its columns": ({"fields": [{"table": "x", "codec": "aes256gcm_hex_columns"}]}, ["table x", "ciphertext, nonce, tag"]),
    "missing table": ({"fields": [{"table": "vault", "column": "v"}]}, ["no table vault", "servers", "nothing was changed"]),
    "missing column": ({"fields": [{"table": "servers", "column": "key_pem"}]}, ["servers", "no column key_pem", "nothing was changed"]),
    "variable's name": ({"env_var": "MASTER KEY"}, ["MASTER KEY", "not the name of an environment variable"]),
    "ignore": ({"ignore": ["servers.name"]}, ["ignore", "table and column"]),
    "canary demanded": ({"canary": {"row": "another_word", "required": True}}, ["canary was not found", "do not initialize"]),
}


@pytest.mark.parametrize(("profile", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_profile_is_refused(quiet: Servos, profile: dict[str, Any], words: list[str]) -> None:
    before = quiet.snapshot()
    for outcome in (quiet.stage(profile=profile), quiet.rotate(profile=profile), quiet.rotate(profile=profile, check=True)):
        assert_refused(outcome, *words)
    assert_same(before, quiet.snapshot())


def test_servos_fields_that_are_named_must_be_all(quiet: Servos) -> None:
    profile = {"fields": [{"table": "servers", "column": "ssh_private_key"}]}
    quiet.stage()
    before = quiet.snapshot()
    outcome = quiet.rotate(profile=profile)
    assert_refused(outcome, "builders.ssh_private_key", "registries.password", "add to fields", "{'table': 'builders'", "discover=include")
    assert_same(before, quiet.snapshot())
    assert len(quiet.info(profile=profile)["undeclared"]) == 9
    assert quiet.rotate(profile=profile, discover="include")["rewrapped"] == 61
    quiet.assert_all_under(quiet.env_text(), b64(OLD))


def test_a_column_to_ignore_is_left_alone(quiet: Servos) -> None:
    quiet.sql("CREATE TABLE archive (id INTEGER PRIMARY KEY, blob_b64 TEXT)")
    kept = seal(b"older than the key", NEW)
    quiet.sql("INSERT INTO archive VALUES (1, ?), (2, ?)", kept, seal(b"under the key", OLD))
    quiet.stage(profile={"ignore": [{"table": "archive", "column": "blob_b64"}]})
    before = quiet.sql("SELECT * FROM archive")
    assert_refused(quiet.rotate(), "archive.blob_b64 of id=1", "ignore")
    assert quiet.rotate(profile={"ignore": [{"table": "archive", "column": "blob_b64"}]})["rewrapped"] == 61
    assert quiet.sql("SELECT * FROM archive") == before


def test_a_trigger_that_copies_old_values_away_ends_the_transaction(quiet: Servos) -> None:
    quiet.sql("CREATE TABLE history (id INTEGER PRIMARY KEY, old_token TEXT)")
    quiet.sql(
        "CREATE TRIGGER keep_history AFTER UPDATE ON git_credentials BEGIN "
        "INSERT INTO history (old_token) VALUES (old.token); END"
    )
    quiet.stage()
    before = quiet.snapshot()
    outcome = quiet.rotate()
    assert_refused(outcome, "trigger", "history.old_token", "nothing was changed", "drop the trigger")
    assert_same(before, quiet.snapshot())
    assert "rewriting git_credentials updates up to 7 rows, and triggers fire: keep_history" in quiet.info().warnings
    quiet.sql("DROP TRIGGER keep_history")
    assert quiet.rotate()["rewrapped"] == 61


# Provara, whose fields are named


def test_provara_without_its_table_is_refused(provara: Provara) -> None:
    provara.sql("DROP TABLE api_keys")
    before = provara.snapshot()
    assert_refused(provara.rotate(), "no table api_keys", "provara", "nothing was changed", "name the right database")
    assert provara.snapshot() == before


def test_provara_without_a_column_is_refused(provara: Provara) -> None:
    provara.sql("ALTER TABLE api_keys RENAME COLUMN auth_tag TO tag")
    before = provara.snapshot()
    assert_refused(provara.rotate(), "table api_keys", "no column auth_tag", "nothing was changed", "correct the profile")
    assert provara.snapshot() == before


def test_provara_before_its_second_table_works(provara: Provara) -> None:
    provara.sql("DROP TABLE context_connector_credentials")
    assert provara.rotate()["rewrapped"] == 120


def test_provara_without_rows_is_refused_unless_that_is_said(provara: Provara) -> None:
    for table in ("api_keys", "context_connector_credentials"):
        provara.sql(f"DELETE FROM {table}")
    before = provara.snapshot()
    assert_refused(provara.rotate(), "wrong database", "allow_empty=true", "nothing was changed")
    assert provara.snapshot() == before
    assert not provara.rotate(allow_empty=True).failed


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [("api_keys", "encrypted_value", "00" * 40), ("context_connector_credentials", "auth_tag", "0" * 32), ("api_keys", "iv", "zz")],
    ids=["value", "tag of the second table", "no hex"],
)
def test_a_row_of_provara_that_does_not_open_is_named(provara: Provara, table: str, column: str, value: str) -> None:
    row_id = provara.sql(f"SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET 3")[0][0]
    provara.sql(f"UPDATE {table} SET {column} = ? WHERE id = ?", value, row_id)
    before = provara.snapshot()
    for outcome in (provara.rotate(), provara.rotate(check=True)):
        assert_refused(outcome, "1 of 132", f"{table}.encrypted_value of id={row_id}", "nothing was changed")
    assert provara.snapshot() == before


def test_a_table_that_provaras_profile_forgets_is_named_with_the_lines_to_add(provara: Provara) -> None:
    provara.add_table("mcp_server_credentials", [b"one", "zwölf".encode()])
    before = provara.snapshot()
    for outcome in (provara.rotate(), provara.rotate(check=True)):
        assert_refused(
            outcome, "mcp_server_credentials.encrypted_value", "the profile does not name it", "add to fields",
            f"{{'table': 'mcp_server_credentials', 'codec': 'aes256gcm_hex_columns', 'columns': {COLUMNS}}}", "discover=include",
        )  # fmt: skip
    assert provara.snapshot() == before


@pytest.mark.parametrize("how", ["included", "declared"])
def test_a_table_that_provaras_profile_forgets_can_be_rotated(provara: Provara, how: str) -> None:
    provara.add_table("mcp_server_credentials", [b"one", "zwölf".encode()])
    if how == "included":
        options: dict[str, Any] = {"discover": "include"}
    else:
        names = ("api_keys", "context_connector_credentials", "mcp_server_credentials")
        options = {"profile": {"fields": [{"table": name, "columns": COLUMNS, "codec": "aes256gcm_hex_columns"} for name in names]}}
    assert provara.rotate(**options)["rewrapped"] == 134
    assert provara.opened("mcp_server_credentials", NEW_TEXT) == [b"one", "zwölf".encode()]


def test_a_base64_column_in_a_provara_database_is_found_too(provara: Provara) -> None:
    provara.sql("CREATE TABLE plugins (id INTEGER PRIMARY KEY, token TEXT)")
    provara.sql("INSERT INTO plugins VALUES (1, ?)", seal(b"other codec", bytes.fromhex("5e" * 32)))
    assert_refused(provara.rotate(), "plugins.token", "aes256gcm_base64", "discover=include")
    assert provara.rotate(discover="include")["rewrapped"] == 133
    assert unseal(provara.sql("SELECT token FROM plugins")[0][0], bytes.fromhex(NEW_TEXT)) == b"other codec"
