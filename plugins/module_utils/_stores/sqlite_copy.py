# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Copy a SQLite database as a whole, in use or not, and prove that the copy is sound.

Source: https://www.sqlite.org/backup.html; a plain copy of a live file may tear between file and log.
"""

from __future__ import annotations

import os
import sqlite3
import time
import typing as t
import urllib.parse

from .._errors import StoreBusyError, StoreError
from .._system.files import free_bytes, fsync_file

_LOCK_TIMEOUT_S = 30
_JOURNALS = ("-wal", "-shm", "-journal")


def copy_database(source: str, target: str) -> None:
    """Copy a database into a new file, 0600, in one step of the online backup.

    Effects: makes C(target), which must not be there, and makes it durable; removes it again on failure.

    Raises:
        StoreError: no room, or SQLite refuses.
    """
    source = os.path.realpath(source)
    needed = size_of(source)
    directory = os.path.dirname(target)
    room = free_bytes(directory)
    if room < needed + needed // 10:
        raise StoreError(
            f"no room for a copy of {source} in {directory}: {needed} bytes are needed and {room} are free; nothing was changed; make room"
        )
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreError(f"cannot make {target}: {os.strerror(error.errno or 0)}") from None
    try:
        _copy(source, target)
        fsync_file(target)
    except BaseException:
        remove_database(target)
        raise


def overwrite_database(source: str, target: str) -> None:
    """Replace the content of an existing database by that of another, in one transaction of the target.

    Owner, mode and place of the target stay, and a reader sees the old content or the new one.
    """
    _copy(source, target)
    fsync_file(target)


def _copy(source: str, target: str) -> None:
    try:
        taken = sqlite3.connect(_uri(source, "mode=rw"), uri=True, timeout=30)
        try:
            given = sqlite3.connect(_uri(target, "mode=rw"), uri=True, timeout=30)
            try:
                taken.backup(given, pages=-1, progress=_not_after(time.monotonic() + _LOCK_TIMEOUT_S), sleep=0.1)
                given.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                given.close()
        finally:
            taken.close()
    except _LateError:
        raise StoreBusyError(
            f"the copy from {source} to {target} waited {_LOCK_TIMEOUT_S} s for a lock; nothing else was changed; "
            "stop whoever has either of them open"
        ) from None
    except sqlite3.Error as error:
        text = "no space left on the disk" if "full" in str(error) else str(error)
        raise StoreError(f"the copy from {source} to {target} failed: {text}; nothing else was changed") from None


class _LateError(Exception):
    """The backup has waited long enough; by itself it would wait for ever."""


def _not_after(deadline: float) -> t.Callable[[int, int, int], None]:
    def progress(unused_status: int, unused_remaining: int, unused_total: int) -> None:
        if unused_remaining and time.monotonic() > deadline:
            raise _LateError

    return progress


def check_integrity(path: str) -> None:
    """Let SQLite check every page and index of a database.

    Raises:
        StoreError: it is damaged.
    """
    try:
        connection = sqlite3.connect(_uri(path, "mode=rw"), uri=True, timeout=30)
        try:
            found = connection.execute("PRAGMA integrity_check(1)").fetchall()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"{path} is damaged: {error}") from None
    if found != [("ok",)]:
        raise StoreError(f"{path} is damaged: SQLite's integrity check fails")


def size_of(path: str) -> int:
    """Return the size in bytes of a database and its write-ahead log."""
    return sum(os.path.getsize(path + end) for end in ("", "-wal") if os.path.exists(path + end))


def remove_database(path: str) -> None:
    """Remove a database of ours and whatever SQLite put beside it."""
    for end in ("", *_JOURNALS):
        try:
            os.unlink(path + end)
        except FileNotFoundError:
            continue


def _uri(path: str, how: str) -> str:
    return "file:" + urllib.parse.quote(os.path.abspath(path)) + "?" + how


__all__ = ("check_integrity", "copy_database", "overwrite_database", "remove_database", "size_of")
