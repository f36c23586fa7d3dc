# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provara on a libSQL server: rotated, backed up and put back over HTTP. With SERVOS_SQLD the same against a real sqld."""

from __future__ import annotations

import base64
import json
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from installations import assert_refused, write
from libsql_servers import SQLD, LibsqlProvara
from provara_installation import NEW_TEXT, OLD_TEXT, seal_columns


@pytest.fixture
def provara(template: Path, tmp_path: Path) -> Iterator[LibsqlProvara]:
    made = LibsqlProvara(tmp_path / "libsql", is_real=bool(SQLD))
    yield made
    made.tear_down()


TABLES = ("api_keys", "context_connector_credentials")


def content(provara: LibsqlProvara) -> list[list[tuple[object, ...]]]:
    return [provara.sql(f"SELECT * FROM {table} ORDER BY id") for table in TABLES]


def test_a_rotation_is_told_done_and_done_once(provara: LibsqlProvara) -> None:
    before = content(provara)
    told = provara.rotate(check=True)
    assert (told.changed, told["rewrapped"]) == (True, 132)
    assert content(provara) == before
    assert not provara.state_dir.exists()
    done = provara.rotate()
    assert (done.failed, done["rewrapped"], done["steps"]) == (False, 132, ["rewrap"]), done.msg
    assert done["scrub"] == {"vacuumed": False, "wal_bytes": None}
    assert done.printed.count("point-in-time recovery") == 1
    assert provara.is_rotated()
    after = content(provara)
    again = provara.rotate()
    assert (again.failed, again.changed) == (False, False), again.msg
    assert content(provara) == after


def test_what_is_no_sealed_value_is_the_same_afterwards(provara: LibsqlProvara) -> None:
    unsealed = [f"SELECT id, name, tenant_id, created_at, updated_at FROM {table} ORDER BY id" for table in TABLES]
    before = [provara.sql(query) for query in unsealed]
    provara.rotate()
    assert [provara.sql(query) for query in unsealed] == before


def test_there_and_back_by_the_env_file(provara: LibsqlProvara) -> None:
    env_file = provara.env_file()
    there = provara.rotate(env_file=str(env_file), old_key_file=None, until="swapped")
    assert (there.failed, there["steps"]) == (False, ["rewrap", "swap"]), there.msg
    assert env_file.read_text() == f"PROVARA_MASTER_KEY={NEW_TEXT}\n"
    assert provara.is_rotated()
    back = provara.rotate(env_file=str(env_file), old_key_file=None, new_key_file=None, until="swapped", direction="back")
    assert (back.failed, back["rewrapped"]) == (False, 132), back.msg
    assert env_file.read_text() == f"PROVARA_MASTER_KEY={OLD_TEXT}\n"
    assert not provara.is_rotated()


def test_many_rows_and_great_ones_are_rotated_in_pages(provara: LibsqlProvara) -> None:
    sealed = [seal_columns(b"x" * (200_000 if number % 300 == 0 else 20), OLD_TEXT) for number in range(900)]
    rows = [
        ("INSERT INTO api_keys VALUES (?, ?, 'openai', ?, ?, ?, 1700000000, 1700000000, NULL)", f"more{number:05}", "N", *columns)
        for number, columns in enumerate(sealed)
    ]
    for place in range(0, len(rows), 100):
        provara.client.run(*rows[place : place + 100])
    done = provara.rotate()
    assert (done.failed, done["rewrapped"]) == (False, 1032), done.msg
    assert provara.rotate().changed is False


@pytest.mark.parametrize("columns", ["id TEXT, part INTEGER, PRIMARY KEY (part, id)", "id TEXT PRIMARY KEY"], ids=["two", "one"])
def test_a_table_without_row_id_is_rotated_too(provara: LibsqlProvara, columns: str) -> None:
    sealed = "encrypted_value TEXT, iv TEXT, auth_tag TEXT, note"
    head, unused, key = columns.partition(", PRIMARY KEY")
    provara.sql(f"CREATE TABLE odd ({head}, {sealed}{', PRIMARY KEY' + key if key else ''}) WITHOUT ROWID")
    names = "id, part" if key else "id"
    for number in range(7):
        cells = (f"k{number}", number) if key else (f"k{number}",)
        marks = ", ".join("?" * (len(cells) + 3))
        provara.sql(
            f"INSERT INTO odd ({names}, encrypted_value, iv, auth_tag) VALUES ({marks})", *cells, *seal_columns(b"odd", OLD_TEXT)
        )
    provara.sql("UPDATE odd SET note = CAST(x'ff00fe' AS TEXT)")
    assert_refused(provara.rotate(), "odd", "discover=include")
    assert provara.rotate(discover="include")["rewrapped"] == 139
    assert provara.sql("SELECT DISTINCT typeof(note), hex(note) FROM odd") == [("text", "FF00FE")]


def test_a_backup_is_a_private_file_with_all_of_it_and_is_put_back(provara: LibsqlProvara) -> None:
    provara.sql("CREATE TABLE every (id INTEGER PRIMARY KEY AUTOINCREMENT, cell)")
    provara.sql(
        "INSERT INTO every (cell) VALUES (NULL), (1), (-9223372036854775808), (0.1), (9e999), (-9e999), ('text'), (x'00ff'), (x''), (''), "
        "(CAST(x'ff00fe' AS TEXT)), (CAST(x'610062' AS TEXT)), ('Zürich \U0001f511'), (1e300), (2.0)"
    )
    provara.sql("DELETE FROM every WHERE id = 15")
    provara.sql("CREATE VIEW few AS SELECT * FROM every WHERE id < 3")
    provara.sql("CREATE TRIGGER told AFTER DELETE ON api_keys BEGIN INSERT INTO every (cell) VALUES ('deleted'); END")
    cells = "SELECT id, typeof(cell), hex(cell), CAST(quote(cell) AS BLOB) FROM every ORDER BY id"
    every, before = provara.sql(cells), content(provara)
    made = provara.backup()
    assert not made.failed, made.msg
    note = made["backup"]
    assert stat.S_IMODE(Path(note["path"]).stat().st_mode) == 0o600
    assert note["database"] == f"libsql://127.0.0.1:{provara.port}"
    assert sum(note["keys"].values()) == 132
    connection = sqlite3.connect(note["path"])
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert connection.execute(cells).fetchall() == every
    assert [connection.execute(f"SELECT * FROM {table} ORDER BY id").fetchall() for table in TABLES] == before
    objects = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY type, name"
    schema = provara.sql(objects)
    assert connection.execute(objects).fetchall() == schema
    connection.close()
    assert provara.rotate()["rewrapped"] == 132
    provara.sql("DELETE FROM api_keys WHERE id > 'M'")
    provara.sql("CREATE TABLE later (x)")
    provara.sql("DROP VIEW few")
    told = provara.backup(state="restored")
    assert not told.failed, told.msg
    assert told["loss"]["deleted"] > 0
    assert (content(provara), provara.sql(objects)) == (before, schema)
    assert provara.sql(cells) == every
    assert provara.sql("SELECT seq FROM sqlite_sequence WHERE name = 'every'") == [(15,)]
    assert json.loads(Path(told["set_aside"] + ".json").read_text())["is_set_aside"] is True
    assert not provara.is_rotated()


def test_a_backup_can_be_restored_to_a_scratch_file(provara: LibsqlProvara) -> None:
    provara.backup()
    target = provara.folder / "scratch" / "copy.db"
    assert not provara.backup(state="restored", target=str(target)).failed
    done = provara.rotate(database=f"sqlite:///{target}", state_dir=str(provara.folder / "elsewhere"))
    assert done["rewrapped"] == 132
    assert not provara.is_rotated()


def test_two_runs_at_once_end_as_one(provara: LibsqlProvara) -> None:
    runs = [provara.start_rotation(state_dir=str(provara.folder / name)) for name in ("one", "two")]
    outcomes = [provara.finish(run) for run in runs]
    for outcome in outcomes:  # whoever comes second finds nothing left, or is told that a row was changed
        assert not outcome.failed or "run" in outcome.msg, outcome.msg
    assert sum(outcome.result.get("rewrapped", 0) for outcome in outcomes) == 132
    assert provara.is_rotated()


def test_a_writer_that_keeps_the_lock_is_waited_for(provara: LibsqlProvara) -> None:
    begun = {"requests": [{"type": "execute", "stmt": {"sql": "BEGIN IMMEDIATE"}}]}
    status, document = provara.client.call("POST", "/v2/pipeline", begun)
    assert (status, document["results"][0]["type"]) == (200, "ok")
    done = provara.rotate()
    assert not done.failed, done.msg
    assert provara.is_rotated()


def test_another_database_is_not_taken_for_this_one(provara: LibsqlProvara) -> None:
    for table in TABLES:
        provara.sql(f"DELETE FROM {table}")
    assert_refused(provara.rotate(), "wrong database", "allow_empty", "nothing was changed")
    provara.sql("DROP TABLE api_keys")
    assert_refused(provara.rotate(), "no table api_keys", "nothing was changed")


def test_an_older_database_without_the_second_table_is_rotated(provara: LibsqlProvara) -> None:
    provara.sql("DROP TABLE context_connector_credentials")
    assert provara.rotate()["rewrapped"] == 120


def test_a_row_under_a_third_key_stops_it(provara: LibsqlProvara) -> None:
    cells = seal_columns(b"foreign", "77" * 32)
    provara.sql("UPDATE api_keys SET encrypted_value = ?, iv = ?, auth_tag = ? WHERE id = (SELECT max(id) FROM api_keys)", *cells)
    before = content(provara)
    (foreign,) = provara.sql("SELECT max(id) FROM api_keys")[0]
    assert_refused(provara.rotate(), "api_keys", f"id={foreign}", "nothing was changed")
    assert content(provara) == before


def test_the_new_key_must_not_be_the_old_one(provara: LibsqlProvara) -> None:
    write(provara.new_key, OLD_TEXT.upper())
    assert_refused(provara.rotate(), "the new key is the active key", "nothing was changed")


def token_of(key: Ed25519PrivateKey, expires_in_s: int) -> str:
    """Make a token in the way of Turso: a JWT, signed by EdDSA."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    claims = {"a": "rw", "exp": int(time.time()) + expires_in_s}
    signed = f"{part(json.dumps({'alg': 'EdDSA', 'typ': 'JWT'}).encode())}.{part(json.dumps(claims).encode())}"
    return f"{signed}.{part(key.sign(signed.encode()))}"


@pytest.mark.skipif(not SQLD, reason="the reference server's tokens are no JWT")
def test_the_tokens_of_a_real_server(template: Path, tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    public = Path("/var/tmp") / f"servos-jwt-{tmp_path.parent.name}.pem"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    public.chmod(0o644)  # read by nobody; there is nothing secret in it
    provara = LibsqlProvara(tmp_path / "libsql", is_real=True, options=("--auth-jwt-key-file", str(public)), token=token_of(key, 3600))
    try:
        write(provara.token_file, token_of(key, -3600))
        assert_refused(provara.rotate(), "401", "may have expired", "database_token_file", "nothing was changed")
        assert_refused(provara.rotate(database_token_file=None), "401", "asks for a token", "database_token_file")
        write(provara.token_file, token_of(Ed25519PrivateKey.generate(), 3600))
        assert_refused(provara.rotate(), "401", "database_token_file", "nothing was changed")
        assert not provara.is_rotated()
        write(provara.token_file, str(provara.token))
        assert provara.rotate()["rewrapped"] == 132
        assert provara.is_rotated()
    finally:
        provara.tear_down()
        public.unlink()
