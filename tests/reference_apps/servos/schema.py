# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make and fill a database of the ServOS model.

ASSUMPTION model of ServOS: table names, column names and the canary are invented (see layout.py). This file exists to
give the server, the tests and the benchmarks the same database from a seed, with a manifest of what is in it.

    schema.py init --database D --key-file K [--journal-mode wal|delete]
    schema.py fill --database D --key-file K --values N --seed S --manifest M
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
# One turn over the tables with a passphrase in each of the two that have one: the least that fills all eight classes.
MINIMUM_VALUES = sum(len(table.sealed) for table in layout.TABLES.values())


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


def fill_database(path: str, key_bytes: bytes, values: int, seed: str) -> None:
    """Add exactly `values` sealed values in one transaction, going round the tables."""
    if values < MINIMUM_VALUES:
        raise ValueError(f"--values must be at least {MINIMUM_VALUES} to reach all eight classes")
    connection = sqlite3.connect(Path(path).resolve(strict=True))
    budget = values
    with connection:
        first_id = 1 + max(
            connection.execute(f"SELECT coalesce(max(id), 0) FROM {name}").fetchone()[0] for name in layout.TABLES
        )
        number = first_id + (first_id + 1) % 2  # start on an odd number: the first rows have passphrases
        while budget > 0:
            for table in layout.TABLES.values():
                if budget == 0:
                    break
                row = _make_row(table, number, budget=budget, seed=seed, key_bytes=key_bytes)
                insert_row(connection, table, row)
                budget -= sum(row[column] is not None for column in table.sealed)
            number += 1
    connection.close()


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Make and fill a database of the ServOS model (an assumption).")
    commands = parser.add_subparsers(dest="command", required=True)
    init_parser = commands.add_parser("init", help="schema and canary")
    fill_parser = commands.add_parser("fill", help="sealed values and a manifest")
    for command_parser in (init_parser, fill_parser):
        command_parser.add_argument("--database", required=True)
        command_parser.add_argument("--key-file", required=True, help="Base64 or hex")
    init_parser.add_argument("--journal-mode", choices=("wal", "delete"), default="delete")
    fill_parser.add_argument("--values", type=int, required=True, help="sealed values to add, without the canary")
    fill_parser.add_argument("--seed", default="1")
    fill_parser.add_argument("--manifest", required=True)
    arguments = parser.parse_args(argv)
    try:
        key_bytes = read_key_file(arguments.key_file)
        if arguments.command == "init":
            init_database(arguments.database, key_bytes, arguments.journal_mode)
        else:
            fill_database(arguments.database, key_bytes, arguments.values, arguments.seed)
            write_manifest(arguments.database, key_bytes, arguments.manifest, arguments.seed)
    except (KeyFormatError, OpenError, OSError, ValueError, sqlite3.Error) as error:
        print(f"schema: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
