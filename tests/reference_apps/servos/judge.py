# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Say whether a rotated database of the ServOS model is right, trusting neither the tool nor the server.

It opens every value itself and compares with a manifest written before the rotation, and with the journal of the
traffic that ran meanwhile. ASSUMPTION model: tables and format as in layout.py and sealing.py.

    judge.py --database D --key-file NEW [--old-key-file OLD] [--manifest M] [--journal J]

Keys come from files (Base64 or hex), never from argv. Exit 0: everything as it must be. 1: something is not, see the
JSON on stdout. 2: it could not judge. Without a manifest it can say only under which key the values are.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

import layout
from database import ERRORS, Connection
from journal import Write, read_journal
from manifest import connect_read_only, iterate_rows, load_manifest, schema_sha256, sha256_hex
from sealing import KeyFormatError, OpenError, open_sealed, read_key_file

_DETAILS_LIMIT = 20
COUNTS = (
    "opens_new",
    "opens_old",
    "neither",
    "plaintext_mismatches",
    "rows_changed",
    "missing",
    "extra_rows",
    "journal_mismatches",
    "schema_changed",
)
_FAULTS = COUNTS[1:]


class Verdict:
    """Counts, and the names of the first things found wrong."""

    def __init__(self) -> None:
        self.counts = dict.fromkeys(COUNTS, 0)
        self.details: list[str] = []

    def note(self, count: str, place: str = "") -> None:
        """Count one finding; name its place if it is a fault."""
        self.counts[count] += 1
        if count in _FAULTS and len(self.details) < _DETAILS_LIMIT:
            self.details.append(f"{count}: {place}")

    @property
    def is_right(self) -> bool:
        """Nothing wrong, and at least one value seen: an empty database proves nothing."""
        return self.counts["opens_new"] > 0 and not any(self.counts[count] for count in _FAULTS)


class Judge:
    """Walks a database once and compares every row with what is expected of it."""

    def __init__(
        self,
        new_key_bytes: bytes,
        old_key_bytes: bytes | None,
        manifest: dict[str, Any] | None,
        writes: list[Write],
    ) -> None:
        self._new_key_bytes = new_key_bytes
        self._old_key_bytes = old_key_bytes
        self._manifest = manifest
        self._acked = {
            (write.class_name, str(write.row_id)): write.sha256 for write in writes if write.row_id is not None
        }
        self._maybe = Counter((write.class_name, write.sha256) for write in writes if write.row_id is None)
        self._verdict = Verdict()

    def examine(self, connection: Connection) -> Verdict:
        """Judge the whole database."""
        unseen = {
            (table_name, row_id)
            for table_name, rows in (self._manifest or {}).get("unsealed", {}).items()
            for row_id in rows
        }
        unseen_writes = dict(self._acked)
        for table, row_id, sealed, others_sha256 in iterate_rows(connection):
            hashes = {column: self._open(text, f"{table.name} {row_id} {column}") for column, text in sealed.items()}
            unseen_writes.pop((table.name, row_id), None)
            if (table.name, row_id) in unseen:
                unseen.discard((table.name, row_id))
                self._compare_known(table.name, row_id, hashes, others_sha256)
            else:
                self._compare_new(table, row_id, hashes)
        for table_name, row_id in sorted(unseen):
            self._verdict.note("missing", f"{table_name} {row_id}")
        for class_name, row_id in unseen_writes:
            self._verdict.note("missing", f"{class_name} {row_id}, an acknowledged write")
        if self._manifest and schema_sha256(connection) != self._manifest["schema_sha256"]:
            self._verdict.note("schema_changed", "tables, columns, indexes or triggers")
        return self._verdict

    def _open(self, sealed_b64: str | None, place: str) -> str | None:
        """Open under NEW, else OLD; return the plaintext's hash, or None for NULL and for what does not open."""
        if sealed_b64 is None:
            return None
        for count, key_bytes in (("opens_new", self._new_key_bytes), ("opens_old", self._old_key_bytes)):
            if key_bytes is None:
                continue
            try:
                plaintext_bytes = open_sealed(sealed_b64, key_bytes)
            except OpenError:
                continue
            self._verdict.note(count, place)
            return sha256_hex(plaintext_bytes)
        self._verdict.note("neither", place)
        return ""

    def _compare_known(self, table_name: str, row_id: str, hashes: dict[str, str | None], others_sha256: str) -> None:
        assert self._manifest is not None
        if others_sha256 != self._manifest["unsealed"][table_name][row_id]:
            self._verdict.note("rows_changed", f"{table_name} {row_id}")
        for column, expected in self._manifest["sealed"][table_name][row_id].items():
            found, place = hashes.get(column), f"{table_name} {row_id} {column}"
            if found is None and expected is not None:
                self._verdict.note("missing", place)
            elif found not in (expected, ""):  # what does not open was counted already
                self._verdict.note("plaintext_mismatches", place)

    def _compare_new(self, table: layout.Table, row_id: str, hashes: dict[str, str | None]) -> None:
        found = hashes.get(table.sealed[0])
        expected = self._acked.get((table.name, row_id))
        if expected is not None:
            if found not in (expected, ""):
                self._verdict.note("journal_mismatches", f"{table.name} {row_id}")
        elif found is not None and self._maybe[table.name, found] > 0:
            self._maybe[table.name, found] -= 1
        elif self._manifest is not None:
            self._verdict.note("extra_rows", f"{table.name} {row_id}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge a rotated database of the ServOS model.")
    parser.add_argument("--database", required=True)
    parser.add_argument("--key-file", required=True, help="the key everything must be under")
    parser.add_argument("--old-key-file", help="the key nothing may be under")
    parser.add_argument("--manifest", help="written by schema.py fill before the rotation")
    parser.add_argument("--journal", help="written by traffic.py during the rotation")
    arguments = parser.parse_args(argv)
    try:
        new_key_bytes = read_key_file(arguments.key_file)
        old_key_bytes = read_key_file(arguments.old_key_file) if arguments.old_key_file else None
        if new_key_bytes == old_key_bytes:
            raise ValueError("the two keys are the same bytes")
        manifest = load_manifest(arguments.manifest) if arguments.manifest else None
        writes = read_journal(arguments.journal) if arguments.journal else []
        connection = connect_read_only(arguments.database)
        verdict = Judge(new_key_bytes, old_key_bytes, manifest, writes).examine(connection)
        connection.close()
    except (KeyFormatError, OSError, ValueError, KeyError, *ERRORS) as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    print(json.dumps({**verdict.counts, "ok": verdict.is_right, "details": verdict.details}, ensure_ascii=False))
    return 0 if verdict.is_right else 1


if __name__ == "__main__":
    sys.exit(main())
