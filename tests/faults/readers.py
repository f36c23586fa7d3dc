# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reference applications' own readers and judges, called in this process and on copies; none of the collection is asked."""

from __future__ import annotations

import abc
import importlib
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

APPS = Path(__file__).resolve().parent.parent / "reference_apps"
_FRAGMENT = 32  # characters of a sealed value that never stand anywhere by chance


class Sealed(NamedTuple):
    """One sealed value: where it is, its texts as they are stored, and what opens it."""

    place: str
    texts: tuple[str, ...]


def _load(folder: str, *names: str) -> list[Any]:
    """Import scripts that are flat folders; both have a judge, so neither stays in the table of modules."""
    sys.path.insert(0, str(APPS / folder))
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.path.pop(0)
        for name in ("judge", "manifest", "sealing", "layout", "database", "journal", "rows"):
            sys.modules.pop(name, None)


class Reader(abc.ABC):
    """Reads, opens and judges the database of one application."""

    @abc.abstractmethod
    def sealed(self, connection: sqlite3.Connection) -> Iterator[Sealed]:
        """Yield every sealed value."""

    @abc.abstractmethod
    def opens(self, value: Sealed, key_text: str) -> bytes | None:
        """Return the plaintext, or None."""

    @abc.abstractmethod
    def verdict(self, connection: sqlite3.Connection, new_text: str, old_text: str | None) -> list[str]:
        """Return what is wrong; nothing, if all is under the new key and as the manifest has it."""

    @abc.abstractmethod
    def found_in(self, content: bytes, key_text: str) -> int:
        """Count what opens under a key anywhere in raw bytes: free pages, logs, leftovers."""


class ServosReader(Reader):
    def __init__(self, manifest: Path) -> None:
        self._judge, self._manifests, self._sealing = _load("servos", "judge", "manifest", "sealing")
        self._manifest = self._manifests.load_manifest(str(manifest))

    def _key(self, text: str) -> bytes:
        return bytes(self._sealing.parse_key(text, accept_hex=True))

    def sealed(self, connection: sqlite3.Connection) -> Iterator[Sealed]:
        for table, row_id, columns, unused_hash in self._manifests.iterate_rows(connection):
            for column, text in columns.items():
                if text is not None:
                    yield Sealed(f"{table.name} {row_id} {column}", (text,))

    def opens(self, value: Sealed, key_text: str) -> bytes | None:
        try:
            return bytes(self._sealing.open_sealed(value.texts[0], self._key(key_text)))
        except ValueError:
            return None

    def verdict(self, connection: sqlite3.Connection, new_text: str, old_text: str | None) -> list[str]:
        judge = self._judge.Judge(self._key(new_text), self._key(old_text) if old_text else None, self._manifest, [])
        return _said(judge.examine(connection))

    def found_in(self, content: bytes, key_text: str) -> int:
        texts = {match.decode() for match in re.findall(rb"[A-Za-z0-9+/]{38,}={0,2}", content)}
        return sum(self.opens(Sealed("", (text,)), key_text) is not None for text in texts)


class ProvaraReader(Reader):
    def __init__(self, manifest: Path) -> None:
        self._judge, self._rows = _load("provara", "judge", "rows")
        self._manifest = json.loads(manifest.read_text())

    def sealed(self, connection: sqlite3.Connection) -> Iterator[Sealed]:
        for table in self._judge.SEALED_TABLES:
            for row in connection.execute(f"SELECT id, encrypted_value, iv, auth_tag FROM {table} ORDER BY id"):
                yield Sealed(f"{table} {row[0]}", tuple(row[1:]))

    def opens(self, value: Sealed, key_text: str) -> bytes | None:
        try:
            return bytes(self._rows.open_row(self._rows.SealedRow(*value.texts), self._rows.derive_key(key_text)))
        except ValueError:
            return None

    def verdict(self, connection: sqlite3.Connection, new_text: str, old_text: str | None) -> list[str]:
        derive = self._rows.derive_key
        judge = self._judge.Judge(derive(new_text), derive(old_text) if old_text else None, self._manifest)
        judge.examine(connection)
        return _said(judge)

    def found_in(self, content: bytes, key_text: str) -> int:
        """The three columns stand beside one another in a record: value, IV, tag."""
        found = 0
        for text in {match.decode() for match in re.findall(rb"[0-9a-f]{66,}", content)}:
            found += self.opens(Sealed("", (text[:-64], text[-64:-32], text[-32:])), key_text) is not None
        return found


def _said(judge: Any) -> list[str]:
    if judge.is_right:
        return []
    return [f"{count} {name}" for name, count in judge.counts.items() if count and name != "opens_new"] or ["nothing was found"]


def connected_copy(database: Path, scratch: Path) -> sqlite3.Connection:
    """Open a recovered copy: what is judged is never touched, and a reader cannot roll back a journal."""
    copy = scratch / "judged.db"
    for end in ("", "-wal", "-journal"):
        there, here = Path(f"{database}{end}"), Path(f"{copy}{end}")
        here.unlink(missing_ok=True)
        if there.exists():
            shutil.copyfile(there, here)
    Path(f"{copy}-shm").unlink(missing_ok=True)
    connection = sqlite3.connect(copy)
    connection.row_factory = sqlite3.Row
    connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
    return connection


def fragments(values: list[Sealed]) -> set[bytes]:
    """Cut sealed values into pieces by which they are known again, also where a page boundary cuts them."""
    return {
        text[start : start + _FRAGMENT].encode()
        for value in values for text in value.texts
        for start in range(0, len(text) - _FRAGMENT + 1, _FRAGMENT)
    }  # fmt: skip
