# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The model's own rotation: what `POST /api/maintenance/rotate-key` does to the database.

ASSUMPTION model. Stated: the database is re-encrypted in one transaction, and the two error texts. Assumed: the order
(canary, each class, a new canary), that a value under neither key stops it, and that no unsealed column changes.
"""

from __future__ import annotations

import time

import layout
from database import Connection
from sealing import OpenError, open_sealed, seal
from settings import Faults


class RotationRefused(Exception):
    """The rotation did not happen and nothing was written; carries the model's status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def read_canary(connection: Connection) -> str | None:
    """Return the sealed canary, or None if there is none."""
    row = connection.execute(
        f"SELECT value FROM {layout.CANARY_TABLE} WHERE key = ?", (layout.CANARY_ROW_ID,)
    ).fetchone()
    return None if row is None else row[0]


def _reseal_column(
    connection: Connection, table: layout.Table, column: str, old_key_bytes: bytes, new_key_bytes: bytes
) -> int:
    rows = connection.execute(f"SELECT id, {column} FROM {table.name} WHERE {column} IS NOT NULL").fetchall()
    for row_id, sealed_b64 in rows:
        try:
            plaintext_bytes = open_sealed(sealed_b64, old_key_bytes)
        except OpenError:
            raise RotationRefused(500, f"re-encryption failed for {table.name} {row_id}") from None
        connection.execute(
            f"UPDATE {table.name} SET {column} = ? WHERE id = ?", (seal(plaintext_bytes, new_key_bytes), row_id)
        )
    return len(rows)


def rotate(
    connection: Connection, old_key_bytes: bytes, new_key_bytes: bytes, faults: Faults
) -> dict[str, int]:
    """Re-encrypt inside one transaction and return the count per class; refused or dropped means rolled back.

    The connection must be in autocommit mode (isolation_level None).
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        canary_b64 = None if "canary_missing" in faults else read_canary(connection)
        if canary_b64 is None:
            raise RotationRefused(500, "Integrity canary not found")
        try:
            canary_bytes = open_sealed(canary_b64, old_key_bytes)
        except OpenError:
            raise RotationRefused(422, "Old master key incorrect") from None
        counts = dict.fromkeys(layout.CLASSES, 0)
        for table in layout.TABLES.values():
            if table.name == "builders" and "skip_builders" in faults:
                continue
            for column in table.sealed:
                resealed = _reseal_column(connection, table, column, old_key_bytes, new_key_bytes)
                counts[layout.class_of(table.name, column)] += resealed
        connection.execute(
            f"UPDATE {layout.CANARY_TABLE} SET value = ? WHERE key = ?",
            (seal(canary_bytes, new_key_bytes), layout.CANARY_ROW_ID),
        )
        # Slow means: everything rewritten, the write lock held, nothing committed.
        time.sleep(faults.slow_ms / 1000)
        if "drop_before_commit" in faults:
            raise ConnectionAbortedError("fault: dropped before commit")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return counts
