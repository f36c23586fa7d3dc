# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The census: which key opens each value of a database, found by trying.

One pass over every stored column of every table does two things at once: it counts the values of the fields that the
profile names, and it finds the fields that it does not name (an authenticated decryption is proof enough).
"""

from __future__ import annotations

import typing as t

from .._errors import ForeignValueError, ProfileError
from .._sealing.aes_gcm import Cipher
from .._stores.shapes import Table
from .._system.progress import Progress
from .column_count import FOREIGN_NAMED, FieldCount
from .counting import Canary, Reader, TableScan, columns_to_scan
from .profile import Field, Profile


class Census(t.NamedTuple):
    """What a pass over the whole database saw.

    C(fields) hold sealed values; C(undeclared) are those of them that the profile does not name although it names some.
    C(strangers) look sealed and open under nothing, in columns where nothing opens; where a profile names fields, only groups of
    columns are.
    C(foreign_at) names a few values that nothing opens although they are in fields. C(canary) is the fingerprint that the
    canary is under. C(rows) is how many rows were read, by table.
    """

    fields: tuple[FieldCount, ...]
    strangers: tuple[FieldCount, ...]
    undeclared: tuple[Field, ...]
    foreign_at: tuple[str, ...]
    canary: str | None
    canary_expected: bool
    tables: tuple[Table, ...]
    rows: t.Mapping[str, int]

    @property
    def sealed(self) -> dict[str, int]:
        """Number of values by the fingerprint that opens them."""
        total: dict[str, int] = {}
        for counted in self.fields:
            for mark, count in counted.sealed.items():
                total[mark] = total.get(mark, 0) + count
        return total

    @property
    def foreign(self) -> int:
        """Number of values that look sealed, where sealed values are at home, and that nothing opens."""
        return sum(counted.unopened for counted in self.fields)

    def side_effects(self) -> list[str]:
        """Say, by table with sealed values, what a rewrap sets off, and what shows the old values after it."""
        found = []
        for table in self.tables:
            values = sum(sum(counted.sealed.values()) for counted in self.fields if counted.field.table == table.name)
            if values and table.triggers:
                rows = min(values, self.rows.get(table.name, values))
                found.append(f"rewriting {table.name} updates up to {rows} rows, and triggers fire: {', '.join(table.triggers)}")
            if values and table.copies:
                found.append(
                    f"values of {table.name} stay under the old key in {', '.join(table.copies)} until REFRESH MATERIALIZED VIEW, "
                    "as far as they are shown there"
                )
        return found

    def refuse_wrong_key(self, known: t.Sequence[str]) -> None:
        """Raise if nothing at all opens although much looks sealed: where fields are found by what opens, that is the sign.

        Raises:
            ForeignValueError: naming the keys and a few columns.
        """
        if not self.sealed and self.strangers:
            count, names = sum(s.unopened for s in self.strangers), ", ".join(str(s.field) for s in self.strangers[:FOREIGN_NAMED])
            raise ForeignValueError(
                f"{' or '.join(known)} opens none of the {count} values that look sealed ({names} ...): this is not the key of this "
                "database; nothing was changed; name the right key (env_file and env_var, or old_key_file), or the right database"
            )

    def refuse_foreign(self, known: t.Sequence[str]) -> None:
        """Raise if any value opens under none of the known keys.

        Raises:
            ForeignValueError: naming table, column and primary key of the first few.
        """
        if not self.foreign:
            return
        opened, keys = sum(self.sealed.values()), " or ".join(known)
        at = "; ".join(self.foreign_at)
        ambiguous = sum(counted.ambiguous for counted in self.fields)
        if ambiguous:
            raise ForeignValueError(
                f"{ambiguous} values come out in the right form under more than one key of {keys}, and the cipher does not authenticate, "
                f"so that nothing tells which is theirs: {at}; nothing was changed; have the application write these values anew, or "
                "write a stricter oracle into the codec of the profile"
            )
        if not opened:
            raise ForeignValueError(
                f"{keys} opens none of the {self.foreign} sealed values ({at} ...): this is not the key of this database; "
                "nothing was changed; name the right key (env_file and env_var, or old_key_file), or the right database"
            )
        raise ForeignValueError(
            f"{self.foreign} of {self.foreign + opened} sealed values open neither under {keys}: {at}; nothing was changed; "
            "find the key they are under, mend or remove them, or list the column in ignore of the profile if it is not sealed"
        )


def take_census(
    reader: Reader,
    profile: Profile,
    ciphers: t.Mapping[str, Cipher],
    *,
    leave_out: t.Container[tuple[str, str]] = (),
    progress: Progress | None = None,
) -> Census:
    """Count the values of every field, by trying every known key.

    Args:
        ciphers: the known keys by fingerprint.
        leave_out: (table, column) of columns that need not be looked at now.
        progress: told of the rows that were read; of those of a table where there is nothing to read, at once.

    Raises:
        ProfileError: a table or column that the profile names is missing.
    """
    tables = reader.tables()
    _refuse_missing(profile, tables)
    progress = progress or Progress()
    about = _rows_about(reader, tables) if progress.is_watched else {}
    progress.begin("census", sum(about.values()) or None)
    order = list(ciphers.items())
    found: list[FieldCount] = []
    strangers: list[FieldCount] = []
    foreign_at: list[str] = []
    canary = Canary(profile)
    rows: dict[str, int] = {}
    for table in tables:
        columns = columns_to_scan(reader, table, profile, leave_out)
        if not columns:
            progress.advance(about.get(table.name, 0))
            continue
        scan = TableScan(table, columns, profile, order)
        scan.run(reader, canary, progress)
        rows[table.name] = scan.rows
        for counted in scan.counts():
            if not counted.is_field:
                if counted.unopened:
                    strangers.append(counted)
                continue
            found.append(counted)
            foreign_at.extend(
                f"{counted.field} of {reader.key_of(table, address)}"
                for address in counted.unopened_at[: FOREIGN_NAMED - len(foreign_at)]
            )
    undeclared = tuple(c.field for c in found if profile.fields and not c.is_declared)
    if profile.fields:
        # Single columns that look sealed are common; the group of columns that this application seals in is not.
        strangers = [counted for counted in strangers if len(counted.field.columns) > 1]
    return Census(tuple(found), tuple(strangers), undeclared, tuple(foreign_at), canary.mark, canary.is_expected, tuple(tables), rows)


def _rows_about(reader: Reader, tables: t.Sequence[Table]) -> dict[str, int]:
    """Estimate the rows of each table; empty where one of them is not known, since a sum without it would mislead."""
    found = {table.name: reader.rows_about(table) for table in tables}
    return {name: count for name, count in found.items() if count is not None} if None not in found.values() else {}


def _refuse_missing(profile: Profile, tables: t.Sequence[Table]) -> None:
    columns = {table.name: set(table.columns) for table in tables}
    for field in profile.fields:
        if field.table not in columns:
            if field.optional:
                continue
            there = ", ".join(sorted(columns)) or "none"
            raise ProfileError(
                f"the database has no table {field.table}, which the profile {profile.app} names (tables there: {there}); "
                "nothing was changed; name the right database, or correct the profile"
            )
        missing = [column for column in field.columns if column not in columns[field.table]]
        if missing:
            raise ProfileError(
                f"table {field.table} has no column {', '.join(missing)}, which the profile {profile.app} names; "
                "nothing was changed; correct the profile"
            )


__all__ = ("Census", "FieldCount", "Reader", "take_census")
