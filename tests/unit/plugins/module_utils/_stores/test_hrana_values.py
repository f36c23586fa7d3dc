# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Cells on their way through JSON and SQL: each comes back as it was; and replies that are none."""

from __future__ import annotations

import copy
import json
import sqlite3

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import StoreError
from ansible_collections.servos.ops.plugins.module_utils._stores.hrana_values import (
    Statement,
    asked,
    batch_of,
    bound,
    cells_of,
    results_of,
)

CELLS = {
    "null": None,
    "zero": 0,
    "smallest": -(2**63),
    "largest": 2**63 - 1,
    "tenth": 0.1,
    "whole": 2.0,
    "great": 1.7976931348623157e308,
    "infinite": float("inf"),
    "less than all": float("-inf"),
    "empty text": "",
    "text": "Zürich \U0001f511",
    "digits": "007",
    "NUL inside": "a\0b",
    "not UTF-8": "a\udcff",
    "empty blob": b"",
    "blob": b"\x00\xff'",
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_a_cell_is_bound_and_read_as_it_is(cell):
    connection = sqlite3.connect(":memory:")
    connection.text_factory = lambda content: content.decode("utf-8", "strict")
    connection.execute("CREATE TABLE t (c)")
    mark, arguments = bound(cell)
    connection.execute(f"INSERT INTO t VALUES ({mark})", arguments)
    expressions = asked('"c"')
    found = cells_of(connection.execute(f"SELECT {expressions} FROM t").fetchone())
    connection.close()
    assert [(type(value), value) for value in found] == [(type(cell), cell)]


@pytest.mark.parametrize("row", [("text", 7), ("integer", "7"), ("blob", "x"), ("null", 0), ("real", "huge"), ("odd", 1)])
def test_a_cell_of_another_type_than_it_says_is_refused(row):
    with pytest.raises(StoreError, match="another type"):
        cells_of(row)


def test_a_batch_runs_nothing_after_a_statement_that_failed():
    batch = batch_of([Statement("A"), Statement("B", (1, None)), Statement("C")])["batch"]["steps"]
    assert [step.get("condition") for step in batch] == [None, {"type": "ok", "step": 0}, {"type": "ok", "step": 1}]
    assert batch[1]["stmt"]["args"] == [{"type": "integer", "value": "1"}, {"type": "null"}]
    assert json.dumps(batch)


STEP = {"rows": [[{"type": "blob", "base64": "AP8"}, {"type": "integer", "value": "9"}]], "affected_row_count": 1}
REPLY = {"type": "ok", "response": {"type": "batch", "result": {"step_results": [STEP], "step_errors": [None]}}}


def reply(change):
    made = copy.deepcopy(REPLY)
    change(made, made["response"]["result"])
    return made


def test_a_reply_is_read():
    results, error = results_of(REPLY, 1)
    assert (results[0].rows, results[0].affected_rows, error) == ([[b"\x00\xff", 9]], 1, None)


def test_an_error_ends_the_results():
    failed = reply(lambda made, result: result.update(step_results=[STEP, None], step_errors=[None, {"code": "X"}]))
    results, error = results_of(failed, 2)
    assert (len(results), error) == (1, {"code": "X"})


def test_a_statement_that_was_left_out_is_an_error():
    left_out = reply(lambda made, result: result.update(step_results=[None]))
    assert results_of(left_out, 1)[1] is not None


NO_REPLIES = {
    "another number": lambda made, result: result.update(step_results=[STEP, STEP]),
    "errors of another number": lambda made, result: result.update(step_errors=[]),
    "another type": lambda made, result: made["response"].update(type="execute"),
    "no rows": lambda made, result: result.update(step_results=[{"affected_row_count": 1}]),
    "no count": lambda made, result: result.update(step_results=[{"rows": []}]),
    "no Base64": lambda made, result: result.update(step_results=[dict(STEP, rows=[[{"type": "blob", "base64": "A"}]])]),
    "no number": lambda made, result: result.update(step_results=[dict(STEP, rows=[[{"type": "integer", "value": "x"}]])]),
    "unknown type": lambda made, result: result.update(step_results=[dict(STEP, rows=[[{"type": "odd", "value": "x"}]])]),
    "no response": lambda made, result: made.pop("response"),
}


@pytest.mark.parametrize("change", NO_REPLIES.values(), ids=NO_REPLIES)
def test_what_is_no_reply_is_refused(change):
    with pytest.raises(ValueError, match=r"result|type|number|base|literal"):
        results_of(reply(change), 1)
