# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Values and statements in the words of Hrana, the protocol of libSQL servers, so that every cell survives the way. Pure.

JSON has no place for text that is not UTF-8 (sqld answers 500), nor for an infinite number (it becomes null). So a cell is asked for
with its type, and its text as a blob; and such values are bound in a way that does not need one.

Source: https://github.com/tursodatabase/libsql/blob/main/docs/HTTP_V2_SPEC.md
"""

from __future__ import annotations

import base64
import binascii
import typing as t

from .._errors import StoreError

CELL_WIDTH = 2
_INFINITE = {"inf": float("inf"), "-inf": float("-inf")}


class Statement(t.NamedTuple):
    """One SQL statement and its arguments."""

    sql: str
    arguments: t.Sequence[t.Any] = ()


class Result(t.NamedTuple):
    """What a statement returned."""

    rows: list[list[t.Any]]
    affected_rows: int


def quoted(name: str) -> str:
    """Quote an identifier. Source: https://www.sqlite.org/lang_keywords.html"""
    return '"' + name.replace('"', '""') + '"'


def asked(column: str) -> str:
    """Return the two expressions that a cell is read by; C(column) is quoted."""
    return (
        f"typeof({column}), CASE typeof({column}) WHEN 'text' THEN CAST({column} AS BLOB) "
        f"WHEN 'real' THEN CASE {column} WHEN 9e999 THEN 'inf' WHEN -9e999 THEN '-inf' ELSE {column} END ELSE {column} END"
    )


def cells_of(row: t.Sequence[t.Any]) -> tuple[t.Any, ...]:
    """Return the cells of a row that was asked for by C(asked); text that is not UTF-8 as SQLite's own reader returns it here."""
    return tuple([_cell(row[place], row[place + 1]) for place in range(0, len(row), CELL_WIDTH)])


def _cell(kind: t.Any, value: t.Any) -> t.Any:
    if kind == "text" and isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if kind == "real" and isinstance(value, str) and value in _INFINITE:
        return _INFINITE[value]
    if kind == "real" and isinstance(value, int):
        return float(value)
    if _KINDS.get(kind) is None or not isinstance(value, _KINDS[kind]):
        raise StoreError("the database's server returns a value of another type than it says; nothing was changed; see to the server")
    return value


_KINDS: dict[t.Any, t.Any] = {"null": type(None), "integer": int, "real": float, "blob": bytes}


def bound(value: t.Any) -> tuple[str, list[t.Any]]:
    """Return the expression for a value, and the arguments that it needs."""
    if isinstance(value, str):
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            return "CAST(? AS TEXT)", [value.encode("utf-8", "surrogateescape")]
        return ("CAST(? AS TEXT)", [value.encode("utf-8")]) if "\0" in value else ("?", [value])
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return ("9e999" if value > 0 else "-9e999"), []
    return "?", [value]


def batch_of(statements: t.Sequence[Statement]) -> dict[str, t.Any]:
    """Return the request that runs statements one after the other, and none after one that failed."""
    steps: list[dict[str, t.Any]] = []
    for number, statement in enumerate(statements):
        arguments = [_argument(value) for value in statement.arguments]
        step: dict[str, t.Any] = {"stmt": {"sql": statement.sql, "args": arguments, "want_rows": True}}
        if number:
            step["condition"] = {"type": "ok", "step": number - 1}
        steps.append(step)
    return {"type": "batch", "batch": {"steps": steps}}


def _argument(value: t.Any) -> dict[str, t.Any]:
    if value is None:
        return {"type": "null"}
    if isinstance(value, int):
        return {"type": "integer", "value": str(int(value))}
    if isinstance(value, float):
        return {"type": "float", "value": value}
    if isinstance(value, bytes):
        return {"type": "blob", "base64": base64.b64encode(value).decode("ascii")}
    return {"type": "text", "value": value}


def results_of(response: t.Any, count: int) -> tuple[list[Result], t.Any]:
    """Return the results of a batch of C(count) statements up to the first that failed, and that one's error or None.

    Raises:
        ValueError: the reply is not one to this request.
    """
    try:
        result = response["response"]["result"]
        done, errors = result["step_results"], result["step_errors"]
        if response["type"] != "ok" or response["response"]["type"] != "batch" or len(done) != count or len(errors) != count:
            raise ValueError("another number of results")
        results: list[Result] = []
        for step, error in zip(done, errors):
            if error is not None or step is None:
                return results, error if error is not None else {"message": "a statement was left out", "code": ""}
            results.append(Result([[_value(cell) for cell in row] for row in step["rows"]], int(step["affected_row_count"])))
    except (TypeError, KeyError, IndexError, AttributeError, binascii.Error):
        raise ValueError("not a result") from None
    return results, None


def _value(cell: t.Mapping[str, t.Any]) -> t.Any:
    kind = cell["type"]
    if kind == "null":
        return None
    if kind == "integer":
        return int(cell["value"])
    if kind == "float":
        return cell["value"]
    if kind == "text":
        return str(cell["value"])
    if kind == "blob":
        content = cell["base64"]
        return base64.b64decode(content + "=" * (-len(content) % 4))  # the servers leave the padding out
    raise ValueError("a type that there is not")


__all__ = ("CELL_WIDTH", "Result", "Statement", "asked", "batch_of", "bound", "cells_of", "quoted", "results_of")
