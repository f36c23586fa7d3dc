# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A PostgreSQL server as a place of data."""

from __future__ import annotations

from .._errors import StoreError
from .database import Database, SnapshotForm
from .postgres import PostgresDatabase
from .postgres_url import Address
from .sqlite_file import SqliteSnapshots


class PostgresServer:
    """The address of a database, which need not answer."""

    form: SnapshotForm = SqliteSnapshots()

    def __init__(self, address: Address, password_path: str | None) -> None:
        self.identity = self.name = address.name
        self._database = PostgresDatabase(address, password_path)

    def exists(self) -> bool:
        """Say that there is something: whoever reads it learns more."""
        return True

    def open(self) -> Database:
        """Return the database."""
        return self._database

    def copy_to(self, path: str) -> list[str]:
        """Refuse."""
        raise StoreError(f"no snapshot of {self.name} can be made yet ({path})")

    def copy_as_it_is(self, path: str) -> None:
        """Refuse."""
        raise StoreError(f"no snapshot of {self.name} can be made yet ({path})")

    def put_back(self, path: str) -> list[str]:
        """Refuse."""
        raise StoreError(f"no snapshot of {self.name} can be put back yet ({path})")


__all__ = ("PostgresServer",)
