# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the model's database is: a SQLite file, or a PostgreSQL database by its URL.

ASSUMPTION model: ServOS's page names PostgreSQL, and nothing of how it is used. Both have the same tables here. All other files
speak SQLite's dialect with question marks; this one turns it into PostgreSQL's, as far as they need it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

try:
    import psycopg
    from psycopg.rows import dict_row, tuple_row

    ERRORS: tuple[type[Exception], ...] = (sqlite3.Error, psycopg.Error)
except ImportError:  # hosts with a SQLite file do not need it
    ERRORS = (sqlite3.Error,)

BUSY_TIMEOUT_S = 15.0
Connection = Any  # sqlite3's, or one that does as much


def is_server(place: str) -> bool:
    """Tell whether a place is a database server's URL, and not a file."""
    return place.startswith(("postgresql://", "postgres://"))


class PostgresConnection:
    """As much of sqlite3's connection as the model uses, in autocommit mode."""

    def __init__(self, url: str, *, by_name: bool = False) -> None:
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10, row_factory=dict_row if by_name else tuple_row)
        self._connection.execute(f"SET lock_timeout = {int(BUSY_TIMEOUT_S * 1000)}")

    def execute(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """Run one statement; there is one kind of transaction here."""
        return self._connection.execute(statement.replace("BEGIN IMMEDIATE", "BEGIN").replace("?", "%s"), values)

    def executemany(self, statement: str, rows: Iterable[Sequence[Any]]) -> None:
        """Run one statement with many rows."""
        with self._connection.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s"), list(rows))

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction was begun."""
        return bool(self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE)

    def __enter__(self) -> PostgresConnection:
        self.execute("BEGIN")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.execute("COMMIT" if kind is None else "ROLLBACK")

    def close(self) -> None:
        """Close it."""
        self._connection.close()


def connect(place: str, *, timeout_s: float = 5.0, **options: Any) -> Connection:
    """Open an existing database; C(options) are sqlite3's."""
    if is_server(place):
        return PostgresConnection(place)
    return sqlite3.connect(Path(place).resolve(strict=True), timeout=timeout_s, **options)


def connect_read_only(place: str) -> Connection:
    """Open an existing database for reading, its rows by name; a missing file is an error, never created."""
    if is_server(place):
        connection: Connection = PostgresConnection(place, by_name=True)
        connection.execute("SET default_transaction_read_only = on")
        return connection
    connection = sqlite3.connect(Path(place).resolve(strict=True).as_uri() + "?mode=ro", uri=True, timeout=10)
    connection.row_factory = sqlite3.Row
    return connection


def is_absent_table(error: Exception) -> bool:
    """Tell whether a query failed because there is no such table."""
    if isinstance(error, sqlite3.OperationalError):
        return "no such table" in str(error)
    return getattr(error, "sqlstate", None) == "42P01"


def schema_of(connection: Connection) -> list[str]:
    """Spell every table, index and trigger."""
    if not isinstance(connection, PostgresConnection):
        return [f"{row[0]} {row[1]} {row[2]}" for row in connection.execute("SELECT type, name, sql FROM sqlite_master")]
    queries = (
        "SELECT 'column' AS kind, table_name || ' ' || column_name AS name, data_type || ' ' || is_nullable AS said "
        "FROM information_schema.columns WHERE table_schema = current_schema()",
        "SELECT 'index' AS kind, indexname AS name, indexdef AS said FROM pg_indexes WHERE schemaname = current_schema()",
        "SELECT 'trigger' AS kind, tgname AS name, pg_get_triggerdef(oid) AS said FROM pg_trigger WHERE NOT tgisinternal",
    )
    return [" ".join(map(str, row.values())) for query in queries for row in connection.execute(query)]


__all__ = (
    "BUSY_TIMEOUT_S", "ERRORS", "Connection", "PostgresConnection", "connect", "connect_read_only", "is_absent_table", "is_server",
    "schema_of",
)  # fmt: skip
