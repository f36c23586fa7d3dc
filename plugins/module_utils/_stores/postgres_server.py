# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A PostgreSQL server as a place of data, whose snapshots are dumps."""

from __future__ import annotations

from .database import Database, SnapshotForm
from .postgres import PostgresDatabase
from .postgres_copy import PostgresDumps, dump, restore_to_scratch
from .postgres_programs import PostgresPrograms, Runner
from .postgres_replace import put_back
from .postgres_scratch import address_of_scratch, drop_scratch, has_scratch, named_scratch
from .postgres_url import Address


class PostgresServer:
    """The address of a database, which need not answer. C(run) runs the client programs that backups need."""

    def __init__(self, address: Address, password_path: str | None, run: Runner | None = None) -> None:
        self.identity = self.name = address.name
        self._database = PostgresDatabase(address, password_path)
        self._programs = PostgresPrograms(address, password_path, run)
        self.form: SnapshotForm = PostgresDumps(self._programs)

    def exists(self) -> bool:
        """Say that there is something: whoever reads it learns more."""
        return True

    def open(self) -> Database:
        """Return the database."""
        return self._database

    def copy_to(self, path: str) -> list[str]:
        """Dump the database, in use or not, as it is at one moment."""
        dump(self._programs, path)
        return []

    def copy_as_it_is(self, path: str) -> None:
        """Dump what pg_dump can read; whether any key opens it does not matter to that."""
        dump(self._programs, path)

    def put_back(self, path: str) -> list[str]:
        """Replace what the database holds by a dump, in one transaction."""
        return put_back(self._database, self._programs, path)

    def restore_to_scratch(self, path: str, name: str) -> str:
        """Restore a dump into a scratch database on the same server, which stays until it is dropped; return its URL."""
        return restore_to_scratch(self._programs, path, named_scratch(self.identity, name)).url

    def scratch_url(self, name: str) -> str:
        """Return the URL of a scratch database by its short name."""
        return address_of_scratch(self._programs.address, named_scratch(self.identity, name)).url

    def has_scratch(self, name: str) -> bool:
        """Tell whether there is a scratch database of that short name."""
        return has_scratch(self._programs.address, self._programs.password_path, named_scratch(self.identity, name))

    def drop_scratch(self, name: str) -> bool:
        """Drop a scratch database. Returns whether it was there."""
        return drop_scratch(self._programs.address, self._programs.password_path, named_scratch(self.identity, name))


__all__ = ("PostgresServer",)
