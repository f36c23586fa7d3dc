# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A few values of each column, and of each place in its JSON, that could be sealed: what a draft of a profile is made from."""

from __future__ import annotations

import itertools
import re
import typing as t

from .._sealing.json_leaves import has_long_string, leaves_of, may_be_json
from .._sealing.layouts import as_text
from .._stores.database import Reader
from .._stores.shapes import Table

_ROWS = 5000  # of a table, from its start
_HALF = 4  # values that are kept from the start of these rows, and from their end
_DOCUMENTS = 100  # of a column, that are looked into
MOST_BYTES = 64 * 1024
_RUN = re.compile(r"[A-Za-z0-9+/_-]{16,}")


class Samples:
    """The first few different values of one place, and the last few: an earlier key, or layout, is among the oldest."""

    def __init__(self) -> None:
        self._first: list[t.Any] = []
        self._last: list[t.Any] = []

    def add(self, value: t.Any) -> None:
        """Keep a value, perhaps in place of another."""
        if value in self._first or value in self._last:
            return
        if len(self._first) < _HALF:
            self._first.append(value)
            return
        self._last.append(value)
        if len(self._last) > _HALF:
            self._last.pop(0)

    def values(self) -> list[t.Any]:
        """Return what was kept, in the order of the rows."""
        return [*self._first, *self._last]


class TableSamples:
    """What was kept of one table: C(cells) by column, C(leaves) by column and path, C(rows), C(canaries), and what was C(too_long)."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.cells: dict[str, Samples] = {}
        self.leaves: dict[tuple[str, str], Samples] = {}
        self.rows = Samples()
        self.canaries = {column for column in table.columns if "canary" in f"{table.name}.{column}".lower()}
        self.too_long: dict[str, int] = {}
        self._documents: dict[str, int] = {}

    def take(self, cells: t.Sequence[t.Any]) -> None:
        """Look at one row."""
        row: dict[str, t.Any] = {}
        is_wanted = False
        for column, cell in zip(self.table.columns, cells):
            if not isinstance(cell, (str, bytes)) or not cell:
                continue
            if len(cell) > MOST_BYTES:
                self.too_long[column] = self.too_long.get(column, 0) + 1
                continue
            row[column] = cell
            if could_be_sealed(cell):
                is_wanted = True
                self.cells.setdefault(column, Samples()).add(cell)
            elif isinstance(cell, bytes) and len(cell) >= 12:
                is_wanted = True  # a nonce in a column of its own is shorter than any sealed value
            self._look_into(column, cell)
        if any("canary" in str(row.get(column, "")).lower() for column in self.table.key):
            self.canaries.update(column for column, cell in row.items() if could_be_sealed(cell))
        if is_wanted:
            self.rows.add({column: row.get(column) for column in self.table.columns})

    def _look_into(self, column: str, cell: t.Any) -> None:
        text = as_text(cell) if isinstance(cell, bytes) else cell
        if text is None or not may_be_json(text) or not has_long_string(text) or self._documents.get(column, 0) >= _DOCUMENTS:
            return
        self._documents[column] = self._documents.get(column, 0) + 1
        for path, leaf in leaves_of(text):
            if could_be_sealed(leaf):
                self.leaves.setdefault((column, path), Samples()).add(leaf)


def could_be_sealed(cell: t.Any) -> bool:
    """Tell cheaply whether a cell could hold a nonce and a ciphertext: bytes that are no text, or a text with a long run of letters."""
    if isinstance(cell, bytes):
        text = as_text(cell)
        return len(cell) >= 17 if text is None else could_be_sealed(text)
    return isinstance(cell, str) and len(cell) >= 20 and _RUN.search(cell) is not None


def take_samples(reader: Reader, is_time_up: t.Callable[[], bool]) -> tuple[list[TableSamples], list[str]]:
    """Return the samples of each table, and the names of the tables for which there was no time."""
    found, skipped = [], []
    for table in reader.tables():
        if is_time_up():
            skipped.append(table.name)
            continue
        samples = TableSamples(table)
        for unused_address, cells in itertools.islice(reader.rows(table, table.columns), _ROWS):
            samples.take(cells)
        found.append(samples)
    return found, skipped


__all__ = ("MOST_BYTES", "Samples", "TableSamples", "could_be_sealed", "take_samples")
