# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How a rotation of a Pika ended: asked of the server where its answer was lost, and proven before it is called done."""

from __future__ import annotations

import time

from .._apps.pika_facts import secrets_set
from .._apps.pika_key import unlock
from .._errors import ApiError, UnknownOutcomeError
from .._keys.material import MasterKey
from .pika_run import PikaRun, key_on_disk

# A server whose answer was lost may still be writing.
_SETTLE_S = 2
_PATIENCE_S = 30
# What Pika itself answers when it is through with a rotation that failed.
_ENDED = frozenset(("not_resealed", "unreadable", "vaults_not_resealed", "vaults_unreadable"))
_OPEN_A_VAULT = "where the server manages vault keys, open a vault to see that it came along"


def resolve(run: PikaRun, old: MasterKey, new: MasterKey, lost: UnknownOutcomeError) -> None:
    """Come back when the server's disk is under the new key; the server is asked by unlocking, never by another rotation.

    Raises:
        ApiError: it is not; the new key stays staged, since a server that is still at work could take it yet.
    """
    time.sleep(_SETTLE_S)
    try:
        if lost.facts.get("pika_answer") not in _ENDED:
            _let_it_write(run)
        found = key_on_disk(run, [new, old])
    except ApiError as error:
        raise UnknownOutcomeError(
            f"{lost}; and which key the server's disk is under could not be asked: {error}; both keys are kept in "
            f"{run.custody.state_dir}; restart the server if it does not answer, then run again",
            **lost.facts,
        ) from None
    if found == old:
        raise ApiError(
            f"{lost}; its disk is still under {old.fingerprint}, with which it is unlocked again; nothing was rotated; see the server's "
            f"log, then run again ({new.fingerprint} stays staged)",
            **lost.facts,
        )
    run.did("rotate")
    if lost.facts.get("pika_answer") == "vaults_not_resealed":
        run.custody.keyring.remember(half_done=new.fingerprint)
        raise _half_done(run, old, new)
    run.warnings.append(f"{lost}; its disk is under {new.fingerprint}, so the rotation was done; {_OPEN_A_VAULT}")


def _let_it_write(run: PikaRun) -> None:
    """Wait while the server cannot read its secrets: it is between its swap of keys and its write, or stays so for good.

    It holds no lock over a rotation. Another key in its memory just then would be the one that its secrets are written under, while
    their verifier is already under the new one.
    """
    until = time.monotonic() + _PATIENCE_S
    while not run.status().is_readable and time.monotonic() < until:
        time.sleep(1)


def resume(run: PikaRun, old: MasterKey, new: MasterKey) -> None:
    """Go on where the server is under the new key already.

    Raises:
        ApiError: an earlier run saw that not everything is.
    """
    record = run.custody.keyring.record()
    if record.get("half_done") == new.fingerprint:
        raise _half_done(run, old, new)
    if record.get("answer") == "none":
        run.warnings.append(
            f"an earlier run ended before the server's answer; its disk is under {new.fingerprint}, so the rotation was done; "
            f"{_OPEN_A_VAULT}"
        )


def _half_done(run: PikaRun, old: MasterKey, new: MasterKey) -> ApiError:
    note = run.custody.keyring.record().get("backup")
    path = note.get("path") if isinstance(note, dict) else "the backup from before the rotation"
    return ApiError(
        f"{run.pika.url} is under {new.fingerprint}, but vault keys that it manages are still under {old.fingerprint}, and it refuses "
        f"every further rotation; restore {path}, lock, unlock with {old.fingerprint} (docs/pika.md, half-done), then run again: both "
        f"keys are kept in {run.custody.state_dir}",
        pika_answer="vaults_not_resealed", backup=note,
    )  # fmt: skip


def require_opened(run: PikaRun, new: MasterKey) -> None:
    """Believe a server that it was rotated only when the new key opens its disk; until then nothing here is put under that key.

    Raises:
        ApiError: it does not.
    """
    if not unlock(run.pika, new.reveal_text()):
        raise ApiError(
            f"{run.pika.url} says that it was rotated, and {new.fingerprint} does not open it: somebody else has rotated it, or it is not "
            "one server that answers there (a load balancer?); nothing was put in force on this host, and both keys are kept in "
            f"{run.custody.state_dir}; name one server (url), then run again",
            pika_answer="wrong_key",
        )


def prove(run: PikaRun, old: MasterKey, new: MasterKey) -> None:
    """Succeed only if the old key does not open the server, which the new one was seen to do, and every secret that was set still is.

    Raises:
        ApiError: one of these does not hold.
    """
    status = run.status()
    if status.name != "unlocked":
        raise ApiError(f"{run.pika.url} is {status.name} after the rotation to {new.fingerprint}; use state=unlocked, then run again")
    before, after = run.custody.keyring.record().get("secrets_set"), secrets_set(run.pika)
    lost = sorted(place for place, is_set in (before or {}).items() if is_set and not after.get(place))
    if lost:
        note = run.custody.keyring.record().get("backup") or {}
        raise ApiError(
            f"after the rotation to {new.fingerprint}, {len(lost)} secrets of the settings are not set any more: {', '.join(lost)}; enter "
            f"them again, or restore {note.get('path')} (which opens with {old.fingerprint}), then run again",
            lost_secrets=lost,
        )
    # Counts once with the server's limiter; it must be refused.
    if unlock(run.pika, old.reveal_text()):
        raise ApiError(f"{old.fingerprint} still opens {run.pika.url}: nothing was rotated there, or it was undone; run again")


__all__ = ("prove", "require_opened", "resolve", "resume")
