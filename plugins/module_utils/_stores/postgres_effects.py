# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What an update of a PostgreSQL table sets off, and what goes on showing the values from before it.

Sources: https://www.postgresql.org/docs/current/catalog-pg-trigger.html, https://www.postgresql.org/docs/current/catalog-pg-rewrite.html,
https://www.postgresql.org/docs/current/sql-refreshmaterializedview.html
"""

from __future__ import annotations

import typing as t

# The bits of tgtype are those of pg_trigger.h: 1 row, 2 before, 16 update, 64 instead. A trigger on a partition alone is its own.
_FIRED = """
SELECT tgrelid, tgname || ' (' || CASE WHEN tgtype & 2 <> 0 THEN 'before' WHEN tgtype & 64 <> 0 THEN 'instead of' ELSE 'after' END
  || CASE WHEN tgtype & 1 <> 0 THEN ' each row' ELSE ' each statement' END
  || coalesce(' that sets ' || (SELECT string_agg(attname, ' or ' ORDER BY attnum) FROM pg_attribute
       WHERE attrelid = tgrelid AND attnum = ANY (tgattr::int2[])), '') || ')'
FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' AND tgtype & 16 <> 0
UNION ALL
SELECT ev_class, rulename || CASE WHEN is_instead THEN ' (rule, instead)' ELSE ' (rule)' END
FROM pg_rewrite WHERE ev_type = '2' AND ev_enabled <> 'D' ORDER BY 2
"""
# A materialized view may be made from another view of the table.
_SHOWN = """
WITH RECURSIVE uses AS (
  SELECT DISTINCT d.refobjid AS source, r.ev_class AS view FROM pg_rewrite r JOIN pg_depend d ON d.objid = r.oid
  WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
), shown AS (SELECT source, view FROM uses UNION SELECT s.source, u.view FROM shown s JOIN uses u ON u.source = s.view)
SELECT DISTINCT s.source, quote_ident(n.nspname) || '.' || quote_ident(c.relname) FROM shown s
JOIN pg_class c ON c.oid = s.view JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND c.relispopulated ORDER BY 2
"""

Ask = t.Callable[[str], t.List[t.Any]]


class Effects:
    """By table, as its number in the server's catalogue: what an update fires, and which views keep a copy."""

    def __init__(self, ask: Ask) -> None:
        self._fired = _grouped(ask(_FIRED))
        self._shown = _grouped(ask(_SHOWN))

    def fired(self, numbers: t.Iterable[int]) -> tuple[str, ...]:
        """Return the triggers and rules of a table and its partitions, each once, with when they fire."""
        return _of(self._fired, numbers)

    def copies(self, numbers: t.Iterable[int]) -> tuple[str, ...]:
        """Return the materialized views that show something of a table, by quoted names."""
        return _of(self._shown, numbers)


def _grouped(rows: t.Iterable[t.Any]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for number, name in rows:
        found.setdefault(number, []).append(name)
    return found


def _of(found: t.Mapping[int, t.Sequence[str]], numbers: t.Iterable[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for number in numbers for name in found.get(number, ())))


__all__ = ("Effects",)
