# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The list of contents of a dump: what is in it, and what of it is put back. Pure.

Source: https://www.postgresql.org/docs/current/app-pgrestore.html (--list, --use-list)
"""

from __future__ import annotations

import re
import typing as t

_ENTRY = re.compile(r"^\d+; \d+ \d+ (?P<said>.*)$")
_DATABASE = re.compile(r"^;\s+dbname: (.*)$", re.M)
# What rows and primary keys do not need. An index of a constraint comes with that; the others cost time and prove nothing.
_NOT_FOR_A_CENSUS = (
    "INDEX ", "TRIGGER ", "FK CONSTRAINT ", "EVENT TRIGGER ", "RULE ", "MATERIALIZED VIEW DATA ", "PUBLICATION ", "SUBSCRIPTION ",
    "POLICY ", "ROW SECURITY ", "STATISTICS ", "BLOB", "ACL ", "COMMENT ", "DEFAULT ACL ", "SECURITY LABEL ",
)  # fmt: skip


def database_in(contents: str) -> str:
    """Return the name of the database that was dumped."""
    match = _DATABASE.search(contents)
    return match.group(1).strip() if match else ""


def for_census(contents: str, *, without: t.Iterable[str] = ()) -> str:
    """Return the entries that a census and a comparison of rows need; C(without) some extensions."""
    return for_scratch(_entries(contents, lambda said: not said.startswith(_NOT_FOR_A_CENSUS)), without=without)


def for_scratch(contents: str, *, without: t.Iterable[str] = ()) -> str:
    """Return the entries of a whole copy; C(without) some extensions, and without what only a superuser can make."""
    starts = ("EVENT TRIGGER ", *(f"EXTENSION - {name} " for name in without))
    return _entries(contents, lambda said: not (said + " ").startswith(starts))


def for_replacement(contents: str, *, extensions: t.Iterable[str], schemas: t.Iterable[str], publications: t.Iterable[str] = ()) -> str:
    """Return the entries that replace what a database holds: all but the extensions, schemas and publications that are there already.

    Those often belong to somebody else, and a schema may hold more than the dump has.
    """
    kept = [("EXTENSION", name) for name in extensions] + [("SCHEMA", name) for name in schemas]
    kept += [("PUBLICATION", name) for name in publications]
    starts = tuple(f"{what}{kind}{dash} {name} " for kind, name in kept for what, dash in (("", " -"), ("COMMENT - ", ""), ("ACL - ", "")))
    return _entries(contents, lambda said: not (said + " ").startswith(starts))


def has_table(contents: str, schema: str, table: str) -> bool:
    """Tell whether a table is in the dump."""
    start = f"TABLE {schema} {table} "
    return any(said.startswith(start) for said in _said(contents))


def _entries(contents: str, is_wanted: t.Callable[[str], bool]) -> str:
    lines = (line for line in contents.splitlines() for match in [_ENTRY.match(line)] if match and is_wanted(match.group("said")))
    return "".join(f"{line}\n" for line in lines)


def _said(contents: str) -> t.Iterator[str]:
    return (match.group("said") for match in map(_ENTRY.match, contents.splitlines()) if match)


__all__ = ("database_in", "for_census", "for_replacement", "for_scratch", "has_table")
