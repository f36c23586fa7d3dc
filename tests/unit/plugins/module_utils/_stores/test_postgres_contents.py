# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is read out of the list of a dump, as pg_restore 15 writes it."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._stores.postgres_contents import (
    database_in,
    for_census,
    for_replacement,
    for_scratch,
    has_table,
)

LISTED = """\
;
; Archive created at 2026-11-23 02:00:00 UTC
;     dbname: my act
;     TOC Entries: 30
;
; Selected TOC Entries:
;
6; 2615 16389 SCHEMA - vault act
3400; 0 0 ACL - SCHEMA public act
2; 3079 16390 EXTENSION - citext
3401; 0 0 COMMENT - EXTENSION citext
7; 3079 16391 EXTENSION - citext2
216; 1259 16500 TABLE vault odd name act
217; 1259 16501 TABLE public accounts act
3390; 0 16500 TABLE DATA vault odd name act
3391; 0 16501 TABLE DATA public accounts act
3395; 0 0 BLOBS - BLOBS
3250; 2606 16600 CONSTRAINT public accounts accounts_pkey act
3251; 1259 16601 INDEX public by_token act
3252; 2606 16602 FK CONSTRAINT vault odd name odd_fkey act
3253; 2620 16603 TRIGGER public accounts touch act
"""


def numbers(entries):
    return [int(line.split(";")[0]) for line in entries.splitlines()]


def test_the_database_is_named():
    assert database_in(LISTED) == "my act"


def test_a_census_needs_tables_rows_and_primary_keys():
    assert numbers(for_census(LISTED)) == [6, 2, 7, 216, 217, 3390, 3391, 3250]


@pytest.mark.parametrize(
    ("without", "left_out"), [((), []), (("citext",), [2]), (("cite", "citext2"), [7])], ids=["none", "one", "names that begin alike"]
)
def test_a_scratch_copy_is_made_without_some_extensions(without, left_out):
    kept = numbers(for_scratch(LISTED, without=without))
    assert kept == [number for number in numbers(for_scratch(LISTED)) if number not in left_out]


def test_what_is_for_a_superuser_is_not_copied_and_others_publications_stay():
    listed = "9; 3466 16700 EVENT TRIGGER - tells admin\n10; 6104 16701 PUBLICATION - every admin\n11; 6104 16702 PUBLICATION - ours act\n"
    assert numbers(for_scratch(listed)) == [10, 11]
    assert numbers(for_replacement(listed, extensions=(), schemas=(), publications=("every",))) == [9, 11]


@pytest.mark.parametrize(
    ("extensions", "schemas", "left_out"),
    [
        ((), (), []),
        (("citext",), (), [2, 3401]),
        ((), ("vault", "public"), [6, 3400]),
        (("citext2", "plpgsql"), ("pub",), [7]),
    ],
    ids=["an empty database", "an extension", "schemas", "names that begin alike"],
)
def test_what_is_there_already_is_not_replaced(extensions, schemas, left_out):
    kept = numbers(for_replacement(LISTED, extensions=extensions, schemas=schemas))
    assert kept == [number for number in numbers(for_replacement(LISTED, extensions=(), schemas=())) if number not in left_out]


@pytest.mark.parametrize(
    ("schema", "table", "is_there"),
    [("vault", "odd name", True), ("vault", "odd", True), ("public", "account", False), ("vault", "accounts", False)],
    ids=["with a blank", "the start of one with a blank", "the start of another", "in another schema"],
)
def test_tables_are_found_by_name(schema, table, is_there):
    assert has_table(LISTED, schema, table) is is_there
