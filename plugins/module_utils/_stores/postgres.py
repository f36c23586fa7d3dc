# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A PostgreSQL database: read at one moment, rewritten in one transaction, by one of us at a time.

Sources: https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS,
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT, https://www.postgresql.org/docs/current/sql-vacuum.html
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._errors import StoreBusyError, StoreError, StoreLostError, UnknownCommitError
from .postgres_batches import PostgresBatchWriter
from .postgres_connection import connect, driver, meant, require_writable, translated
from .postgres_tables import PostgresReader, PostgresWriter, quoted
from .postgres_url import Address
from .shapes import Batches

T = t.TypeVar("T")

_TRIES = 3
_TURN_S = 1.0
# One of us a database, whoever connects and however the URL is written: two numbers of ours, unlikely to be an application's.
_LOCK = (0x5365724F, 0x4F707331)
_LOCK_TURN_S = 0.2
_HOLDER = """
SELECT a.pid, coalesce(host(a.client_addr), 'a socket'), a.application_name FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
WHERE l.locktype = 'advisory' AND l.classid = %s AND l.objid = %s AND l.granted
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_MARK = "SELECT extract(epoch FROM pg_postmaster_start_time())::text, oid::text FROM pg_database WHERE datname = current_database()"
# A server that crashed, or counts nothing (track_counts), knows of no rows at all where there are some.
_DIRTY = """
SELECT n.nspname, c.relname, pg_has_role(c.relowner, 'USAGE') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_stat_user_tables s ON s.relid = c.oid WHERE c.relkind = 'r'
AND (s.n_dead_tup > 0 OR s.n_live_tup = 0 AND pg_relation_size(c.oid) > 0) ORDER BY 1, 2
"""
_PROMISED = "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'"
_VIEWS = "SELECT schemaname || '.' || matviewname FROM pg_matviews WHERE ispopulated ORDER BY 1"
_COPIES = (
    "values under the old key may still stand in physical copies of {name}: in pages that VACUUM has freed and nothing has overwritten, "
    "in the write-ahead log and its archive, on replicas, in base backups; see to their retention, and keep the old key as long"
)


class PostgresDatabase:
    """One database of a PostgreSQL server."""

    is_remote = False  # its own transaction is the proof that libSQL over HTTP cannot give

    def __init__(self, address: Address, password_path: str | None) -> None:
        self.address = address
        self.password_path = password_path
        self.name = address.name

    @contextlib.contextmanager
    def reading(self, *, copied: bool = False) -> t.Iterator[PostgresReader]:  # noqa: ARG002 - it always is like a copy
        """Open one transaction that only reads: what others do meanwhile is not seen."""
        connection = connect(self.address, self.password_path)
        try:
            with translated(self.address):
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                yield PostgresReader(connection, self.name, schema=_schema(connection))
        finally:
            connection.close()

    def read(self, work: t.Callable[[t.Any], T]) -> T:
        """Return what C(work) makes of a reader; it is tried again where the connection broke, since reading changes nothing."""
        for turn in range(_TRIES - 1):
            with contextlib.suppress(StoreLostError), self.reading() as reader:
                return work(reader)
            time.sleep(turn * _TURN_S)
        with self.reading() as reader:
            return work(reader)

    def server_mark(self) -> str:
        """Name the running server and the database: the same for everybody who reaches them, however the URL is written."""
        connection = connect(self.address, self.password_path)
        try:
            with translated(self.address):
                row = connection.execute(_MARK).fetchone()
        finally:
            connection.close()
        return " ".join(map(str, row or ()))

    @contextlib.contextmanager
    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.Iterator[PostgresWriter]:  # noqa: ARG002
        """Open one write transaction under the advisory lock of the database; commit when the block ends, roll back when it raises.

        A commit whose answer is lost is not repeated: the server knows what became of the transaction by its number.

        Raises:
            StoreBusyError: another of us is at work, a row or table stayed locked, or somebody changed a row meanwhile.
            UnknownCommitError: the commit was sent, and the server cannot be asked now.
        """
        connection = connect(self.address, self.password_path, lock_timeout_s=lock_timeout_s)
        try:
            with translated(self.address, lock_timeout_s=lock_timeout_s):
                require_writable(connection, self.address)
                self._take_lock(connection, lock_timeout_s)
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                # A commit that the server would only promise is none.
                connection.execute(_PROMISED)
                writer = PostgresWriter(connection, self.name, schema=_schema(connection))
                yield writer
                number = _number(connection) if writer.rewritten else None
            self._commit(connection, number, lock_timeout_s)
        finally:
            connection.close()

    @contextlib.contextmanager
    def replacing(self, *, lock_timeout_s: float) -> t.Iterator[t.Any]:
        """Open one transaction under the advisory lock for who replaces the whole; lend its session; commit when the block ends.

        Raises:
            StoreBusyError: another of us is at work, or a lock was not to be had.
            UnknownCommitError: the commit was sent, and the server cannot be asked now.
        """
        connection = connect(self.address, self.password_path, lock_timeout_s=lock_timeout_s)
        try:
            with translated(self.address, lock_timeout_s=lock_timeout_s):
                require_writable(connection, self.address)
                self._take_lock(connection, lock_timeout_s)
                connection.execute("BEGIN")
                connection.execute(_PROMISED)
                yield connection
                number = _number(connection)
            self._commit(connection, number, lock_timeout_s)
        finally:
            connection.close()

    @contextlib.contextmanager
    def batching(self, *, lock_timeout_s: float, batches: Batches) -> t.Iterator[PostgresBatchWriter]:
        """Open a writer that commits part by part, under the same advisory lock from its beginning to its end.

        Raises:
            StoreBusyError: another of us is at work; or somebody came between at each try.
            StoreLostError: the connection broke; what was committed stays.
        """

        def open_session() -> t.Any:
            opened = connect(self.address, self.password_path, lock_timeout_s=lock_timeout_s)
            opened.execute(_PROMISED.replace("true", "false"))
            return opened

        connection = open_session()
        try:
            with translated(self.address, lock_timeout_s=lock_timeout_s):
                require_writable(connection, self.address)
                self._take_lock(connection, lock_timeout_s)
                writer = PostgresBatchWriter(
                    connection, self.address, schema=_schema(connection), batches=batches, open_another=open_session
                )
                writer.see()
                yield writer
                writer.end()
        finally:
            connection.close()

    def _take_lock(self, connection: t.Any, lock_timeout_s: float) -> None:
        deadline = time.monotonic() + lock_timeout_s
        while not connection.execute("SELECT pg_try_advisory_lock(%s, %s)", _LOCK).fetchone()[0]:
            if time.monotonic() >= deadline:
                found = connection.execute(_HOLDER, _LOCK).fetchone() or ("?", "?", "?")
                raise StoreBusyError(
                    f"another rotation works on the database {self.name} (session {found[0]} from {found[1]}, {found[2]}); nothing was "
                    "changed; wait for its end, then run again"
                )
            time.sleep(_LOCK_TURN_S)

    def _commit(self, connection: t.Any, number: int | None, lock_timeout_s: float) -> None:
        library = driver()
        try:
            connection.execute("COMMIT")
        except library.Error as error:
            found = meant(error, self.address, lock_timeout_s)
            if not isinstance(found, StoreLostError) or number is None:
                raise found from None
            connection.close()
            self._settle(number)

    def _settle(self, number: int) -> None:
        """Ask what became of a transaction. Returns if it was committed."""
        reason = "it was still under way"
        for turn in range(_TRIES + 2):
            time.sleep(turn * _TURN_S)
            try:
                connection = connect(self.address, self.password_path)
                with contextlib.closing(connection), translated(self.address):
                    fate = connection.execute("SELECT txid_status(%s)", (number,)).fetchone()
            except StoreError as error:  # a question that failed says nothing of the commit
                reason = str(error).split(";", maxsplit=1)[0]
                continue
            if fate == ("committed",):
                return
            if fate == ("aborted",):
                raise StoreError(
                    f"the connection to the database {self.name} was lost during the commit, and the server says that it did not happen; "
                    "nothing was changed; run the same command again"
                )
        raise UnknownCommitError(
            f"the connection to the database {self.name} was lost during the commit, and whether it happened cannot be seen now "
            f"({reason}): either all values are as they were or all are as they were to be; run the same command again, which looks first"
        )

    def require_room(self, *, scrub: bool) -> None:
        """Do nothing: how much room its disk has the server does not tell."""

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Vacuum what has dead rows, as far as they are ours to vacuum; say what a physical copy may still hold."""
        connection = connect(self.address, self.password_path, lock_timeout_s=lock_timeout_s)
        left: list[str] = []
        with contextlib.closing(connection), translated(self.address, lock_timeout_s=lock_timeout_s):
            for schema, table, is_ours in connection.execute(_DIRTY).fetchall():
                if is_ours:
                    connection.execute(f"VACUUM {quoted(schema)}.{quoted(table)}")
                else:
                    left.append(f"{schema}.{table}")
            views = [view for (view,) in connection.execute(_VIEWS).fetchall()]
        warning = _COPIES.format(name=self.name)
        if left:
            warning += f"; this role does not own {', '.join(left)} and did not vacuum them"
        if views:
            warning += f"; refresh the materialized views that show sealed values, if any of {', '.join(views)} does"
        return {"vacuumed": not left, "wal_bytes": None, "warning": warning}

    def empty_log(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Vacuum beside a running service, which it does not disturb; what C(scrub) returns."""
        return self.scrub(lock_timeout_s=lock_timeout_s)


def _number(connection: t.Any) -> int:
    """Return the number by which the server knows the transaction."""
    return int(connection.execute("SELECT txid_current()").fetchone()[0])


def _schema(connection: t.Any) -> str | None:
    found: str | None = connection.execute("SELECT current_schema()").fetchone()[0]
    return found


__all__ = ("PostgresDatabase",)
