# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Dumps of a PostgreSQL database: made by pg_dump, and proven by a scratch restore.

Sources: https://www.postgresql.org/docs/current/app-pgdump.html, https://www.postgresql.org/docs/current/app-pgrestore.html
"""

from __future__ import annotations

import contextlib
import os
import shutil
import typing as t

from .._errors import FileError, StoreError
from .._system import files
from .database import Database
from .postgres import PostgresDatabase
from .postgres_connection import connect
from .postgres_contents import for_census, for_scratch
from .postgres_programs import PostgresPrograms, refusal
from .postgres_scratch import address_of_scratch, create_scratch, drop_scratch, others_extensions, scratch_database
from .postgres_tables import PostgresReader
from .postgres_url import Address, url_with

T = t.TypeVar("T")

LOCK_TIMEOUT_S = 30.0
_AS_IT_IS = ("--no-owner", "--no-privileges")


class PostgresDumps:
    """Snapshots in the custom format of pg_dump; one without C(programs) can only be copied, renamed and removed."""

    suffix = ".dump"

    def __init__(self, programs: PostgresPrograms | None = None) -> None:
        self._programs = programs

    def open(self, path: str) -> Database:
        """Return the snapshot as a database to read, which each time restores it into a scratch database."""
        return ScratchRestore(path, self._known_programs(path))

    def check(self, path: str) -> None:
        """Read the list of contents, and all that it lists."""
        programs = self._known_programs(path)
        restore = restorer(programs)
        contents_of(programs, restore, path)
        code, unused_output, errors = programs.call(restore, "--file=/dev/null", path)
        if code:
            raise refusal(f"the check of {path}", errors)

    def copy(self, source: str, target: str) -> None:
        """Copy a snapshot into a new file."""
        try:
            with _new_file(target) as given, open(source, "rb") as taken:
                shutil.copyfileobj(taken, given)
            files.fsync_file(target)
        except OSError as error:
            files.remove_file(target)
            raise StoreError(
                f"cannot copy {source} to {target}: {os.strerror(error.errno or 0)}; nothing else was changed; "
                "see to that, then run again"
            ) from None

    def remove(self, path: str) -> None:
        """Remove a snapshot."""
        files.remove_file(path)

    def rename(self, source: str, target: str) -> None:
        """Give a snapshot another name in its directory."""
        files.rename_file(source, target)

    def _known_programs(self, path: str) -> PostgresPrograms:
        if self._programs is None:
            raise StoreError(
                f"{path} is a dump of a PostgreSQL database, and is read by that database's server; nothing was changed; name it (database)"
            )
        return self._programs


class ScratchRestore:
    """A dump as a database to read."""

    is_remote = False

    def __init__(self, path: str, programs: PostgresPrograms) -> None:
        self.name = path
        self._programs = programs

    @contextlib.contextmanager
    def reading(self, *, copied: bool = False) -> t.Iterator[PostgresReader]:  # noqa: ARG002 - it always is a copy
        """Restore rows and primary keys into a scratch database, and drop that when the block ends."""
        programs = self._programs
        restore = restorer(programs)
        without = others_extensions(programs.address, programs.password_path)
        wanted = for_census(contents_of(programs, restore, self.name), without=without)
        with scratch_database(programs.address, programs.password_path, purpose=f"the scratch restore of {self.name}") as scratch:
            _restore_into(programs, restore, scratch, self.name, use_list=wanted)
            with PostgresDatabase(scratch, programs.password_path).reading() as reader:
                yield reader

    def read(self, work: t.Callable[[t.Any], T]) -> T:
        """Return what C(work) makes of a reader."""
        with self.reading() as reader:
            return work(reader)

    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.ContextManager[t.Any]:  # noqa: ARG002
        """Refuse."""
        raise StoreError(f"{self.name} is a backup and is not written to; nothing was changed; restore it first")

    def require_room(self, *, scrub: bool) -> None:
        """Do nothing: nothing is written here."""

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:  # noqa: ARG002
        """Refuse."""
        raise StoreError(f"{self.name} is a backup and is not scrubbed; nothing was changed; restore it first")

    def empty_log(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Refuse."""
        return self.scrub(lock_timeout_s=lock_timeout_s)


def dump(programs: PostgresPrograms, path: str) -> None:
    """Dump a database, as it is at one moment, into a new file, 0600.

    Raises:
        StoreError: no fitting program, no room, or the server refuses; the file is gone then.
    """
    program = os.path.join(_folder(programs), "pg_dump")
    waits = f"--lock-wait-timeout={int(LOCK_TIMEOUT_S * 1000)}"
    try:
        _new_file(path).close()
    except OSError as error:
        raise StoreError(f"cannot make {path}: {os.strerror(error.errno or 0)}; see to that, then run again") from None
    try:
        code, unused_output, errors = programs.call(
            program, "--format=custom", waits, f"--file={path}", url=url_with(programs.address.url, application_name="servos.ops")
        )
        if code:
            raise refusal(f"the dump of {programs.address.name}", errors, room_on=os.path.dirname(path))
        files.fsync_file(path)
    except BaseException:
        with contextlib.suppress(FileError):  # a file system that became read-only must not hide what went wrong
            files.remove_file(path)
        raise


def contents_of(programs: PostgresPrograms, restore: str, path: str) -> str:
    """Return the list of contents of a dump.

    Raises:
        StoreError: it is no dump, or damaged.
    """
    code, output, errors = programs.call(restore, "--list", path)
    if code:
        raise refusal(f"reading {path}", errors)
    return output


def restore_to_scratch(programs: PostgresPrograms, path: str, database: str) -> Address:
    """Restore all of a dump into a scratch database that stays; replace an earlier one of that name."""
    restore = restorer(programs)
    without = others_extensions(programs.address, programs.password_path)
    wanted = for_scratch(contents_of(programs, restore, path), without=without)
    drop_scratch(programs.address, programs.password_path, database)
    create_scratch(programs.address, programs.password_path, database)
    scratch = address_of_scratch(programs.address, database)
    try:
        _restore_into(programs, restore, scratch, path, use_list=wanted)
    except BaseException:
        with contextlib.suppress(StoreError):
            drop_scratch(programs.address, programs.password_path, database)
        raise
    return scratch


def _restore_into(programs: PostgresPrograms, restore: str, scratch: Address, path: str, *, use_list: str) -> None:
    # What belongs to whom, and who may read it, is the real database's.
    options = [*_AS_IT_IS, "--exit-on-error", "--no-comments", "--no-publications", "--no-subscriptions", "--no-security-labels"]
    code, unused_output, errors = programs.call(restore, *options, "--no-tablespaces", path, url=scratch.url, use_list=use_list)
    if code:
        raise refusal(f"the scratch restore of {path}", errors)


def _folder(programs: PostgresPrograms) -> str:
    with contextlib.closing(connect(programs.address, programs.password_path)) as connection:
        major = int(connection.info.server_version) // 10000
    return programs.folder_for(major)


def restorer(programs: PostgresPrograms) -> str:
    """Return the path of the pg_restore that fits the server."""
    return os.path.join(_folder(programs), "pg_restore")


def _new_file(path: str) -> t.BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")


__all__ = ("LOCK_TIMEOUT_S", "PostgresDumps", "ScratchRestore", "contents_of", "dump", "restore_to_scratch", "restorer")
