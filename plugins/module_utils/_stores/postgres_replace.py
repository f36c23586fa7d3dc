# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Put a dump in the place of what a database holds, in one transaction of our own.

pg_restore writes the script and we run it: by itself it waits for locks without end, cannot drop the keys of partitions, and
does not say what became of a commit.

Source: https://www.postgresql.org/docs/current/app-pgrestore.html
"""

from __future__ import annotations

import re
import typing as t

from .._errors import StoreBusyError, StoreError
from .._system.memory_file import path_in_child
from .._system.pipes import read_while
from .postgres import PostgresDatabase
from .postgres_connection import driver, meant
from .postgres_contents import database_in, for_replacement, has_table
from .postgres_copy import LOCK_TIMEOUT_S, contents_of, restorer
from .postgres_programs import PostgresPrograms, refusal

_CHUNK_BYTES = 256 * 1024
_FIRST_OBJECT = re.compile(rb"^--\n-- (?:Data for )?Name: ", re.M)
# Limits that would undo ours, and what is meant for psql alone; above the first statement and below the last.
_NOT_OURS = re.compile(rb"^(?:SET lock_timeout = 0;|\\(?:un)?restrict .*)$\n?", re.M)
_LAST_LINES = re.compile(rb"\n\\unrestrict \S+\s*\Z")
_COPY = re.compile(rb"COPY .* FROM stdin;\n")
_END_OF_COPY = b"\\.\n"
_OF_THE_SCRIPT = (b"BEGIN;\n", b"COMMIT;\n")
_EXTENSIONS = "SELECT extname FROM pg_extension"
# Ours are made anew; others' stay, and cover the tables that are made again if they are for all.
_PUBLICATIONS = "SELECT pubname FROM pg_publication WHERE NOT pg_has_role(pubowner, 'USAGE')"
_SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'"
_TABLES = """
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') ORDER BY 1, 2
"""
_OPTIONS = ("--clean", "--if-exists", "--no-subscriptions")


def put_back(database: PostgresDatabase, programs: PostgresPrograms, path: str) -> list[str]:
    """Replace what a database holds by a dump; return what stays beside it, one warning each.

    Raises:
        StoreBusyError: another session holds what is to be replaced.
        StoreError: a dump of another database, a damaged one, or the server refuses; the data is as it was.
        UnknownCommitError: the commit was sent, and the server cannot be asked now.
    """
    restore = restorer(programs)
    contents = contents_of(programs, restore, path)
    with database.replacing(lock_timeout_s=LOCK_TIMEOUT_S) as connection:
        here = connection.info.dbname
        if database_in(contents) != here:
            raise StoreError(
                f"{path} is a dump of the database {database_in(contents)}, and {programs.address.name} is {here}; nothing was changed; "
                "choose another backup, or restore it by pg_restore yourself"
            )
        strangers = [f"{schema}.{table}" for schema, table in connection.execute(_TABLES) if not has_table(contents, schema, table)]
        wanted = for_replacement(
            contents,
            extensions=[name for (name,) in connection.execute(_EXTENSIONS)],
            schemas=[name for (name,) in connection.execute(_SCHEMAS)],
            publications=[name for (name,) in connection.execute(_PUBLICATIONS)],
        )
        before, after = (_script(programs, restore, path, wanted, section) for section in ("pre-data", "post-data"))
        _drop(connection, programs, after.drops + before.drops)
        connection.execute(before.header + before.creates)
        with _written(programs, restore, path, wanted, "data", "--single-transaction") as stream:
            _fill(connection, stream)
        connection.execute(after.creates)
    return [f"the table {name} of {programs.address.name} is not in the backup and was left as it is" for name in strangers]


class _Script(t.NamedTuple):
    header: bytes
    drops: list[bytes]
    creates: bytes


def _script(programs: PostgresPrograms, restore: str, path: str, wanted: str, section: str) -> _Script:
    """Return what a section of the dump does, in three parts. A schema is small; it is held in memory."""
    with _written(programs, restore, path, wanted, section, *_OPTIONS) as stream:
        text = _LAST_LINES.sub(b"\n", stream.read())
    match = _FIRST_OBJECT.search(text)
    head, creates = (text[: match.start()], text[match.start() :]) if match else (text, b"")
    head = _NOT_OURS.sub(b"", head)
    header, drops, statement = b"", [], b""
    for line in head.splitlines(keepends=True):
        if not statement and (not line.strip() or line.startswith(b"--")):
            continue
        statement += line
        if not line.rstrip().endswith(b";"):
            continue
        if statement.startswith((b"SET ", b"SELECT pg_catalog.set_config(")):
            header += statement
        else:
            drops.append(statement)
        statement = b""
    return _Script(header, drops, creates)


def _drop(connection: t.Any, programs: PostgresPrograms, statements: t.Sequence[bytes]) -> None:
    """Drop what the dump has, in whatever order it lets itself be dropped; the key of a partition goes with the partition.

    Raises:
        StoreError: something that is not in the dump depends on it.
    """
    library = driver()
    left = list(statements)
    while left:
        refused: list[tuple[bytes, StoreError]] = []
        for statement in left:
            connection.execute("SAVEPOINT servos_ops")
            try:
                connection.execute(statement)
                connection.execute("RELEASE SAVEPOINT servos_ops")
            except library.Error as error:
                found = meant(error, programs.address, LOCK_TIMEOUT_S)
                if isinstance(found, StoreBusyError) or connection.closed:
                    raise found from None
                refused.append((statement, found))
                connection.execute("ROLLBACK TO SAVEPOINT servos_ops")
        if len(refused) == len(left):
            raise StoreError(f"{refused[0][1]}; drop what is not in the backup and depends on it, then run again")
        left = [statement for statement, unused_error in refused]


def _fill(connection: t.Any, stream: t.BinaryIO) -> None:
    """Run the section with the data, of which only rows are long."""
    statements = b""
    is_head = True
    for line in stream:
        if _COPY.fullmatch(line):
            _run(connection, statements, is_head=is_head)
            statements, is_head = b"", False
            with connection.cursor().copy(line) as copy:
                _copy_rows(copy, stream)
        elif line not in _OF_THE_SCRIPT and not line.startswith((b"--", b"\\restrict ", b"\\unrestrict ")):
            statements += line
            if len(statements) >= _CHUNK_BYTES and line.endswith(b";\n"):  # the pages of a large object
                _run(connection, statements, is_head=is_head)
                statements, is_head = b"", False
    _run(connection, statements, is_head=is_head)


def _run(connection: t.Any, statements: bytes, *, is_head: bool) -> None:
    if is_head:
        statements = _NOT_OURS.sub(b"", statements)
    if statements.strip():
        connection.execute(statements)


def _copy_rows(copy: t.Any, stream: t.BinaryIO) -> None:
    chunk: list[bytes] = []
    size = 0
    for line in stream:
        if line == _END_OF_COPY:
            break
        chunk.append(line)
        size += len(line)
        if size >= _CHUNK_BYTES:
            copy.write(b"".join(chunk))
            chunk, size = [], 0
    if chunk:
        copy.write(b"".join(chunk))


def _written(
    programs: PostgresPrograms, restore: str, path: str, wanted: str, section: str, *options: str
) -> t.ContextManager[t.BinaryIO]:
    """Lend what pg_restore writes of a section, while it writes it.

    Raises:
        StoreError: the dump is damaged; raised at the end of the block, before anything is committed.
    """

    def write(descriptor: int) -> None:
        target = f"--file={path_in_child(descriptor)}"
        code, unused_output, errors = programs.call(
            restore, f"--section={section}", *options, target, path, use_list=wanted, kept=[descriptor]
        )
        if code:
            raise refusal(f"reading {path}", errors)

    return read_while(write)


__all__ = ("put_back",)
