# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The text of a JSON file as rows of cells, each of which can be replaced without touching any other character. Pure.

===========================  ==================================================================================
the file is                  and shows as the table C(document) with
===========================  ==================================================================================
an object                    one row; a column for each member
an array                     a row for each element; a column for each member of those that are objects, and C(value) for
                             what is none
anything else                one row with the column C(value)
===========================  ==================================================================================

A cell that is an object or an array is its own text, so that places in it are found as in a column of JSON.

Source: RFC 8259; of what it leaves open, names that stand twice in one object are refused.
"""

from __future__ import annotations

import json
import re
import typing as t

TABLE = "document"
_ELSE = "value"
_BOM = "\ufeff"
_BLANK = re.compile(r"[ \t\r\n]*")


class _Cell(t.NamedTuple):
    """One value, and from where to where it stands in the text."""

    value: t.Any
    start: int
    end: int


class JsonDocument:
    """One JSON text.

    Raises:
        ValueError: it is no JSON; the words say where, and quote nothing but a name that stands twice.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        # Numbers are looked at by nobody, and as an int a long one would be refused.
        self._decoder = json.JSONDecoder(object_pairs_hook=_members_once, parse_constant=_refuse_constant, parse_int=float)
        start = _past_blank(text, 1 if text.startswith(_BOM) else 0)
        try:
            whole, end = self._decoder.raw_decode(text, start)
            rest = _past_blank(text, end)
            if rest != len(text):
                raise json.JSONDecodeError("something follows its end", text, rest)
            self._rows = self._rows_of(_Cell(whole, start, end))
        except json.JSONDecodeError as error:
            raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        self.columns = tuple(dict.fromkeys(name for row in self._rows for name in row))

    def _rows_of(self, whole: _Cell) -> list[dict[str, _Cell]]:
        if isinstance(whole.value, dict):
            return [self._members(whole)]
        if isinstance(whole.value, list):
            return [
                self._members(element) if isinstance(element.value, dict) else {_ELSE: element}
                for unused_name, element in self._inside(whole)
            ]
        return [{_ELSE: whole}]

    def _members(self, whole: _Cell) -> dict[str, _Cell]:
        return {name: cell for name, cell in self._inside(whole) if name is not None}

    def _inside(self, whole: _Cell) -> t.Iterator[tuple[str | None, _Cell]]:
        """Yield the members or elements of what is known to be an object or array."""
        has_names = isinstance(whole.value, dict)
        at = _past_blank(self.text, whole.start + 1)
        while at < whole.end - 1:
            name = None
            if has_names:
                name, at = self._decoder.raw_decode(self.text, at)
                at = _past_blank(self.text, _past_blank(self.text, at) + 1)  # past the colon
            value, end = self._decoder.raw_decode(self.text, at)
            yield name, _Cell(value, at, end)
            at = _past_blank(self.text, _past_blank(self.text, end) + 1)  # past the comma

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._rows)

    def cell(self, number: int, column: str) -> t.Any:
        """Return a string as it is, an object or array as its text, else the value; None also where there is no such member."""
        cell = self._rows[number].get(column)
        if cell is None:
            return None
        return self.text[cell.start : cell.end] if isinstance(cell.value, (dict, list)) else cell.value

    def replaced(self, new: t.Mapping[tuple[int, str], str]) -> JsonDocument:
        """Return the document with some cells, by row and column, replaced; all other characters stay.

        Raises:
            ValueError: what is to be replaced is no string, object or array, or what comes in its place would not read as it should.
        """
        pieces, at = [], 0
        for (number, column), content in sorted(new.items(), key=lambda item: self._place(item[0]).start):
            cell = self._place((number, column))
            pieces += [self.text[at : cell.start], json.dumps(content) if isinstance(cell.value, str) else content]
            at = cell.end
        changed = JsonDocument("".join([*pieces, self.text[at:]]))
        places = [(number, column) for number in range(len(self)) for column in self._rows[number]]
        as_wanted = len(changed) == len(self) and all(
            changed.cell(number, column) == new.get((number, column), self.cell(number, column)) for number, column in places
        )
        if not as_wanted or changed.columns != self.columns:
            raise ValueError("what would be written does not read as it should")
        return changed

    def _place(self, place: tuple[int, str]) -> _Cell:
        cell = self._rows[place[0]].get(place[1])
        if cell is None or not isinstance(cell.value, (str, dict, list)):
            raise ValueError(f"there is no text in {place[1]}")
        return cell


def _members_once(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        names = [name for name, unused_value in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the name {twice[:60]!r} stands twice in one object, and readers differ in which one counts")
    return members


def _refuse_constant(name: str) -> t.Any:
    raise ValueError(f"{name} is no JSON")


def _past_blank(text: str, at: int) -> int:
    found = _BLANK.match(text, at)
    return found.end() if found else at


__all__ = ("TABLE", "JsonDocument")
