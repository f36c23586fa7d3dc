# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state directory that stands for the embedded Badger database: one file per row, replaced in one step.

    STATE/LOCK                     held by the process that serves
    STATE/TABLE/ID.json            {"version": N, "row": {...}}

A row's version is the database's when it was written, which is what `since` and `until` of a backup go by.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

TABLES = ("settings", "users", "sessions", "tokens", "vault_accounts")
SETTINGS_ID = "settings"


class StoreInUse(Exception):
    """Another process has the directory."""


class Store:
    """Rows by table and id."""

    def __init__(self, folder: Path, *, is_exclusive: bool = True) -> None:
        self._folder = folder
        self._guard = threading.RLock()
        for table in TABLES:
            (folder / table).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock_fd = os.open(folder / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_exclusive:
            try:
                fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreInUse("the state directory is used by another process") from None
        self.version = max((version for unused, unused2, version, unused3 in self.rows()), default=0)

    def _path(self, table: str, row_id: str) -> Path:
        return self._folder / table / f"{quote(row_id, safe='')}.json"

    def read(self, table: str, row_id: str) -> dict[str, Any] | None:
        """Return a row, or None."""
        try:
            return json.loads(self._path(table, row_id).read_text(encoding="utf-8"))["row"]
        except FileNotFoundError:
            return None

    def rows(self) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
        """Walk everything: table, id, version, row."""
        for table in TABLES:
            for path in sorted((self._folder / table).glob("*.json")):
                with contextlib.suppress(FileNotFoundError):
                    record = json.loads(path.read_text(encoding="utf-8"))
                    yield table, unquote(path.stem), record["version"], record["row"]

    def table(self, name: str) -> dict[str, dict[str, Any]]:
        """Return a table's rows by id."""
        return {row_id: row for table, row_id, unused, row in self.rows() if table == name}

    def write(self, table: str, row_id: str, row: dict[str, Any], *, version: int | None = None) -> None:
        """Write a row, in one step."""
        with self._guard:
            self.version = self.version + 1 if version is None else max(self.version, version)
            record = {"version": self.version if version is None else version, "row": row}
            path = self._path(table, row_id)
            temporary = path.with_suffix(f".{threading.get_ident()}.tmp")
            with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
                json.dump(record, stream)
            os.replace(temporary, path)

    def delete(self, table: str, row_id: str) -> None:
        """Remove a row, if it is there."""
        with self._guard:
            self.version += 1
            self._path(table, row_id).unlink(missing_ok=True)

    def export(self, *, since: int = 0, until: int | None = None) -> bytes:
        """Write rows as lines, ciphertexts as they lie."""
        lines = [
            json.dumps([table, row_id, version, row])
            for table, row_id, version, row in self.rows()
            if version > since and (until is None or version <= until)
        ]
        return "".join(line + "\n" for line in lines).encode()

    def load(self, stream_bytes: bytes, *, wipe: bool) -> None:
        """Take rows in; all of it is read before the first row changes."""
        records = [json.loads(line) for line in stream_bytes.splitlines()]
        with self._guard:
            if wipe:
                for table, row_id, unused, unused2 in list(self.rows()):
                    if not any(record[:2] == [table, row_id] for record in records):
                        self._path(table, row_id).unlink(missing_ok=True)
            for table, row_id, version, row in records:
                self.write(table, row_id, row, version=version)
