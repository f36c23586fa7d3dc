# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read and rewrite the tables of a libSQL server inside a stream's transaction, in few requests of bounded size.

Source: https://www.sqlite.org/pragma.html#pragma_table_xinfo, which libSQL answers as SQLite does.
"""

from __future__ import annotations

import typing as t

from .._errors import StoreError
from .hrana import Stream
from .hrana_values import CELL_WIDTH, Statement, asked, bound, cells_of, quoted
from .shapes import Rewrite, Table

_PAGE_ROWS = 500
_PAGE_BYTES = 256 * 1024
_TABLES_A_REQUEST = 20
_SAMPLES = 3
# A name that begins with sqlite_ is SQLite's own.
_TABLES = Statement(
    "SELECT m.name, l.wr, x.name, x.pk, x.hidden FROM sqlite_master m JOIN pragma_table_list l ON l.name = m.name AND l.schema = 'main' "
    "JOIN pragma_table_xinfo(m.name) x WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' "
    "AND upper(ltrim(m.sql)) NOT LIKE 'CREATE VIRTUAL%' ORDER BY m.name, x.cid"
)
_TRIGGERS = Statement("SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger' AND upper(sql) LIKE '%UPDATE%' ORDER BY name")
_ENCODING = Statement("PRAGMA encoding")

_Row = t.Tuple[t.Tuple[t.Any, ...], t.Tuple[t.Any, ...]]


class LibsqlReader:
    """Reads tables in pages, all of them as they were at one moment."""

    def __init__(self, stream: Stream, name: str) -> None:
        self._stream = stream
        self._name = name
        self._tables: list[Table] | None = None
        self._lengths: dict[str, dict[str, tuple[int, int]]] = {}

    def tables(self) -> list[Table]:
        """List the tables, without SQLite's own and without virtual ones."""
        if self._tables is None:
            encoding, columns, triggers = self._stream.run([_ENCODING, _TABLES, _TRIGGERS])
            if encoding.rows != [["UTF-8"]]:
                raise StoreError(
                    f"the database {self._name} keeps its text in another encoding than UTF-8; nothing was changed; "
                    "copy it into one of UTF-8"
                )
            fired: dict[str, list[str]] = {}
            for table_name, trigger in triggers.rows:
                fired.setdefault(table_name, []).append(trigger)
            grouped: dict[str, list[list[t.Any]]] = {}
            for row in columns.rows:
                grouped.setdefault(row[0], []).append(row)
            self._tables = [_table(name, rows, fired.get(name, [])) for name, rows in grouped.items()]
        return self._tables

    def rows(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[_Row]:
        """Yield (address, cells) of every row, by row id, else by primary key."""
        for page in self.pages(table, columns):
            yield from page

    def pages(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[list[_Row]]:
        """Yield the rows of a table in pages that a reply can hold."""
        by = address_columns(table)
        width = len(by) * CELL_WIDTH
        last: tuple[t.Any, ...] | None = None
        while True:
            found = self._stream.run([_page(table, by, columns, last)])[0].rows
            page = [(cells_of(row[1 : 1 + width]), cells_of(row[1 + width :])) for row in found]
            if page:
                yield page
            # The first column says how many rows there were before the page was cut to its size.
            if not page or (found[0][0] < _PAGE_ROWS and len(found) == found[0][0]):
                return
            if page[-1][0] == last:
                raise StoreError(
                    f"the database {self._name} returns the same rows of {table.name} again; nothing was changed; "
                    "is it a libSQL server?"
                )
            last = page[-1][0]

    def ask(self, sql: str) -> list[list[t.Any]]:
        """Return the rows of a query of ours whose cells are of types that JSON knows."""
        return self._stream.run([Statement(sql)])[0].rows

    def long_columns(self, table: Table, columns: t.Sequence[str], *, text_bytes: int, blob_bytes: int) -> set[str]:
        """Return the columns in which any cell is long enough; those of many tables are asked for at once."""
        if table.name not in self._lengths:
            self._measure(table)
        longest = self._lengths[table.name]
        return {column for column in columns if longest[column][0] >= text_bytes or longest[column][1] >= blob_bytes}

    def _measure(self, first: Table) -> None:
        left = [table for table in self.tables() if table.name not in self._lengths and table.columns]
        left = left[left.index(first) :][:_TABLES_A_REQUEST]
        results = self._stream.run([Statement(f"SELECT {', '.join(_longest(c) for c in t.columns)} FROM {quoted(t.name)}") for t in left])
        for table, result in zip(left, results):
            found = [length or 0 for length in result.rows[0]]
            self._lengths[table.name] = dict(zip(table.columns, zip(found[::2], found[1::2])))

    def rows_about(self, table: Table) -> int | None:  # noqa: ARG002
        """Say nothing: a request to a server is too dear for an estimate."""
        return None

    def key_of(self, table: Table, address: tuple[t.Any, ...]) -> str:
        """Say which row lies at an address, as C(name=value) of its primary key."""
        if table.row_id and table.key != (table.row_id,):
            names = ", ".join(asked(quoted(column)) for column in table.key)
            found = self._stream.run([Statement(f"SELECT {names} FROM {quoted(table.name)} WHERE {table.row_id} = ?", address)])[0].rows
            address = cells_of(found[0]) if found else address
        return ", ".join(f"{name}={_shown(value)}" for name, value in zip(table.key, address))


class Sample(t.NamedTuple):
    """One row that a transaction rewrote: enough to see later whether it was committed."""

    table: Table
    columns: tuple[str, ...]
    address: tuple[t.Any, ...]
    old: tuple[t.Any, ...]
    new: tuple[t.Any, ...]


class LibsqlWriter(LibsqlReader):
    """A reader inside a write transaction that can also rewrite columns, each row only if it is what it was."""

    def __init__(self, stream: Stream, name: str) -> None:
        super().__init__(stream, name)
        self.samples: list[Sample] = []

    def rewrite(self, table: Table, rewrites: t.Sequence[Rewrite], *, in_python: bool, progress: t.Callable[[int], None]) -> None:  # noqa: ARG002
        """Replace columns of every row by what their functions return; read back what was written.

        Raises:
            StoreError: a row was not what it was a moment ago, or is not what was written.
        """
        columns = tuple(column for rewrite in rewrites for column in rewrite.columns)
        for page in self.pages(table, columns):
            wanted = [(address, self._renewed(table, address, cells, rewrites)) for address, cells in page]
            changed = [(address, old, new) for (address, old), (unused_address, new) in zip(page, wanted) if new != old]
            if changed:
                self._write(table, columns, changed, wanted)
            progress(len(page))
        self._lengths.pop(table.name, None)

    @staticmethod
    def _renewed(
        table: Table, address: tuple[t.Any, ...], cells: tuple[t.Any, ...], rewrites: t.Sequence[Rewrite]
    ) -> tuple[t.Any, ...]:
        new: list[t.Any] = []
        for rewrite in rewrites:
            group = cells[len(new) : len(new) + len(rewrite.columns)]
            new.extend(rewrite.function(address[0] if table.row_id else address, group))
        return tuple(new)

    def _write(self, table: Table, columns: tuple[str, ...], changed: t.Sequence[tuple[t.Any, ...]], wanted: list[_Row]) -> None:
        updates = [_update(table, columns, address, old, new) for address, old, new in changed]
        results = self._stream.run([*updates, _again(table, columns, wanted[0][0], wanted[-1][0])])
        for (address, unused_old, unused_new), result in zip(changed, results):
            if result.affected_rows != 1:
                raise StoreError(
                    f"the row {self.key_of(table, address)} of {table.name} was changed by somebody else during the run; "
                    "nothing was changed by us; run the same command again"
                )
        width = len(address_columns(table)) * CELL_WIDTH
        if [(cells_of(row[:width]), cells_of(row[width:])) for row in results[-1].rows] != wanted:
            raise StoreError(
                f"the database {self._name} does not return what was written to {table.name}; nothing was changed; see to the server, "
                "and to triggers on the table"
            )
        if len(self.samples) < _SAMPLES:
            self.samples.append(Sample(table, columns, *changed[0]))

    def holds(self, sample: Sample) -> bool | None:
        """Tell whether a row is what another transaction of ours has written, or what it was before; None where it is neither."""
        by = address_columns(sample.table)
        where, arguments = _condition(by, sample.address)
        names = ", ".join(asked(quoted(column)) for column in sample.columns)
        found = self._stream.run([Statement(f"SELECT {names} FROM {quoted(sample.table.name)} WHERE {where}", arguments)])[0].rows
        cells = cells_of(found[0]) if found else None
        return True if cells == sample.new else False if cells == sample.old else None

    def run(self, statements: t.Sequence[Statement]) -> list[int]:
        """Run statements of a restore; return the number of rows that each has changed."""
        self._tables = None
        self._lengths.clear()
        return [result.affected_rows for result in self._stream.run(statements)]


def address_columns(table: Table) -> list[str]:
    """Return, quoted, what a row is addressed by."""
    return [table.row_id] if table.row_id else [quoted(column) for column in table.key]


def _table(name: str, rows: list[list[t.Any]], triggers: list[str]) -> Table:
    columns = tuple(row[2] for row in rows if row[4] in (0, None))
    is_without_row_id = bool(rows[0][1])
    taken = {column.lower() for column in columns}
    row_id = None if is_without_row_id else next((word for word in ("rowid", "_rowid_", "oid") if word not in taken), None)
    key = tuple(row[2] for row in sorted((row for row in rows if row[3]), key=lambda row: int(row[3])))
    if row_id is None and not is_without_row_id:
        raise StoreError(
            f"the table {name} has columns named rowid, _rowid_ and oid, so that its rows cannot be addressed; nothing was changed; "
            "rename one of them"
        )
    return Table(name, columns, key or (str(row_id),), row_id, tuple(triggers), is_without_row_id)


def _page(table: Table, by: t.Sequence[str], columns: t.Sequence[str], last: tuple[t.Any, ...] | None) -> Statement:
    """Ask for the next rows, as many as are of about one page's size together, and for at least one."""
    names = [quoted(column) for column in columns]
    address = ", ".join(by)
    where = ""
    arguments: list[t.Any] = []
    if last is not None:
        marks, arguments = _bound_all(last)
        where = f"WHERE ({address}) > ({', '.join(marks)})"
    size = " + ".join(f"coalesce(length(CAST({name} AS BLOB)), 0)" for name in names) or "0"
    inner = (
        f"SELECT {', '.join(f'{name} AS a{number}' for number, name in enumerate(by))}"
        f"{''.join(f', {name} AS c{number}' for number, name in enumerate(names))}, {size} AS own_size "
        f"FROM {quoted(table.name)} {where} ORDER BY {address} LIMIT {_PAGE_ROWS}"
    )
    order = ", ".join(f"a{number}" for number in range(len(by)))
    shown = [asked(f"a{number}") for number in range(len(by))] + [asked(f"c{number}") for number in range(len(names))]
    return Statement(
        f"SELECT there, {', '.join(shown)} FROM (SELECT *, count(*) OVER () AS there, sum(own_size) OVER (ORDER BY {order} "
        f"ROWS UNBOUNDED PRECEDING) - own_size AS before_it FROM ({inner})) WHERE before_it < {_PAGE_BYTES} ORDER BY {order}",
        arguments,
    )


def _again(table: Table, columns: t.Sequence[str], first: tuple[t.Any, ...], last: tuple[t.Any, ...]) -> Statement:
    by = address_columns(table)
    address = ", ".join(by)
    low_marks, low = _bound_all(first)
    high_marks, high = _bound_all(last)
    shown = ", ".join(asked(name) for name in [*by, *(quoted(column) for column in columns)])
    return Statement(
        f"SELECT {shown} FROM {quoted(table.name)} WHERE ({address}) >= ({', '.join(low_marks)}) "
        f"AND ({address}) <= ({', '.join(high_marks)}) ORDER BY {address}",
        [*low, *high],
    )


def _update(
    table: Table, columns: t.Sequence[str], address: tuple[t.Any, ...], old: tuple[t.Any, ...], new: tuple[t.Any, ...]
) -> Statement:
    new_marks, new_arguments = _bound_all(new)
    where, where_arguments = _condition(address_columns(table), address)
    sets = ", ".join(f"{quoted(column)} = {mark}" for column, mark in zip(columns, new_marks))
    # A column's collation may take upper and lower case for the same, and Base64 does not.
    was, was_arguments = _condition([f"{quoted(column)} COLLATE BINARY" for column in columns], old)
    return Statement(
        f"UPDATE {quoted(table.name)} SET {sets} WHERE {where} AND {was}", [*new_arguments, *where_arguments, *was_arguments]
    )


def _condition(names: t.Sequence[str], values: t.Sequence[t.Any]) -> tuple[str, list[t.Any]]:
    marks, arguments = _bound_all(values)
    return " AND ".join(f"{name} IS {mark}" for name, mark in zip(names, marks)), arguments


def _bound_all(values: t.Sequence[t.Any]) -> tuple[list[str], list[t.Any]]:
    pairs = [bound(value) for value in values]
    return [mark for mark, unused_arguments in pairs], [argument for unused_mark, given in pairs for argument in given]


def _longest(column: str) -> str:
    name = quoted(column)
    return f"max(length(CAST({name} AS BLOB))), max(CASE typeof({name}) WHEN 'blob' THEN length({name}) END)"


def _shown(value: t.Any) -> str:
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= 64 else text[:61] + "..."


__all__ = ("LibsqlReader", "LibsqlWriter", "Sample", "address_columns")
