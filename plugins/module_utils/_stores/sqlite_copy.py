# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Copy a SQLite database as a whole, in use or not, and prove that the copy is sound.

Source: https://www.sqlite.org/backup.html; a plain copy of a live file may tear between file and log.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import stat
import time
import typing as t
import urllib.parse

from .._errors import FileError, StoreBusyError, StoreError
from .._system.files import file_error, free_bytes, fsync_file, rename_file

_LOCK_TIMEOUT_S = 30
_JOURNALS = ("-wal", "-shm", "-journal")
_LASTING = ("", "-wal", "-journal")  # the shared memory of a log says nothing once nobody has it open


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
        raise StoreError(f"cannot make {target}: {os.strerror(error.errno or 0)}; see to that, then run again") from None
    try:
        _copy(source, target)
        fsync_file(target)
    except BaseException:
        with contextlib.suppress(FileError):  # a file system that became read-only must not hide what went wrong
            remove_database(target)
        raise


def overwrite_database(source: str, target: str) -> None:
    """Replace the content of an existing database by that of another, in one transaction of the target.

    Owner, mode and place of the target stay, and a reader sees the old content or the new one.
    """
    _copy(source, target)
    fsync_file(target)


def replace_database(source: str, target: str) -> None:
    """Put a copy of a database in the place of one that is gone or damaged, in one step.

    Owner and mode are those of the file it replaces, else owner of the directory and 0600. Journals of the old file go first: a
    log beside another database than its own would be taken for that one's.
    """
    partial = target + ".restored"
    remove_database(partial)
    copy_database(source, partial)
    try:
        try:
            before = os.stat(target)
            os.chmod(partial, stat.S_IMODE(before.st_mode))
        except FileNotFoundError:
            before = os.stat(os.path.dirname(target))
        if (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(partial, before.st_uid, before.st_gid)
        for end in _JOURNALS:
            if os.path.lexists(target + end):
                os.unlink(target + end)
        os.replace(partial, target)
        fsync_file(target)
    except OSError as error:
        remove_database(partial)
        raise StoreError(
            f"cannot put {source} in the place of {target}: {os.strerror(error.errno or 0)}; "
            "see to that, then run again"
        ) from None


def copy_bytes(source: str, target: str) -> None:
    """Copy a database file that SQLite may not understand any more, and its log or journal, byte by byte; 0600.

    Raises:
        StoreError: no room, or not readable.
    """
    try:
        for end in _LASTING:
            if os.path.exists(source + end):
                descriptor = os.open(target + end, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
                with open(source + end, "rb") as taken, os.fdopen(descriptor, "wb") as given:
                    shutil.copyfileobj(taken, given)
                fsync_file(target + end)
    except OSError as error:
        raise StoreError(
            f"cannot copy {source} to {target}: {os.strerror(error.errno or 0)}; nothing was changed; "
            "see to that, then run again"
        ) from None


def rename_database(source: str, target: str) -> None:
    """Give a database of ours, at rest, another name in its directory; its log or journal first, and the file itself last."""
    for end in reversed(_LASTING):
        if os.path.exists(source + end):
            rename_file(source + end, target + end)


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
        raise StoreError(
            f"the copy from {source} to {target} failed: {text}; nothing else was changed; "
            "see to that, then run again"
        ) from None


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
        raise StoreError(f"{path} is damaged: {error}; use a sound copy of it") from None
    if found != [("ok",)]:
        raise StoreError(f"{path} is damaged: SQLite's integrity check fails; use a sound copy of it")


def size_of(path: str) -> int:
    """Return the size in bytes of a database and its write-ahead log."""
    return sum(os.path.getsize(path + end) for end in ("", "-wal") if os.path.exists(path + end))


def remove_database(path: str) -> None:
    """Remove a database of ours and whatever SQLite put beside it.

    Raises:
        FileError: one of them cannot be removed.
    """
    for end in ("", *_JOURNALS):
        try:
            os.unlink(path + end)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise file_error("remove", path + end, error) from None


def _uri(path: str, how: str) -> str:
    return "file:" + urllib.parse.quote(os.path.abspath(path)) + "?" + how


__all__ = (
    "check_integrity",
    "copy_bytes",
    "copy_database",
    "overwrite_database",
    "remove_database",
    "rename_database",
    "replace_database",
    "size_of",
)
