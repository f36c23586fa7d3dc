# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Dumps of a PostgreSQL database: made by pg_dump, proven by a scratch restore, put back in one transaction.

Sources: https://www.postgresql.org/docs/current/app-pgdump.html, https://www.postgresql.org/docs/current/app-pgrestore.html
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
import typing as t

from .._errors import FileError, ServosError, StoreBusyError, StoreError
from .._system import files
from .database import Database
from .postgres import PostgresDatabase
from .postgres_connection import connect, driver, translated
from .postgres_contents import database_in, for_census, for_replacement, has_table
from .postgres_programs import PostgresPrograms, refusal
from .postgres_scratch import address_of_scratch, create_scratch, drop_scratch, scratch_database
from .postgres_tables import PostgresReader
from .postgres_url import Address, url_with

T = t.TypeVar("T")

LOCK_TIMEOUT_S = 30.0
_WATCH_TURN_S = 0.5
_EXTENSIONS = "SELECT extname FROM pg_extension"
_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'"
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2
"""
_WAITING = """
SELECT a.pid, string_agg(format('%%s %%s', b.pid, nullif(b.application_name, '')), ', ') FROM pg_stat_activity a
LEFT JOIN pg_stat_activity b ON b.pid = ANY (pg_blocking_pids(a.pid))
WHERE a.application_name = %s AND a.wait_event_type = 'Lock' GROUP BY a.pid
"""
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
        restore = _restorer(programs)
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
            raise StoreError(f"cannot copy {source} to {target}: {os.strerror(error.errno or 0)}; nothing else was changed") from None

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
        restore = _restorer(programs)
        contents = contents_of(programs, restore, self.name)
        with scratch_database(programs.address, programs.password_path, purpose=f"the scratch restore of {self.name}") as scratch:
            _restore_into(programs, restore, scratch, self.name, use_list=for_census(contents))
            with PostgresDatabase(scratch, programs.password_path).reading() as reader:
                yield reader

    def read(self, work: t.Callable[[t.Any], T]) -> T:
        """Return what C(work) makes of a reader."""
        with self.reading() as reader:
            return work(reader)

    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.ContextManager[t.Any]:  # noqa: ARG002
        """Refuse."""
        raise StoreError(f"{self.name} is a backup and is not written to; nothing was changed")

    def require_room(self, *, scrub: bool) -> None:
        """Do nothing: nothing is written here."""

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:  # noqa: ARG002
        """Refuse."""
        raise StoreError(f"{self.name} is a backup and is not scrubbed; nothing was changed")

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
        raise StoreError(f"cannot make {path}: {os.strerror(error.errno or 0)}") from None
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


def put_back(database: PostgresDatabase, programs: PostgresPrograms, path: str) -> list[str]:
    """Replace what a database holds by a dump, in one transaction; return what stays beside it, one warning each.

    Raises:
        StoreBusyError: another session holds what is to be replaced.
        StoreError: a dump of another database, or the server refuses; the data is as it was.
    """
    restore = _restorer(programs)
    contents = contents_of(programs, restore, path)
    with database.alone(lock_timeout_s=LOCK_TIMEOUT_S) as connection:
        here = connection.info.dbname
        if database_in(contents) != here:
            raise StoreError(
                f"{path} is a dump of the database {database_in(contents)}, and {programs.address.name} is {here}; nothing was changed; "
                "choose another backup, or restore it by pg_restore yourself"
            )
        wanted = for_replacement(
            contents, extensions=[name for (name,) in connection.execute(_EXTENSIONS)], schemas=[n for (n,) in connection.execute(_SCHEMAS)]
        )
        strangers = [f"{schema}.{table}" for schema, table in connection.execute(_TABLES) if not has_table(contents, schema, table)]
        mark = f"servos.ops restore {secrets.token_hex(4)}"
        url = url_with(programs.address.url, application_name=mark)
        with _patience(programs, mark) as blockers:
            code, unused_output, errors = programs.call(
                restore, "--single-transaction", "--exit-on-error", "--clean", "--if-exists", "--no-subscriptions", path,
                url=url, use_list=wanted,
            )  # fmt: skip
        if code and blockers:
            raise StoreBusyError(
                f"the restore into {programs.address.name} waited {LOCK_TIMEOUT_S:g} s for a lock of another session ({blockers[0]}); "
                "nothing was changed; stop whoever is connected, then run again"
            )
        if code:
            raise refusal(f"the restore of {path} into {programs.address.name}", errors)
    return [f"the table {name} of {programs.address.name} is not in the backup and was left as it is" for name in strangers]


def restore_to_scratch(programs: PostgresPrograms, path: str, database: str) -> Address:
    """Restore all of a dump into a scratch database that stays; replace an earlier one of that name."""
    restore = _restorer(programs)
    contents_of(programs, restore, path)
    drop_scratch(programs.address, programs.password_path, database)
    create_scratch(programs.address, programs.password_path, database)
    scratch = address_of_scratch(programs.address, database)
    try:
        _restore_into(programs, restore, scratch, path)
    except BaseException:
        with contextlib.suppress(StoreError):
            drop_scratch(programs.address, programs.password_path, database)
        raise
    return scratch


def _restore_into(programs: PostgresPrograms, restore: str, scratch: Address, path: str, *, use_list: str | None = None) -> None:
    # What belongs to whom, and who may read it, is the real database's.
    options = [*_AS_IT_IS, "--exit-on-error", "--no-comments", "--no-publications", "--no-subscriptions", "--no-security-labels"]
    code, unused_output, errors = programs.call(restore, *options, "--no-tablespaces", path, url=scratch.url, use_list=use_list)
    if code:
        raise refusal(f"the scratch restore of {path}", errors)


@contextlib.contextmanager
def _patience(programs: PostgresPrograms, mark: str) -> t.Iterator[list[str]]:
    """End a statement of pg_restore's that waits too long for a lock, since it sets no limit itself and undoes ours.

    Lends a list to which the sessions that it waited for are added.
    """
    blockers: list[str] = []
    is_over = threading.Event()
    connection = connect(programs.address, programs.password_path)

    def watch() -> None:
        waiting_since: float | None = None
        with contextlib.suppress(ServosError), translated(programs.address):
            while not is_over.wait(_WATCH_TURN_S):
                found = connection.execute(_WAITING, (mark,)).fetchone()
                if found is None:
                    waiting_since = None
                elif waiting_since is None:
                    waiting_since = time.monotonic()
                elif time.monotonic() - waiting_since >= LOCK_TIMEOUT_S:
                    blockers.append(str(found[1] or "unknown").strip())
                    connection.execute("SELECT pg_cancel_backend(%s)", (found[0],))
                    waiting_since = None

    driver()
    watcher = threading.Thread(target=watch, name="servos.ops patience", daemon=True)
    watcher.start()
    try:
        yield blockers
    finally:
        is_over.set()
        watcher.join()
        connection.close()


def _folder(programs: PostgresPrograms) -> str:
    with contextlib.closing(connect(programs.address, programs.password_path)) as connection:
        major = int(connection.info.server_version) // 10000
    return programs.folder_for(major)


def _restorer(programs: PostgresPrograms) -> str:
    return os.path.join(_folder(programs), "pg_restore")


def _new_file(path: str) -> t.BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb")


__all__ = ("LOCK_TIMEOUT_S", "PostgresDumps", "ScratchRestore", "contents_of", "dump", "put_back", "restore_to_scratch")
