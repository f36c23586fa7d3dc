# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A SQLite file as a place of data, and as a snapshot of data."""

from __future__ import annotations

import os

from .._errors import StoreError
from .database import Database, SnapshotForm
from .sqlite import SqliteDatabase
from .sqlite_copy import (
    check_integrity,
    copy_bytes,
    copy_database,
    overwrite_database,
    remove_database,
    rename_database,
    replace_database,
)


class SqliteSnapshots:
    """Snapshots that are SQLite files."""

    suffix = ".db"

    def open(self, path: str) -> Database:
        """Return the snapshot as a database to read."""
        return SqliteDatabase(path)

    def check(self, path: str) -> None:
        """Let SQLite check every page and index."""
        check_integrity(path)

    def copy(self, source: str, target: str) -> None:
        """Copy a snapshot into a new file."""
        copy_database(source, target)

    def remove(self, path: str) -> None:
        """Remove a snapshot and whatever SQLite put beside it."""
        remove_database(path)

    def rename(self, source: str, target: str) -> None:
        """Give a snapshot, and its log or journal, another name in its directory."""
        rename_database(source, target)


class SqliteFile:
    """The path of a database file, which need not be there, or be sound."""

    form: SnapshotForm = SqliteSnapshots()

    def __init__(self, path: str) -> None:
        # As the notes of backups record it; SQLite keeps its log beside the file itself, not beside a link to it.
        self.identity = self.name = os.path.realpath(path)

    def exists(self) -> bool:
        """Whether anything is there."""
        return os.path.exists(self.identity)

    def open(self) -> Database:
        """Return the database."""
        return SqliteDatabase(self.identity)

    def copy_to(self, path: str) -> list[str]:
        """Copy the database, in use or not, in one step of SQLite's online backup."""
        copy_database(self.identity, path)
        return []

    def copy_as_it_is(self, path: str) -> None:
        """Copy a file that SQLite may not understand any more, and its log or journal."""
        copy_bytes(self.identity, path)

    def put_back(self, path: str) -> list[str]:
        """Put a snapshot in the place of the data: in one transaction of it where it is whole, else of its file."""
        try:
            check_integrity(self.identity)
        except StoreError:
            replace_database(path, self.identity)
        else:
            overwrite_database(path, self.identity)
        return []


__all__ = ("SqliteFile", "SqliteSnapshots")
