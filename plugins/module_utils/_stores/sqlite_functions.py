# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The functions that SQLite calls for the cells of an UPDATE.

Source: https://docs.python.org/3/library/sqlite3.html#sqlite3.Connection.create_function
"""

from __future__ import annotations

import sqlite3
import typing as t

from .shapes import Rewrite


class Calls:
    """The functions that SQLite calls, one a column.

    A group of several columns is computed once a row, whichever of its columns SQLite asks for first. SQLite replaces
    whatever a function raises by a text of its own, so the exception is kept here.
    """

    def __init__(self, rewrites: t.Sequence[Rewrite]) -> None:
        self._rewrites = rewrites
        self._last: list[tuple[t.Any, tuple[t.Any, ...]]] = [(None, ())] * len(rewrites)
        self._raised: Exception | None = None

    def function(self, number: int, part: int) -> t.Callable[..., t.Any]:
        """Make what SQLite calls for one column of one group: with the row's address and the cells of the group."""
        rewrite, rewrite_cell = self._rewrites[number].function, self._rewrites[number].cell_function
        last = self._last
        if rewrite_cell is not None:
            return self._cell_alone(rewrite_cell)

        def single(address: int, cell: t.Any) -> t.Any:
            try:
                return rewrite(address, (cell,))[0]
            except Exception as error:  # handed on by raise_what_was_raised
                self._raised = error
                raise

        def one_of_several(address: int, *cells: t.Any) -> t.Any:
            try:
                if last[number][0] != (address, cells):
                    last[number] = ((address, cells), rewrite(address, cells))
                return last[number][1][part]
            except Exception as error:  # handed on by raise_what_was_raised
                self._raised = error
                raise

        return single if len(self._rewrites[number].columns) == 1 else one_of_several

    def _cell_alone(self, rewrite_cell: t.Callable[[t.Any, t.Any], t.Any]) -> t.Callable[..., t.Any]:
        def cell_alone(address: int, cell: t.Any) -> t.Any:
            try:
                return rewrite_cell(address, cell)
            except Exception as error:  # handed on by raise_what_was_raised
                self._raised = error
                raise

        return cell_alone

    def raise_what_was_raised(self) -> None:
        """Raise what ended a function; does nothing if SQLite itself failed."""
        if self._raised is not None:
            raise self._raised


def cuts_text(connection: sqlite3.Connection) -> bool:
    """Tell whether functions get, or give, no more of a text than what stands before a NUL, as those of Python 3.8 do.

    Source: https://github.com/python/cpython/blob/v3.8.18/Modules/_sqlite/connection.c, _pysqlite_build_py_params
    """
    text = "a\x00b"
    seen: list[str] = []

    def hand_back(given: str) -> str:
        seen.append(given)
        return text

    connection.create_function("servos_hand_back", 1, hand_back)
    row = connection.execute("SELECT servos_hand_back(?)", (text,)).fetchone()
    return [*seen, row[0]] != [text, text]


__all__ = ("Calls", "cuts_text")
