# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The life of the keys themselves: staged before any data is touched, in force by the swap, retired at the end."""

from __future__ import annotations

import datetime
import os
import socket
import typing as t

from .._errors import KeyFormatError, KeyMissingError, ServiceError
from .._keys.keyring import ROLES
from .._keys.material import MasterKey, written_like
from .._system import files
from .backups import list_backups
from .choosing import choose_key
from .due import judge_due, written
from .installation import Installation
from .observe import Keys, Observation, observe, read_keys

if t.TYPE_CHECKING:  # only the module that escrows needs what that needs
    from .escrowing import Escrowing


def stage(
    installation: Installation,
    *,
    new_key: MasterKey | None,
    rotation_id: str | None,
    max_age_days: float | None,
    allow_empty: bool,
    now: datetime.datetime,
    write: bool,
    escrow: Escrowing | None = None,
) -> dict[str, t.Any]:
    """Make the next key durable, if a rotation is due and none is under way.

    Args:
        new_key: the key to stage, or None to make one here.
        write: False only says what would happen.
        escrow: where the key is to lie before it is used; that of a rotation under way is completed.

    Returns:
        C(changed), C(rotation_pending) (a staged key waits, or would wait, to be put in force), C(reason), fingerprints.

    Raises:
        ServosError: the env file does not match the data, the new key is the active one, or an earlier one is not retired.
    """
    keyring = installation.keyring
    keys = read_keys(installation)
    active = _required(keys.active)
    if keys.staged is not None and keys.staged != active:
        if new_key is not None and new_key != keys.staged:
            raise KeyFormatError(
                f"{keys.staged.fingerprint} is staged already, and {new_key.fingerprint} is given: finish or roll back that rotation first"
            )
        if escrow is not None:
            escrow.require_means(write=write)
        if write and keyring.record().get("new_key") != keys.staged.fingerprint:
            # Killed between the key and its record.
            remember_staging(installation, keys.staged, active, rotation_id, now)
        return _with_escrow(_staged(keys, False, True, "a rotation is under way", None), escrow, keys.staged, write=write)
    record = keyring.record()
    if new_key is not None and not rotation_id:
        if active == new_key:
            if record.get("finished_key") != new_key.fingerprint:
                _refuse_same(active, new_key)
            return _staged(keys, False, False, "the given key is in force", None)
        due, reason, adopt, age = True, "a new key is given", False, None
    else:
        due, reason, adopt, age = judge_due(
            record, env_mark=active.fingerprint, rotation_id=rotation_id, max_age_days=max_age_days, now=now
        )
    if not due:
        if adopt and write:
            _start_clock(installation, active.fingerprint, now)
        return _staged(keys, adopt, False, reason, age)
    refuse_unretired(keys, keyring.state_dir)
    if new_key is not None and new_key == active:
        _refuse_same(active, new_key)
    seen = observe(installation, keys=keys)
    seen.require_usable(discover="include", allow_empty=allow_empty, canary_required=installation.profile.canary_required)
    if new_key is not None:
        new_key = written_like(new_key, active, installation.key_encoding)
        installation.configuration.require_writable(new_key)
    if escrow is not None:
        escrow.require_means(write=write)
    fresh = choose_key(installation, keys, active, given=new_key)
    if write:
        if escrow is not None:
            escrow.promise(fresh)
        keyring.write("staged", fresh)
        remember_staging(installation, fresh, active, rotation_id, now)
        keys = read_keys(installation)
    return _with_escrow(_staged(keys, True, True, reason, age), escrow, keys.staged, write=write)


def _with_escrow(
    result: dict[str, t.Any], escrow: Escrowing | None, staged: MasterKey | None, *, write: bool
) -> dict[str, t.Any]:
    """Complete the escrow of the staged key, or, without C(write), say what it lacks."""
    if escrow is None:
        return result
    if staged is not None and write:
        escrow.promise(staged)
        escrowed = escrow.fulfil(staged)
    else:
        escrowed = bool(escrow.facts(staged)["missing"])
    return dict(result, changed=result["changed"] or escrowed, escrow=escrow.facts(staged))


def remember_staging(
    installation: Installation, fresh: MasterKey, active: MasterKey, rotation_id: str | None, now: datetime.datetime
) -> None:
    """Write down which rotation a staged key is of."""
    installation.keyring.remember(
        rotation_id=rotation_id, staged_at=written(now), old_key=active.fingerprint, new_key=fresh.fingerprint
    )


def _staged(keys: Keys, changed: bool, pending: bool, reason: str, age_days: float | None) -> dict[str, t.Any]:
    staged, previous = keys.staged, keys.previous
    return {
        "changed": changed,
        "rotation_pending": pending,
        "reason": reason,
        "key_age_days": round(age_days, 1) if age_days is not None else None,
        "env_key": _required(keys.active).fingerprint,
        "staged_key": staged.fingerprint if staged is not None else None,
        "previous_key": previous.fingerprint if previous is not None else None,
    }


def _required(active: MasterKey | None) -> MasterKey:
    if active is None:
        raise KeyMissingError("the env file holds no key; put the active key into it (env_file, env_var)")
    return active


def _refuse_same(active: MasterKey, new_key: MasterKey) -> t.NoReturn:
    """The same bytes in hex, in Base64, or in another letter case are the same key."""
    raise KeyFormatError(
        f"the new key is the active key {active.fingerprint}"
        + (f", only written as {new_key.encoding}" if new_key.encoding != active.encoding else "")
        + "; nothing was changed; give another one, or none to have one made"
    )


def refuse_unretired(keys: Keys, state_dir: str) -> None:
    """Refuse a new rotation while a key of the last one is kept: there is one place for it.

    Raises:
        KeyMissingError: naming the key.
    """
    for role in ("previous", "withdrawn"):
        kept = getattr(keys, role)
        if kept is not None:
            raise KeyMissingError(
                f"the {role} key {kept.fingerprint} of the last rotation is still kept in {state_dir}; "
                "retire it first (playbook servos.ops.retire), then rotate again"
            )
    if keys.dropped:
        raise KeyMissingError(
            f"the list of keys that the last rotation took out of the configuration is still kept in {state_dir}; "
            "retire it first (playbook servos.ops.retire), then rotate again"
        )


def activate(installation: Installation, *, write: bool) -> dict[str, t.Any]:
    """Put the staged key in force in the env file, if it is not.

    Raises:
        KeyMissingError: the data is not all under the staged key, so that the application could not read it.
    """
    keys = read_keys(installation)
    active = _required(keys.active)
    if keys.staged is None or keys.staged == active:
        seen = observe(installation, keys=keys, with_census=False)
        return dict(seen.as_result(), changed=False)
    seen = observe(installation, keys=keys)
    census = seen.require_usable(discover="include", allow_empty=True, canary_required=False)
    elsewhere = seen.sight.count_elsewhere(keys.staged.fingerprint)
    if elsewhere:
        raise KeyMissingError(
            f"{elsewhere} of {sum(census.sealed.values())} values are not under the staged key {keys.staged.fingerprint} yet; "
            "nothing was changed; rewrap them first (servos_key_rotate with until=rewrapped)"
        )
    installation.configuration.require_swappable_list()
    if write:
        installation.keyring.write("previous", active)
        installation.write_env_key(keys.staged)
        seen = observe(installation)
    return dict(seen.as_result(), changed=True)


def retire(
    installation: Installation, *, allow_empty: bool, now: datetime.datetime, write: bool, readable_backups: str | None = None
) -> dict[str, t.Any]:
    """Destroy the previous (and a withdrawn) key once nothing needs it, and the staged copy of the active one.

    Args:
        readable_backups: a directory of backups that count as needing their key, or None.

    Raises:
        ServosError: a value or such a backup still needs it, a process runs on it, or a rotation is under way.
    """
    seen = observe(installation)
    keys = seen.keys
    active = _required(keys.active)
    places = [installation.kept_list.path, *map(installation.keyring.path_of, ROLES)]
    doomed = [path for path in places if os.path.lexists(path)]
    if keys.staged is not None and keys.staged != active:
        raise KeyMissingError(
            f"the rotation to {keys.staged.fingerprint} is under way (phase {seen.phase}); nothing was destroyed; "
            "finish it or roll it back first"
        )
    if doomed:
        _refuse_retire(seen, active, allow_empty=allow_empty)
        if readable_backups:
            _refuse_unreadable(installation, readable_backups, _retired(keys, active), now)
    result = dict(seen.as_result(), changed=bool(doomed), retired=_retired(keys, active))
    if _retired(keys, active) and seen.holders.unread:
        result["_warnings"] = [
            f"{seen.holders.unread} processes of other users may not be looked at, so one of them may still run with the old key: "
            "run as root (become: true) to be sure"
        ]
    if doomed and write:
        # The env file is the only other place of the active key: it must be on disk before its copy goes.
        files.fsync_file(os.path.realpath(str(installation.env_file)))
        # First of all: a kept list without a previous key would look like none of this.
        installation.kept_list.destroy()
        for role in ROLES:
            installation.keyring.destroy(role)
        files.clear_leftover_of(str(installation.env_file))
        installation.keyring.remember(retired_at=written(now))
        result.update(observe(installation).as_result())
    return result


def _retired(keys: Keys, active: MasterKey) -> list[str]:
    kept = [key for key in (keys.previous, keys.withdrawn, *keys.dropped) if key is not None and key not in (active, *keys.listed)]
    return list(dict.fromkeys(key.fingerprint for key in kept))


def _refuse_retire(seen: Observation, active: MasterKey, *, allow_empty: bool) -> None:
    seen.require_usable(discover="include", allow_empty=allow_empty, canary_required=False)
    # What the configuration goes on listing is not destroyed.
    staying = {key.fingerprint for key in (active, *seen.keys.listed)}
    needed = {mark: count for mark, count in seen.sight.sealed.items() if mark not in staying}
    if needed:
        counts = ", ".join(f"{count} under the {seen.keys.role_of(mark)} key {mark}" for mark, count in needed.items())
        raise KeyMissingError(f"values still need it: {counts}; nothing was destroyed; run servos.ops.rotate again, then retire")
    if seen.process_seen and seen.process != active.fingerprint:
        raise ServiceError(
            f"the service runs on {seen.process or 'no key (it is stopped)'} and not on the active key {active.fingerprint}; "
            "nothing was destroyed; restart it and verify first"
        )
    forgotten = seen.forgotten()
    if forgotten:
        named = ", ".join(f"{holder} with the {seen.keys.role_of(holder.mark)} key {holder.mark}" for holder in forgotten)
        raise ServiceError(
            f"{socket.gethostname()} still runs {named}: what it seals could not be opened any more; nothing was destroyed; "
            "stop or restart it, run servos.ops.rotate again, then retire"
        )


def _refuse_unreadable(installation: Installation, backup_dir: str, doomed: t.Sequence[str], now: datetime.datetime) -> None:
    """Refuse to make a backup unreadable that is to be readable until its time has come."""
    notes = list_backups(backup_dir, app=installation.profile.app, database=installation.place().identity)
    for note in notes:
        needed = [mark for mark in note.get("keys") or {} if mark in doomed]
        if needed and str(note.get("expires_at", "")) >= written(now):
            raise KeyMissingError(
                f"the backup {note['path']} needs {', '.join(needed)} until {note.get('expires_at')}; nothing was destroyed; "
                "wait until then, remove it, or let backups go with their key (key_retire_backups)"
            )


def remember_activation(installation: Installation, *, now: datetime.datetime) -> None:
    """Start the clock of the key that is now in force, and note that the rotation is finished."""
    keys = read_keys(installation)
    active = _required(keys.active)
    record = installation.keyring.record()
    ages = record.get("in_force_since")
    if record.get("finished_key") == active.fingerprint and isinstance(ages, dict) and active.fingerprint in ages:
        return
    _start_clock(installation, active.fingerprint, now)
    installation.keyring.remember(finished_key=active.fingerprint, finished_at=written(now))


def fingerprints_of(installation: Installation) -> dict[str, str | None]:
    """Return the fingerprint of each key, by role; what a diff of the keyring shows."""
    keys = read_keys(installation)
    found = {"env_key": keys.active, "staged_key": keys.staged, "previous_key": keys.previous, "withdrawn_key": keys.withdrawn}
    return {name: key.fingerprint if key is not None else None for name, key in found.items()}


def _start_clock(installation: Installation, mark: str, now: datetime.datetime) -> None:
    ages = installation.keyring.record().get("in_force_since")
    kept = dict(ages) if isinstance(ages, dict) else {}
    kept.setdefault(mark, written(now))
    installation.keyring.remember(in_force_since=kept)


__all__ = ("activate", "fingerprints_of", "refuse_unretired", "remember_activation", "remember_staging", "retire", "stage")
