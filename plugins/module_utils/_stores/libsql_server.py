# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A libSQL server as a place of data, whose snapshots are SQLite files."""

from __future__ import annotations

import contextlib
import os

from .._errors import FileError, StoreError, UnknownCommitError
from .._system.files import fsync_file
from .database import Database, SnapshotForm
from .libsql import LibsqlDatabase
from .libsql_copy import copy_down, differing_table, put_up
from .libsql_url import Server
from .sqlite_copy import remove_database
from .sqlite_file import SqliteSnapshots

_LOCK_TIMEOUT_S = 30


class LibsqlServer:
    """The address of a database, which need not answer."""

    form: SnapshotForm = SqliteSnapshots()

    def __init__(self, server: Server, token_path: str | None) -> None:
        self.identity = self.name = server.name
        self._database = LibsqlDatabase(server, token_path)

    def exists(self) -> bool:
        """Say that there is something: whoever reads it learns more."""
        return True

    def open(self) -> Database:
        """Return the database."""
        return self._database

    def copy_to(self, path: str) -> list[str]:
        """Copy schema and rows, as they are at one moment, into a new SQLite file."""
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise StoreError(f"cannot make {path}: {os.strerror(error.errno or 0)}; see to that, then run again") from None
        try:
            with self._database.reading() as reader:
                left_out = copy_down(reader, path)
            fsync_file(path)
        except BaseException:
            with contextlib.suppress(FileError):  # a file system that became read-only must not hide what went wrong
                remove_database(path)
            raise
        return [f"this host's SQLite cannot hold {thing} of {self.name}, so that the backup lacks it" for thing in left_out]

    def copy_as_it_is(self, path: str) -> None:  # noqa: ARG002 - nothing can be made there
        """Refuse: the bytes of the database are its server's.

        Raises:
            StoreError: always.
        """
        raise StoreError(
            f"the database {self.name} cannot be read as a whole, so that what a restore would replace cannot be kept; nothing was "
            "changed; see to the server, or restore there (such as by Turso's point-in-time recovery)"
        )

    def put_back(self, path: str) -> list[str]:
        """Replace tables and rows by a snapshot's, in one transaction."""
        left: list[str] = []
        try:
            with self._database.writing(lock_timeout_s=_LOCK_TIMEOUT_S) as writer:
                left = put_up(writer, path)
        except UnknownCommitError as unknown:
            with self._database.looking(lock_timeout_s=_LOCK_TIMEOUT_S) as reader:
                differing = differing_table(reader, path)
            if differing:
                raise StoreError(f"{unknown}; the backup was not put back ({differing} differs); run the same command again") from None
        return [f"the {thing} of {self.name} is not in the backup and was left as it is: rebuild it" for thing in left]


__all__ = ("LibsqlServer",)
