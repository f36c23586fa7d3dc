# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Bring every value of the fields under the target key, inside one write transaction.

Per value: it opens under the target key and stays; or under another known key, is sealed anew with a fresh nonce, and
what was sealed is opened again and compared before it is stored; or it looks sealed and opens under nothing, which ends
the transaction. A value is never overwritten before its plaintext was authenticated.
"""

from __future__ import annotations

import typing as t

from .._errors import ProfileError
from .._sealing.aes_gcm import Cipher, Codec
from .._sealing.codecs import BUILT_IN, codec_named
from .._sealing.json_leaves import may_be_json, replace_leaves, text_of_json
from .._stores.database import Writer
from .._stores.shapes import Rewrite, Table, UnopenedCellError
from .._system.progress import Progress
from .column_count import the_one_that_opens
from .profile import Field

_TRIES = 100


class Tally:
    """What a rewrap has done: C(rewrapped) by the fingerprint the values were under, C(kept) already under the target."""

    def __init__(self) -> None:
        self.rewrapped: dict[str, int] = {}
        self.kept = 0
        self.rows = 0
        self._noted: tuple[dict[str, int], int] = ({}, 0)

    def note(self) -> None:
        """Remember the counts of values, for a part that may have to be done once more."""
        self._noted = (dict(self.rewrapped), self.kept)

    def forget(self) -> None:
        """Go back to the counts that were remembered."""
        counts, self.kept = self._noted
        self.rewrapped.clear()
        self.rewrapped.update(counts)

    def clear(self) -> None:
        """Count values from nothing."""
        self.rewrapped.clear()
        self.kept = 0

    def as_told(self) -> dict[str, t.Any]:
        """Return the counts of values, to be added in another process."""
        return {"rewrapped": self.rewrapped, "kept": self.kept}

    def add(self, told: t.Mapping[str, t.Any]) -> None:
        """Add what another process has counted."""
        for mark, count in told["rewrapped"].items():
            self.rewrapped[mark] = self.rewrapped.get(mark, 0) + count
        self.kept += told["kept"]

    @property
    def total(self) -> int:
        """Number of values that were sealed anew."""
        return sum(self.rewrapped.values())

    def progress(self, rows: int) -> None:
        """Count rows."""
        self.rows += rows


class Rewrapper:
    """Seals values anew under C(target); knows how to open them under the C(sources)."""

    def __init__(
        self, *, target: Cipher, sources: t.Mapping[str, Cipher], nonce_of: t.Callable[[int], bytes], tally: Tally
    ) -> None:
        self._target = target
        self._sources = list(sources.items())
        self._nonce_of = nonce_of
        self._tally = tally

    def renewing(self, codec: Codec) -> t.Callable[[t.Any], t.Any]:
        """Return a function that gives a new stored value, the same object if it is under the target already, or None.

        The key that opened the last value is tried first. The function raises StoreError if what was just sealed does not
        open again to the same plaintext.
        """
        if not codec.is_authenticated:
            return self._renewing_the_only_one(codec)
        renewers = [(mark, codec.renewer(cipher, self._target, self._nonce_of)) for mark, cipher in self._sources]
        tally, counts, target = self._tally, self._tally.rewrapped, self._target
        if not renewers:
            renewers.append(("", lambda unused_stored: None))
        last_mark, renew_as_last = renewers[0]

        def renewed(stored: t.Any) -> t.Any:
            nonlocal last_mark, renew_as_last
            sealed = renew_as_last(stored)
            if sealed is not None:
                counts[last_mark] = counts.get(last_mark, 0) + 1
                return sealed
            for mark, renew in renewers:
                if mark != last_mark:
                    sealed = renew(stored)
                    if sealed is not None:
                        last_mark, renew_as_last = mark, renew
                        counts[mark] = counts.get(mark, 0) + 1
                        return sealed
            if codec.open(target, stored) is not None:
                tally.kept += 1
                return stored
            return None

        return renewed

    def _renewing_the_only_one(self, codec: Codec) -> t.Callable[[t.Any], t.Any]:
        """The same where only the form of the plaintext tells: a value that opens under two known keys is not decided for either."""
        renewers = {mark: codec.renewer(cipher, self._target, self._nonce_of) for mark, cipher in self._sources}
        tried, tally = [*self._sources, ("", self._target)], self._tally

        def renewals(mark: str, stored: t.Any) -> t.Iterator[t.Any]:
            return (renewers[mark](stored) for unused_try in range(_TRIES))

        def renewed(stored: t.Any) -> t.Any:
            mark = the_one_that_opens(codec, tried, stored)
            if mark is None:
                return None
            if not mark:
                tally.kept += 1
                return stored
            # What is sealed now must not be taken for a value under an old key either; another nonce makes another chance.
            sealed = next((new for new in renewals(mark, stored) if the_one_that_opens(codec, tried, new) == ""), None)
            if sealed is None:
                raise ProfileError(
                    "the oracle of a codec lets pass what comes out under a wrong key, so that nothing would tell what was rewrapped; "
                    "nothing was changed; write a stricter one into the profile"
                )
            tally.rewrapped[mark] = tally.rewrapped.get(mark, 0) + 1
            return sealed

        return renewed

    def of_group(self, field: Field) -> Rewrite:
        """Return the rewrite of a field that lies in several columns."""
        renewed = self.renewing(codec_named(field.codec))

        def rewrite(address: t.Any, cells: tuple[t.Any, ...]) -> tuple[t.Any, ...]:
            if not any(cells):
                return cells
            new: tuple[t.Any, ...] | None = renewed(cells)
            if new is None:
                raise UnopenedCellError(str(field), address)
            return new

        return Rewrite(field.columns, rewrite)

    def of_column(self, fields: t.Sequence[Field]) -> Rewrite:
        """Return the rewrite of a column in which all of C(fields) lie: whole values, blobs, places in JSON.

        Whatever opens is renewed, in any layout; what looks sealed and does not open is an error in a layout at home here.
        """
        declared = [field.codec for field in fields if field.path is None]
        codecs = [codec_named(name) for name in dict.fromkeys([*declared, *BUILT_IN])]
        at_home = [codec for codec in codecs if codec.name in declared]
        texts = [(codec, self.renewing(codec)) for codec in codecs if not codec.is_blob]
        blobs = [(codec, self.renewing(codec)) for codec in codecs if codec.is_blob]
        in_json = dict.fromkeys([*(field.codec for field in fields if field.path is not None), *declared, BUILT_IN[0]])
        leaves = [(c, self.renewing(c)) for c in map(codec_named, in_json) if not c.is_blob and c.is_authenticated]

        def renewed_leaf(leaf: str) -> t.Any:
            for codec, renewed in leaves:
                new = renewed(leaf) if codec.looks_sealed(leaf) else None
                if new is not None:
                    return new
            return None

        def of_blob(cell: bytes) -> bytes | None:
            for unused_codec, renewed in (*blobs, *texts):
                new = renewed(cell)
                if new is not None:
                    return new.encode("ascii") if isinstance(new, str) else t.cast("bytes", new)
            as_json = text_of_json(cell)
            return None if as_json is None else replace_leaves(as_json, renewed_leaf).encode("utf-8")

        renewed_first = texts[0][1]  # called for itself: for short values the calls cost as much as the cipher

        def of_other_text(cell: str) -> str | None:
            for unused_codec, renewed in texts[1:]:
                new = renewed(cell)
                if new is not None:
                    return t.cast("str", new)
            return replace_leaves(cell, renewed_leaf) if may_be_json(cell) else None

        def rewrite_cell(address: t.Any, cell: t.Any) -> t.Any:
            if not cell:
                return cell
            if isinstance(cell, str):
                new: t.Any = renewed_first(cell)
                if new is not None:
                    return new
                new = of_other_text(cell)
                if new is None and any(not codec.is_blob and codec.looks_sealed(cell) for codec in at_home):
                    raise UnopenedCellError(str(fields[0]), address)
            elif isinstance(cell, bytes):
                new, as_latin = of_blob(cell), cell.decode("latin-1")
                if new is None and any(codec.looks_sealed(cell if codec.is_blob else as_latin) for codec in at_home):
                    raise UnopenedCellError(str(fields[0]), address)
            else:
                new = None
            return cell if new is None else new

        return Rewrite(fields[0].columns, lambda address, cells: (rewrite_cell(address, cells[0]),), rewrite_cell)


def rewrap_tables(
    writer: Writer,
    plan: t.Sequence[tuple[Table, t.Sequence[Field], bool]],
    rewrapper: Rewrapper,
    tally: Tally,
    *,
    progress: Progress | None = None,
    rows: t.Mapping[str, int] | None = None,
) -> None:
    """Rewrap the fields of each table.

    Args:
        plan: table, its fields, and whether its rows must be rewritten in Python (text that is not UTF-8).
        progress: told of the cells, or groups of cells, that were looked at.
        rows: how many rows each table has, if that is known.

    Raises:
        ForeignValueError: naming table, column and primary key; the caller's transaction ends.
    """
    progress = progress or Progress()
    rewrites_of = {table.name: _rewrites(fields, rewrapper) for table, fields, unused_way in plan}
    progress.begin("rewrap", sum(rows.get(name, 0) * len(found) for name, found in rewrites_of.items()) if rows else None)
    for table, unused_fields, in_python in plan:
        rewrites = rewrites_of[table.name]

        def count(rows_done: int, cells_a_row: int = len(rewrites)) -> None:
            tally.progress(rows_done)
            progress.advance(rows_done * cells_a_row)

        try:
            writer.rewrite(table, rewrites, in_python=in_python, progress=count)
        except UnopenedCellError as error:
            raise error.of_row(writer.key_of(table, error.address)) from None


def _rewrites(fields: t.Sequence[Field], rewrapper: Rewrapper) -> list[Rewrite]:
    groups = [rewrapper.of_group(field) for field in fields if len(field.columns) > 1]
    columns = dict.fromkeys(field.columns for field in fields if len(field.columns) == 1)
    return groups + [rewrapper.of_column([f for f in fields if f.columns == column]) for column in columns]


__all__ = ("Rewrapper", "Tally", "Writer", "rewrap_tables")
