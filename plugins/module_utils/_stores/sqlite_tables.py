# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read and rewrite the tables of an open SQLite connection.

Sources: https://www.sqlite.org/rowidtable.html, https://www.sqlite.org/pragma.html#pragma_table_xinfo
"""

from __future__ import annotations

import re
import sqlite3
import typing as t

from .._errors import StoreError
from .shapes import Rewrite, Table
from .sqlite_functions import Calls, cuts_text

_READ_PAGE_ROWS = 2000
# Measured: ranges of 100 to 500 rows keep the write-ahead log small.
_WRITE_RANGE_ROWS = 400
_LENGTH_RANGE_ROWS = 10000
_WITHOUT_ROWID = re.compile(r"\)[^)]*\bWITHOUT\s+ROWID\b[^)]*\Z", re.I)


class SqliteReader:
    """Reads tables in short steps, so that a writer in another process never waits for us longer than a page."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.text_factory = _text

    def tables(self) -> list[Table]:
        """List the tables, without SQLite's own and without virtual ones (whose rows lie in other tables)."""
        found = self._connection.execute(
            "SELECT name, coalesce(sql, '') FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name"
        ).fetchall()
        return [self._table(name, sql) for name, sql in found if not sql.lstrip().upper().startswith("CREATE VIRTUAL")]

    def _table(self, name: str, sql: str) -> Table:
        columns, key = [], []
        for row in self._connection.execute(f"PRAGMA table_xinfo({quoted(name)})"):
            column, key_position, hidden = row[1], row[5], row[6]
            if hidden in (0, None):
                columns.append(column)
            if key_position:
                key.append((key_position, column))
        row_id = self._row_id(name, columns)
        key_columns = tuple(named[1] for named in sorted(key)) or ((row_id,) if row_id else tuple(columns))
        triggers = self._connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ? AND upper(sql) LIKE '%UPDATE%' ORDER BY name", (name,)
        ).fetchall()
        is_without_row_id = _WITHOUT_ROWID.search(sql) is not None
        fired = tuple(trigger for (trigger,) in triggers)
        return Table(name, tuple(columns), key_columns, row_id, fired, is_without_row_id)

    def _row_id(self, name: str, columns: t.Sequence[str]) -> str | None:
        taken = {column.lower() for column in columns}
        for candidate in ("rowid", "_rowid_", "oid"):
            if candidate in taken:
                continue
            try:
                self._connection.execute(f"SELECT {candidate} FROM {quoted(name)} LIMIT 0")
            except sqlite3.OperationalError:
                return None  # WITHOUT ROWID
            return candidate
        return None

    def rows(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[tuple[tuple[t.Any, ...], tuple[t.Any, ...]]]:
        """Yield (address, cells) of every row, in pages by row id, else by primary key.

        The address is a tuple: the row id, or the values of the key columns.
        """
        by = (table.row_id,) if table.row_id else table.key
        names = ", ".join(quoted(column) for column in columns)
        address = ", ".join(name if name == table.row_id else quoted(name) for name in by)
        marks = ", ".join("?" * len(by))
        select = f"SELECT {address}, {names} FROM {quoted(table.name)}"
        width = len(by)
        if table.row_id is None and not table.is_ordered_by_key:
            # A row id that cannot be named, and a key that may be NULL or twice: no pages, all at once.
            yield from ((row[:width], row[width:]) for row in self._connection.execute(select).fetchall())
            return
        page = self._connection.execute(f"{select} ORDER BY {address} LIMIT {_READ_PAGE_ROWS}").fetchall()
        while page:
            for row in page:
                yield row[:width], row[width:]
            if len(page) < _READ_PAGE_ROWS:
                return
            page = self._connection.execute(
                f"{select} WHERE ({address}) > ({marks}) ORDER BY {address} LIMIT {_READ_PAGE_ROWS}",
                [_bindable(cell) for cell in page[-1][:width]],
            ).fetchall()

    def long_columns(self, table: Table, columns: t.Sequence[str], *, text_bytes: int, blob_bytes: int) -> set[str]:
        """Return the columns in which any cell is long enough; found inside SQLite, at a tenth of what reading the rows costs."""
        if table.row_id is None:
            return set(columns)
        each = ", ".join(f"length(CAST({quoted(column)} AS BLOB)) AS l{number}" for number, column in enumerate(columns))
        longest_of_each = ", ".join(f"max(l{number})" for number in range(len(columns)))
        row_id, name = table.row_id, quoted(table.name)
        page = f"SELECT {row_id} AS i, {each} FROM {name} WHERE {row_id} >= ? ORDER BY {row_id} LIMIT {_LENGTH_RANGE_ROWS}"
        select = f"SELECT max(i), {longest_of_each} FROM ({page})"
        longest = [0] * len(columns)
        following: int | None = -(2**63)
        while following is not None:
            last, *found = self._connection.execute(select, (following,)).fetchone()
            longest = [max(known, length or 0) for known, length in zip(longest, found)]
            following = None if last is None or last == 2**63 - 1 else last + 1
        return {
            column for column, length in zip(columns, longest)
            if length >= text_bytes or (length >= blob_bytes and self._has_blob(table, column, blob_bytes))
        }

    def _has_blob(self, table: Table, column: str, least_bytes: int) -> bool:
        cell = quoted(column)
        of_blob = f"SELECT 1 FROM {quoted(table.name)} WHERE typeof({cell}) = 'blob' AND length({cell}) >= ? LIMIT 1"
        return self._connection.execute(of_blob, (least_bytes,)).fetchone() is not None

    def rows_about(self, table: Table) -> int | None:
        """Estimate how many rows there are by the span of their row ids; rows that were deleted count too."""
        if table.row_id is None:
            return None
        name, row_id = quoted(table.name), table.row_id
        least, most = self._connection.execute(f"SELECT (SELECT min({row_id}) FROM {name}), (SELECT max({row_id}) FROM {name})").fetchone()
        return 0 if least is None else int(most - least + 1)

    def _ranges(self, table: Table, size_rows: int) -> t.Iterator[tuple[int, int, int]]:
        """Yield first row id, last row id and number of rows of each range of a table."""
        name, row_id = quoted(table.name), table.row_id
        bounds = "SELECT min(i), max(i), count(*) FROM (SELECT {0} AS i FROM {1} WHERE {0} {2} ? ORDER BY {0} LIMIT {3})"
        compared, last = ">=", -(2**63)
        while True:
            low, high, count = self._connection.execute(bounds.format(row_id, name, compared, size_rows), (last,)).fetchone()
            if not count:
                return
            yield low, high, count
            compared, last = ">", high

    def key_of(self, table: Table, address: tuple[t.Any, ...]) -> str:
        """Say which row lies at an address, as C(name=value) of its primary key."""
        if table.row_id and table.key != (table.row_id,):
            names = ", ".join(quoted(column) for column in table.key)
            row = self._connection.execute(
                f"SELECT {names} FROM {quoted(table.name)} WHERE {table.row_id} = ?", address
            ).fetchone()
            address = row if row is not None else address
        return ", ".join(f"{name}={_shown(value)}" for name, value in zip(table.key, address))


class SqliteWriter(SqliteReader):
    """A reader inside a write transaction that can also rewrite columns."""

    def rewrite(self, table: Table, rewrites: t.Sequence[Rewrite], *, in_python: bool, progress: t.Callable[[int], None]) -> None:
        """Replace columns of every row by what their functions return.

        Args:
            in_python: read pages and write them back, instead of calling the functions from within SQLite; slower,
                needed for tables without row id and for text that is not UTF-8, and done by itself where functions
                cut text.
            progress: called with the number of rows done since the last call.
        """
        if in_python or table.row_id is None or cuts_text(self._connection):
            self._rewrite_pages(table, rewrites, progress)
            return
        calls = Calls(rewrites)
        for number, rewrite in enumerate(rewrites):
            for part in range(len(rewrite.columns)):
                self._connection.create_function(f"servos_rewrite_{number}_{part}", -1, calls.function(number, part))
        sets = ", ".join(
            f"{quoted(column)} = servos_rewrite_{number}_{part}({table.row_id}, {', '.join(quoted(c) for c in rewrite.columns)})"
            for number, rewrite in enumerate(rewrites)
            for part, column in enumerate(rewrite.columns)
        )
        update = f"UPDATE {quoted(table.name)} SET {sets} WHERE {table.row_id} >= ? AND {table.row_id} <= ?"
        for low, high, count in self._ranges(table, _WRITE_RANGE_ROWS):
            try:
                self._connection.execute(update, (low, high))
            except sqlite3.OperationalError:
                calls.raise_what_was_raised()
                raise
            progress(count)

    def _rewrite_pages(self, table: Table, rewrites: t.Sequence[Rewrite], progress: t.Callable[[int], None]) -> None:
        by = (table.row_id,) if table.row_id else table.key
        columns = [column for rewrite in rewrites for column in rewrite.columns]
        where = " AND ".join(f"{name if name == table.row_id else quoted(name)} IS ?" for name in by)
        sets = ", ".join(f"{quoted(column)} = ?" for column in columns)
        update = f"UPDATE {quoted(table.name)} SET {sets} WHERE {where}"
        changed: list[tuple[t.Any, ...]] = []
        for address, cells in self.rows(table, columns):
            new_cells: list[t.Any] = []
            position = 0
            for rewrite in rewrites:
                group = cells[position : position + len(rewrite.columns)]
                position += len(rewrite.columns)
                new_cells.extend(rewrite.function(address[0] if table.row_id else address, group))
            if tuple(new_cells) != cells:
                changed.append(tuple(_bindable(cell) for cell in (*new_cells, *address)))
            if len(changed) >= _WRITE_RANGE_ROWS:
                self._connection.executemany(update, changed)
                changed.clear()
            progress(1)
        self._connection.executemany(update, changed)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _bindable(cell: t.Any) -> t.Any:
    """Give text that is not UTF-8 back in the only form that SQLite takes from Python."""
    if isinstance(cell, str):
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError:
            raise StoreError(
                "a text in the row of a sealed value is not UTF-8 and would not survive; nothing was changed; "
                "mend that text"
            ) from None
    return cell


def _shown(value: t.Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 64 else text[:61] + "..."


def quoted(name: str) -> str:
    """Quote an identifier. Source: https://www.sqlite.org/lang_keywords.html"""
    return '"' + name.replace('"', '""') + '"'


__all__ = ("SqliteReader", "SqliteWriter", "quoted")
