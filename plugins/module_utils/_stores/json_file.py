# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A JSON file as a place of data, as a database, and as a snapshot of data.

It is read as a whole and replaced as a whole, in one step. No lock keeps an application from writing it meanwhile: what it
holds is compared just before it is replaced, so that at most what is written between that look and the rename is lost. The
service is stopped then.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import typing as t

from .._errors import FileError, StoreChangedError, StoreError
from .._system import files
from .database import Database, SnapshotForm
from .json_tables import JsonReader, JsonWriter

T = t.TypeVar("T")

# Measured on an array of small objects: while it is rewritten, 35 bytes of memory for each byte of the file.
_MOST_BYTES = 16 * 1024 * 1024
_TRIES = 3
_PAUSE_S = 0.2
# Where applications and editors keep what a file held before; the first is Node-RED's.
_EARLIER = (".{}.backup", "{}.backup", "{}.bak", "{}.old", "{}~", "{}.$$$")


class JsonDatabase:
    """One existing JSON file. Never creates one."""

    is_remote = False

    def __init__(self, path: str) -> None:
        self.path = self.name = os.path.realpath(path)
        self._read()

    def _read(self) -> tuple[bytes, JsonReader]:
        """Return the content, and what it says.

        Raises:
            StoreChangedError: it was written while it was read.
        """
        before = _stamp(self.path)
        content = _content_of(self.path)
        try:
            reader = JsonReader(content)
        except ValueError as error:
            if before != _stamp(self.path):
                raise StoreChangedError(f"{self.path} was written while it was read; nothing was changed; run again") from None
            raise StoreError(
                f"{self.path} is not a JSON file, or damaged ({error}); nothing was changed; name the right file (database), or put a "
                "backup in its place"
            ) from None
        return content, reader

    @contextlib.contextmanager
    def reading(self, *, copied: bool = False) -> t.Iterator[JsonReader]:  # noqa: ARG002
        """Read all of it, once; C(copied) makes no difference."""
        yield self.read(lambda reader: reader)

    def read(self, work: t.Callable[[JsonReader], T]) -> T:
        """Return what C(work) makes of the file; read again where it was being written."""
        for unused_try in range(_TRIES - 1):
            try:
                return work(self._read()[1])
            except StoreChangedError:
                time.sleep(_PAUSE_S)
        return work(self._read()[1])

    @contextlib.contextmanager
    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.Iterator[JsonWriter]:  # noqa: ARG002
        """Change what was read, and replace the file by it when the block ends, if anything changed.

        There is no lock to wait for; and what lay where the file was is not overwritten, since others may still read it.

        Raises:
            StoreChangedError: the file holds something else than was read; it stays as it is.
            StoreError: read-only, disk full.
        """
        content, reader = self._read()
        with self._translated():
            files.clear_leftover_of(self.path)
        writer = JsonWriter(reader, self.name)
        yield writer
        changed = writer.content()
        if changed != content:
            self._replace(content, changed)

    def _replace(self, before: bytes, after: bytes) -> None:
        def require_unchanged() -> None:
            if _content_of(self.path) != before:
                raise StoreChangedError(
                    f"{self.path} was rewritten by another process during the run, so it was left as that process wrote it; nothing "
                    "was changed; stop whoever writes it, then run again"
                )

        try:
            files.replace_file_content(self.path, after, last_look=require_unchanged)
        except FileError as error:
            # It may have failed after the rename, in making it durable; then to say that nothing was changed would be wrong.
            with contextlib.suppress(StoreError):
                if _content_of(self.path) == after:
                    return
            raise StoreError(f"{error}; nothing was changed") from None

    @contextlib.contextmanager
    def _translated(self) -> t.Iterator[None]:
        try:
            yield
        except FileError as error:
            raise StoreError(f"{error}; nothing was changed") from None

    def require_room(self, *, scrub: bool) -> None:  # noqa: ARG002
        """Refuse a file that could not be replaced, and a disk without room for another one beside it."""
        with self._translated():
            files.require_replaceable(self.path)
        _require_room(os.path.dirname(self.path), os.path.getsize(self.path))

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:  # noqa: ARG002
        """Nothing is left in a file that was replaced; say what lies beside it, which belongs to the application."""
        cleaned: dict[str, t.Any] = {"vacuumed": False, "wal_bytes": 0}
        directory, name = os.path.split(self.path)
        earlier = [path for path in (os.path.join(directory, form.format(name)) for form in _EARLIER) if os.path.lexists(path)]
        if earlier:
            cleaned["warning"] = (
                f"{', '.join(earlier)} may hold values under the old key, and was left alone: the application would not understand it "
                "any more; remove it once the application works on the new key"
            )
        return cleaned

    def empty_log(self, *, lock_timeout_s: float) -> dict[str, t.Any]:  # noqa: ARG002
        """There is no log."""
        return {"vacuumed": False, "wal_bytes": 0}


class JsonSnapshots:
    """Snapshots that are JSON files, byte by byte what the original was."""

    suffix = ".copy.json"  # the note of any backup ends in .json

    def open(self, path: str) -> Database:
        """Return the snapshot as a database to read."""
        return JsonDatabase(path)

    def check(self, path: str) -> None:
        """Read all of it."""
        JsonDatabase(path)

    def copy(self, source: str, target: str) -> None:
        """Copy a snapshot into a new file."""
        _require_room(os.path.dirname(target), os.path.getsize(source))
        _copy(source, target)

    def remove(self, path: str) -> None:
        """Remove a snapshot."""
        files.remove_file(path)

    def rename(self, source: str, target: str) -> None:
        """Give a snapshot another name in its directory."""
        files.rename_file(source, target)


class JsonFile:
    """The path of a JSON file, which need not be there, or be sound."""

    form: SnapshotForm = JsonSnapshots()

    def __init__(self, path: str) -> None:
        self.identity = self.name = os.path.realpath(path)

    def exists(self) -> bool:
        """Whether anything is there."""
        return os.path.exists(self.identity)

    def open(self) -> Database:
        """Return the database."""
        return JsonDatabase(self.identity)

    def copy_to(self, path: str) -> list[str]:
        """Copy the file, byte by byte, as it was at one moment."""
        content = JsonDatabase(self.identity).read(JsonReader.content)
        _require_room(os.path.dirname(path), len(content))
        _write_new(path, content)
        return []

    def copy_as_it_is(self, path: str) -> None:
        """Copy a file that may be no JSON any more."""
        _copy(self.identity, path)

    def put_back(self, path: str) -> list[str]:
        """Put a snapshot in the place of the file, in one step.

        Owner and mode are those of the file it replaces, else owner of the directory and 0600.
        """
        content = _content_of(path)
        try:
            if self.exists():
                files.replace_file_content(self.identity, content)
            else:
                self._make_anew(content)
        except FileError as error:
            raise StoreError(str(error)) from None
        return []

    def _make_anew(self, content: bytes) -> None:
        partial = self.identity + ".restored"
        files.remove_file(partial)
        try:
            files.write_private_file(partial, content)
            owner = os.stat(os.path.dirname(self.identity))
            if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
                os.chown(partial, owner.st_uid, owner.st_gid)
        except OSError as error:
            files.remove_file(partial)
            raise files.file_error("write", self.identity, error) from None
        files.rename_file(partial, self.identity)


def _content_of(path: str) -> bytes:
    try:
        content = files.read_file(path, limit_bytes=_MOST_BYTES)
    except FileError as error:
        if not os.path.lexists(path):
            raise StoreError(f"there is no file {path}; name the right one (database); it was not created") from None
        raise StoreError(f"{error}; nothing was changed; name the right file (database)") from None
    if not content:
        raise StoreError(f"{path} is an empty file; nothing was changed; name the right file (database), or put a backup in its place")
    return content


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _require_room(directory: str, needed: int) -> None:
    room = files.free_bytes(directory)
    if room < needed + needed // 10:
        raise StoreError(f"no room in {directory}: {needed} bytes are needed and {room} are free; nothing was changed; make room")


def _copy(source: str, target: str) -> None:
    """Copy a file into a new one, 0600, whatever it holds."""
    with _new_file(target, f"copy {source} to") as given, open(source, "rb") as taken:
        shutil.copyfileobj(taken, given)


def _write_new(path: str, content: bytes) -> None:
    with _new_file(path, "write") as given:
        given.write(content)


@contextlib.contextmanager
def _new_file(path: str, what: str) -> t.Iterator[t.BinaryIO]:
    """Make a file, durable when the block ends; it is removed again when that fails."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as given:
                yield given
            files.fsync_file(path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(path)
            raise
    except OSError as error:
        raise StoreError(
            f"cannot {what} {path}: {os.strerror(error.errno or 0)}; nothing was changed; "
            "see to that, then run again"
        ) from None


__all__ = ("JsonDatabase", "JsonFile", "JsonSnapshots")
