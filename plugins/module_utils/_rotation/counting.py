# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Count what opens in one table: every column by itself, groups of columns, and places in JSON."""

from __future__ import annotations

import typing as t

from .._sealing.aes_gcm import SMALLEST, SMALLEST_BASE64, Cipher, Codec
from .._sealing.codecs import CODECS, codec_named
from .._sealing.json_leaves import has_long_string, leaves_of, may_be_json, text_of_json
from .._stores.shapes import Table
from .profile import Field, Profile

FOREIGN_NAMED = 3


class Reader(t.Protocol):
    """What a store lends to a census."""

    def tables(self) -> list[Table]:
        """List the tables."""

    def rows(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[tuple[tuple[t.Any, ...], tuple[t.Any, ...]]]:
        """Yield address and cells of each row."""

    def long_columns(self, table: Table, columns: t.Sequence[str], *, text_bytes: int, blob_bytes: int) -> set[str]:
        """Return the columns in which any cell is that long."""

    def key_of(self, table: Table, address: tuple[t.Any, ...]) -> str:
        """Say which row lies at an address."""


class FieldCount:
    """The values of one field: by the fingerprint that opens them, empty, plain, and those that nothing opens."""

    __slots__ = ("empty", "field", "has_broken_text", "is_declared", "plain", "sealed", "unopened", "unopened_at")

    def __init__(self, field: Field, *, is_declared: bool) -> None:
        self.field = field
        self.is_declared = is_declared
        self.sealed: dict[str, int] = {}
        self.empty = 0
        self.plain = 0
        self.unopened = 0
        self.unopened_at: list[tuple[t.Any, ...]] = []
        self.has_broken_text = False

    @property
    def is_field(self) -> bool:
        """Whether sealed values are at home here.

        Named by the profile, or proven by one that opens; or its name says so, and what lies there looks sealed: a class
        that an earlier rotation left behind opens under nothing at all.
        """
        return self.is_declared or bool(self.sealed) or bool(self.unopened and self.field.class_name)

    def add_unopened(self, address: tuple[t.Any, ...]) -> None:
        """Count a value that nothing opens, and keep where the first few are."""
        self.unopened += 1
        if len(self.unopened_at) < FOREIGN_NAMED:
            self.unopened_at.append(address)


class Canary:
    """Notices the row of the integrity canary by its key, and which key opens it."""

    def __init__(self, profile: Profile) -> None:
        self.word = (profile.canary_row or "").lower()
        self.is_expected = bool(self.word)
        self.mark: str | None = None


class _Column:
    """Counts the cells of one column, and of the places in its JSON.

    The key that opened the last value is tried first. Text that no key has opened here yet must look like Base64
    before any key is tried, so that prose costs nothing.
    """

    def __init__(self, table: str, column: str, field: Field | None, profile: Profile, order: list[tuple[str, Cipher]]) -> None:
        declared = field.codec if field is not None and field.path is None else None
        name = (field.class_name if field is not None else None) or profile.class_of(table, column)
        self._text: Codec = CODECS["aes256gcm_base64"]
        self._blob: Codec = CODECS["aes256gcm_raw"]
        self.whole = FieldCount(Field(table, (column,), self._text.name, None, name), is_declared=declared == self._text.name)
        self.raw = FieldCount(Field(table, (column,), self._blob.name, None, name), is_declared=declared == self._blob.name)
        self.paths: dict[str, FieldCount] = {}
        self._declared_paths = {f.path for f in profile.fields if f.table == table and f.columns == (column,) and f.path}
        self._table, self._column, self._profile, self._order = table, column, profile, list(order)

    def count(self, address: tuple[t.Any, ...], cell: t.Any) -> str | None:
        """Count one cell; return the fingerprint that opens it, or None."""
        whole = self.whole
        if cell is None or cell == "" or cell == b"":
            whole.empty += 1
            return None
        if isinstance(cell, str):
            if len(cell) >= 40 and (whole.sealed or self._text.looks_sealed(cell)):
                mark = self._opens(self._text, cell)
                if mark is not None:
                    whole.sealed[mark] = whole.sealed.get(mark, 0) + 1
                    return mark
                if self._text.looks_sealed(cell):
                    whole.add_unopened(address)
                    return None
            if may_be_json(cell) and has_long_string(cell):
                self._count_leaves(address, cell)
            whole.plain += 1
            if not cell.isascii():
                self._notice_broken(cell)
            return None
        if isinstance(cell, bytes):
            return self._count_blob(address, cell)
        whole.plain += 1
        return None

    def counts(self) -> list[FieldCount]:
        """Return what was counted; cells that belong to no layout in particular go to the one that is at home here."""
        whole, raw, paths = self.whole, self.raw, list(self.paths.values())
        for counted in (raw, *paths):
            counted.has_broken_text = whole.has_broken_text
        if not raw.is_field:
            if whole.is_field:
                whole.plain += raw.unopened
            return [whole, *paths]
        if whole.is_field:
            return [raw, whole, *paths]
        raw.empty, raw.plain = whole.empty, whole.plain
        for address in whole.unopened_at:
            raw.add_unopened(address)
        raw.unopened += whole.unopened - len(whole.unopened_at)
        return [raw, *paths]

    def call_it(self, class_name: str) -> None:
        """Name the class of what is sealed here, where its own name does not tell."""
        for counted in (self.whole, self.raw):
            if counted.field.class_name is None:
                counted.field = counted.field._replace(class_name=class_name)

    def _count_blob(self, address: tuple[t.Any, ...], cell: bytes) -> str | None:
        # A blob says nothing of its layout: both are tried, and which one is at home here is what opens.
        for codec, counted in ((self._blob, self.raw), (self._text, self.whole)):
            mark = self._opens(codec, cell)
            if mark is not None:
                counted.sealed[mark] = counted.sealed.get(mark, 0) + 1
                return mark
        as_json = text_of_json(cell)
        if as_json is not None:
            self._count_leaves(address, as_json)
            self.whole.plain += 1
        elif self._text.looks_sealed(cell.decode("latin-1")):
            self.whole.add_unopened(address)
        elif self._blob.looks_sealed(cell):
            self.raw.add_unopened(address)
        else:
            self.whole.plain += 1
        return None

    def _count_leaves(self, address: tuple[t.Any, ...], cell: str) -> None:
        for path, leaf in leaves_of(cell):
            if len(leaf) < 40 or not self._text.looks_sealed(leaf):
                continue
            counted = self.paths.get(path)
            if counted is None:
                field = Field(self._table, (self._column,), self._text.name, path, self._profile.class_of(self._table, path))
                counted = self.paths[path] = FieldCount(field, is_declared=path in self._declared_paths)
            mark = self._opens(self._text, leaf)
            if mark is None:
                counted.add_unopened(address)
            else:
                counted.sealed[mark] = counted.sealed.get(mark, 0) + 1

    def _opens(self, codec: Codec, cell: t.Any) -> str | None:
        order = self._order
        for position, (mark, cipher) in enumerate(order):
            if codec.open(cipher, cell) is not None:
                if position:
                    order.insert(0, order.pop(position))
                return mark
        return None

    def _notice_broken(self, cell: str) -> None:
        try:
            cell.encode("utf-8")
        except UnicodeEncodeError:
            self.whole.has_broken_text = True


class _Group:
    """Counts the values of one field that lies in several columns."""

    def __init__(self, field: Field, positions: tuple[int, ...], order: list[tuple[str, Cipher]], *, is_declared: bool) -> None:
        self.counted = FieldCount(field, is_declared=is_declared)
        self.positions = positions
        self._codec = codec_named(field.codec)
        self._order = list(order)

    def count(self, address: tuple[t.Any, ...], cells: tuple[t.Any, ...]) -> None:
        stored = tuple([cells[position] for position in self.positions])
        counted = self.counted
        for position, (mark, cipher) in enumerate(self._order):
            if self._codec.open(cipher, stored) is not None:
                if position:
                    self._order.insert(0, self._order.pop(position))
                counted.sealed[mark] = counted.sealed.get(mark, 0) + 1
                return
        if not any(stored):
            counted.empty += 1
        elif self._codec.looks_sealed(stored) or counted.is_declared:
            counted.add_unopened(address)
        else:
            counted.plain += 1


def columns_to_scan(reader: Reader, table: Table, profile: Profile, leave_out: t.Container[tuple[str, str]]) -> tuple[str, ...]:
    """Choose the columns that the profile names, or in which anything is long enough to be a sealed value."""
    ignored = {column for name, column in profile.ignore if name == table.name}
    columns = [c for c in table.columns if c not in ignored and (table.name, c) not in leave_out]
    if not columns:
        return ()
    wanted = reader.long_columns(table, columns, text_bytes=SMALLEST_BASE64, blob_bytes=SMALLEST)
    for field in profile.fields:
        if field.table == table.name or len(field.columns) > 1:
            wanted.update(field.columns)
    if wanted.intersection(columns) and profile.canary_row:
        wanted.update(table.key)
    return tuple(column for column in columns if column in wanted)


class TableScan:
    """One pass over one table."""

    def __init__(self, table: Table, columns: tuple[str, ...], profile: Profile, order: list[tuple[str, Cipher]]) -> None:
        self.table = table
        self.columns = columns
        here = {field.columns: field for field in profile.fields if field.table == table.name and field.path is None}
        self._groups = self._find_groups(here, profile, order)
        grouped = {position for group in self._groups for position in group.positions}
        self._singles = [
            (position, _Column(table.name, column, here.get((column,)), profile, order))
            for position, column in enumerate(self.columns)
            if position not in grouped
        ]

    def _find_groups(self, here: t.Mapping[tuple[str, ...], Field], profile: Profile, order: list[tuple[str, Cipher]]) -> list[_Group]:
        """Find the declared groups of columns, and others of the same names: a table added after the profile."""
        groups = []
        for columns, codec in dict.fromkeys((f.columns, f.codec) for f in profile.fields if len(f.columns) > 1):
            if all(column in self.columns for column in columns):
                field = here.get(columns) or Field(self.table.name, columns, codec)
                positions = tuple(self.columns.index(column) for column in columns)
                groups.append(_Group(field, positions, order, is_declared=columns in here))
        return groups

    def run(self, reader: Reader, canary: Canary) -> None:
        singles = [(position, column.count) for position, column in self._singles]
        groups = [group.count for group in self._groups]
        key_positions = [self.columns.index(column) for column in self.table.key if column in self.columns]
        word = canary.word
        canary_at: set[int] = set()
        named_canary = {p for p, column in enumerate(self.columns) if word in f"{self.table.name}.{column}".lower()}
        for address, cells in reader.rows(self.table, self.columns):
            for position, count in singles:
                mark = count(address, cells[position])
                if word and mark is not None and (position in named_canary or self._is_canary(cells, key_positions, word)):
                    canary.mark = mark
                    canary_at.add(position)
            for count_group in groups:
                count_group(address, cells)
        for position, column in self._singles:
            if position in canary_at:
                column.call_it("integrity canary")

    @staticmethod
    def _is_canary(cells: tuple[t.Any, ...], key_positions: t.Sequence[int], word: str) -> bool:
        for position in key_positions:
            cell = cells[position]
            if isinstance(cell, str) and word in cell.lower():
                return True
        return False

    def counts(self) -> t.Iterator[FieldCount]:
        for group in self._groups:
            yield group.counted
        for unused_position, column in self._singles:
            yield from column.counts()


__all__ = ("FOREIGN_NAMED", "Canary", "FieldCount", "Reader", "TableScan", "columns_to_scan")
