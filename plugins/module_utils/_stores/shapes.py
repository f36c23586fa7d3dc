# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a store says about its tables, and how it is asked to rewrite them. Pure."""

from __future__ import annotations

import typing as t

from .._errors import ForeignValueError


class Table(t.NamedTuple):
    """A table that can hold sealed values.

    C(columns) are the stored ones (generated ones follow by themselves). C(key) names what identifies a row to a
    person: its primary key, else the row id. C(row_id) is the name under which the row id can be asked for, or None.
    C(triggers) names the triggers that an UPDATE fires. C(is_ordered_by_key) says that every row has a key, and another one.
    C(copies) names what shows the table as it was until somebody refreshes it.
    """

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]
    row_id: str | None
    triggers: tuple[str, ...]
    is_ordered_by_key: bool = False
    copies: tuple[str, ...] = ()


class Rewrite(t.NamedTuple):
    """One group of columns of a table that is rewritten together.

    C(function) takes the row's address (row id, or tuple of key values) and the cells, and returns the new cells;
    what it raises ends the transaction. C(cell_function) is the same for a single column, without the tuples.
    """

    columns: tuple[str, ...]
    function: t.Callable[[t.Any, tuple[t.Any, ...]], tuple[t.Any, ...]]
    cell_function: t.Callable[[t.Any, t.Any], t.Any] | None = None


class UnopenedCellError(Exception):
    """Carries the address of a value that nothing opens out of a store's own loop; C(field) says where such values are."""

    def __init__(self, field: str, address: t.Any) -> None:
        super().__init__(field)
        self.field = field
        self.address = address if isinstance(address, tuple) else (address,)

    def of_row(self, key: str) -> ForeignValueError:
        """Return the error that a person reads, where the row is known by its key."""
        return ForeignValueError(
            f"{self.field} of {key} opens under no known key; nothing was changed; find the key it is under, or mend or remove the value"
        )


class Counts(t.Protocol):
    """What is counted of a rewrap, as far as a store that commits part by part has to do with it."""

    def note(self) -> None:
        """Remember the counts, for a part that may have to be done once more."""

    def forget(self) -> None:
        """Go back to the counts that were remembered."""

    def clear(self) -> None:
        """Count from nothing, in a process of its own."""

    def as_told(self) -> dict[str, t.Any]:
        """Return the counts, to be added in another process."""

    def add(self, told: t.Mapping[str, t.Any]) -> None:
        """Add what another process has counted."""


class Batches(t.NamedTuple):
    """That a rewrap is committed part by part: about C(rows) at a time, with C(pause_s) seconds between two, by C(workers) processes."""

    rows: int
    pause_s: float
    workers: int
    counts: Counts


__all__ = ("Batches", "Counts", "Rewrite", "Table", "UnopenedCellError")
