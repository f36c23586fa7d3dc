# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The step that writes data: one transaction that brings every value under one key, or changes nothing.

In parts, where that is asked for: each is committed, and what is left is seen by the next census.
"""

from __future__ import annotations

import contextlib
import os
import time
import typing as t

from .._errors import ProfileError, ServosError, StoreError, UndeclaredFieldError
from .._keys.material import MasterKey
from .._sealing.aes_gcm import Cipher
from .._stores.shapes import Batches, Table
from .census import Census, take_census
from .installation import Installation
from .observe import Keys
from .profile import Field
from .rewrap import Rewrapper, Tally, rewrap_tables


class DataDone(t.NamedTuple):
    """C(rewrapped) values were sealed anew, C(kept) were under the target already, in C(duration_s) seconds."""

    rewrapped: int
    kept: int
    duration_s: float


class Pace(t.NamedTuple):
    """How much of the data is committed at a time: all (0), or about C(batch_size) rows, with C(batch_pause_s) seconds between two.

    C(batch_workers) processes do so, each in a part of the table of its own.
    """

    batch_size: int = 0
    batch_pause_s: float = 0.0
    batch_workers: int = 1


AT_ONCE = Pace()
_LONGEST_PAUSE_S = 3600
_MOST_WORKERS = 16


def rewrap_data(
    installation: Installation,
    *,
    keys: Keys,
    target: MasterKey,
    census: Census,
    include_new_fields: bool,
    lock_timeout_s: float,
    overwrite_freed: bool = False,
    before_commit: t.Callable[[], None] = lambda: None,
    pace: Pace = AT_ONCE,
) -> DataDone:
    """Bring all values under C(target), in one transaction or in parts.

    Args:
        census: which fields there are; columns that it did not count as fields are searched again inside the
            transaction, since the application may have filled them in the meantime.
        include_new_fields: whether a field that is found only then is rewrapped too, or ends the transaction.
        overwrite_freed: as the store's C(writing).
        before_commit: called last of all inside the transaction, if any value was rewrapped; what it raises ends it. Of parts it
            is called before the first.
        pace: how much is committed at a time.

    Raises:
        ForeignValueError, UndeclaredFieldError, StoreError: nothing was changed; or, of parts, the error says what stays.
    """
    ciphers = keys.ciphers()
    sources = {mark: cipher for mark, cipher in ciphers.items() if mark != target.fingerprint}
    tally = Tally()
    rewrapper = Rewrapper(
        target=Cipher(target.reveal_bytes()), sources=sources, nonce_of=os.urandom, tally=tally
    )
    started = time.monotonic()
    database = installation.database()
    installation.progress.begin("lock")
    with _opened(database, tally, lock_timeout_s, overwrite_freed, pace) as writer:
        fields = [counted.field for counted in census.fields]
        # In a column of JSON the rewrap cannot tell which places matter, so that one is counted again.
        in_json = {(field.table, field.columns[0]) for field in fields if field.path is not None}
        settled_columns = {(field.table, column) for field in fields for column in field.columns} - in_json
        late = take_census(writer, installation.profile, ciphers, leave_out=settled_columns, progress=installation.progress)
        late.refuse_foreign(keys.described())
        new_fields = [counted.field for counted in late.fields if counted.field not in fields]
        if new_fields and not include_new_fields:
            names = ", ".join(str(field) for field in new_fields)
            raise UndeclaredFieldError(f"{names} began to hold sealed values during the run; nothing was changed; run again")
        # Where triggers fire, only rows that change are written; and text that is not UTF-8 cannot pass through a function.
        broken = {table.name for table in writer.tables() if table.triggers}
        broken |= {c.field.table for c in (*census.fields, *late.fields) if c.has_broken_text}
        plan = _plan(fields + new_fields, writer.tables(), broken)
        if pace.batch_size:
            before_commit()
        rewrap_tables(writer, plan, rewrapper, tally, progress=installation.progress, rows={**late.rows, **census.rows})
        if database.is_remote or any(table.triggers for table, unused_fields, unused_way in plan):
            _refuse_leftovers(installation, writer, ciphers, target)
        if tally.total and not pace.batch_size:
            before_commit()
    return DataDone(tally.total, tally.kept, time.monotonic() - started)


def require_pace(database: t.Any, pace: Pace) -> None:
    """Refuse parts where the store has none.

    Raises:
        ProfileError: naming the database, or the number.
    """
    if not 1 <= pace.batch_workers <= _MOST_WORKERS or (pace.batch_workers > 1 and not pace.batch_size):
        raise ProfileError(
            f"batch_workers {pace.batch_workers} is out of range (1 to {_MOST_WORKERS}), or there is no batch_size for it; nothing was "
            "changed; correct them"
        )
    if pace.batch_size < 0 or not 0 <= pace.batch_pause_s <= _LONGEST_PAUSE_S:
        raise ProfileError(
            f"batch_size {pace.batch_size} or batch_pause {pace.batch_pause_s:g} is out of range (from 0 on; a pause to "
            f"{_LONGEST_PAUSE_S} s); nothing was changed; correct them"
        )
    if pace.batch_size and not hasattr(database, "batching"):
        raise ProfileError(
            f"batch_size is for PostgreSQL, and {database.name} has one writer at a time however short its transactions are; nothing was "
            "changed; leave batch_size out"
        )


@contextlib.contextmanager
def _opened(database: t.Any, tally: Tally, lock_timeout_s: float, overwrite_freed: bool, pace: Pace) -> t.Iterator[t.Any]:
    """Open a writer of one transaction, or of parts; what ends the latter says how far it came."""
    if not pace.batch_size:
        with database.writing(lock_timeout_s=lock_timeout_s, overwrite_freed=overwrite_freed) as writer:
            yield writer
        return
    require_pace(database, pace)
    batches = Batches(pace.batch_size, pace.batch_pause_s, pace.batch_workers, tally)
    parts: list[t.Any] = []
    try:
        with database.batching(lock_timeout_s=lock_timeout_s, batches=batches) as writer:
            parts.append(writer)
            yield writer
    except ServosError as error:
        if not parts or not parts[0].committed:
            raise
        said = str(error).replace("nothing was changed by us", "nothing was changed")
        stays = f"{parts[0].rewritten} rows were committed before, in {parts[0].committed} batches, and stay so; both keys are kept"
        if "nothing was changed" in said:
            raise type(error)(said.replace("nothing was changed", stays, 1), **error.facts) from None
        raise type(error)(f"{said}; {stays}", **error.facts) from None


def _plan(fields: t.Sequence[Field], tables: t.Sequence[Table], broken: t.Container[str]) -> list[tuple[Table, list[Field], bool]]:
    grouped: dict[str, list[Field]] = {}
    for field in fields:
        grouped.setdefault(field.table, []).append(field)
    return [(table, grouped[table.name], table.name in broken) for table in tables if table.name in grouped]


def _refuse_leftovers(installation: Installation, writer: t.Any, ciphers: t.Mapping[str, Cipher], target: MasterKey) -> None:
    """A trigger may have copied old values elsewhere, or a server may not have done what it said: look before the commit."""
    after = take_census(writer, installation.profile, ciphers, progress=installation.progress)
    left = [c for c in after.fields if any(mark != target.fingerprint for mark in c.sealed)]
    if left:
        names = ", ".join(str(counted.field) for counted in left)
        if not any(table.triggers for table in after.tables):
            raise StoreError(f"{names} still holds values under another key just before the commit; nothing was changed; run again")
        raise StoreError(
            f"a trigger copied values under the old key into {names} while rows were rewritten; nothing was changed; "
            "drop the trigger for the time of the rotation"
        )


__all__ = ("AT_ONCE", "DataDone", "Pace", "require_pace", "rewrap_data")
