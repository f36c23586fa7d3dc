# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A SQLite database file: looked at without a trace, rewritten in one transaction.

Sources: https://www.sqlite.org/uri.html, https://www.sqlite.org/wal.html#read_only_databases,
https://www.sqlite.org/lang_transaction.html
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import time
import typing as t
import urllib.parse

from .._errors import StoreBusyError, StoreChangedError, StoreError
from .._system.files import free_bytes
from .._system.processes import pids_with_open_file
from .sqlite_copy import size_of
from .sqlite_tables import SqliteReader, SqliteWriter

T = t.TypeVar("T")

_MAGIC = b"SQLite format 3\x00"
_WAL_VERSION = 2
# Measured: a 16 MB cache cuts the fsyncs of a rollback journal six times; the memory stays within 25 MB.
_CACHE_KIB = 16 * 1024
_READ_TIMEOUT_S = 10
_CANNOT_OPEN = "unable to open database file"


class SqliteDatabase:
    """One existing database file. Never creates one."""

    is_remote = False

    def __init__(self, path: str) -> None:
        # SQLite keeps its log beside the file itself, not beside a link to it.
        self.path = self.name = os.path.realpath(path)
        self._check_file()

    def _check_file(self) -> None:
        try:
            with open(self.path, "rb") as stream:
                header = stream.read(100)
        except FileNotFoundError:
            raise StoreError(f"there is no database {self.path}; name the right one (database); it was not created") from None
        except IsADirectoryError:
            raise StoreError(f"{self.path} is a directory, not a database; name the file in it (database)") from None
        except PermissionError:
            raise StoreError(f"the database {self.path} may not be read by uid {os.geteuid()}; run as root (become: true)") from None
        if not header:
            raise StoreError(f"the database {self.path} is an empty file; name the right one (database)")
        if not header.startswith(_MAGIC):
            raise StoreError(f"{self.path} is not a SQLite database (or is encrypted as a whole); name the right one (database)")
        self._is_wal = len(header) > 19 and header[19] == _WAL_VERSION

    @contextlib.contextmanager
    def reading(self, *, copied: bool = False) -> t.Iterator[SqliteReader]:
        """Open for reading only; neither the file nor its directory is written to.

        Args:
            copied: read a private copy in any case, for a database that others open and close all the time.

        A write-ahead log or a hot journal that a crash left behind can be read only by recovering it, which is a
        write; then a private copy is recovered and read instead.
        """
        with contextlib.ExitStack() as stack:
            connection, immutable = (None, False) if copied else self._try_read_only()
            if connection is None:
                directory = stack.enter_context(_private_copy(self.path))
                connection = _connect(os.path.join(directory, "copy.db"), "mode=rw", timeout_s=_READ_TIMEOUT_S)
                with self._translated(_READ_TIMEOUT_S):
                    _first_read(connection)
            stack.callback(connection.close)
            before = _stamps(self.path)
            with self._translated(_READ_TIMEOUT_S):
                yield SqliteReader(connection)
            if immutable and before != _stamps(self.path):
                raise StoreChangedError(f"the database {self.path} was opened by another process while it was being read; run again")

    def read(self, work: t.Callable[[SqliteReader], T]) -> T:
        """Return what C(work) makes of the database where it lies, else, if others come and go, of a private copy.

        Raises:
            StoreError: it does not keep still even for a copy.
        """
        for is_last in (False, False, True):
            try:
                with self.reading(copied=is_last) as reader:
                    return work(reader)
            except StoreChangedError:
                continue
        raise StoreError(f"the database {self.path} changes all the time; run again")

    def _try_read_only(self) -> tuple[sqlite3.Connection | None, bool]:
        wal, shared, journal = (os.path.exists(self.path + end) for end in ("-wal", "-shm", "-journal"))
        if self._is_wal and wal and not shared:
            return None, False
        # Nobody has a WAL database open that lacks both files; a plain read-only connection would leave them behind.
        immutable = self._is_wal and not shared
        connection = _connect(self.path, "mode=ro&immutable=1" if immutable else "mode=ro", timeout_s=_READ_TIMEOUT_S)
        try:
            with self._translated(_READ_TIMEOUT_S):
                _first_read(connection)
        except StoreBusyError:
            connection.close()
            raise
        except StoreError:
            connection.close()
            if journal or wal:
                return None, False
            raise
        return connection, immutable

    @contextlib.contextmanager
    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.Iterator[SqliteWriter]:
        """Open one write transaction; commit when the block ends, roll back when it raises.

        Args:
            overwrite_freed: whether what is replaced is overwritten with zeros where it lay; costs time, and is for
                places where a scrub cannot follow.

        Raises:
            StoreBusyError: the lock was not to be had within C(lock_timeout_s) seconds, or not for the commit.
            StoreError: read-only, disk full, damaged.
        """
        connection = _connect(self.path, "mode=rw", timeout_s=lock_timeout_s)
        try:
            with self._translated(lock_timeout_s):
                connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
                connection.execute("PRAGMA synchronous=FULL")
                # In WAL mode each range's undo copy would go to a temporary file: as much again as the database.
                connection.execute("PRAGMA temp_store=MEMORY")
                connection.execute(f"PRAGMA secure_delete={'ON' if overwrite_freed else 'OFF'}")
                connection.execute("BEGIN IMMEDIATE")
            try:
                with self._translated(lock_timeout_s):
                    yield SqliteWriter(connection)
                    connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    with contextlib.suppress(sqlite3.Error):
                        connection.execute("ROLLBACK")
                raise
        finally:
            connection.close()

    def require_room(self, *, scrub: bool) -> None:
        """Refuse a disk that a rewrap of every value would fill.

        A journal or write-ahead log grows to about the size of the database; VACUUM needs a second copy beside that.

        Raises:
            StoreError: with how much is needed and how much is free.
        """
        needed = size_of(self.path) * (2 if scrub else 1)
        room = free_bytes(os.path.dirname(os.path.abspath(self.path)))
        if room < needed:
            hint = "make room, or set scrub=false, which needs half of it" if scrub else "make room"
            raise StoreError(f"no room beside {self.path}: {needed} bytes are needed and {room} are free; nothing was changed; {hint}")

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Leave nothing of earlier contents in free pages or in the write-ahead log: VACUUM, then truncate the log.

        Returns C(vacuumed), C(wal_bytes) (0 when the log is empty or absent).

        Raises:
            StoreError: no room for the second copy that VACUUM needs, or the database is in use.
        """
        self.require_room(scrub=True)
        return self._cleaned("VACUUM", lock_timeout_s)

    def empty_log(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Move the write-ahead log into the database and truncate it, beside a running service; what C(scrub) returns."""
        return self._cleaned(None, lock_timeout_s)

    def _cleaned(self, statement: str | None, lock_timeout_s: float) -> dict[str, t.Any]:
        connection = _connect(self.path, "mode=rw", timeout_s=lock_timeout_s)
        try:
            with self._translated(lock_timeout_s):
                # Not in /tmp, which may be small: beside the database there is room, as was just seen.
                directory = os.path.dirname(os.path.abspath(self.path)).replace("'", "''")
                connection.execute(f"PRAGMA temp_store_directory = '{directory}'")
                if statement is not None:
                    connection.execute(statement)
                if connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise sqlite3.OperationalError("database is locked by a reader of its log")
        finally:
            connection.close()
        wal = self.path + "-wal"
        return {"vacuumed": statement is not None, "wal_bytes": os.path.getsize(wal) if os.path.exists(wal) else 0}

    @contextlib.contextmanager
    def _translated(self, lock_timeout_s: float) -> t.Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            text = str(error)
            if "locked" in text or "busy" in text:
                pids = ", ".join(str(pid) for pid in pids_with_open_file(self.path)) or "none that we may see"
                raise StoreBusyError(
                    f"the database {self.path} stayed locked for {lock_timeout_s:g} s (processes that have it open: {pids}); "
                    "nothing was changed; stop the other writer or raise lock_timeout"
                ) from None
            if "readonly" in text or "read-only" in text or (_CANNOT_OPEN in text and not os.access(os.path.dirname(self.path), os.W_OK)):
                raise StoreError(
                    f"the database {self.path} cannot be written (read-only file or file system); nothing was changed; make it writable"
                ) from None
            if "full" in text or ("disk I/O" in text and not free_bytes(self.path)):
                raise StoreError(f"no space left on the disk of {self.path}; nothing was changed; make room and run again") from None
            raise StoreError(f"SQLite refused {self.path}: {text}; nothing was changed; see to that, then run again") from None


@contextlib.contextmanager
def _private_copy(path: str) -> t.Iterator[str]:
    """Copy a database and its journals (ciphertext, no keys) into a directory of ours, until neither changes."""
    try:
        directory = tempfile.mkdtemp(prefix="servos-ops-")
    except OSError as error:
        raise StoreError(
            f"cannot read {path} through a private copy: no directory for it can be made ({os.strerror(error.errno or 0)}); nothing was "
            "changed; see to the file system of temporary files (/tmp, or TMPDIR)"
        ) from None
    try:
        for unused_try in range(5):
            before = _stamps(path)
            for end in ("", "-wal", "-journal"):
                if os.path.exists(path + end):
                    shutil.copyfile(path + end, os.path.join(directory, "copy.db" + end))
            if before == _stamps(path):
                break
            time.sleep(0.2)
        else:
            raise StoreError(f"the database {path} changes while it is being copied; run again")
        yield directory
    except OSError as error:
        raise StoreError(
            f"cannot read {path} through a private copy: {os.strerror(error.errno or 0)}; "
            "see to that, then run again"
        ) from None
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _stamps(path: str) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for end in ("", "-wal", "-journal"):
        try:
            seen = os.stat(path + end)
        except FileNotFoundError:
            found.append(None)
        else:
            found.append((seen.st_mtime_ns, seen.st_size))
    return found


def _connect(path: str, how: str, *, timeout_s: float) -> sqlite3.Connection:
    uri = "file:" + urllib.parse.quote(os.path.abspath(path)) + "?" + how
    try:
        return sqlite3.connect(uri, uri=True, timeout=timeout_s, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"SQLite cannot open {path}: {error}; see to that, or name the right one (database)") from None


def _first_read(connection: sqlite3.Connection) -> None:
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()


__all__ = ("SqliteDatabase",)
