# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and fill a database of the ServOS model.

ASSUMPTION model of ServOS: table names, column names and the canary are invented (see layout.py). This file exists to
give the server, the tests and the benchmarks the same database from a seed, with a manifest of what is in it.

    schema.py init --database D --key-file K [--journal-mode wal|delete]
    schema.py enroll --database D --key-file K --name N --host H --private-key-file F [--passphrase-file P]
    schema.py put-service --database D --key-file K --name N --variables-file F
    schema.py fill --database D --key-file K --values N --seed S --manifest M [--without TABLE ...]

Fill comes last: its manifest describes what was enrolled too.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import layout
import plaintexts
from manifest import FORMAT, connect_read_only, iterate_rows, schema_sha256, sha256_hex
from sealing import KeyFormatError, OpenError, open_sealed, read_key_file, seal

_CREATED_AT = "2026-01-01T00:00:00+00:00"


def minimum_values(tables: list[layout.Table]) -> int:
    """Count one turn over the tables with a passphrase in each that has one: the least that fills every class."""
    return sum(len(table.sealed) for table in tables)


def create_statements() -> Iterator[str]:
    """Spell the schema; all sealed columns are text, and only the passphrase may be NULL."""
    for table in layout.TABLES.values():
        columns = [f"{table.id_column} INTEGER PRIMARY KEY"]
        columns += [f"{name} TEXT NOT NULL" for name in table.unsealed if not name.endswith("_at")]
        columns += [f"{name} TEXT" + ("" if name == "ssh_passphrase" else " NOT NULL") for name in table.sealed]
        columns += [f"{name} TEXT NOT NULL" for name in table.unsealed if name.endswith("_at")]
        yield f"CREATE TABLE {table.name} ({', '.join(columns)})"
    yield (
        f"CREATE TABLE {layout.CANARY_TABLE} "
        "(key TEXT PRIMARY KEY, value TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)"
    )


def init_database(path: str, key_bytes: bytes, journal_mode: str) -> None:
    """Create the file, the tables, two plain settings and the canary; refuses a file that exists."""
    Path(path).touch(mode=0o600, exist_ok=False)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal_mode}")
    with connection:
        for statement in create_statements():
            connection.execute(statement)
        settings = {
            "schema_version": "1",
            "instance_name": "reference - Zürich",
            layout.CANARY_ROW_ID: seal(layout.CANARY_PLAINTEXT, key_bytes),
        }
        connection.executemany(
            f"INSERT INTO {layout.CANARY_TABLE} VALUES (?, ?, ?, ?)",
            [(name, value, _CREATED_AT, _CREATED_AT) for name, value in settings.items()],
        )
    connection.close()


def insert_row(connection: sqlite3.Connection, table: layout.Table, row: dict[str, object]) -> int:
    """Insert one row and return its primary key."""
    marks = ", ".join("?" * len(row))
    return connection.execute(
        f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({marks})", tuple(row.values())
    ).lastrowid


def _make_row(table: layout.Table, number: int, *, budget: int, seed: str, key_bytes: bytes) -> dict[str, object]:
    rng = plaintexts.generator_for(seed, table.name, number)
    row: dict[str, object] = {"id": number}
    for column in table.unsealed:
        row[column] = plaintexts.unsealed_for(column, rng, number)
    for column in table.sealed:
        # Every second passphrase is NULL, as is one that would exceed the asked number of values.
        is_null = column == "ssh_passphrase" and (number % 2 == 0 or budget < 2)
        row[column] = None if is_null else seal(plaintexts.plaintext_for(column, rng, number).encode(), key_bytes)
    return row


def fill_database(path: str, key_bytes: bytes, values: int, seed: str, without: list[str]) -> None:
    """Add exactly `values` sealed values in one transaction, going round the tables that are not left out."""
    tables = [table for table in layout.TABLES.values() if table.name not in without]
    if not tables or values < minimum_values(tables):
        raise ValueError(f"--values must be at least {minimum_values(tables)} to reach every class, of a table or more")
    connection = sqlite3.connect(Path(path).resolve(strict=True))
    budget = values
    with connection:
        first_id = 1 + max(
            connection.execute(f"SELECT coalesce(max(id), 0) FROM {name}").fetchone()[0] for name in layout.TABLES
        )
        number = first_id + (first_id + 1) % 2  # start on an odd number: the first rows have passphrases
        while budget > 0:
            for table in tables:
                if budget == 0:
                    break
                row = _make_row(table, number, budget=budget, seed=seed, key_bytes=key_bytes)
                insert_row(connection, table, row)
                budget -= sum(row[column] is not None for column in table.sealed)
            number += 1
    connection.close()


def put_named(path: str, table: layout.Table, columns: dict[str, str | None]) -> None:
    """Insert one row under a name that the table does not have yet."""
    connection = sqlite3.connect(Path(path).resolve(strict=True))
    with connection:
        if connection.execute(f"SELECT 1 FROM {table.name} WHERE name = ?", (columns["name"],)).fetchone():
            raise ValueError(f"{table.name} has a row named {columns['name']} already")
        insert_row(connection, table, {**columns, "created_at": _CREATED_AT, "updated_at": _CREATED_AT})
    connection.close()


def enroll_server(
    path: str, key_bytes: bytes, *, name: str, host: str, private_key_path: str, passphrase_path: str | None
) -> None:
    """Add a server that can be logged in to: its real private key as the file has it, its passphrase without the line end."""
    private_key_bytes = Path(private_key_path).read_bytes()
    if b"PRIVATE KEY-----" not in private_key_bytes:
        raise ValueError(f"{private_key_path} holds no private key")
    passphrase = None
    if passphrase_path is not None:
        passphrase = seal(Path(passphrase_path).read_bytes().removesuffix(b"\n"), key_bytes)
    row = {"name": name, "host": host, "ssh_private_key": seal(private_key_bytes, key_bytes), "ssh_passphrase": passphrase}
    put_named(path, layout.TABLES["servers"], row)


def put_service(path: str, key_bytes: bytes, *, name: str, variables_path: str) -> None:
    """Add a service with the variables of a JSON object, sealed as the file has it."""
    content = Path(variables_path).read_bytes()
    if not isinstance(json.loads(content), dict):
        raise ValueError(f"{variables_path} holds no JSON object")
    put_named(path, layout.TABLES["services"], {"name": name, "env_vars": seal(content, key_bytes)})


def write_manifest(database_path: str, key_bytes: bytes, manifest_path: str, seed: str) -> None:
    """Describe the whole database as it is now; every value must open."""
    connection = connect_read_only(database_path)
    sealed: dict[str, dict[str, dict[str, str | None]]] = {}
    unsealed: dict[str, dict[str, str]] = {}
    for table, row_id, columns, others_sha256 in iterate_rows(connection):
        unsealed.setdefault(table.name, {})[row_id] = others_sha256
        sealed.setdefault(table.name, {})[row_id] = {
            column: None if text is None else sha256_hex(open_sealed(text, key_bytes))
            for column, text in columns.items()
        }
    content = {
        "format": FORMAT,
        "seed": seed,
        "schema_sha256": schema_sha256(connection),
        "sealed": sealed,
        "unsealed": unsealed,
    }
    connection.close()
    Path(manifest_path).write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Make and fill a database of the ServOS model (an assumption).")
    commands = parser.add_subparsers(dest="command", required=True)
    init_parser = commands.add_parser("init", help="schema and canary")
    enroll_parser = commands.add_parser("enroll", help="a server that can be logged in to")
    service_parser = commands.add_parser("put-service", help="a service with variables of one's own")
    fill_parser = commands.add_parser("fill", help="sealed values and a manifest")
    for command_parser in (init_parser, enroll_parser, service_parser, fill_parser):
        command_parser.add_argument("--database", required=True)
        command_parser.add_argument("--key-file", required=True, help="Base64 or hex")
    init_parser.add_argument("--journal-mode", choices=("wal", "delete"), default="delete")
    for command_parser in (enroll_parser, service_parser):
        command_parser.add_argument("--name", required=True)
    enroll_parser.add_argument("--host", required=True, help="name, address or address:port")
    enroll_parser.add_argument("--private-key-file", required=True)
    enroll_parser.add_argument("--passphrase-file")
    service_parser.add_argument("--variables-file", required=True, help="a JSON object")
    fill_parser.add_argument("--values", type=int, required=True, help="sealed values to add, without the canary")
    fill_parser.add_argument("--seed", default="1")
    fill_parser.add_argument("--manifest", required=True)
    fill_parser.add_argument("--without", action="append", default=[], choices=tuple(layout.TABLES), metavar="TABLE")
    return parser.parse_args(argv)


def _run(arguments: argparse.Namespace) -> None:
    key_bytes = read_key_file(arguments.key_file)
    if arguments.command == "init":
        init_database(arguments.database, key_bytes, arguments.journal_mode)
    elif arguments.command == "enroll":
        enroll_server(
            arguments.database,
            key_bytes,
            name=arguments.name,
            host=arguments.host,
            private_key_path=arguments.private_key_file,
            passphrase_path=arguments.passphrase_file,
        )
    elif arguments.command == "put-service":
        put_service(arguments.database, key_bytes, name=arguments.name, variables_path=arguments.variables_file)
    else:
        fill_database(arguments.database, key_bytes, arguments.values, arguments.seed, arguments.without)
        write_manifest(arguments.database, key_bytes, arguments.manifest, arguments.seed)


def main(argv: list[str] | None = None) -> int:
    try:
        _run(_parse(argv))
    except (KeyFormatError, OpenError, OSError, ValueError, sqlite3.Error) as error:
        print(f"schema: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
