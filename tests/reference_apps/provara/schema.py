# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables of Provara that matter to a rotation, and a way to make a small database of them.

FACT: the two sealed tables, their indexes and the bookkeeping of the migrations are as in a database that the real
Provara made (revision c4493c1); a test compares them with that database. All other tables are left out.

    schema.py init --database D [--without-connectors]
    schema.py add --database D --key-file K --name N --value-file V [--provider P] [--tenant T]
    schema.py add --database D --key-file K --name N --value-file V --connector github_token [--tenant T]

Key files as judge.py takes them; a value is all that its file holds.
"""

from __future__ import annotations

import argparse
import secrets
import sqlite3
import string
import sys
import time
from pathlib import Path

from rows import derive_key, read_key_text, seal_row

_API_KEYS = """
CREATE TABLE api_keys (
  id text PRIMARY KEY NOT NULL, name text NOT NULL, provider text NOT NULL, encrypted_value text NOT NULL, iv text NOT NULL,
  auth_tag text NOT NULL, created_at integer NOT NULL, updated_at integer NOT NULL
);
ALTER TABLE api_keys ADD tenant_id text;
"""
_MIGRATIONS = "CREATE TABLE __drizzle_migrations (id SERIAL PRIMARY KEY, hash text NOT NULL, created_at numeric);"
# Migration 0059; what is older has no such table.
_CONNECTORS = """
CREATE TABLE context_connector_credentials (
  id text PRIMARY KEY NOT NULL, tenant_id text, name text NOT NULL, type text NOT NULL, encrypted_value text NOT NULL,
  iv text NOT NULL, auth_tag text NOT NULL, last_used_at integer, created_at integer NOT NULL, updated_at integer NOT NULL
);
CREATE INDEX context_connector_credentials_tenant_idx ON context_connector_credentials (tenant_id, updated_at);
CREATE UNIQUE INDEX context_connector_credentials_tenant_name_idx ON context_connector_credentials (tenant_id, name);
"""
CONNECTOR_TYPES = ("github_token", "aws_access_key", "confluence_api_token")
_ID_ALPHABET = string.ascii_letters + string.digits + "_-"


def new_id() -> str:
    """Make an id of the kind that Provara makes: 21 characters."""
    return "".join(secrets.choice(_ID_ALPHABET) for unused in range(21))


def create(connection: sqlite3.Connection, *, has_connectors: bool = True) -> None:
    """Make the tables of an empty database; the bookkeeping counts 60 migrations, or 59 without the connectors."""
    connection.executescript(_API_KEYS + _MIGRATIONS + (_CONNECTORS if has_connectors else ""))
    for number in range(60 if has_connectors else 59):
        connection.execute("INSERT INTO __drizzle_migrations (hash, created_at) VALUES (?, ?)", (f"{number:064x}", number))
    connection.commit()


def add_api_key(
    connection: sqlite3.Connection, key_bytes: bytes, *, name: str, provider: str, value: str, tenant_id: str | None
) -> str:
    """Insert a provider's key; return its id."""
    row_id, now = new_id(), int(time.time())
    sealed = seal_row(value.encode("utf-8"), key_bytes)
    connection.execute(
        "INSERT INTO api_keys (id, name, provider, encrypted_value, iv, auth_tag, created_at, updated_at, tenant_id)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (row_id, name, provider, *sealed, now, now, tenant_id),
    )
    connection.commit()
    return row_id


def add_connector(
    connection: sqlite3.Connection, key_bytes: bytes, *, name: str, kind: str, value: str, tenant_id: str | None
) -> str:
    """Insert a connector's credential; return its id."""
    row_id, now = new_id(), int(time.time())
    sealed = seal_row(value.encode("utf-8"), key_bytes)
    connection.execute(
        "INSERT INTO context_connector_credentials"
        " (id, tenant_id, name, type, encrypted_value, iv, auth_tag, last_used_at, created_at, updated_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, NULL, ?, ?)",
        (row_id, tenant_id, name, kind, *sealed, now, now),
    )
    connection.commit()
    return row_id


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="A small database as Provara makes one.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("init", "add"):
        command = commands.add_parser(name)
        command.add_argument("--database", required=True)
    commands.choices["init"].add_argument("--without-connectors", action="store_true")
    adding = commands.choices["add"]
    for option in ("--key-file", "--name", "--value-file"):
        adding.add_argument(option, required=True)
    adding.add_argument("--provider", default="openai")
    adding.add_argument("--tenant")
    adding.add_argument("--connector", choices=CONNECTOR_TYPES)
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "init":
            Path(arguments.database).touch(exist_ok=False)
            connection = sqlite3.connect(arguments.database)
            create(connection, has_connectors=not arguments.without_connectors)
        else:
            connection = sqlite3.connect(Path(arguments.database).resolve(strict=True))
            key_bytes = derive_key(read_key_text(arguments.key_file))
            value = Path(arguments.value_file).read_bytes().decode("utf-8")
            if arguments.connector:
                add_connector(
                    connection, key_bytes, name=arguments.name, kind=arguments.connector, value=value,
                    tenant_id=arguments.tenant,
                )
            else:
                add_api_key(
                    connection, key_bytes, name=arguments.name, provider=arguments.provider, value=value,
                    tenant_id=arguments.tenant,
                )
        connection.close()
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
