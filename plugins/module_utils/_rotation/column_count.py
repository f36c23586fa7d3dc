# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Count the values of one column: each cell as a whole in every layout, and the places in its JSON."""

from __future__ import annotations

import typing as t

from .._sealing.aes_gcm import Cipher, Codec
from .._sealing.codecs import BUILT_IN, codec_named
from .._sealing.json_leaves import has_long_string, leaves_of, may_be_json, text_of_json
from .profile import Field, Profile

FOREIGN_NAMED = 3


class FieldCount:
    """The values of one field: by the fingerprint that opens them, empty, plain, and those that nothing opens."""

    __slots__ = ("ambiguous", "empty", "field", "has_broken_text", "is_declared", "plain", "sealed", "unopened", "unopened_at")

    def __init__(self, field: Field, *, is_declared: bool) -> None:
        self.field = field
        self.is_declared = is_declared
        self.sealed: dict[str, int] = {}
        self.empty = 0
        self.plain = 0
        self.unopened = 0
        self.ambiguous = 0  # of the unopened: those that take on the right form under more than one key
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


class ColumnCount:
    """Counts the cells of one column, and of the places in its JSON.

    The key that opened the last value is tried first. Text that no key has opened here yet must look sealed before any key is
    tried, so that prose costs nothing.
    """

    def __init__(self, table: str, column: str, fields: t.Sequence[Field], profile: Profile, order: list[tuple[str, Cipher]]) -> None:
        declared = {field.codec: field for field in fields if field.path is None}
        name = next((f.class_name for f in declared.values() if f.class_name), None) or profile.class_of(table, column)
        codecs = dict.fromkeys([*profile.searched_codecs(), *map(codec_named, declared)])
        is_own = bool(declared.keys() - set(BUILT_IN))  # then its class says nothing about the built-in layouts
        self._counted = {
            codec: FieldCount(
                Field(table, (column,), codec.name, None, None if is_own and codec.name not in declared else name),
                is_declared=codec.name in declared,
            )
            for codec in codecs
        }
        ranked = sorted(self._counted.items(), key=lambda item: not item[1].is_declared)
        self._texts = [(codec, counted) for codec, counted in ranked if not codec.is_blob]
        self._blobs = [(codec, counted) for codec, counted in ranked if codec.is_blob]
        self._least = min(codec.shortest for codec, unused_counted in self._texts)
        self.whole, self.raw = (self._counted[codec_named(name)] for name in BUILT_IN)
        self.paths: dict[tuple[str, str], FieldCount] = {}
        self._declared_paths = {(field.path, field.codec) for field in fields if field.path}
        self._leaf_codecs = [codec for codec, unused_counted in self._texts if codec.is_authenticated]
        in_places = map(codec_named, dict.fromkeys(name for unused_path, name in self._declared_paths))
        self._leaf_codecs = list(dict.fromkeys([*in_places, *self._leaf_codecs]))
        self._table, self._column, self._profile, self._order = table, column, profile, list(order)

    def count(self, address: tuple[t.Any, ...], cell: t.Any) -> str | None:
        """Count one cell; return the fingerprint that opens it, or None."""
        if cell is None or cell == "" or cell == b"":
            self.whole.empty += 1
            return None
        if isinstance(cell, str):
            return self._count_text(address, cell)
        if isinstance(cell, bytes):
            return self._count_blob(address, cell)
        self.whole.plain += 1
        return None

    def _count_text(self, address: tuple[t.Any, ...], cell: str) -> str | None:
        if len(cell) >= self._least:
            unopened = None
            for codec, counted in self._texts:
                looks_sealed = None
                if not counted.sealed:
                    looks_sealed = codec.looks_sealed(cell)
                    if not looks_sealed:
                        continue
                mark = self._opens(codec, cell)
                if mark is not None:
                    counted.sealed[mark] = counted.sealed.get(mark, 0) + 1
                    return mark
                if unopened is None and (looks_sealed or codec.looks_sealed(cell)):
                    unopened = counted
            if unopened is not None:
                unopened.add_unopened(address)
                return None
        if may_be_json(cell) and (self._declared_paths or has_long_string(cell)):
            self._count_leaves(address, cell)
        self.whole.plain += 1
        if not cell.isascii():
            self._notice_broken(cell)
        return None

    def counts(self) -> list[FieldCount]:
        """Return what was counted; cells that belong to no layout in particular go to the one that is at home here."""
        whole, raw, paths = self.whole, self.raw, list(self.paths.values())
        for counted in (*self._counted.values(), *paths):
            counted.has_broken_text = whole.has_broken_text
        at_home = [counted for unused_codec, counted in (*self._blobs, *self._texts) if counted.is_field]
        if not at_home:
            return [whole, *paths]
        if whole not in at_home:
            home = at_home[0]
            home.empty, home.plain = whole.empty, home.plain + whole.plain
            if home is raw:
                for address in whole.unopened_at:
                    home.add_unopened(address)
                home.unopened += whole.unopened - len(whole.unopened_at)
        else:
            home = whole
        strays = [c for c in self._counted.values() if c not in at_home and not (c is whole and home is raw)]
        home.plain += sum(counted.unopened for counted in strays)
        return [*at_home, *paths]

    def call_it(self, class_name: str) -> None:
        """Name the class of what is sealed here, where its own name does not tell."""
        for counted in self._counted.values():
            if counted.field.class_name is None:
                counted.field = counted.field._replace(class_name=class_name)

    def _count_blob(self, address: tuple[t.Any, ...], cell: bytes) -> str | None:
        # A blob says nothing of its layout: all are tried, and which one is at home here is what opens.
        for codec, counted in (*self._blobs, *self._texts):
            mark = self._opens(codec, cell)
            if mark is not None:
                counted.sealed[mark] = counted.sealed.get(mark, 0) + 1
                return mark
        as_json = text_of_json(cell)
        if as_json is not None:
            self._count_leaves(address, as_json)
            self.whole.plain += 1
            return None
        as_text = cell.decode("latin-1")
        for codec, counted in (*self._texts, *self._blobs):
            if codec.looks_sealed(cell if codec.is_blob else as_text):
                counted.add_unopened(address)
                return None
        self.whole.plain += 1
        return None

    def _count_leaves(self, address: tuple[t.Any, ...], cell: str) -> None:
        for path, leaf in leaves_of(cell):
            unopened = None
            for codec in self._leaf_codecs:
                if len(leaf) < codec.shortest or not codec.looks_sealed(leaf):
                    continue
                mark = self._opens(codec, leaf)
                if mark is not None:
                    counted = self._place(path, codec)
                    counted.sealed[mark] = counted.sealed.get(mark, 0) + 1
                    break
                unopened = unopened or codec
            else:
                if unopened is not None:
                    self._place(path, unopened).add_unopened(address)

    def _place(self, path: str, codec: Codec) -> FieldCount:
        counted = self.paths.get((path, codec.name))
        if counted is None:
            field = Field(self._table, (self._column,), codec.name, path, self._profile.class_of(self._table, path))
            counted = self.paths[path, codec.name] = FieldCount(field, is_declared=(path, codec.name) in self._declared_paths)
        return counted

    def _opens(self, codec: Codec, cell: t.Any) -> str | None:
        order = self._order
        if not codec.is_authenticated:
            marks = all_that_open(codec, order, cell)
            self._counted[codec].ambiguous += len(marks) > 1
            return marks[0] if len(marks) == 1 else None
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


def all_that_open(codec: Codec, ciphers: t.Iterable[tuple[str, Cipher]], stored: t.Any) -> list[str]:
    """Return the keys under which a plaintext of the right form comes out."""
    return [mark for mark, cipher in ciphers if codec.open(cipher, stored) is not None]


def the_one_that_opens(codec: Codec, ciphers: t.Iterable[tuple[str, Cipher]], stored: t.Any) -> str | None:
    """Return the one key under which a plaintext of the right form comes out; None where it is none, or more than one."""
    marks = all_that_open(codec, ciphers, stored)
    return marks[0] if len(marks) == 1 else None


__all__ = ("FOREIGN_NAMED", "ColumnCount", "FieldCount", "all_that_open", "the_one_that_opens")
