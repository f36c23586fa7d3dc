# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rewrap on a store in memory: each value ends under the target, once, or the whole run changes nothing."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import Field
from ansible_collections.servos.ops.plugins.module_utils._rotation.rewrap import Rewrapper, Tally, rewrap_tables
from hypothesis import given
from hypothesis import strategies as st

T, B, H = "aes256gcm_base64", "aes256gcm_raw", "aes256gcm_hex_columns"
COLUMN = Field("t", ("c",), T)


class Nonces:
    """Counts up, so that a nonce that is used twice is seen."""

    def __init__(self):
        self.given = []

    def __call__(self, size):
        self.given.append((len(self.given) + 1).to_bytes(size, "big"))
        return self.given[-1]


@pytest.fixture(scope="session")
def rewrap(memory, ciphers, mark):
    """Rewrap cells of t.c, or rows of t, from A and P to S; returns what lies there then, and the tally."""

    def run(rows, fields=(COLUMN,), names=("id", "c"), store=None, nonces=None, in_python=False):
        content = {number: (number, *(row if isinstance(row, tuple) else (row,))) for number, row in enumerate(rows, 1)}
        store = store or memory({"t": (names, ("id",), content)})
        tally = Tally()
        rewrapper = Rewrapper(target=ciphers("S")[mark("S")], sources=ciphers("AP"), nonce_of=nonces or Nonces(), tally=tally)
        rewrap_tables(store, [(store.tables()[0], list(fields), in_python)], rewrapper, tally)
        return [row[1:] if len(row) > 2 else row[1] for row in store.content["t"][2].values()], tally

    return run


def test_values_end_under_the_target_and_the_rest_stays(rewrap, sealed, reveal, moved, mark):
    cells = [sealed("A", "1"), sealed("P", "2"), sealed("S", "3"), None, "", "note", 7, 1.5, b"", b"blob", "x" * 61, sealed("A", "")]
    after, tally = rewrap(cells)
    assert [reveal.cell(cell) for cell in after] == moved([reveal.cell(cell) for cell in cells])
    assert after[2] == cells[2]
    assert (tally.rewrapped, tally.total, tally.kept, tally.rows) == ({mark("A"): 2, mark("P"): 1}, 3, 1, 12)


def test_every_value_gets_a_nonce_of_its_own(rewrap, sealed, gcm):
    nonces = Nonces()
    after, unused = rewrap(
        [sealed("A", "same")] * 5 + [json.dumps({"a": sealed("A", "same")})], (COLUMN, COLUMN._replace(path="$.a")), nonces=nonces
    )
    assert len(nonces.given) == 6
    assert len(set(after)) == 6


def test_blobs_stay_blobs_and_text_stays_text(rewrap, sealed, blob, reveal, moved):
    cells = [blob("A", "1"), sealed("A", "2").encode("ascii"), sealed("P", "3"), blob("P", "4")]
    after, tally = rewrap(cells, (COLUMN, COLUMN._replace(codec=B)))
    assert [reveal.cell(cell) for cell in after] == moved([reveal.cell(cell) for cell in cells])
    assert [type(cell) for cell in after] == [bytes, bytes, str, bytes]
    assert tally.total == 4


def test_json_keeps_its_form(rewrap, sealed):
    old, other = sealed("A", "1"), sealed("S", "2")
    form = '{ "n": 1.50, "t":"%s",\n "u": ["%s", "\\u0041"], "t": "%s" }'
    after, tally = rewrap([form % (old, other, old)], (COLUMN._replace(path="$.t"),))
    fresh = json.loads(after[0])["t"]
    first = after[0].split('"t":"')[1].split('"')[0]
    assert fresh != old
    assert after[0] == form % (first, other, fresh)
    assert (tally.total, tally.kept) == (2, 1)


def test_groups_of_columns_move_together(rewrap, columns, reveal):
    rows = [columns("A", "1"), (None, None, None), columns("S", "2"), ("", "", ""), columns("P", ""), columns("A", "gr\u00fc\u00df")]
    after, tally = rewrap(rows, (Field("t", ("c", "n", "g"), H),), ("id", "c", "n", "g"))
    assert [reveal.columns(row) for row in after] == [
        ("S", b"1"),
        None,
        ("S", b"2"),
        None,
        ("S", b""),
        ("S", "gr\u00fc\u00df".encode("utf-8")),
    ]
    assert [after[1], after[2], after[3]] == [rows[1], rows[2], rows[3]]
    assert (tally.total, tally.kept) == (3, 1)


FOREIGN = [
    ("text", lambda s, b, c: s("X", "1"), (COLUMN,)),
    ("looks-sealed", lambda s, b, c: "Z" * 44, (COLUMN,)),
    ("blob", lambda s, b, c: b("X", "1"), (COLUMN._replace(codec=B),)),
]


@pytest.mark.parametrize(("make", "fields"), [row[1:] for row in FOREIGN], ids=[row[0] for row in FOREIGN])
def test_a_value_that_nothing_opens_ends_the_run_by_name(rewrap, memory, sealed, blob, columns, make, fields):
    rows = {1: (1, sealed("A", "1")), 2: (2, make(sealed, blob, columns)), 3: (3, sealed("A", "2"))}
    store = memory({"t": (("id", "c"), ("id",), rows)})
    with pytest.raises(ForeignValueError, match=r"t\.c of id=2 opens under no known key; nothing was changed"):
        rewrap([], fields, store=store)
    assert store.content["t"][2] == rows


@pytest.mark.parametrize("missing", [0, 1, 2], ids=["ciphertext", "nonce", "tag"])
@pytest.mark.parametrize("nothing", [None, ""], ids=["null", "empty"])
def test_a_group_that_lost_a_part_ends_the_run(rewrap, columns, missing, nothing):
    row = list(columns("A", "value"))
    row[missing] = nothing
    with pytest.raises(ForeignValueError, match=r"t\.c of id=1"):
        rewrap([tuple(row)], (Field("t", ("c", "n", "g"), H),), ("id", "c", "n", "g"))


class _Lies:
    """A cipher that seals something else than it was given, as broken hardware would."""

    def __init__(self, real):
        self.decrypt = real.decrypt
        self.encrypt = lambda nonce, plaintext, aad: real.encrypt(nonce, plaintext[:-1] + b"?", aad)


@pytest.mark.parametrize("codec", [T, B, H])
def test_what_was_just_sealed_is_opened_before_it_is_stored(memory, ciphers, mark, sealed, blob, columns, codec):
    cells = {T: (sealed("A", "12"),), B: (blob("A", "12"),), H: columns("A", "12")}[codec]
    names = ("id", "c", "n", "g")[: len(cells) + 1]
    store = memory({"t": (names, ("id",), {1: (1, *cells)})})
    rewrapper = Rewrapper(target=_Lies(ciphers("S")[mark("S")]), sources=ciphers("A"), nonce_of=Nonces(), tally=Tally())
    with pytest.raises(StoreError, match="does not open again"):
        rewrap_tables(store, [(store.tables()[0], [Field("t", names[1:], codec)], False)], rewrapper, Tally())
    assert store.content["t"][2] == {1: (1, *cells)}


CELLS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from("APS"), st.text(max_size=8)),
        st.tuples(st.sampled_from("APS"), st.text(max_size=8), st.sampled_from(["blob", "json", "text in a blob"])),
        st.none(),
        st.integers(-5, 5),
        st.binary(max_size=27),
        st.text(max_size=39),
    ),
    max_size=8,
)


@given(spec=CELLS)
def test_any_column_is_rewrapped_whole_and_a_second_run_does_nothing(rewrap, sealed, blob, reveal, moved, spec):
    def made(cell):
        if not isinstance(cell, tuple):
            return cell
        form = cell[2] if len(cell) == 3 else "text"
        if form == "blob":
            return blob(*cell[:2])
        if form == "json":
            return json.dumps({"k": [sealed(*cell[:2]), cell[1]]}, ensure_ascii=False)
        return sealed(*cell[:2]) if form == "text" else sealed(*cell[:2]).encode("ascii")

    cells = [made(cell) for cell in spec]
    fields = (COLUMN, COLUMN._replace(codec=B), COLUMN._replace(path="$.k[*]"))
    after, tally = rewrap(cells, fields)
    assert [reveal.cell(cell) for cell in after] == moved([reveal.cell(cell) for cell in cells])
    assert tally.total == len([cell for cell in spec if isinstance(cell, tuple) and cell[0] != "S"])
    again, second = rewrap(after, fields)
    assert again == after
    assert (second.total, second.kept) == (0, len([cell for cell in spec if isinstance(cell, tuple)]))


class Noted:
    """Stands for the progress that a controller asks for."""

    is_watched = True

    def __init__(self):
        self.phases = []
        self.done = 0

    def begin(self, phase, total=None):
        self.phases.append((phase, total))

    def advance(self, count):
        self.done += count


@pytest.mark.parametrize(
    ("rows", "total"), [({"t": 3, "u": 9}, 6), (None, None)], ids=["as many as the census saw", "nobody knows how many"]
)
def test_progress_counts_each_field_of_each_row(memory, ciphers, mark, sealed, rows, total):
    store = memory({"t": (("id", "c", "d"), ("id",), {n: (n, sealed("A", "1"), sealed("A", "2")) for n in (1, 2, 3)})})
    tally, noted = Tally(), Noted()
    rewrapper = Rewrapper(target=ciphers("S")[mark("S")], sources=ciphers("A"), nonce_of=Nonces(), tally=tally)
    fields = [COLUMN, COLUMN._replace(path="$.a"), Field("t", ("d",), T)]
    rewrap_tables(store, [(store.tables()[0], fields, False)], rewrapper, tally, progress=noted, rows=rows)
    assert (noted.phases, noted.done, tally.total, tally.rows) == ([("rewrap", total)], 6, 6, 3)
