# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each situation that Provara's own rotation tool knows, each answer of its gateway, and the keys that it takes without a word."""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installations import assert_refused, reference, write
from provara_gateway import NEW, OLD, ServedProvara
from provara_installation import FIXTURE, NEW_TEXT, OLD_TEXT, Provara

TABLES = ("api_keys", "context_connector_credentials")
COUNTS = {"api_keys": 120, "context_connector_credentials": 12}


def row(table: str, **counts: int) -> dict[str, Any]:
    return {"table": table, "scanned": COUNTS[table], "rewrapped": 0, "already": 0, "empty": 0, "plain": 0, "foreign": 0} | counts


# What its tool says of success, said of each table


def test_dry_run_ok_says_of_each_table_what_a_real_run_would_do(provara: Provara) -> None:
    before = provara.snapshot()
    told = provara.rotate(check=True)
    assert told["tables"] == [row(table, rewrapped=COUNTS[table]) for table in TABLES]
    assert provara.snapshot() == before


def test_rotated_says_of_each_table_what_was_done_and_a_second_run_what_was_left(provara: Provara) -> None:
    assert provara.rotate()["tables"] == [row(table, rewrapped=COUNTS[table]) for table in TABLES]
    again = provara.rotate()
    assert again["tables"] == [row(table, already=COUNTS[table]) for table in TABLES]
    assert not again.changed


def test_rotated_by_the_official_tool_says_which_table_it_forgot(provara: Provara) -> None:
    keys = ("--old-key-file", provara.old_key, "--new-key-file", provara.new_key)
    reference("provara/official_loop.py", "--database", provara.database, *keys)
    wanted = [row("api_keys", already=120), row("context_connector_credentials", rewrapped=12)]
    assert provara.rotate(check=True)["tables"] == wanted
    assert provara.rotate()["tables"] == wanted


# What its tool takes, or leaves in part


def emptied(provara: Provara) -> dict[str, Any]:
    for table in TABLES:
        provara.sql(f"DELETE FROM {table}")
    return {}


def other_key(provara: Provara) -> dict[str, Any]:
    return {"old_key_file": str(write(provara.folder / "wrong.key", "77" * 32))}


def same_text(provara: Provara) -> dict[str, Any]:
    write(provara.new_key, OLD_TEXT)
    return {}


def same_bytes(provara: Provara) -> dict[str, Any]:
    write(provara.new_key, OLD_TEXT.upper())
    return {}


def at(name: str, content: bytes | None) -> Callable[[Provara], dict[str, Any]]:
    def arrange(provara: Provara) -> dict[str, Any]:
        path = provara.folder / name
        if content is not None:
            path.write_bytes(content)
        return {"database": f"sqlite:///{path}"}

    return arrange


def unmigrated(provara: Provara) -> dict[str, Any]:
    connection = sqlite3.connect(provara.folder / "unmigrated.db")
    connection.execute("CREATE TABLE requests (id TEXT)")
    connection.commit()
    connection.close()
    return {"database": f"sqlite:///{provara.folder / 'unmigrated.db'}"}


REFUSED: dict[str, tuple[Callable[[Provara], dict[str, Any]], list[str]]] = {
    "empty table or the wrong, empty-but-migrated DB": (emptied, ["probably the wrong database", "nothing was changed"]),
    "a row does not open under --old": (other_key, ["opens none of the 132 sealed values", "api_keys", "nothing was changed"]),
    "--old equals --new as strings": (same_text, ["the new key is the active key", "nothing was changed"]),
    "--old equals --new but for the letter case": (same_bytes, ["the new key is the active key", "however it is written"]),
    "flag missing: --old": (lambda p: {"old_key_file": None}, ["no env file of its own", "env_file"]),
    "no DATABASE_URL": (lambda p: {"database": None}, ["no database of its own", "database"]),
    "unmigrated file": (unmigrated, ["no table api_keys", "requests", "name the right database"]),
    "mistyped file": (at("provra.db", None), ["there is no database", "provra.db", "it was not created"]),
    "empty file": (at("empty.db", b""), ["is an empty file"]),
    "another kind of file": (at("text.db", b"PROVARA\n" * 99), ["is not a SQLite database"]),
    "bad scheme": (lambda p: {"database": "mysql://localhost/provara"}, ["database", "sqlite"]),
    "a relative path": (lambda p: {"database": "sqlite://provara.db"}, ["database"]),
}


@pytest.mark.parametrize("is_check", [False, True], ids=["for real", "check mode"])
@pytest.mark.parametrize(("arrange", "words"), REFUSED.values(), ids=REFUSED)
def test_refused_with_nothing_changed(
    provara: Provara, arrange: Callable[[Provara], dict[str, Any]], words: list[str], is_check: bool
) -> None:
    options = arrange(provara)
    before = provara.snapshot()
    assert_refused(provara.rotate(check=is_check, **options), *words)
    assert provara.snapshot() == before
    assert not provara.state_dir.exists()


def test_flag_missing_new_rotates_nothing(provara: Provara) -> None:
    before = provara.snapshot()
    outcome = provara.rotate(new_key_file=None)
    assert (outcome.failed, outcome.changed, outcome["steps"]) == (False, False, [])
    assert provara.snapshot() == before


@pytest.mark.parametrize("table", TABLES)
def test_a_row_that_does_not_open_under_old_is_named_with_its_table(provara: Provara, table: str) -> None:
    row_id = provara.sql(f"SELECT id FROM {table} ORDER BY id LIMIT 1 OFFSET 5")[0][0]
    provara.sql(f"UPDATE {table} SET auth_tag = ? WHERE id = ?", "0" * 32, row_id)
    before = provara.snapshot()
    assert_refused(provara.rotate(), table, row_id, "1 of 132 sealed values open neither", "nothing was changed")
    assert provara.snapshot() == before
    told = provara.rotate(until="rewrapped", check=True)
    assert_refused(told, table, row_id)


def test_writer_lock_held_is_waited_for_and_then_named_with_nothing_changed_in_part(provara: Provara) -> None:
    connection = sqlite3.connect(provara.database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        assert_refused(provara.rotate(lock_timeout=0.3), "stayed locked for 0.3 s", "lock_timeout", "nothing was changed")
    finally:
        connection.execute("ROLLBACK")
        connection.close()
    assert provara.judge(provara.old_key, provara.new_key)["exit"] == 0
    assert provara.rotate()["rewrapped"] == 132


@pytest.mark.parametrize("table", TABLES)
def test_a_failure_in_the_third_update_leaves_no_part_of_it(provara: Provara, table: str) -> None:
    third = provara.sql(f"SELECT id FROM {table} ORDER BY rowid LIMIT 1 OFFSET 2")[0][0]
    provara.sql(
        f"CREATE TRIGGER third BEFORE UPDATE ON {table} WHEN old.id = '{third}' BEGIN SELECT raise(ABORT, 'made to fail'); END"
    )
    assert_refused(provara.rotate(), "nothing was changed")
    assert provara.judge(provara.old_key, provara.new_key)["exit"] == 0
    provara.sql("DROP TRIGGER third")
    assert provara.rotate()["rewrapped"] == 132
    assert provara.judge(provara.new_key, provara.old_key)["exit"] == 0


# Keys that are lawful and probably a mistake

DOUBTS = {
    "a blank behind it": (NEW_TEXT + " ", ["white space at an edge", "65 characters but is not 64 hex digits"]),
    "a blank before a passphrase": (" correct horse battery", ["white space at an edge"]),
    "a hex key cut by one": (NEW_TEXT[:-1], ["63 characters but is not 64 hex digits"]),
    "64 characters that are not hex": ("g" * 64, ["64 characters but is not 64 hex digits"]),
    "a short passphrase": ("hunter2", ["fewer than 16 characters"]),
}


@pytest.mark.parametrize(("text", "words"), DOUBTS.values(), ids=DOUBTS)
def test_a_doubtful_new_key_is_warned_of_before_and_when_it_is_used(provara: Provara, text: str, words: list[str]) -> None:
    write(provara.new_key, text + "\n")
    for outcome in (provara.rotate(check=True), provara.rotate()):
        assert not outcome.failed, outcome.msg
        assert [word for word in words if word not in outcome.warnings] == []
        assert f"the staged key {outcome['staged_key']}" in outcome.warnings
    assert provara.judge(provara.new_key, provara.old_key)["exit"] == 0


@pytest.mark.parametrize("text", [NEW_TEXT, NEW_TEXT.upper(), "a passphrase of many words"], ids=["hex", "HEX", "passphrase"])
def test_a_good_new_key_is_not_warned_of(provara: Provara, text: str) -> None:
    write(provara.new_key, text + "\n")
    assert "the staged key" not in provara.rotate(check=True).warnings


# What the rows look like afterwards, by the manifest of the real one


def test_the_form_of_the_rows_is_the_real_ones(provara: Provara) -> None:
    provara.rotate()
    verdict = provara.judge(provara.new_key, provara.old_key)
    assert {name: verdict[name] for name in ("exit", "opens_new", "malformed", "rows_changed", "plaintext_mismatches")} == {
        "exit": 0, "opens_new": 132, "malformed": 0, "rows_changed": 0, "plaintext_mismatches": 0,
    }  # fmt: skip
    sizes = {tuple(map(len, cells)) for cells in provara.sql("SELECT iv, auth_tag FROM api_keys")}
    assert sizes == {(32, 32)}
    assert provara.sql("SELECT count(*) FROM __drizzle_migrations") == [(60,)]
    original = sqlite3.connect(f"file:{FIXTURE / 'provara.db'}?mode=ro", uri=True)
    schema = "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
    assert provara.sql(schema) == original.execute(schema).fetchall()
    original.close()


# Each row of the gateway's table: what it answers with a key that opens nothing, and what we say to that

ANSWERS: dict[str, tuple[str, str, int, Callable[[Any], bool]]] = {
    "GET /health": ("GET", "/health", 200, lambda told: told == {"status": "ok", "mode": "self_hosted"}),
    "GET /v1/api-keys/status": ("GET", "/v1/api-keys/status", 200, lambda told: told == {"configured": True}),
    "GET /v1/api-keys": ("GET", "/v1/api-keys", 200, lambda told: len(told["keys"]) == 2),
    "POST /v1/providers/reload": ("POST", "/v1/providers/reload", 200, lambda told: bool(told["reloaded"])),
    "GET /v1/context/credentials": ("GET", "/v1/context/credentials", 402, lambda told: told["error"]["type"] == "cloud_only"),
    "DELETE /v1/api-keys/:id": ("DELETE", "/v1/api-keys/none", 404, lambda told: told["error"]["type"] == "not_found"),
}


@pytest.mark.parametrize(("method", "path", "status", "is_as_usual"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_that_is_as_usual_with_a_wrong_key_does_not_deceive(
    make_served: Callable[..., ServedProvara], method: str, path: str, status: int, is_as_usual: Callable[[Any], bool]
) -> None:
    provara = make_served()
    provara.set_environ(key_text=NEW)
    provara.start()
    provara.set_environ(key_text=OLD)
    seen, body = provara.call(method, path)
    assert seen == status
    assert is_as_usual(json.loads(body))
    assert provara.info()["listing"]["ok"] is False


def test_post_and_delete_v1_api_keys_keep_the_listing_right(served: ServedProvara) -> None:
    assert served.post("GROQ_API_KEY", "gsk-1234") == 201
    assert served.post("OPENAI_API_KEY", "sk-changed") == 200
    ids = {row["name"]: row["id"] for row in json.loads(served.call("GET", "/v1/api-keys")[1])["keys"]}
    assert served.call("DELETE", f"/v1/api-keys/{ids['MISTRAL_API_KEY']}")[0] == 200
    found = served.info()["listing"]
    assert (found["ok"], found["rows"], found["matching"]) == (True, 2, 2)


def test_the_snapshot_before_has_both_tables_and_is_kept_for_thirty_days(served: ServedProvara) -> None:
    done = served.play("rotate", "-e", "servos_rotation_id=1")
    assert done.code == 0, done.text
    backups = served.info(backup_dir=str(served.backup_dir))["backups"]
    assert [backup["opens_with"] for backup in backups] == [["previous"]]
    assert days(backups[0]["created_at"], backups[0]["expires_at"]) == 30
    kept = ServedProvara.plaintexts(_At(Path(backups[0]["path"])), OLD)
    assert kept == {"OPENAI_API_KEY": "sk-first", "MISTRAL_API_KEY": "second", "repository": "ghp_connector"}


class _At(ServedProvara):
    """Another database file, to be read."""

    def __init__(self, database: Path) -> None:
        self.database = database


def days(start: str, end: str) -> float:
    moments = [datetime.datetime.fromisoformat(text) for text in (start, end)]
    return (moments[1] - moments[0]) / datetime.timedelta(days=1)


def test_another_table_with_the_three_columns_that_no_key_opens_is_reported(provara: Provara) -> None:
    provara.add_table("mcp_server_credentials", [b"one", b"two"], key_text="77" * 32)
    for outcome in (provara.rotate(check=True), provara.rotate()):
        assert not outcome.failed, outcome.msg
        assert "open under no known key" in outcome.warnings
        assert "2 in mcp_server_credentials.encrypted_value" in outcome.warnings
    assert provara.opened("mcp_server_credentials", "77" * 32) == [b"one", b"two"]
