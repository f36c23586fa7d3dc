# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A control host that shares its database with others: another one rewraps the data, and this one follows.

It is ready, it takes the new key and stops its service, and when the data is under one key it brings env file and service to that
one, whichever it is. It never writes data, so a service that does not come up here is no reason to take anything back.
"""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import typing as t

from .._errors import KeyMissingError, ServiceError, StoreError
from .._keys.material import MasterKey, written_like
from .._stores.postgres import PostgresDatabase
from .._system import files
from .custody import refuse_unretired, remember_activation, remember_staging
from .installation import Installation
from .observe import Keys, Observation, observe, read_keys
from .run import Run, WalkOptions
from .window import Window


class FollowOptions(t.NamedTuple):
    """How to follow.

    C(mark) is the fingerprint of the key that the host which rewrapped the data runs on; None where it came to no good end, and
    then the data alone says which key to follow, looked at while nobody can write. C(back) is a rollback.
    """

    mark: str | None
    back: bool
    walk: WalkOptions


def be_ready(installation: Installation) -> dict[str, t.Any]:
    """Look whether this host could take part: keys, process, a database that answers, an env file that can be swapped. No effects.

    Raises:
        ServosError: it could not.
    """
    seen = observe(installation, with_census=False)
    if seen.keys.active is None:
        raise KeyMissingError("the env file holds no key; put the active key into it (env_file, env_var)")
    files.require_replaceable(str(installation.env_file))
    installation.configuration.require_swappable_list()
    installation.database().read(lambda reader: len(reader.tables()))
    return dict(seen.as_result(), changed=False, database_id=_database_id(installation))


def _database_id(installation: Installation) -> str:
    """Name the database so that two hosts can compare: a file is on one machine, and a server's URL can be written in many ways."""
    identity, database = installation.place().identity, installation.database()
    if isinstance(database, PostgresDatabase):
        identity = database.server_mark()
    elif identity.startswith("/"):
        identity = f"{_machine()} {identity}"
    return hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _machine() -> str:
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        if os.path.exists(path):
            return files.read_file(path, limit_bytes=4096).decode("ascii", "replace").strip()
    return socket.gethostname()


def take_key(
    installation: Installation, key: MasterKey | None, *, rotation_id: str | None, now: datetime.datetime, write: bool
) -> bool:
    """Stage the key that another control host has staged, unless it is in force here. Returns whether it was not here yet.

    Raises:
        KeyMissingError: another key is kept here that a value may need.
    """
    keys = read_keys(installation)
    active = keys.active
    if active is None:
        raise KeyMissingError("the env file holds no key; put the active key into it (env_file, env_var)")
    if key is None or key in (active, keys.staged):
        return False
    key = written_like(key, active, installation.key_encoding)
    installation.configuration.require_writable(key)
    if keys.staged not in (None, active):
        _refuse_needed(installation, keys)
    else:
        refuse_unretired(keys, installation.state_dir)
    if write:
        if keys.staged is not None:
            installation.keyring.destroy("staged")
        installation.keyring.write("staged", key)
        remember_staging(installation, key, active, rotation_id, now)
    return True


def _refuse_needed(installation: Installation, keys: Keys) -> None:
    """A key that was staged here by a run of this host's own gives way, if no value is under it."""
    staged, seen = keys.staged, observe(installation, keys=keys)
    if staged is not None and seen.sight.sealed.get(staged.fingerprint):
        raise KeyMissingError(
            f"{seen.sight.sealed[staged.fingerprint]} values are under {staged.fingerprint}, which is staged here, and another control "
            f"host has staged another key; nothing was changed; put this host first in the group of its installation and run the "
            "playbook again: it leads then, and finishes its rotation"
        )


def follow(
    installation: Installation, options: FollowOptions, *, expect_staged: bool, now: datetime.datetime, write: bool
) -> dict[str, t.Any]:
    """Bring env file and service to the key that the data is under; what they are on already is left alone.

    Args:
        expect_staged: count as if a key were staged and the data under it (a dry run).

    Raises:
        ServosError: the service was left stopped, or runs on the key of before; the text says which, and what comes next.
    """
    seen = _look(installation, is_alone=options.mark is None and write, lock_timeout_s=options.walk.lock_timeout_s)
    target = _target(seen, options.mark)
    result = dict(seen.as_result())
    result.update({f"{name}_before": result[name] for name in ("phase", "census", "sealed_values")})
    result["_before"] = _shown(seen)
    steps = _steps(seen, target, options)
    done: dict[str, t.Any] = {"rewrapped": 0, "healed": 0, "duration_s": 0.0, "values_per_s": 0, "window_s": None, "tables": []}
    if not write:
        if expect_staged and not steps:
            steps = ["swap", "restart"] if seen.process_seen else ["swap"]
        return dict(result, changed=bool(steps), steps=steps, _warnings=seen.warnings(), _after=_shown(seen), **done)
    # Whoever goes to the key of before has nothing to keep: the one that is left is the staged one.
    is_returning = options.back or target == seen.keys.previous
    run = Run(installation, options.walk._replace(back=is_returning))
    _act(run, seen, target, steps)
    after = observe(installation, with_census=False)
    after.census = seen.census
    if after.process_seen and after.process != target.fingerprint:
        raise ServiceError(
            f"the service runs on {after.process or 'no key'} and not on {target.fingerprint} after its restart; "
            "see where it reads its key from"
        )
    if options.back:
        if "withdraw" in steps:
            installation.keyring.remember(rotation_id=None, withdrawn_id=installation.keyring.record().get("rotation_id"))
    elif after.phase == "activated":
        remember_activation(installation, now=now)
    result.update(after.as_result(), changed=bool(steps), steps=steps, **dict(done, **run.did))
    result.update(_after=_shown(after), _warnings=seen.warnings() + run.warnings + after.warnings_of_forgotten())
    return result


def _look(installation: Installation, *, is_alone: bool, lock_timeout_s: float) -> Observation:
    """Where nobody knows whether another host is still at work, nobody writes while we look."""
    if not is_alone:
        return observe(installation)
    with installation.database().writing(lock_timeout_s=lock_timeout_s) as writer:
        return observe(installation, reader=writer)


def _target(seen: Observation, mark: str | None) -> MasterKey:
    """Return the one key that opens every value.

    Raises:
        StoreError: there is no such one, or it is not the one that it should be.
        KeyMissingError: the key that it should be is not here.
    """
    census = seen.census
    if census is None:
        raise StoreError("the data was not looked at; this is a fault of servos.ops: report it")
    known = seen.keys.by_fingerprint()
    marks = [one for one, count in seen.sight.sealed.items() if count]
    # Values that no key opens may be why the other host wrote nothing. The service ran beside them before, and does again.
    if mark is not None or marks != [seen.sight.env]:
        census.refuse_foreign(seen.keys.described())
    if mark is None:
        if len(marks) > 1:
            raise StoreError(
                f"the values are under several keys ({', '.join(sorted(marks))}), so the service cannot run on either and stays as it is; "
                "run the playbook again, which finishes"
            )
        mark = marks[0] if marks else seen.sight.env
    if mark not in known:
        raise KeyMissingError(f"the key {mark} of the other control host is not here, so nothing was changed; run the playbook again")
    elsewhere = seen.sight.count_elsewhere(mark)
    if elsewhere:
        raise StoreError(
            f"{elsewhere} of {sum(seen.sight.sealed.values())} values that this host sees are not under {mark}, under which the other "
            "control host has brought its data: this is another database, or a process with the old key still writes to it; nothing was "
            "changed here; correct the group of servos_installation, or run the playbook again"
        )
    return known[mark]


def _steps(seen: Observation, target: MasterKey, options: FollowOptions) -> list[str]:
    sight, keys = seen.sight, seen.keys
    steps = ["swap"] if sight.env != target.fingerprint else []
    if seen.process_seen and sight.process != target.fingerprint and (steps or not sight.is_retired or sight.process is not None):
        steps.append("restart")
    if options.back and keys.staged not in (None, target):
        steps.append("withdraw")
    return steps


def _act(run: Run, seen: Observation, target: MasterKey, steps: t.Sequence[str]) -> None:
    service, window = run.installation.service(), Window(run)
    if service is not None and "restart" in steps:
        service.stop(run.options.stop_timeout_s)
    if "swap" in steps:
        window.swap(seen.keys, target)
    if service is not None and "restart" in steps:
        try:
            window.start(service, target)
        except ServiceError as error:
            raise ServiceError(
                f"{error}; the data is under {target.fingerprint}, and so is the env file; nothing was taken back, since other control "
                "hosts run on it; mend the cause, then run the playbook again"
            ) from None
    if "withdraw" in steps:
        run.installation.keyring.withdraw_staged()


def quiesce(installation: Installation, *, timeout_s: float, write: bool) -> bool:
    """Stop the service. Returns whether it ran.

    Raises:
        ServiceError: it does not stop.
    """
    service = installation.service()
    if service is None or service.main_pid() is None:
        return False
    if write:
        service.stop(timeout_s)
    return True


def _shown(seen: Observation) -> dict[str, t.Any]:
    facts = seen.as_result()
    return {name: facts[name] for name in ("phase", "env_key", "process_key", "staged_key", "previous_key", "withdrawn_key")}


__all__ = ("FollowOptions", "be_ready", "follow", "quiesce", "take_key")
