# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Streams of Hrana over one SQLite file: a connection each, under a baton that changes with every reply.

FACT (sqld 0.24.32, observed): batons are good for one use; a stream is gone after ten seconds without a request; whoever waits
for the write lock takes it from a transaction that is older than five seconds, whose next statement is told TRANSACTION_TIMEOUT
and which runs the statements after that outside of any transaction; text that is not UTF-8 cannot be read as text (500); an
infinite number is null; blobs are Base64 without its padding.
"""

from __future__ import annotations

import base64
import math
import secrets
import sqlite3
import threading
import time
from pathlib import Path
from typing import Any


class Declined(Exception):
    """The HTTP answer to a request that is not run."""

    def __init__(self, status: int, document: Any) -> None:
        super().__init__(status)
        self.status, self.document = status, document


class StatementError(Exception):
    """What a statement is answered with."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.message, self.code = message, code


class Stream:
    """One connection and what it is doing."""

    def __init__(self, database: Path) -> None:
        self.connection = sqlite3.connect(database, isolation_level=None, check_same_thread=False, timeout=0)
        self.connection.text_factory = text_of_row
        self.connection.execute("PRAGMA foreign_keys=ON")
        self.lock = threading.RLock()
        self.used_at = time.monotonic()
        self.writes_since: float | None = None
        self.was_robbed = False

    def rob(self) -> None:
        with self.lock:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            self.writes_since, self.was_robbed = None, True

    def close(self) -> None:
        with self.lock:
            self.connection.close()


class Streams:
    """All streams of a server."""

    def __init__(self, database: Path, *, expiry_s: float, transaction_s: float) -> None:
        self._database, self._expiry_s, self._transaction_s = database, expiry_s, transaction_s
        self._lock = threading.Lock()
        self._by_baton: dict[str, Stream] = {}
        self._used: set[str] = set()
        self.keeps_transactions = True
        connection = sqlite3.connect(database)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()

    def take(self, baton: str | None) -> Stream:
        """Return the stream of a baton, or a new one."""
        with self._lock:
            self._expire()
            if baton is None:
                return Stream(self._database)
            if baton in self._used:
                raise Declined(400, "Received a baton that has already been used")
            if baton not in self._by_baton:
                raise Declined(400, {"message": "The stream has expired due to inactivity", "code": "STREAM_EXPIRED"})
            self._used.add(baton)
            return self._by_baton.pop(baton)

    def give_back(self, stream: Stream) -> str:
        baton = secrets.token_urlsafe(24)
        with self._lock:
            if not self.keeps_transactions and stream.connection.in_transaction:
                stream.connection.execute("COMMIT")
            stream.used_at = time.monotonic()
            self._by_baton[baton] = stream
        return baton

    def forget_all(self) -> None:
        with self._lock:
            for stream in self._by_baton.values():
                stream.close()
            self._by_baton.clear()

    def rob_all(self) -> None:
        with self._lock:
            for stream in self._by_baton.values():
                stream.rob()

    def edit(self, sql: str) -> None:
        """Change rows inside the open transactions, as a server without isolation would let another connection do."""
        with self._lock:
            for stream in self._by_baton.values():
                stream.connection.execute(sql)

    def _expire(self) -> None:
        now = time.monotonic()
        for baton, stream in list(self._by_baton.items()):
            if now - stream.used_at > self._expiry_s:
                del self._by_baton[baton]
                stream.close()

    def run(self, stream: Stream, statement: dict[str, Any]) -> dict[str, Any]:
        """Run one statement; return its result."""
        sql = statement["sql"]
        if stream.was_robbed:
            stream.was_robbed = False
            raise StatementError("Transaction timed out", "TRANSACTION_TIMEOUT")
        arguments = [_from_json(value) for value in statement.get("args", ())]
        with stream.lock:
            try:
                run = self._with_lock if sql.upper().startswith("BEGIN IMMEDIATE") else _at_once
                cursor = run(stream, sql, arguments)
                rows = cursor.fetchall()
            except sqlite3.Error as error:
                raise StatementError(f"SQLite error: {error}", getattr(error, "sqlite_errorname", "SQLITE_UNKNOWN")) from None
            if not stream.connection.in_transaction:
                stream.writes_since = None
        names = [column[0] for column in cursor.description or ()]
        return _result(names, [[_to_json(value) for value in row] for row in rows], max(cursor.rowcount, 0))

    def _with_lock(self, stream: Stream, sql: str, arguments: list[Any]) -> sqlite3.Cursor:
        deadline = time.monotonic() + self._transaction_s + 1
        while True:
            try:
                cursor = stream.connection.execute(sql, arguments)
            except sqlite3.OperationalError:
                if time.monotonic() > deadline:
                    raise
                with self._lock:
                    for other in self._by_baton.values():
                        if other.writes_since is not None and time.monotonic() - other.writes_since > self._transaction_s:
                            other.rob()
                time.sleep(0.02)
                continue
            stream.writes_since = time.monotonic()
            return cursor


def _at_once(stream: Stream, sql: str, arguments: list[Any]) -> sqlite3.Cursor:
    return stream.connection.execute(sql, arguments)


def _result(names: list[str], rows: list[Any], affected: int) -> dict[str, Any]:
    return {
        "cols": [{"name": name, "decltype": None} for name in names], "rows": rows, "affected_row_count": affected,
        "last_insert_rowid": None, "replication_index": None, "rows_read": 0, "rows_written": 0, "query_duration_ms": 0.1,
    }


def _from_json(value: dict[str, Any]) -> Any:
    if value["type"] == "integer":
        return int(value["value"])
    if value["type"] == "float":
        return float(value["value"])
    if value["type"] == "blob":
        return base64.b64decode(value["base64"] + "=" * (-len(value["base64"]) % 4))
    return value["value"] if value["type"] == "text" else None


def _to_json(value: Any) -> dict[str, Any]:
    if value is None:
        return {"type": "null"}
    if isinstance(value, int):
        return {"type": "integer", "value": str(value)}
    if isinstance(value, float):
        return {"type": "float", "value": value if math.isfinite(value) else None}
    if isinstance(value, str):
        return {"type": "text", "value": value}
    return {"type": "blob", "base64": base64.b64encode(value).decode().rstrip("=")}


def text_of_row(content: bytes) -> str:
    """Read text as sqld does: not at all where it is not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise Declined(500, {"error": "invalid utf-8 sequence of 1 bytes from index 0"}) from None
