# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read and rewrite the one table that the content of a JSON file is. Pure."""

from __future__ import annotations

import typing as t

from .._errors import StoreError
from .json_document import TABLE, JsonDocument
from .shapes import Rewrite, Table


class JsonReader:
    """What a file says.

    Raises:
        ValueError: it is no JSON in UTF-8.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(f"byte {error.start} is not UTF-8") from None
        self.document = JsonDocument(text)

    def content(self) -> bytes:
        """Return the bytes of the file."""
        return self._content

    def tables(self) -> list[Table]:
        """List the one table; its rows have no key but their number, and so it names none."""
        return [Table(TABLE, self.document.columns, (), None, ())]

    def rows(self, table: Table, columns: t.Sequence[str]) -> t.Iterator[tuple[tuple[t.Any, ...], tuple[t.Any, ...]]]:  # noqa: ARG002
        """Yield number and cells of each row."""
        for number in range(len(self.document)):
            yield (number,), self._cells(number, columns)

    def _cells(self, number: int, columns: t.Sequence[str]) -> tuple[t.Any, ...]:
        return tuple([self.document.cell(number, column) for column in columns])

    def long_columns(self, table: Table, columns: t.Sequence[str], *, text_bytes: int, blob_bytes: int) -> set[str]:  # noqa: ARG002
        """Return the columns in which any cell is that long; there are no blobs in JSON."""
        found: set[str] = set()
        for unused_number, cells in self.rows(table, columns):
            found.update(column for column, cell in zip(columns, cells) if isinstance(cell, str) and len(cell) >= text_bytes)
        return found

    def rows_about(self, table: Table) -> int | None:  # noqa: ARG002
        """Return how many elements there are."""
        return len(self.document)

    def key_of(self, table: Table, address: tuple[t.Any, ...]) -> str:  # noqa: ARG002
        """Say which row lies at an address."""
        return f"element {address[0]}" if len(self.document) > 1 else "the file"


class JsonWriter(JsonReader):
    """The same, and replaces cells, in memory."""

    def __init__(self, reader: JsonReader, name: str) -> None:
        self._name, self._content, self.document = name, reader.content(), reader.document

    def content(self) -> bytes:
        """Return the bytes of the file as it would be."""
        return self.document.text.encode("utf-8")

    def rewrite(self, table: Table, rewrites: t.Sequence[Rewrite], *, in_python: bool, progress: t.Callable[[int], None]) -> None:  # noqa: ARG002
        """Replace columns of every row by what their functions return.

        Raises:
            StoreError: what a function returns cannot stand there.
        """
        new: dict[tuple[int, str], str] = {}
        for number in range(len(self.document)):
            for rewrite in rewrites:
                before = self._cells(number, rewrite.columns)
                after = rewrite.function((number,), before)
                new.update(
                    ((number, column), changed)
                    for column, cell, changed in zip(rewrite.columns, before, after)
                    if changed is not cell and changed != cell
                )
        try:
            self.document = self.document.replaced(new) if new else self.document
        except ValueError as error:
            raise StoreError(f"{self._name} cannot be changed: {error}; nothing was changed; correct it") from None
        progress(len(self.document))


__all__ = ("JsonReader", "JsonWriter")
