# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What putting a backup in the place of the data would lose: rows that came, changed or went since it was made.

Rows are compared by what they say, not by their bytes: a value that was sealed anew under another key has not changed.
"""

from __future__ import annotations

import hashlib
import typing as t

from .._errors import ServosError
from .._sealing.aes_gcm import Cipher, Codec
from .._sealing.codecs import codec_named
from .._sealing.json_leaves import has_long_string, may_be_json, replace_leaves, text_of_json
from .._stores.shapes import Table
from .counting import Reader
from .installation import Installation
from .observe import Keys

_Rows = t.Dict[bytes, bytes]


class Loss(t.NamedTuple):
    """Rows of the data that a backup from C(since) has not, has otherwise, or has although they are gone.

    C(unreadable) says why the data could not be compared; then the counts mean nothing. C(tables) are the names of those that
    differ.
    """

    since: str
    added: int = 0
    changed: int = 0
    deleted: int = 0
    tables: tuple[str, ...] = ()
    unreadable: str = ""

    @property
    def is_none(self) -> bool:
        """Whether nothing would be lost."""
        return not (self.added or self.changed or self.deleted or self.unreadable)

    def __str__(self) -> str:
        if self.unreadable:
            return f"everything written since {self.since} would be lost, and how much that is cannot be told ({self.unreadable})"
        if self.is_none:
            return f"nothing would be lost: no row differs from the backup of {self.since}"
        return (
            f"what was written since {self.since} would be lost: {self.added} rows added, {self.changed} changed and {self.deleted} "
            f"deleted since, in {', '.join(self.tables)}"
        )

    def as_result(self) -> dict[str, t.Any]:
        """Return it as a module does."""
        return dict(self._asdict(), tables=list(self.tables), text=str(self))


def loss_of(installation: Installation, note: t.Mapping[str, t.Any], keys: Keys) -> Loss:
    """Compare the data with a backup. Changes nothing; holds two digests of 16 bytes a row in memory."""
    since = str(note.get("created_at"))
    ciphers = list(keys.ciphers().values())
    try:
        with installation.snapshot(note["path"]).reading() as reader:
            old = {table.name: _digests(reader, table, installation, ciphers) for table in reader.tables()}
        added = changed = deleted = 0
        differing = []
        with installation.database().reading(copied=True) as reader:
            for table in reader.tables():
                there, now = old.pop(table.name, {}), _digests(reader, table, installation, ciphers)
                counts = _compared(there, now)
                if any(counts):
                    differing.append(table.name)
                added, changed, deleted = (total + count for total, count in zip((added, changed, deleted), counts))
        for name, there in old.items():
            differing.append(name)
            deleted += len(there)
    except ServosError as error:
        return Loss(since, unreadable=str(error))
    return Loss(since, added, changed, deleted, tuple(differing))


def _compared(there: _Rows, now: _Rows) -> tuple[int, int, int]:
    added = sum(1 for address in now if address not in there)
    changed = sum(1 for address, digest in now.items() if there.get(address, digest) != digest)
    return added, changed, sum(1 for address in there if address not in now)


def _digests(reader: Reader, table: Table, installation: Installation, ciphers: t.Sequence[Cipher]) -> _Rows:
    """Return a digest of what each row says, by a digest of its primary key.

    Without a primary key, or with one that is computed, a row is known by all that it says: VACUUM and restores give such rows new
    row ids and places. So rows that say the same are told apart by their number only.
    """
    groups, codecs = _groups_in(table, installation), _codecs_of_columns(table, installation)
    has_key = table.key != (table.row_id,) and set(table.key) <= set(table.columns)
    key_places = [table.columns.index(column) for column in table.key] if has_key else range(len(table.columns))
    found: _Rows = {}
    repeated: dict[bytes, int] = {}
    for unused_address, cells in reader.rows(table, table.columns):
        said = [_said(cell, tried, ciphers) for cell, tried in zip(cells, codecs)]
        for codec, places in groups:
            plaintext = _opened([codec], tuple(cells[place] for place in places), ciphers)
            if plaintext is not None:
                for place in places:
                    said[place] = b"s" + plaintext
        place_of_row = _digest(said[place] for place in key_places)
        if place_of_row in found:
            number = repeated[place_of_row] = repeated.get(place_of_row, 0) + 1
            place_of_row += number.to_bytes(8, "big")
        found[place_of_row] = _digest(said)
    return found


def _groups_in(table: Table, installation: Installation) -> list[tuple[Codec, list[int]]]:
    """Return the places of the values that lie in several columns, in a table that the profile does not name as well."""
    named = dict.fromkeys((field.columns, field.codec) for field in installation.profile.fields if len(field.columns) > 1)
    return [
        (codec_named(codec), [table.columns.index(column) for column in columns])
        for columns, codec in named
        if set(columns) <= set(table.columns)
    ]


def _codecs_of_columns(table: Table, installation: Installation) -> list[list[Codec]]:
    """Return what is tried on each column: what is tried everywhere, and what the profile says is at home there."""
    searched = installation.profile.searched_codecs()
    named = [field for field in installation.profile.fields if field.table == table.name and len(field.columns) == 1]
    declared = {column: [codec_named(f.codec) for f in named if f.columns == (column,) and f.path is None] for column in table.columns}
    return [list(dict.fromkeys([*searched, *declared[column]])) for column in table.columns]


def _digest(parts: t.Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


def _said(cell: t.Any, codecs: t.Sequence[Codec], ciphers: t.Sequence[Cipher]) -> bytes:
    """Return what a cell says: the plaintext where it is sealed, in a place of JSON too, else the cell itself."""
    plaintext = _opened(codecs, cell, ciphers) if cell else None
    if plaintext is not None:
        return b"s" + plaintext
    as_json = text_of_json(cell) if isinstance(cell, bytes) else cell
    if isinstance(as_json, str) and may_be_json(as_json) and has_long_string(as_json):
        said = replace_leaves(as_json, lambda leaf: _leaf(leaf, codecs, ciphers)).encode("utf-8", "surrogateescape")
        return (b"b" if isinstance(cell, bytes) else b"j") + said
    return repr(cell).encode("utf-8", "surrogateescape")


def _leaf(leaf: str, codecs: t.Sequence[Codec], ciphers: t.Sequence[Cipher]) -> str | None:
    plaintext = _opened([codec for codec in codecs if not codec.is_blob and codec.is_authenticated], leaf, ciphers)
    return None if plaintext is None else plaintext.hex()


def _opened(codecs: t.Sequence[Codec], stored: t.Any, ciphers: t.Sequence[Cipher]) -> bytes | None:
    for codec in codecs:
        # A blob may hold any layout, and only its key tells.
        for cipher in ciphers if isinstance(stored, bytes) or codec.looks_sealed(stored) else ():
            plaintext = codec.open(cipher, stored)
            if plaintext is not None:
                return plaintext
    return None


__all__ = ("Loss", "loss_of")
