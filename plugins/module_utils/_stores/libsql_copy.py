# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A libSQL database as a whole: into a SQLite file as it was at one moment, and back over the wire in one transaction."""

from __future__ import annotations

import itertools
import os
import sqlite3
import typing as t
import urllib.parse

from .._errors import StoreError
from .hrana_values import Statement, bound, quoted
from .libsql_tables import LibsqlReader, LibsqlWriter
from .shapes import Table
from .sqlite_tables import SqliteReader

_INSERTS_A_REQUEST = 200
_REQUEST_BYTES = 512 * 1024
_ORDER = ("index", "view", "trigger")
# Shadow tables hold the content of a virtual one, and are made with it.
SCHEMA = (
    "SELECT m.type, m.name, m.tbl_name, m.sql, coalesce(l.type, '') FROM sqlite_master m "
    "LEFT JOIN pragma_table_list l ON l.name = m.name AND l.schema = 'main' AND m.type = 'table' "
    "WHERE m.sql IS NOT NULL AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY m.rowid"
)
_HAS_SEQUENCE = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'"
_SEQUENCE = "SELECT name, seq FROM sqlite_sequence ORDER BY name"


class Thing(t.NamedTuple):
    """One object of a schema; C(kind) is the type of a table, such as V(virtual) or V(shadow)."""

    type: str
    name: str
    table: str
    sql: str
    kind: str

    @property
    def is_plain_table(self) -> bool:
        """Whether its rows are its own."""
        return self.type == "table" and self.kind == "table"

    def __str__(self) -> str:
        return f"{self.kind} table {self.name}" if self.type == "table" else f"{self.type} {self.name}"


def copy_down(reader: LibsqlReader, path: str) -> list[str]:
    """Fill an empty file with schema and rows; return what it has not, since this host's SQLite cannot hold it."""
    left_out: list[str] = []
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute("BEGIN")
        things = schema_of(reader)
        tables = {table.name: table for table in reader.tables()}
        for thing in things:
            if thing.is_plain_table:
                connection.execute(thing.sql)
                for address, cells in reader.rows(tables[thing.name], tables[thing.name].columns):
                    statement = _insert(tables[thing.name], address, cells)
                    connection.execute(statement.sql, statement.arguments)
            elif thing.type == "table" and thing.kind != "shadow":
                left_out.append(str(thing))
        for statement in _sequence(reader.ask(_HAS_SEQUENCE), lambda: reader.ask(_SEQUENCE)):
            connection.execute(statement.sql, statement.arguments)
        for thing in sorted((thing for thing in things if thing.type in _ORDER), key=lambda thing: _ORDER.index(thing.type)):
            try:
                connection.execute(thing.sql)
            except sqlite3.Error:
                left_out.append(str(thing))
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        text = "no space left on the disk" if "full" in str(error) else str(error)
        raise StoreError(f"the copy into {path} failed: {text}; nothing else was changed; make room and run again") from None
    finally:
        connection.close()
    return left_out


def put_up(writer: LibsqlWriter, path: str) -> list[str]:
    """Replace tables, rows, indexes, views and triggers by those of a snapshot, and compare; return what stays as it is."""
    connection = _snapshot(path)
    try:
        local = SqliteReader(connection)
        wanted = [Thing(*row) for row in connection.execute(SCHEMA)]
        there = schema_of(writer)
        untouched = [str(thing) for thing in there if thing.type == "table" and thing.kind not in ("table", "shadow")]
        writer.run(_cleared(there, wanted))
        known = {(thing.type, thing.name): thing.sql for thing in there}
        for table in local.tables():
            inserts = (_insert(table, address, cells) for address, cells in local.rows(table, table.columns))
            for chunk in _chunks(inserts):
                if any(count != 1 for count in writer.run(chunk)):
                    raise StoreError(f"the server did not take a row of {table.name}; nothing was changed; see to the server")
        has_sequence = connection.execute(_HAS_SEQUENCE).fetchall()
        late = _sequence(has_sequence, lambda: connection.execute(_SEQUENCE).fetchall())
        late += [
            Statement(thing.sql)
            for kind in _ORDER
            for thing in wanted
            if thing.type == kind and (kind != "index" or known.get(("index", thing.name)) != thing.sql or not _stays(thing, known, wanted))
        ]
        if late:
            writer.run(late)
        differing = differing_table(writer, path)
    finally:
        connection.close()
    if differing:
        raise StoreError(f"the server does not return what was put back into {differing}; nothing was changed; see to the server")
    return untouched


def differing_table(reader: LibsqlReader, path: str) -> str | None:
    """Name the first table that differs from a snapshot's, row by row; None where none does."""
    connection = _snapshot(path)
    try:
        local = SqliteReader(connection)
        own = {Thing(*row).name for row in connection.execute(SCHEMA)}
        there = {table.name: table for table in reader.tables()}
        for table in local.tables():
            if table.name not in there or there[table.name].columns != table.columns:
                return table.name
            pairs = itertools.zip_longest(local.rows(table, table.columns), reader.rows(there[table.name], table.columns))
            if any(mine != theirs for mine, theirs in pairs):
                return table.name
        kinds = {thing.name: thing for thing in schema_of(reader)}
        return next((name for name in there if name not in own and kinds[name].is_plain_table), None)
    finally:
        connection.close()


def schema_of(reader: LibsqlReader) -> list[Thing]:
    """Return the schema in the order in which it was made."""
    return [Thing(*row) for row in reader.ask(SCHEMA)]


def _cleared(there: t.Sequence[Thing], wanted: t.Sequence[Thing]) -> list[Statement]:
    """Return what makes the wanted tables, and leaves them empty; a trigger must not fire meanwhile."""
    by_name = {(thing.type, thing.name): thing.sql for thing in wanted}
    statements = [Statement("PRAGMA defer_foreign_keys=ON")]
    for kind in ("trigger", "view"):
        statements += [Statement(f"DROP {kind.upper()} {quoted(thing.name)}") for thing in there if thing.type == kind]
    kept = {thing.name for thing in there if thing.is_plain_table and by_name.get(("table", thing.name)) == thing.sql}
    for thing in there:
        if thing.type == "index" and thing.table in kept and by_name.get(("index", thing.name), thing.sql) != thing.sql:
            statements.append(Statement(f"DROP INDEX {quoted(thing.name)}"))
    statements += [Statement(f"DELETE FROM {quoted(name)}") for name in sorted(kept)]
    statements += [Statement(f"DROP TABLE {quoted(thing.name)}") for thing in there if thing.is_plain_table and thing.name not in kept]
    return statements + [Statement(thing.sql) for thing in wanted if thing.is_plain_table and thing.name not in kept]


def _stays(index: Thing, known: t.Mapping[tuple[str, str], str], wanted: t.Sequence[Thing]) -> bool:
    """Tell whether the table of an index was left in its place, with its indexes."""
    return any(thing.type == "table" and thing.name == index.table and known.get(("table", thing.name)) == thing.sql for thing in wanted)


def _insert(table: Table, address: t.Sequence[t.Any], cells: t.Sequence[t.Any]) -> Statement:
    names = [quoted(column) for column in table.columns]
    values = list(cells)
    if table.row_id:
        names.insert(0, table.row_id)
        values.insert(0, address[0])
    pairs = [bound(value) for value in values]
    marks = ", ".join(mark for mark, unused_arguments in pairs)
    return Statement(
        f"INSERT INTO {quoted(table.name)} ({', '.join(names)}) VALUES ({marks})",
        [argument for unused_mark, arguments in pairs for argument in arguments],
    )


def _chunks(statements: t.Iterable[Statement]) -> t.Iterator[list[Statement]]:
    chunk: list[Statement] = []
    size = 0
    for statement in statements:
        chunk.append(statement)
        size += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in statement.arguments)
        if len(chunk) >= _INSERTS_A_REQUEST or size >= _REQUEST_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _sequence(has_sequence: t.Sequence[t.Sequence[t.Any]], read: t.Callable[[], t.Iterable[t.Sequence[t.Any]]]) -> list[Statement]:
    """Return what puts the counters of AUTOINCREMENT where they were, which may be beyond the last row."""
    if not has_sequence[0][0]:
        return []
    rows = [Statement("INSERT INTO sqlite_sequence (name, seq) VALUES (?, ?)", tuple(row)) for row in read()]
    return [Statement("DELETE FROM sqlite_sequence"), *rows]


def _snapshot(path: str) -> sqlite3.Connection:
    return sqlite3.connect("file:" + urllib.parse.quote(os.path.abspath(path)) + "?mode=ro", uri=True, isolation_level=None)


__all__ = ("Thing", "copy_down", "differing_table", "put_up", "schema_of")
