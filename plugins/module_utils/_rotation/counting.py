# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Count what opens in one table: every column by itself, and groups of columns."""

from __future__ import annotations

import itertools
import typing as t

from .._sealing.aes_gcm import Cipher
from .._sealing.codecs import codec_named
from .._stores.database import Reader
from .._stores.shapes import Table
from .._system.progress import Progress
from .column_count import ColumnCount, FieldCount, all_that_open
from .profile import Field, Profile

# A call for each row would be seen in the time that a census takes; one for a page is not.
_PAGE_ROWS = 500


class Canary:
    """Notices the row of the integrity canary by its key, and which key opens it."""

    def __init__(self, profile: Profile) -> None:
        self.word = (profile.canary_row or "").lower()
        self.is_expected = bool(self.word)
        self.mark: str | None = None


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
        if not self._codec.is_authenticated:
            marks = all_that_open(self._codec, self._order, stored)
            if len(marks) == 1:
                counted.sealed[marks[0]] = counted.sealed.get(marks[0], 0) + 1
                return
            counted.ambiguous += len(marks) > 1
        for position, (mark, cipher) in enumerate(self._order if self._codec.is_authenticated else ()):
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
    searched = profile.searched_codecs()
    wanted = reader.long_columns(
        table, columns, text_bytes=min(codec.shortest for codec in searched if not codec.is_blob),
        blob_bytes=min(codec.shortest for codec in searched if codec.is_blob),
    )
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
        self.rows = 0
        declared = [field for field in profile.fields if field.table == table.name]
        here = {field.columns: field for field in declared if len(field.columns) > 1}
        self._groups = self._find_groups(here, profile, order)
        grouped = {position for group in self._groups for position in group.positions}
        self._singles = [
            (position, ColumnCount(table.name, column, [f for f in declared if f.columns == (column,)], profile, order))
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

    def run(self, reader: Reader, canary: Canary, progress: Progress) -> None:
        """Count every row, and tell C(progress) of each page of them."""
        singles = [(position, column.count) for position, column in self._singles]
        groups = [group.count for group in self._groups]
        key_positions = [self.columns.index(column) for column in self.table.key if column in self.columns]
        word = canary.word
        canary_at: set[int] = set()
        named_canary = {p for p, column in enumerate(self.columns) if word in f"{self.table.name}.{column}".lower()}
        rows, number = reader.rows(self.table, self.columns), _PAGE_ROWS
        while number == _PAGE_ROWS:
            number = 0
            for number, (address, cells) in enumerate(itertools.islice(rows, _PAGE_ROWS), 1):  # noqa: B007 - read after the loop
                for position, count in singles:
                    mark = count(address, cells[position])
                    if word and mark is not None and (position in named_canary or self._is_canary(cells, key_positions, word)):
                        canary.mark = mark
                        canary_at.add(position)
                for count_group in groups:
                    count_group(address, cells)
            self.rows += number
            progress.advance(number)
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


__all__ = ("Canary", "Reader", "TableScan", "columns_to_scan")
