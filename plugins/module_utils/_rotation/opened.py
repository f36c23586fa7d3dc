# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Open named values of an installation, for whoever is to have them: a container's variables, a server's SSH key.

What is opened stays in memory, is authenticated by GCM's tag, and appears in no result.
"""

from __future__ import annotations

import json
import typing as t

from .._errors import ForeignValueError, ProfileError, StoreError
from .._sealing.aes_gcm import Cipher, Codec
from .._sealing.codecs import codec_named
from .._sealing.json_leaves import leaves_of
from .._stores.shapes import Table
from .counting import Reader
from .installation import Installation
from .observe import read_keys


class OpenedRow(t.NamedTuple):
    """One row: how a person finds it, its cells as they are, and the plaintexts of the sealed ones (None where empty)."""

    key: str
    plain: dict[str, t.Any]
    opened: dict[str, bytes | None]


def open_rows(
    installation: Installation,
    *,
    table: str,
    sealed: t.Sequence[str],
    plain: t.Sequence[str] = (),
    where: t.Mapping[str, t.Any] | None = None,
    path: str | None = None,
) -> list[OpenedRow]:
    """Open the sealed columns of the rows of a table. Changes nothing.

    Args:
        sealed: columns that hold sealed values; of a value in several columns any one of them.
        plain: columns to return as they are.
        where: what other columns of the row hold, compared as text; all rows where it is empty.
        path: where in the JSON of the cell the sealed value lies, such as C($.token); only for a single column.

    Raises:
        StoreError: the table or a column is not there.
        ForeignValueError: a value opens under no known key.
    """
    ciphers = list(read_keys(installation).ciphers().values())
    asked = (installation, ciphers, table, tuple(sealed), tuple(plain), dict(where or {}), path)
    return installation.database().read(lambda reader: list(_rows(reader, *asked)))


def open_variables(installation: Installation, entries: t.Sequence[t.Mapping[str, t.Any]]) -> dict[str, str]:
    """Open what the entries of C(from_service) name; return texts by variable.

    Each entry has C(table), C(column), C(row) (what identifies it) and C(path); and either C(variable), the name that the
    plaintext gets (with C(member), one member of it, if it is JSON), or C(all), if it is a JSON object of variables.

    Raises:
        StoreError: no row, several rows, nothing in it, or a variable twice.
        ProfileError: an entry says too little or too much.
    """
    if not entries:
        raise ProfileError("from_service is empty, so there is nothing to open; name a table, a column and a row")
    found: dict[str, str] = {}
    for entry in entries:
        for name, text in _variables_of(installation, entry):
            if name in found:
                raise StoreError(f"the variable {name} comes from two entries of from_service; leave one out")
            found[name] = text
    return found


def _variables_of(installation: Installation, entry: t.Mapping[str, t.Any]) -> t.Iterator[tuple[str, str]]:
    table, column, where = entry["table"], entry["column"], entry.get("row") or {}
    place = f"{table}.{column}"
    if not where:
        raise ProfileError(f"the entry of from_service for {place} names no row; say which one, for example row={{name: web}}")
    if bool(entry.get("all")) == bool(entry.get("variable")):
        raise ProfileError(f"the entry of from_service for {place} has not exactly one of variable and all; give variable, or set all=true")
    described = ", ".join(f"{name}={value}" for name, value in where.items())
    rows = open_rows(installation, table=table, sealed=[column], where=where, path=entry.get("path"))
    if len(rows) != 1:
        raise StoreError(f"{len(rows)} rows of {table} have {described}, and from_service takes exactly one; correct where")
    plaintext = rows[0].opened[column]
    if plaintext is None:
        raise StoreError(f"{place} is empty where {described}, so there is nothing to inject; correct from_service")
    try:
        text = plaintext.decode("utf-8")
    except UnicodeDecodeError:
        raise StoreError(
            f"{place} where {described} is no text (UTF-8), so it cannot be a variable; "
            "leave it out of from_service"
        ) from None
    if entry.get("all"):
        yield from _members(text, place, described).items()
    elif entry.get("member"):
        members = _members(text, place, described)
        if entry["member"] not in members:
            raise StoreError(f"{place} where {described} has no member {entry['member']}; correct member")
        yield entry["variable"], members[entry["member"]]
    else:
        yield entry["variable"], text


def _members(text: str, place: str, described: str) -> dict[str, str]:
    """Read a JSON object of texts; numbers keep the form that they are written in."""
    try:
        # A repeated name is taken as the application's own parser would: the last one wins.
        document = json.loads(text, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise StoreError(f"{place} where {described} is not a JSON object of variables; name the one it holds (variable)")
    texts = {}
    for name, value in document.items():
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        elif isinstance(value, str):
            texts[name] = value
        else:
            raise StoreError(
                f"the member {name} of {place} where {described} is not a text, so it cannot be a variable; "
                "name one that is (member)"
            )
    return texts


def _rows(
    reader: Reader,
    installation: Installation,
    ciphers: list[Cipher],
    table_name: str,
    sealed: tuple[str, ...],
    plain: tuple[str, ...],
    where: dict[str, t.Any],
    path: str | None,
) -> t.Iterator[OpenedRow]:
    table = next((found for found in reader.tables() if found.name == table_name), None)
    if table is None:
        raise StoreError(f"the database {installation.place().name} has no table {table_name}; correct table")
    codecs = [_codecs_of(installation, table_name, column, path) for column in sealed]
    needed = list(dict.fromkeys([*(c for columns, unused_codecs in codecs for c in columns), *plain, *where]))
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise StoreError(f"the table {table_name} of {installation.place().name} has no column {', '.join(missing)}; correct from_service")
    wanted = {name: str(value) for name, value in where.items()}
    for address, cells in reader.rows(table, needed):
        row = dict(zip(needed, cells))
        if any(row[name] is None or str(row[name]) != value for name, value in wanted.items()):
            continue
        opened = {
            column: _opened(reader, table, address, tried, [row[part] for part in columns], ciphers, path)
            for column, (columns, tried) in zip(sealed, codecs)
        }
        yield OpenedRow(reader.key_of(table, address), {name: row[name] for name in plain}, opened)


def _codecs_of(installation: Installation, table: str, column: str, path: str | None) -> tuple[tuple[str, ...], t.Sequence[Codec]]:
    """Return the columns that make up a value, and its codec where the profile names it, else all that may be meant."""
    for field in installation.profile.fields:
        if field.table == table and column in field.columns and field.path == path:
            return field.columns, [codec_named(field.codec)]
    return (column,), installation.profile.searched_codecs()


def _opened(
    reader: Reader, table: Table, address: tuple[t.Any, ...], codecs: t.Sequence[Codec], cells: list[t.Any], ciphers: list[Cipher],
    path: str | None,
) -> bytes | None:
    if not any(cells):
        return None
    stored: t.Any = cells[0] if len(cells) == 1 else tuple(cells)
    if path is not None:
        stored = _leaf(stored, path)
    for layout in codecs:
        for cipher in ciphers:
            plaintext = layout.open(cipher, stored)
            if plaintext is not None:
                return plaintext
    raise ForeignValueError(
        f"the value in {table.name} at {reader.key_of(table, address)} opens under no known key; see servos_key_info, and name the "
        "right database, column and env file"
    )


def _leaf(cell: t.Any, path: str) -> str:
    text = cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)
    found = [leaf for place, leaf in leaves_of(text) if place == path]
    if len(found) != 1:
        raise StoreError(f"{len(found)} values lie at {path} of the cell, and not exactly one; correct path")
    return found[0]


__all__ = ("OpenedRow", "open_rows", "open_variables")
