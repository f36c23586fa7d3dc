# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Rewrite a PostgreSQL table part by part, each committed: locks are held for moments, and whoever comes later goes on.

A part is a range of the table's blocks, which the server reads without an index. What somebody else changes meanwhile makes the
part begin anew; a row that moves behind the range, or is written later, is seen by the next census.

Source: TID range scans, https://www.postgresql.org/docs/14/release-14.html
"""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._errors import StoreBusyError, StoreError
from .postgres_connection import driver, meant
from .postgres_tables import PostgresWriter
from .postgres_url import Address
from .shapes import Batches, Rewrite, Table

_MINIMUM_SERVER = 140000
_TRIES = 8
_TURN_S = 0.05
_LARGEST_STEP_BLOCKS = 1 << 20
_SEE = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# Somebody who edits a row that we have read must win: the server refuses ours then, instead of writing over it.
_CHANGE = "BEGIN ISOLATION LEVEL REPEATABLE READ"


class PostgresBatchWriter(PostgresWriter):
    """A writer whose C(rewrite) commits about C(batches.rows) rows at a time; between two rewrites it sees one moment.

    C(committed) is the number of parts that are committed and stay so whatever comes.
    """

    def __init__(self, connection: t.Any, address: Address, *, schema: str | None, batches: Batches) -> None:
        super().__init__(connection, address.name, schema=schema)
        self._address = address
        self._batches = batches
        self.committed = 0
        if connection.info.server_version < _MINIMUM_SERVER:
            raise StoreError(
                f"the server of {address.name} is PostgreSQL {connection.info.server_version // 10000}, which cannot read a range of a "
                "table's blocks alone (14 can); nothing was changed; leave batch_size out"
            )

    def see(self) -> None:
        """Begin a transaction that sees one moment; the last one of that kind is ended."""
        self.end()
        self._connection.execute(_SEE)

    def end(self) -> None:
        """End the transaction that is open, if one is."""
        self._connection.execute("COMMIT")

    def _rewrite_leaf(
        self, table: Table, leaf: int, columns: tuple[str, ...], rewrites: t.Sequence[Rewrite], progress: t.Callable[[int], None],
        where: str = "",
    ) -> None:
        self.end()
        # Rows that move because we write them move behind this end, or into room within it, where they are met again and left alone.
        blocks = self._ask("SELECT pg_relation_size(%s::oid::regclass) / current_setting('block_size')::int", (leaf,))[0][0]
        low, step = 0, 1
        while low < blocks:
            high = low + step
            seen = self._part(table, leaf, columns, rewrites, f" WHERE ctid >= '({low},0)' AND ctid < '({high},0)'{where}")
            progress(seen)
            low, step = high, _next_step(step, seen, self._batches.rows)
            if self._batches.pause_s and low < blocks:
                time.sleep(self._batches.pause_s)
        self.see()

    def _part(self, table: Table, leaf: int, columns: tuple[str, ...], rewrites: t.Sequence[Rewrite], where: str) -> int:
        """Rewrite and commit one part; once more where somebody came between. Returns the number of its rows."""
        for turn in range(_TRIES):
            counts: list[int] = []
            rewritten = self.rewritten
            self._batches.note()
            try:
                self._connection.execute(_CHANGE)
                super()._rewrite_leaf(table, leaf, columns, rewrites, counts.append, where)
                self._connection.execute("COMMIT")
            except driver().Error as error:
                found = meant(error, self._address)
                if not isinstance(found, StoreBusyError) or turn == _TRIES - 1:
                    raise found from None
                with contextlib.suppress(driver().Error):
                    self._connection.execute("ROLLBACK")
                self._batches.forget()
                self.rewritten = rewritten
                time.sleep(_TURN_S * 2**turn)
                continue
            self.committed += 1 if self.rewritten > rewritten else 0
            return sum(counts)
        raise StoreError("a part was tried in vain")


def _next_step(step: int, seen: int, wanted: int) -> int:
    """Choose how many blocks come next, by how many rows the last ones held."""
    return max(1, min(_LARGEST_STEP_BLOCKS, step * 2, step * wanted // max(1, seen)))


__all__ = ("PostgresBatchWriter",)
