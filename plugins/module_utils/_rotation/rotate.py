# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""One call of M(servos.ops.servos_key_rotate): observe, plan, act, and what is returned of it."""

from __future__ import annotations

import datetime
import typing as t

from .._errors import KeyFormatError, KeyMissingError
from .._keys.material import MasterKey, written_like
from .custody import refuse_unretired, remember_activation
from .escrow_gate import require_escrowed
from .installation import Installation
from .observe import Keys, Observation, read_keys
from .run import WalkOptions
from .walk import Walk


def rotate(
    installation: Installation,
    options: WalkOptions,
    *,
    old_key: MasterKey | None,
    new_key: MasterKey | None,
    expect_staged: bool,
    now: datetime.datetime,
    write: bool,
) -> dict[str, t.Any]:
    """Bring an installation as far as the options say.

    Args:
        old_key: the key that the data is under, where there is no env file; else None.
        new_key: the key to rotate to, where none is staged; it is staged first.
        expect_staged: count as if a key were staged (a dry run of staging and rotating in one go).
        write: False is the full dry run.
    """
    keys = _keys(installation, old_key, new_key)
    if new_key is not None and keys.active is not None:
        new_key = keys.staged = written_like(new_key, keys.active, installation.key_encoding)
        if options.until != "rewrapped":
            installation.configuration.require_writable(new_key)
    walk = Walk(installation, options, keys=keys if old_key is not None else None)
    before = walk.look(keys)
    target = walk.check(before)
    steps = walk.needs(before, target)
    # A dry run of staging and rotating in one go has not escrowed what it has not staged.
    if {"rewrap", "swap"} & set(steps) and not options.back and (write or not expect_staged):
        require_escrowed(installation, before.keys.staged)
    result = _described(before)
    if not write:
        result["tables"] = _tables(before, None, target, count_all=_is_all_ahead(before, expect_staged))
        result.update(_forecast(before, target, steps, expect_staged))
        result["_warnings"] = before.warnings() + before.warnings_of_forgotten()
        return result
    if new_key is not None:
        installation.keyring.write("staged", new_key)
    after = walk.act(before, target, steps) if steps else before
    if options.until == "activated" and not options.back and after.phase == "activated":
        remember_activation(installation, now=now)
    if "withdraw" in steps:
        # The same id must not count as done any more.
        installation.keyring.remember(rotation_id=None, withdrawn_id=installation.keyring.record().get("rotation_id"))
    result.update(after.as_result(), changed=bool(steps), steps=steps, timeline=installation.progress.timeline(), **walk.did)
    result["tables"] = _tables(before, after, target, count_all=False)
    result["_warnings"] = before.warnings() + walk.warnings + after.warnings_of_forgotten()
    result["_after"] = _shown(after)
    return result


def _keys(installation: Installation, old_key: MasterKey | None, new_key: MasterKey | None) -> Keys:
    if old_key is None:
        keys = read_keys(installation)
    else:
        ring = installation.keyring
        keys = Keys(active=old_key, staged=ring.read("staged"), previous=ring.read("previous"), withdrawn=ring.read("withdrawn"))
    if new_key is None:
        return keys
    if keys.active == new_key and keys.staged != new_key:
        raise KeyFormatError(
            f"the new key is the active key {new_key.fingerprint}, however it is written; nothing was changed; give another one"
        )
    if keys.staged is not None and keys.staged != new_key:
        raise KeyMissingError(
            f"{keys.staged.fingerprint} is staged in {installation.state_dir}, and {new_key.fingerprint} is given; "
            "nothing was changed; finish or roll back that rotation first"
        )
    if keys.staged is None:
        refuse_unretired(keys, installation.state_dir)
    keys.staged = new_key
    return keys


def _described(before: Observation) -> dict[str, t.Any]:
    seen = before.as_result()
    earlier = {f"{name}_before": seen[name] for name in ("phase", "census", "sealed_values")}
    return dict(seen, **earlier, _before=_shown(before))


def _forecast(before: Observation, target: MasterKey, steps: list[str], expect_staged: bool) -> dict[str, t.Any]:
    """Say what a real run would do and count, in the same words."""
    if _is_all_ahead(before, expect_staged):
        steps = ["rewrap", "swap", "restart"] if before.process_seen else ["rewrap", "swap"]
        count = sum(before.sight.sealed.values())
    else:
        count = before.sight.count_elsewhere(target.fingerprint)
    return {
        "changed": bool(steps), "steps": steps, "rewrapped": count, "healed": 0,
        "duration_s": 0.0, "values_per_s": 0, "window_s": None, "timeline": [],
        "_after": dict(_shown(before), steps=", ".join(steps) or "none", rewrapped=count),
    }


def _is_all_ahead(before: Observation, expect_staged: bool) -> bool:
    """Tell whether a key would be staged first, so that every value would be rewrapped."""
    return expect_staged and before.keys.staged is None and before.phase == "settled"


def _tables(before: Observation, after: Observation | None, target: MasterKey, *, count_all: bool) -> list[dict[str, t.Any]]:
    """Return one dictionary of counts a table.

    Args:
        after: what is seen after a real run; None for a dry run.
        count_all: whether the new key is not known yet, so that no value can be under it.
    """
    mark = None if count_all else target.fingerprint
    rows: dict[str, dict[str, t.Any]] = {}
    for counted in before.census.fields if before.census is not None else ():
        row = rows.setdefault(counted.field.table, {
            "table": counted.field.table, "scanned": 0, "rewrapped": 0, "already": 0, "empty": 0, "plain": 0, "foreign": 0,
        })
        sealed, already = sum(counted.sealed.values()), counted.sealed.get(mark or "", 0)
        found = {"rewrapped": sealed - already, "already": already, "empty": counted.empty, "plain": counted.plain}
        found["foreign"] = counted.unopened
        for name, count in found.items():
            row[name] += count
            row["scanned"] += count
    for counted in after.census.fields if after is not None and after.census is not None else ():
        left = sum(counted.sealed.values()) - counted.sealed.get(target.fingerprint, 0)
        if counted.field.table in rows:
            rows[counted.field.table]["rewrapped"] -= left
    return list(rows.values())


def _shown(seen: Observation) -> dict[str, t.Any]:
    """What a diff shows."""
    facts = seen.as_result()
    names = ("phase", "env_key", "process_key", "staged_key", "previous_key", "withdrawn_key", "census")
    return {name: facts[name] for name in names if name in facts}


__all__ = ("rotate",)
