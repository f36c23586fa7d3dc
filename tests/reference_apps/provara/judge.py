# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether a rotated Provara database (SQLite) is right, trusting no tool's word.

It opens every row of both tables that Provara seals, and compares with a manifest: per table and id the SHA-256 of the
plaintext and the columns that a rotation must leave alone. The format is FACT (see rows.py), the judging is ours.

    judge.py --database D --key-file NEW [--old-key-file OLD] [--manifest M]

Keys come from files, never from argv. Exit 0: everything as it must be. 1: something is not, see the JSON on stdout.
2: it could not judge.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from rows import OpenError, SealedRow, derive_key, open_row, read_key_text

SEALED_TABLES = ("api_keys", "context_connector_credentials")
_DETAILS_LIMIT = 20
COUNTS = (
    "opens_new",
    "opens_old",
    "neither",
    "plaintext_mismatches",
    "rows_changed",
    "missing",
    "extra_rows",
    "journal_mismatches",  # always 0: one shape for both judges, and nothing writes while Provara is judged
    "malformed",
)
_FAULTS = COUNTS[1:]
Manifest = dict  # table name -> row id -> {"sha256": ..., column: value}


class Judge:
    """Counts what is found, and names the first things found wrong."""

    def __init__(self, new_key_bytes: bytes, old_key_bytes: bytes | None, manifest: Manifest | None) -> None:
        self._keys = (("opens_new", new_key_bytes), ("opens_old", old_key_bytes))
        self._manifest = manifest
        self.counts = dict.fromkeys(COUNTS, 0)
        self.details: list[str] = []

    def _note(self, count: str, place: str) -> None:
        self.counts[count] += 1
        if count in _FAULTS and len(self.details) < _DETAILS_LIMIT:
            self.details.append(f"{count}: {place}")

    @property
    def is_right(self) -> bool:
        """Nothing wrong, and at least one row seen."""
        return self.counts["opens_new"] > 0 and not any(self.counts[count] for count in _FAULTS)

    def examine(self, connection: sqlite3.Connection) -> None:
        """Judge both tables; one that the manifest does not name may be absent, as in older databases."""
        for table_name in SEALED_TABLES:
            expected = dict(self._manifest.get(table_name, {})) if self._manifest is not None else {}
            try:
                rows = connection.execute(f"SELECT * FROM {table_name} ORDER BY id").fetchall()
            except sqlite3.OperationalError as error:
                if "no such table" not in str(error):
                    raise
                rows = []
            for row in rows:
                self._examine_row(f"{table_name} {row['id']}", row, expected.pop(row["id"], None))
            for row_id in expected:
                self._note("missing", f"{table_name} {row_id}")

    def _examine_row(self, place: str, row: sqlite3.Row, expected: dict[str, Any] | None) -> None:
        sealed = SealedRow(row["encrypted_value"], row["iv"], row["auth_tag"])
        if not sealed.is_well_formed:
            self._note("malformed", place)
        plaintext_bytes = self._open(sealed, place)
        if self._manifest is None:
            return
        if expected is None:
            self._note("extra_rows", place)
            return
        if plaintext_bytes is not None and hashlib.sha256(plaintext_bytes).hexdigest() != expected["sha256"]:
            self._note("plaintext_mismatches", place)
        if any(row[column] != value for column, value in expected.items() if column != "sha256"):
            self._note("rows_changed", place)

    def _open(self, sealed: SealedRow, place: str) -> bytes | None:
        for count, key_bytes in self._keys:
            if key_bytes is None:
                continue
            try:
                plaintext_bytes = open_row(sealed, key_bytes)
            except OpenError:
                continue
            self._note(count, place)
            return plaintext_bytes
        self._note("neither", place)
        return None


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge a rotated Provara database.")
    parser.add_argument("--database", required=True)
    parser.add_argument("--key-file", required=True, help="the key everything must be under")
    parser.add_argument("--old-key-file", help="the key nothing may be under")
    parser.add_argument("--manifest", help="JSON as beside the fixture database")
    arguments = parser.parse_args(argv)
    try:
        new_key_bytes = derive_key(read_key_text(arguments.key_file))
        old_key_bytes = derive_key(read_key_text(arguments.old_key_file)) if arguments.old_key_file else None
        if new_key_bytes == old_key_bytes:
            raise ValueError("the two keys are the same bytes")
        manifest = json.loads(Path(arguments.manifest).read_text(encoding="utf-8")) if arguments.manifest else None
        uri = Path(arguments.database).resolve(strict=True).as_uri() + "?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=10)
        connection.row_factory = sqlite3.Row
        judge = Judge(new_key_bytes, old_key_bytes, manifest)
        judge.examine(connection)
        connection.close()
    except (OSError, ValueError, LookupError, sqlite3.Error) as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    print(json.dumps({**judge.counts, "ok": judge.is_right, "details": judge.details}))
    return 0 if judge.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
