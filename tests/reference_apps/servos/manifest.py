# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a database holds, as hashes: the file a judge later compares a rotated database with.

It exists so that "nothing else was touched" can be proved without keeping a plaintext: per table, row and sealed column
the SHA-256 of the plaintext (null for NULL), per row the SHA-256 of the unsealed columns, and one of the schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from database import ERRORS, Connection, connect_read_only, is_absent_table, schema_of
from layout import CANARY_ROW_ID, SETTINGS, TABLES, Table

FORMAT = "servos-reference-manifest-1"


def sha256_hex(content: bytes) -> str:
    """Hash as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def schema_sha256(connection: Connection) -> str:
    """Hash the SQL of every table, index, view and trigger."""
    return sha256_hex("\n".join(sorted(schema_of(connection))).encode())


def iterate_rows(connection: Connection) -> Iterator[tuple[Table, str, dict[str, Any], str]]:
    """Walk every row of the known tables: table, id as text, sealed columns, hash of all the others.

    A table that is gone gives no rows. Of the settings only the canary's value is sealed. The hash covers every
    column the row has now, so that an added column shows.
    """
    for table in (*TABLES.values(), SETTINGS):
        try:
            cursor = connection.execute(f"SELECT * FROM {table.name} ORDER BY {table.id_column}")
        except ERRORS as error:
            if not is_absent_table(error):
                raise
            continue
        for row in cursor:
            row_id = str(row[table.id_column])
            is_plain_setting = table is SETTINGS and row_id != CANARY_ROW_ID
            sealed_columns = () if is_plain_setting else table.sealed
            present = row.keys()
            sealed = {column: row[column] for column in sealed_columns if column in present}
            others = [[column, row[column]] for column in sorted(present) if column not in sealed]
            yield table, row_id, sealed, sha256_hex(json.dumps(others, ensure_ascii=False, default=repr).encode())


def load_manifest(path: str) -> dict[str, Any]:
    """Read a manifest and refuse another format."""
    manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    if manifest.get("format") != FORMAT:
        raise ValueError(f"not a manifest of format {FORMAT}")
    return manifest


__all__ = (
    "FORMAT", "connect_read_only", "iterate_rows", "load_manifest", "schema_sha256", "sha256_hex",
)  # fmt: skip
