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
import copy
import time
import typing as t

from .._errors import ServosError, StoreBusyError, StoreError
from .._system.workers import Report, run_side_by_side
from .postgres_connection import driver, meant
from .postgres_tables import PostgresWriter
from .postgres_url import Address
from .shapes import Batches, Rewrite, Table, UnopenedCellError

_MINIMUM_SERVER = 140000
_TRIES = 8
_TURN_S = 0.05
_LARGEST_STEP_BLOCKS = 1 << 20
_LEAST_BLOCKS = 16  # of less a process of its own is not worth its start
_SEE = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"
# Somebody who edits a row that we have read must win: the server refuses ours then, instead of writing over it.
_CHANGE = "BEGIN ISOLATION LEVEL REPEATABLE READ"


class PostgresBatchWriter(PostgresWriter):
    """A writer whose C(rewrite) commits about C(batches.rows) rows at a time; between two rewrites it sees one moment.

    C(open_another) opens one more session with the server. C(committed) is the number of parts that are committed and stay so
    whatever comes.
    """

    def __init__(
        self, connection: t.Any, address: Address, *, schema: str | None, batches: Batches, open_another: t.Callable[[], t.Any]
    ) -> None:
        super().__init__(connection, address.name, schema=schema)
        self._address = address
        self._batches = batches
        self._open_another = open_another
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
        where: str = "",  # noqa: ARG002 - of a whole leaf there is none
    ) -> None:
        self.end()
        # Rows that move because we write them move behind this end, or into room within it, where they are met again and left alone.
        blocks = self._ask("SELECT pg_relation_size(%s::oid::regclass) / current_setting('block_size')::int", (leaf,))[0][0]
        workers = min(self._batches.workers, blocks // _LEAST_BLOCKS)
        if workers > 1:
            self._share_out(table, leaf, columns, rewrites, progress, [blocks * number // workers for number in range(workers + 1)])
        else:
            for rows, unused_rewritten, unused_committed in self._parts(table, leaf, columns, rewrites, 0, blocks):
                progress(rows)
        self.see()

    def _share_out(
        self, table: Table, leaf: int, columns: tuple[str, ...], rewrites: t.Sequence[Rewrite], progress: t.Callable[[int], None],
        bounds: t.Sequence[int],
    ) -> None:
        """Have several processes rewrite a part of the table each. The lock stays with this one."""

        def told(numbers: list[int]) -> None:
            rows, rewritten, committed = numbers
            self.rewritten += rewritten
            self.committed += committed
            progress(rows)

        def work_on(low: int, high: int) -> t.Callable[[Report], dict[str, t.Any]]:
            def work(report: Report) -> dict[str, t.Any]:
                self._batches.counts.clear()
                # The session of the process that this one was forked from is not ours to use, nor to close.
                with contextlib.closing(self._open_another()) as connection:
                    twin = copy.copy(self)
                    twin._connection = connection
                    for numbers in twin._parts(table, leaf, columns, rewrites, low, high):
                        report(list(numbers))
                return self._batches.counts.as_told()

            return work

        for counted in run_side_by_side(
            [work_on(low, high) for low, high in zip(bounds, bounds[1:])], expected=ServosError, told=told
        ):
            self._batches.counts.add(counted)

    def _parts(
        self, table: Table, leaf: int, columns: tuple[str, ...], rewrites: t.Sequence[Rewrite], low: int, end: int
    ) -> t.Iterator[tuple[int, int, int]]:
        """Rewrite the blocks of a table from one to another. Yields rows seen, rows rewritten and 1 or 0 commits of each part."""
        step = 1
        while low < end:
            high = min(low + step, end)
            rewritten, committed = self.rewritten, self.committed
            seen = self._part(table, leaf, columns, rewrites, f" WHERE ctid >= '({low},0)' AND ctid < '({high},0)'")
            yield seen, self.rewritten - rewritten, self.committed - committed
            low, step = high, _next_step(step, seen, self._batches.rows)
            if self._batches.pause_s and low < end:
                time.sleep(self._batches.pause_s)

    def _part(self, table: Table, leaf: int, columns: tuple[str, ...], rewrites: t.Sequence[Rewrite], where: str) -> int:
        """Rewrite and commit one part; once more where somebody came between. Returns the number of its rows."""
        for turn in range(_TRIES):
            counts: list[int] = []
            rewritten = self.rewritten
            self._batches.counts.note()
            try:
                self._connection.execute(_CHANGE)
                super()._rewrite_leaf(table, leaf, columns, rewrites, counts.append, where)
                self._connection.execute("COMMIT")
            except UnopenedCellError as error:
                raise error.of_row(self.key_of(table, error.address)) from None
            except driver().Error as error:
                found = meant(error, self._address)
                if not isinstance(found, StoreBusyError) or turn == _TRIES - 1:
                    raise found from None
                with contextlib.suppress(driver().Error):
                    self._connection.execute("ROLLBACK")
                self._batches.counts.forget()
                self.rewritten = rewritten
                time.sleep(_TURN_S * 2**turn)
                continue
            self.committed += 1 if self.rewritten > rewritten else 0
            return sum(counts)
        raise StoreError(f"a part of {table.name} was tried in vain; this is a fault of servos.ops: report it")


def _next_step(step: int, seen: int, wanted: int) -> int:
    """Choose how many blocks come next, by how many rows the last ones held."""
    return max(1, min(_LARGEST_STEP_BLOCKS, step * 2, step * wanted // max(1, seen)))


__all__ = ("PostgresBatchWriter",)
