# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tables and sealed columns of the model, as data that every other file here reads.

ASSUMPTION model: no table or column name of ServOS is published. The eight classes are the union of the
three pages' lists of encrypted fields; the canary's place and plaintext are invented.
"""

from __future__ import annotations

from typing import NamedTuple

CANARY_TABLE = "system_settings"
CANARY_ROW_ID = "integrity_canary"
CANARY_PLAINTEXT = b"servos-integrity-canary-v1"
PASSPHRASE_CLASS = "ssh_passphrases"


class Table(NamedTuple):
    """One table: its primary key, the sealed columns and the others."""

    name: str
    id_column: str
    sealed: tuple[str, ...]
    unsealed: tuple[str, ...]


_TIMES = ("created_at", "updated_at")

TABLES: dict[str, Table] = {
    table.name: table
    for table in (
        Table("servers", "id", ("ssh_private_key", "ssh_passphrase"), ("name", "host", *_TIMES)),
        Table("builders", "id", ("ssh_private_key", "ssh_passphrase"), ("name", "host", *_TIMES)),
        Table("services", "id", ("env_vars",), ("name", *_TIMES)),
        Table("environments", "id", ("env_vars",), ("name", *_TIMES)),
        Table("git_credentials", "id", ("token",), ("provider", *_TIMES)),
        Table("registries", "id", ("password",), ("host", "username", *_TIMES)),
        Table("storage_providers", "id", ("secret",), ("kind", *_TIMES)),
    )
}
SETTINGS = Table(CANARY_TABLE, "key", ("value",), _TIMES)

# The API's classes. A class that is a table shows the table's first sealed column; the passphrases of servers
# and builders are a class of their own, with ids such as "servers-3".
CLASSES: tuple[str, ...] = (*TABLES, PASSPHRASE_CLASS)


def class_of(table_name: str, column: str) -> str:
    """Name the class a sealed column belongs to."""
    return PASSPHRASE_CLASS if column == "ssh_passphrase" else table_name


def locate(class_name: str, api_id: str) -> tuple[str, str, int] | None:
    """Turn an API class and id into table, column and primary key; None if there can be no such value."""
    if class_name == PASSPHRASE_CLASS:
        table_name, _dash, row_text = api_id.partition("-")
        column = "ssh_passphrase"
    else:
        table_name, row_text = class_name, api_id
        column = TABLES[class_name].sealed[0] if class_name in TABLES else ""
    table = TABLES.get(table_name)
    if table is None or column not in table.sealed or not (row_text.isascii() and row_text.isdigit()):
        return None
    return table_name, column, int(row_text)
