# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which cells of a table are tried at all."""

from __future__ import annotations

import json
import os
import uuid

import pytest
from ansible_collections.servos.ops.plugins.module_utils._rotation.sampling import (
    MOST_BYTES,
    Samples,
    TableSamples,
    could_be_sealed,
    take_samples,
)
from ansible_collections.servos.ops.plugins.module_utils._stores.shapes import Table

LOOKS = {
    "Base64": ("QUJDREVGR0hJSktMTU5PUFFSU1Q=", True),
    "hex": ("00" * 20, True),
    "blob": (b"\x00\xff" * 10, True),
    "Base64 in a blob": (b"QUJDREVGR0hJSktMTU5PUFFSU1Q=", True),
    "UUID": (str(uuid.UUID(int=5)), True),
    "prose": ("the quick brown fox jumps over the lazy dog", False),
    "address": ("somebody@example.org", False),
    "short": ("QUJDREVG", False),
    "short blob": (b"\xff" * 16, False),
    "number": (12345678901234567890123, False),
    "nothing": (None, False),
}


@pytest.mark.parametrize(("cell", "expected"), LOOKS.values(), ids=LOOKS)
def test_what_could_be_sealed(cell, expected):
    assert could_be_sealed(cell) is expected


def test_the_oldest_and_the_newest_are_kept():
    samples = Samples()
    for number in [*range(100), 99, 0]:
        samples.add(number)
    assert samples.values() == [0, 1, 2, 3, 96, 97, 98, 99]


class Reader:
    """Tables in memory; C(asked) counts rows that were handed out."""

    def __init__(self, rows):
        self.asked = 0
        self._rows = rows

    def tables(self):
        return [Table("t", ("id", "a", "b"), ("id",), None, ())]

    def rows(self, unused_table, unused_columns):
        for row in self._rows:
            self.asked += 1
            yield (row[0],), row


def test_a_big_table_is_read_in_part():
    reader = Reader([(str(number), os.urandom(20), "x") for number in range(6000)])
    (samples,), skipped = take_samples(reader, lambda: False)
    assert (reader.asked, len(samples.cells["a"].values()), list(samples.cells), skipped) == (5000, 8, ["a"], [])


def test_without_time_a_table_is_named():
    assert take_samples(Reader([]), lambda: True) == ([], ["t"])


def test_places_in_json_are_kept_apart_and_long_cells_are_counted():
    samples = TableSamples(Table("t", ("id", "a", "b"), ("id",), None, ()))
    sealed = "QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVphYmNkZWZnaGlqa2xt"
    samples.take(("1", json.dumps({"x": {"y": sealed}, "z": [sealed[::-1]]}), "A" * (MOST_BYTES + 1)))
    assert {place: kept.values() for place, kept in samples.leaves.items()} == {("a", "$.x.y"): [sealed], ("a", "$.z[*]"): [sealed[::-1]]}
    assert samples.too_long == {"b": 1}


def test_the_canary_is_known_by_its_key_and_by_its_column():
    by_key = TableSamples(Table("t", ("id", "a", "b"), ("id",), None, ()))
    by_key.take(("integrity_canary", "QUJDREVGR0hJSktMTU5PUFFSU1Q=", "short"))
    by_column = TableSamples(Table("t", ("id", "canary_value"), ("id",), None, ()))
    assert (by_key.canaries, by_column.canaries) == ({"a"}, {"canary_value"})
