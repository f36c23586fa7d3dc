# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The rotation of a Pika's server key.

What is looked at, and what follows, so that the same command finishes a run that was stopped anywhere:

==================  =============  ==================  ==================================================================
staged.key          server's disk  key file, env file  next
==================  =============  ==================  ==================================================================
none                A              A                   stage S, if a rotation is due
S                   A              A                   back up, keep A as previous, ask for the rotation, once
S                   S              A, or S in one      put S in force here
S                   S              S                   prove it, note the end, destroy the staged copy
==================  =============  ==================  ==================================================================

Which key the server's disk is under is asked of the server itself, by an unlock, whatever it was before: never by a second rotation.
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._apps.pika_backup import db_version_of
from .._apps.pika_facts import secrets_set
from .._apps.pika_key import rotate, unlock
from .._errors import ApiError, KeyFormatError, KeyMissingError, ServosError, UnknownOutcomeError
from .._keys.material import MasterKey
from .due import judge_due, written
from .pika_backups import keep_backup, remove_expired
from .pika_custody import make_key
from .pika_outcome import prove, require_opened, resolve, resume
from .pika_run import PikaRun, key_on_disk

# What the record holds of one rotation, from its beginning on.
_OF_ONE_ROTATION = ("rotation_id", "staged_at", "old_key", "new_key", "secrets_set", "backup", "half_done", "answer")


class Wish(t.NamedTuple):
    """What is asked of a rotation. C(new_key) is None where one is to be made here."""

    new_key: MasterKey | None
    rotation_id: str | None
    max_age_days: float | None
    unlock_first: bool
    backup_dir: str
    retention_days: float


class _Plan(t.NamedTuple):
    """From which key to which; C(new) is None in check mode where it would be made. C(is_under_way): it was begun by an earlier run."""

    old: MasterKey
    new: MasterKey | None
    is_under_way: bool
    reason: str


def rotate_key(run: PikaRun, wish: Wish) -> dict[str, t.Any]:
    """Let the server, and this host, go on with another key, if a rotation is due.

    Raises:
        ServosError: with what was done, what was not, and the next step.
    """
    plan, reason, adopted = _plan(run, wish)
    if plan is None:
        key = run.custody.in_force()
        _hold_to(run, key)
        if adopted:
            run.did("adopt")
            if run.write:
                run.custody.keyring.remember(in_force_since={key.fingerprint: written(run.now)})
        return run.result(server=run.status().name, reason=reason, rotated=False, backup=None)
    run.doubt([plan.old, plan.new])
    run.custody.require_writable(plan.new)
    status = run.status()
    if not status.initialized:
        raise ApiError(f"{run.pika.url} has no key yet: encryption was never turned on; use state=initialized")
    if status.name == "locked" and not (wish.unlock_first or plan.is_under_way):
        raise ApiError(f"{run.pika.url} is locked; nothing was changed; use state=unlocked first, or unlock_first=true if that is meant")
    with run.session():
        if status.name == "unlocked":
            run.require_leader()
        elif status.name == "unreadable" and run.require_leader() is None and not plan.is_under_way:
            raise ApiError(
                f"{run.pika.url} cannot read its own secrets, and no rotation is under way here; nothing was changed; "
                "use state=unlocked first"
            )
        done = _rehearse(run, plan, status.name) if not run.write else _carry_out(run, plan, wish)
    return run.result(reason=plan.reason, **done)


def _plan(run: PikaRun, wish: Wish) -> tuple[_Plan | None, str, bool]:
    """Decide whether a rotation is due; return it, the reason, and whether the key's clock is to be started."""
    custody, keyring = run.custody, run.custody.keyring
    staged, record = keyring.read("staged"), keyring.record()
    if staged is not None:
        if wish.new_key is not None and wish.new_key != staged:
            raise KeyFormatError(
                f"{staged.fingerprint} is staged already, and {wish.new_key.fingerprint} is given: finish that rotation first, without a "
                f"new_key_file or with the key in {keyring.path_of('staged')}"
            )
        reason = "a rotation is under way"
        others = [key for key in [*custody.held().values(), keyring.read("previous")] if key is not None and key != staged]
        noted = [key for key in others if key.fingerprint == record.get("old_key")]
        # A key that nobody noted was put into the files by hand: the server's, where somebody rotated it elsewhere.
        corrected = [key for key in custody.held().values() if key not in (staged, *noted)] if noted else []
        if not others:
            raise KeyMissingError(
                f"{staged.fingerprint} is staged, and the key that it replaces is nowhere on this host; put that into key_file, "
                "then run again"
            )
        return _Plan((corrected or noted or others)[0], staged, True, reason), reason, False
    active = custody.in_force()
    if wish.new_key is not None and wish.new_key == active:
        return None, "the given key is in force", False
    if wish.new_key is not None and not wish.rotation_id:
        return _Plan(active, wish.new_key, False, "a new key is given"), "", False
    due = judge_due(
        record, env_mark=active.fingerprint, rotation_id=wish.rotation_id, max_age_days=wish.max_age_days, now=run.now
    )
    if not due.is_due:
        return None, due.reason, due.adopt and wish.max_age_days is not None
    return _Plan(active, wish.new_key, False, due.reason), due.reason, False


def _hold_to(run: PikaRun, key: MasterKey) -> None:
    """Make sure that the server is under the key that is in force here; a locked one is left so.

    Raises:
        ApiError: it is not.
    """
    status = run.status()
    if status.name != "unlocked":
        run.warnings.append(f"{run.pika.url} is {status.name}, so it was not seen whether {key.fingerprint} is its key; see state=unlocked")
        return
    with run.session():
        if not unlock(run.pika, key.reveal_text()):
            raise ApiError(
                f"{key.fingerprint} is in force here, and is not the key of {run.pika.url}: it was rotated elsewhere, or a backup was "
                "restored; nothing was changed; put its key into key_file"
            )


def _rehearse(run: PikaRun, plan: _Plan, status_name: str) -> dict[str, t.Any]:
    """Look at all that can be looked at without unlocking or locking anything."""
    for step in ("stage", "back up", "rotate", "put in force"):
        run.did(step)
    if status_name == "unlocked":
        tries = [key for key in _by_likelihood(plan) if key is not None]
        if not any(unlock(run.pika, key.reveal_text()) for key in tries):
            raise ApiError(f"{plan.old.fingerprint} is not the key of {run.pika.url}; nothing was changed; correct key_file")
        secrets_set(run.pika)
        db_version_of(run.pika)
    return {
        "server": status_name, "rotated": True, "backup": None, "old_key": plan.old.fingerprint,
        "new_key": plan.new.fingerprint if plan.new is not None else None,
    }  # fmt: skip


def _by_likelihood(plan: _Plan) -> list[MasterKey | None]:
    """Order the two keys so that the one that is probably right comes first, and no wrong one is counted."""
    return [plan.new, plan.old] if plan.is_under_way else [plan.old, plan.new]


def _carry_out(run: PikaRun, plan: _Plan, wish: Wish) -> dict[str, t.Any]:
    custody, keyring = run.custody, run.custody.keyring
    new, old, earlier = plan.new or make_key(os.urandom), plan.old, keyring.record()
    if not plan.is_under_way:
        keyring.write("staged", new)
        run.did("stage")
    if keyring.record().get("new_key") != new.fingerprint:
        begun = {"rotation_id": wish.rotation_id, "old_key": old.fingerprint, "new_key": new.fingerprint}
        keyring.remember(**{**dict.fromkeys(_OF_ONE_ROTATION), "staged_at": written(run.now), **begun})
    backup, lost, is_asked = None, None, False
    try:
        found = key_on_disk(run, [key for key in _by_likelihood(plan._replace(new=new)) if key is not None])
        if run.require_leader() is None:
            raise ApiError(f"{run.pika.url} does not say whether it leads its cluster; nothing was rotated; see its log")
        if found == old:
            backup = _prepare(run, old, wish)
            is_asked = True
            lost = _ask(run, old, new)
    except ServosError as error:
        if not plan.is_under_way and (not is_asked or _is_still_under(run, old, error)):
            # As if it had never been begun: its id is not one that was done.
            keyring.remember(**{name: earlier.get(name) for name in _OF_ONE_ROTATION})
            if is_asked and error.facts.get("pika_answer") == "locked":
                # Nobody saw the disk since it was sent: who has several servers behind one address, or repeats a request, may have used it.
                custody.keep_staged(new)
            else:
                keyring.destroy("staged")
            run.steps.remove("stage")
        raise
    if lost is not None:
        resolve(run, old, new, lost)
    elif backup is None:
        resume(run, old, new)
    else:
        require_opened(run, new)
    for place in custody.put_in_force(new, write=True):
        run.did(f"put in force in {place}")
    prove(run, old, new)
    _finish(run, new)
    note = backup or keyring.record().get("backup")
    if isinstance(note, dict) and os.path.isdir(wish.backup_dir):
        remove_expired(wish.backup_dir, now=run.now, spare=str(note.get("path")))
    return {
        "server": "unlocked", "rotated": True, "backup": note, "old_key": old.fingerprint, "new_key": new.fingerprint,
    }  # fmt: skip


def _is_still_under(run: PikaRun, old: MasterKey, refusal: ServosError) -> bool:
    """Tell whether the server's disk is seen to be under the old key. Who gave a refusal is not known: a gateway may have, too late.

    Only the lock has a header of its own, and a server that somebody has locked stays so.
    """
    if refusal.facts.get("pika_answer") == "locked":
        return True
    try:
        return unlock(run.pika, old.reveal_text())
    except ServosError:
        return False


def _prepare(run: PikaRun, old: MasterKey, wish: Wish) -> dict[str, t.Any]:
    """Do what must be durable before the server is asked: which secrets it has, a backup, the old key as previous."""
    keyring = run.custody.keyring
    db_version_of(run.pika)
    flags = secrets_set(run.pika)
    note = keep_backup(
        run.pika, backup_dir=wish.backup_dir, key_mark=old.fingerprint, retention_days=wish.retention_days, now=run.now
    )
    run.did("back up")
    run.custody.keep_previous(old)
    keyring.remember(secrets_set=flags, backup=note, half_done=None, answer="none")
    return note


def _ask(run: PikaRun, old: MasterKey, new: MasterKey) -> UnknownOutcomeError | None:
    """Ask for the rotation, once. Returns None when it was done, else why that is not known.

    Raises:
        ApiError: it was not done.
    """
    try:
        rotate(run.pika, old_text=old.reveal_text(), new_text=new.reveal_text())
    except UnknownOutcomeError as error:
        return error
    run.custody.keyring.remember(answer="done")
    run.did("rotate")
    return None


def _finish(run: PikaRun, new: MasterKey) -> None:
    """Note the end, and destroy the staged copy, which lies where the key in force belongs by now."""
    keyring = run.custody.keyring
    record = keyring.record()
    ages = record.get("in_force_since")
    kept = {mark: since for mark, since in (ages if isinstance(ages, dict) else {}).items() if mark == record.get("old_key")}
    keyring.remember(
        finished_key=new.fingerprint, finished_at=written(run.now), in_force_since=dict(kept, **{new.fingerprint: written(run.now)}),
        rotation_id=record.get("rotation_id"),
    )  # fmt: skip
    with contextlib.suppress(KeyMissingError):
        if all(key == new for key in run.custody.held().values()):
            keyring.destroy("staged")


__all__ = ("Wish", "rotate_key")
