# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What every store lends to the rotation, whatever it is made of.

A C(Place) is where a database is, or should be; a C(Database) is one that is there and can be read and written; a C(SnapshotForm)
is the kind of file that a whole copy of it is.
"""

from __future__ import annotations

import typing as t

from .shapes import Rewrite, Table

T = t.TypeVar("T")


class Reader(t.Protocol):
    """What a store lends to a census."""

    def tables(self) -> list[Table]:
        """List the tables."""

    def rows(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[tuple[tuple[t.Any, ...], tuple[t.Any, ...]]]:
        """Yield address and cells of each row."""

    def long_columns(self, table: Table, columns: t.Sequence[str], *, text_bytes: int, blob_bytes: int) -> set[str]:
        """Return the columns in which any cell is that long."""

    def rows_about(self, table: Table) -> int | None:
        """Estimate, without reading them, how many rows there are; None where that is not known. For those who wait."""

    def key_of(self, table: Table, address: tuple[t.Any, ...]) -> str:
        """Say which row lies at an address."""


class Writer(Reader, t.Protocol):
    """What a store lends to a rewrap."""

    def rewrite(self, table: Table, rewrites: t.Sequence[Rewrite], *, in_python: bool, progress: t.Callable[[int], None]) -> None:
        """Replace columns of every row by what their functions return."""


class Database(t.Protocol):
    """One existing database."""

    @property
    def name(self) -> str:
        """Name it in a message; never with a token or a query."""

    @property
    def is_remote(self) -> bool:
        """Whether somebody else's word is all that is known of a write, so that all is looked at again before the commit."""

    def reading(self, *, copied: bool = False) -> t.ContextManager[Reader]:
        """Open for reading only; with C(copied), so that what others do meanwhile does not matter."""

    def read(self, work: t.Callable[[t.Any], T]) -> T:
        """Return what C(work) makes of a reader; tried again where others come and go."""

    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.ContextManager[Writer]:
        """Open one write transaction; commit when the block ends, roll back when it raises.

        Raises:
            StoreBusyError: the lock was not to be had.
            UnknownCommitError: the commit was sent and nobody knows whether it happened.
        """

    def require_room(self, *, scrub: bool) -> None:
        """Refuse a disk that a rewrap of every value would fill, where that can be known."""

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Leave nothing of earlier contents behind.

        Returns C(vacuumed) and C(wal_bytes) (None where nobody knows), and in C(warning) what was not in our power, if anything.
        """

    def empty_log(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Leave nothing of earlier contents in a log, beside a running service; what C(scrub) returns."""


class SnapshotForm(t.Protocol):
    """The kind of local file, 0600, that a whole copy of a database is."""

    @property
    def suffix(self) -> str:
        """End of the file's name, with its dot."""

    def open(self, path: str) -> Database:
        """Return the snapshot as a database to read."""

    def check(self, path: str) -> None:
        """Read all of it; StoreError where it is damaged."""

    def copy(self, source: str, target: str) -> None:
        """Copy a snapshot into a new file."""

    def remove(self, path: str) -> None:
        """Remove a snapshot, whole or not, and all that lies beside it; one that is not there is no error."""

    def rename(self, source: str, target: str) -> None:
        """Give a snapshot, and what lies beside it, another name in its directory; the file itself last."""


class Place(t.Protocol):
    """Where a database is, or should be."""

    @property
    def name(self) -> str:
        """Name it in a message; never with a token or a query."""

    @property
    def identity(self) -> str:
        """What the notes of its backups know it by; never with a token or a query."""

    @property
    def form(self) -> SnapshotForm:
        """The form of its snapshots."""

    def exists(self) -> bool:
        """Whether anything is there, sound or not; an error where that cannot be told."""

    def open(self) -> Database:
        """Return the database.

        Raises:
            StoreError: it is not there, or not what it should be.
        """

    def copy_to(self, path: str) -> list[str]:
        """Make a snapshot of the whole at one moment, in a new file; return what it could not take along, one warning each."""

    def copy_as_it_is(self, path: str) -> None:
        """Copy what is damaged, byte by byte; StoreError where nobody can."""

    def put_back(self, path: str) -> list[str]:
        """Replace the whole by a snapshot, in one step; return what it could not put back, one warning each."""


__all__ = ("Database", "Place", "Reader", "SnapshotForm", "Writer")
