# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read and rewrite the tables of a PostgreSQL database, inside one transaction that sees one moment.

A cursor walks a table where its rows lie, and pages of new values go back by the rows' places (ctid), which nothing but an update
moves. What somebody else has changed since the moment ends the transaction: the server itself compares.

Sources: https://www.postgresql.org/docs/current/ddl-system-columns.html,
https://www.postgresql.org/docs/current/transaction-iso.html#XACT-REPEATABLE-READ
"""

from __future__ import annotations

import contextlib
import itertools
import typing as t

from .._errors import StoreError
from .postgres_connection import Tid
from .postgres_effects import Effects
from .shapes import Rewrite, Table

# Measured: pages of 500 to 2,000 rows cost the same; what is in memory is bounded by the bytes.
_MOST_ROWS = 1000
_FIRST_ROWS = 50
_PAGE_BYTES = 512 * 1024
_TEXT, _BYTES, _JSON, _JSONB, _ARRAY, _NUMBER, _OTHER = "text", "bytea", "json", "jsonb", "array", "number", "other"
_SEARCHED_ALWAYS = (_JSON, _JSONB, _ARRAY, _OTHER)  # how long their text is would cost as much as reading it
_KINDS = {
    "text": _TEXT, "varchar": _TEXT, "bpchar": _TEXT, "name": _TEXT, "citext": _TEXT, "bytea": _BYTES, "json": _JSON, "jsonb": _JSONB,
    "_text": _ARRAY, "_varchar": _ARRAY, "_bpchar": _ARRAY, "_citext": _ARRAY,
    "int2": _NUMBER, "int4": _NUMBER, "int8": _NUMBER, "float4": _NUMBER, "float8": _NUMBER, "bool": _NUMBER,
}  # fmt: skip
_COLUMNS = """
SELECT c.oid, n.nspname, c.relname, n.nspname = %(schema)s, a.attname, b.typname, array_position(i.indkey::int2[], a.attnum)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
JOIN pg_type t ON t.oid = a.atttypid
JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END
LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY n.nspname, c.relname, a.attnum
"""
# A partitioned table's rows lie in its leaves.
_LEAVES = """
SELECT l.relid::oid, n.nspname, c.relname FROM pg_partition_tree(%s::oid::regclass) l
JOIN pg_class c ON c.oid = l.relid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE l.isleaf AND c.relkind = 'r' ORDER BY 1
"""

# A table that was never analysed has -1 rows, or 0 before PostgreSQL 14; small ones often stay so for ever.
_ESTIMATES = "SELECT reltuples::int8, pg_relation_size(oid) FROM pg_class WHERE oid = ANY(%s::oid[])"
_SMALL_BYTES, _GUESSED_ROW_BYTES = 1_000_000, 100

_Row = t.Tuple[t.Tuple[t.Any, ...], t.Tuple[t.Any, ...]]


class _Shape(t.NamedTuple):
    oid: int
    kinds: dict[str, str]
    leaves: dict[int, str]


class PostgresReader:
    """Reads tables as they were at one moment."""

    def __init__(self, connection: t.Any, name: str, *, schema: str | None) -> None:
        self._connection = connection
        self._name = name
        self._schema = schema
        self._shapes: dict[str, _Shape] = {}
        self._tables: list[Table] | None = None
        self._numbers = itertools.count(1)
        self._long: dict[str, set[str]] = {}

    def tables(self) -> list[Table]:
        """List the tables that keep rows: not views, not foreign ones, not temporary ones; a partitioned one once, by its own name.

        One outside the current schema goes by C(schema.table).
        """
        if self._tables is None:
            effects = Effects(self._ask)
            rows = self._ask(_COLUMNS, {"schema": self._schema})
            self._tables = [self._table(list(group), effects) for unused_oid, group in itertools.groupby(rows, lambda row: row[0])]
        return self._tables

    def _table(self, rows: list[t.Any], effects: Effects) -> Table:
        oid, schema, relation, is_current = rows[0][:4]
        name = relation if is_current else f"{schema}.{relation}"
        if name in self._shapes:
            raise StoreError(
                f"two tables of {self._name} are both known as {name}, one by a dot in its name; nothing was changed; rename that one"
            )
        leaves = {leaf: f"{quoted(inside)}.{quoted(table)}" for leaf, inside, table in self._ask(_LEAVES, (oid,))}
        leaves = leaves or {oid: f"{quoted(schema)}.{quoted(relation)}"}
        self._shapes[name] = _Shape(oid, {row[4]: _KINDS.get(row[5], _OTHER) for row in rows}, leaves)
        key = tuple(row[4] for row in sorted((row for row in rows if row[6] is not None), key=lambda row: row[6]))
        places = (oid, *leaves)
        columns = tuple(row[4] for row in rows)
        return Table(name, columns, key or ("ctid",), None, effects.fired(places), True, effects.copies(places))

    def rows(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[_Row]:
        """Yield (address, cells) of every row, as its rows lie; the address is leaf and place."""
        for leaf in self._shapes[table.name].leaves:
            for page in self._pages(table, leaf, columns):
                yield from (((leaf, row[0]), row[1:]) for row in page)

    def _pages(self, table: Table, leaf: int, columns: t.Sequence[str]) -> t.Iterator[list[tuple[t.Any, ...]]]:
        cursor = self._open_cursor(table, leaf, columns)
        count = _FIRST_ROWS
        try:
            while True:
                page = self._connection.cursor(binary=True).execute(_fetch(count, cursor)).fetchall()
                if page:
                    yield page
                if len(page) < count:
                    return
                count = _next_count(page)
        finally:
            with contextlib.suppress(Exception):  # a transaction that failed has closed it
                self._connection.execute(f"CLOSE {cursor}")

    def _open_cursor(self, table: Table, leaf: int, columns: t.Sequence[str], where: str = "") -> str:
        cursor, shape = f"servos_ops_{next(self._numbers)}", self._shapes[table.name]
        cells = "".join(f", {_asked(column, shape.kinds[column])}" for column in columns)
        self._connection.execute(
            f"DECLARE {cursor} NO SCROLL CURSOR WITHOUT HOLD FOR SELECT ctid{cells} FROM ONLY {shape.leaves[leaf]}{where}"
        )
        return cursor

    def long_columns(self, table: Table, columns: t.Sequence[str], *, text_bytes: int, blob_bytes: int) -> set[str]:
        """Return the columns in which any cell is long enough. Of long text the server reads the length alone."""
        if table.name not in self._long:
            shape = self._shapes[table.name]
            least = {_TEXT: text_bytes, _BYTES: blob_bytes}
            asked = [column for column in table.columns if shape.kinds[column] in least]
            found = {column for column in table.columns if shape.kinds[column] in _SEARCHED_ALWAYS}
            for place in shape.leaves.values() if asked else ():
                lengths = ", ".join(f"max(octet_length({quoted(column)}))" for column in asked)
                longest = self._ask(f"SELECT {lengths} FROM ONLY {place}")[0]
                found.update(c for c, length in zip(asked, longest) if (length or 0) >= least[shape.kinds[c]])
            self._long[table.name] = found
        return self._long[table.name] & set(columns)

    def rows_about(self, table: Table) -> int | None:
        """Return the planner's estimate; None where it has none yet and the table is not small enough for a guess."""
        total = 0
        for count, size in self._ask(_ESTIMATES, (list(self._shapes[table.name].leaves),)):
            if count <= 0 and size > _SMALL_BYTES:
                return None
            total += max(count, 0) or size // _GUESSED_ROW_BYTES
        return total

    def key_of(self, table: Table, address: tuple[t.Any, ...]) -> str:
        """Say which row lies at an address, as C(name=value) of its primary key."""
        leaf, place = address
        names = ", ".join(f"{quoted(column) if column != 'ctid' else column}::text" for column in table.key)
        sql = _unformatted(f"SELECT {names} FROM ONLY {self._shapes[table.name].leaves[leaf]} WHERE ctid = ")
        found = self._ask(f"{sql}%s", (place,))
        return ", ".join(f"{name}={_shown(value)}" for name, value in zip(table.key, found[0] if found else ["?"] * len(table.key)))

    def _ask(self, sql: str, arguments: t.Any = None) -> list[t.Any]:
        found: list[t.Any] = self._connection.execute(sql, arguments).fetchall()
        return found


class PostgresWriter(PostgresReader):
    """A reader inside a write transaction that can also rewrite columns."""

    def __init__(self, connection: t.Any, name: str, *, schema: str | None) -> None:
        super().__init__(connection, name, schema=schema)
        self.rewritten = 0

    def rewrite(self, table: Table, rewrites: t.Sequence[Rewrite], *, in_python: bool, progress: t.Callable[[int], None]) -> None:  # noqa: ARG002
        """Replace columns of every row by what their functions return; a row that stays as it is is not written.

        While the server writes one page, the next one, which it has sent before, is sealed here.

        Raises:
            StoreError: a row was not what it was a moment ago.
        """
        columns = tuple(column for rewrite in rewrites for column in rewrite.columns)
        shape = self._shapes[table.name]
        others = [c for c in columns if shape.kinds[c] in (_NUMBER, _OTHER) or (shape.kinds[c] == _ARRAY and self._is_nested(shape, c))]
        if others:
            raise StoreError(
                f"column {others[0]} of {table.name} has a type that sealed values are not written to (text, varchar, bytea, json, "
                "jsonb and arrays of text in one dimension are); nothing was changed; take it out of the profile"
            )
        for leaf in shape.leaves:
            self._rewrite_leaf(table, leaf, columns, rewrites, progress)
        self._long.clear()  # a trigger may have written to any table

    def _rewrite_leaf(
        self, table: Table, leaf: int, columns: tuple[str, ...], rewrites: t.Sequence[Rewrite], progress: t.Callable[[int], None],
        where: str = "",
    ) -> None:
        """Rewrite the rows of one leaf, or those of them that a condition names."""
        cursor = self._open_cursor(table, leaf, columns, where)
        update = _update(self._shapes[table.name], leaf, columns)
        count = _FIRST_ROWS
        page = self._connection.cursor(binary=True).execute(_fetch(count, cursor)).fetchall()
        written: tuple[t.Any, int] | None = None
        with self._pipeline():
            while page:
                ahead = self._connection.cursor(binary=True)
                count = _next_count(page)
                ahead.execute(_fetch(count, cursor))
                changed = self._changed(leaf, page, rewrites)
                following = ahead.fetchall()
                if written is not None:  # its answer came before that of the page
                    self._require_all(table, *written)
                    written = None
                if changed:
                    # Places and cells of a page, one array a column: one statement, whatever the page's size.
                    written = self._connection.cursor(), len(changed)
                    written[0].execute(update, [list(part) for part in zip(*changed)], prepare=True)
                progress(len(page))
                page = following
        if written is not None:
            self._require_all(table, *written)
        self._connection.execute(f"CLOSE {cursor}")

    def _is_nested(self, shape: _Shape, column: str) -> bool:
        places = shape.leaves.values()
        return any((self._ask(f"SELECT max(array_ndims({quoted(column)})) FROM ONLY {place}")[0][0] or 1) > 1 for place in places)

    def _pipeline(self) -> t.Any:
        """Send the next statement without waiting for the last one's answer, where psycopg and libpq are new enough."""
        supported = getattr(getattr(self._connection, "_pipeline_class", None), "is_supported", None)
        begin = getattr(self._connection, "pipeline", None)
        return begin() if begin is not None and (supported is None or supported()) else contextlib.nullcontext()

    def _require_all(self, table: Table, written: t.Any, expected: int) -> None:
        if written.rowcount != expected:
            raise StoreError(
                f"{expected - written.rowcount} rows of {table.name} were not where they were a moment ago: a trigger of the table moved "
                "them, or refused the update; nothing was changed; see to its triggers and rules"
            )
        self.rewritten += expected

    @staticmethod
    def _changed(leaf: int, page: t.Sequence[tuple[t.Any, ...]], rewrites: t.Sequence[Rewrite]) -> list[tuple[t.Any, ...]]:
        changed = []
        for row in page:
            new: list[t.Any] = []
            for rewrite in rewrites:
                new.extend(rewrite.function((leaf, row[0]), row[1 + len(new) : 1 + len(new) + len(rewrite.columns)]))
            if tuple(new) != row[1:]:
                changed.append((row[0], *new))
        return changed


def _asked(column: str, kind: str) -> str:
    name = quoted(column)
    if kind == _ARRAY:
        return f"to_jsonb({name})::text"
    return name if kind in (_BYTES, _NUMBER) else f"{name}::text"


def _update(shape: _Shape, leaf: int, columns: t.Sequence[str]) -> str:
    kinds = [shape.kinds[column] for column in columns]
    arrays = "".join(", %b::bytea[]" if kind == _BYTES else ", %b::text[]" for kind in kinds)
    names = "".join(f", c{number}" for number in range(len(columns)))
    sets = ", ".join(f"{quoted(column)} = {_given(kind, f'u.c{number}')}" for number, (column, kind) in enumerate(zip(columns, kinds)))
    start = _unformatted(f"UPDATE ONLY {shape.leaves[leaf]} AS t SET {sets}")
    return f"{start} FROM unnest(%b::tid[]{arrays}) AS u (i{names}) WHERE t.ctid = u.i"


def _unformatted(sql: str) -> str:
    """Keep a name with a percent sign from being taken for a place of an argument."""
    return sql.replace("%", "%%")


def _given(kind: str, cell: str) -> str:
    if kind in (_JSON, _JSONB):
        return f"{cell}::{kind}"
    if kind == _ARRAY:
        elements = f"jsonb_array_elements_text({cell}::jsonb) WITH ORDINALITY AS e (v, n)"
        return f"CASE WHEN {cell} IS NOT NULL THEN (SELECT coalesce(array_agg(e.v ORDER BY e.n), '{{}}') FROM {elements}) END"
    return cell


def _fetch(count: int, cursor: str) -> str:
    return f"FETCH FORWARD {count} FROM {cursor}"


def _next_count(page: t.Sequence[tuple[t.Any, ...]]) -> int:
    """Choose how many rows come next, so that a page stays small in memory whatever lies in its cells."""
    size = sum(len(cell) for row in page for cell in row if isinstance(cell, (str, bytes)))
    return max(1, min(_MOST_ROWS, 2 * len(page), len(page) * _PAGE_BYTES // max(1, size)))


def quoted(name: str) -> str:
    """Quote an identifier. Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html"""
    return '"' + name.replace('"', '""') + '"'


def _shown(value: t.Any) -> str:
    text = str(value)
    return text if len(text) <= 64 else text[:61] + "..."


__all__ = ("PostgresReader", "PostgresWriter", "Tid", "quoted")
