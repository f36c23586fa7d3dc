# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The states of a Pika's server key that need no new key: initialized, unlocked, locked."""

from __future__ import annotations

import os
import typing as t

from .._apps.pika_key import KeyStatus, initialize, lock, unlock
from .._errors import ApiError, KeyFormatError, KeyMissingError, UnknownOutcomeError
from .._keys.material import MasterKey
from .pika_custody import make_key
from .pika_run import PikaRun, key_on_disk

Result = t.Dict[str, t.Any]


def be_unlocked(run: PikaRun) -> Result:
    """Let the server have its key in memory. A server that has it is not even logged in to.

    Raises:
        ApiError: it was never initialized, is a follower, or none of the keys here is its key.
    """
    status = run.status()
    before = status.name
    if status.name == "unlocked":
        return run.result(server=before, unlocked_with=None)
    if not status.initialized:
        raise ApiError(f"{run.pika.url} has no key yet: encryption was never turned on; use state=initialized")
    tries = _tries(run)
    run.doubt(key for key, unused_place in tries)
    with run.session():
        if not status.is_readable and run.require_leader() is None and run.custody.keyring.read("staged") is None:
            raise ApiError(
                f"{run.pika.url} cannot read its own secrets, and does not say whether it is a follower; nothing was changed; restart "
                "a follower with the key in its configuration; lock (state=locked), then unlock a server that stands alone"
            )
        run.did("unlock")
        if not run.write:
            return run.result(server="unlocked", unlocked_with=None)
        key = key_on_disk(run, [key for key, unused_place in tries])
    after = run.status()
    if after.name != "unlocked":
        raise ApiError(
            f"{run.pika.url} took the key and is {after.name} all the same: it is a follower, and passed the key on to its leader; restart "
            "it with the key in its configuration (PIKA_ENCRYPTION_PASSWORD)"
        )
    place = next(place for tried, place in tries if tried == key)
    if place != tries[0][1]:
        run.warnings.append(
            f"{tries[0][0].fingerprint} ({tries[0][1]}) is not the server's key; it was unlocked with the {place} key {key.fingerprint}; "
            "finish the rotation that is under way, or correct key_file"
        )
    return run.result(server=after.name, unlocked_with=key.fingerprint)


def _tries(run: PikaRun) -> list[tuple[MasterKey, str]]:
    """Choose two keys at most: from the third wrong one on the server makes everybody wait."""
    custody = run.custody
    chosen: list[tuple[MasterKey, str]] = []
    for place, read in (
        ("key_file", custody.file_key), ("config_env_file", custody.env_key),
        ("staged", lambda: custody.keyring.read("staged")), ("previous", lambda: custody.keyring.read("previous")),
    ):  # fmt: skip
        key = read()
        if key is not None and key not in [other for other, unused_place in chosen]:
            chosen.append((key, place))
    if not chosen:
        custody.held()
    return chosen[:2]


def be_locked(run: PikaRun) -> Result:
    """Let the server forget its key.

    Raises:
        ApiError: it was never initialized, or is a follower.
    """
    status = run.status()
    if status.name == "uninitialized":
        raise ApiError(f"{run.pika.url} has no key yet, so there is nothing to lock; nothing was changed; give it one (state=initialized)")
    if status.name == "locked":
        return run.result(server="locked")
    with run.session():
        # One that cannot read its secrets may be a follower with a key of yesterday: it would lock its leader.
        run.require_leader()
        run.did("lock")
        if run.write:
            lock(run.pika)
    if run.write and run.status().name != "locked":
        raise ApiError(f"{run.pika.url} says that it is locked and is not: is it behind a load balancer? name one server (url)")
    run.warnings.append(f"{run.pika.url} {'answers' if run.write else 'would answer'} 503 to everybody until it is unlocked")
    return run.result(server="locked")


def be_initialized(run: PikaRun) -> Result:
    """Turn encryption on, with the key of key_file, which is made where there is none yet.

    Raises:
        ApiError: it has another key, or refused.
        KeyFormatError: the server would start with another key than this.
    """
    status = run.status()
    if status.initialized:
        return _confirm(run, status)
    key = _key_to_begin_with(run)
    run.custody.require_writable(None)
    run.doubt([key])
    with run.session():
        run.require_leader()
        run.did("initialize")
        if not run.write:
            return run.result(server="unlocked")
        if key is None:
            key = make_key(os.urandom)
            run.custody.write_key_file(key)
        try:
            initialize(run.pika, key.reveal_text())
        except UnknownOutcomeError:
            if not run.status().initialized:
                raise
        key_on_disk(run, [key])
    after = run.status()
    if after.name != "unlocked":
        raise ApiError(f"{run.pika.url} took the key and is {after.name}; see the server's log")
    if run.custody.env_key() is None:
        run.warnings.append(
            "from now on the server starts locked: let the role pika_key unlock it at boot, or give it the key at its start"
        )
    return run.result(server=after.name)


def _key_to_begin_with(run: PikaRun) -> MasterKey | None:
    custody = run.custody
    if not custody.key_file:
        raise KeyMissingError("state=initialized has no file to keep the key in; name one, in which it is made if it holds none (key_file)")
    key, at_start = custody.file_key(), custody.env_key()
    if at_start is not None and at_start != key:
        raise KeyFormatError(
            f"{custody.env_file} sets {custody.env_var}, so the server would start with {at_start.fingerprint}, which is not the key in "
            f"key_file; nothing was changed; put that key into {custody.key_file}, or take the variable out, then run again"
        )
    return key


def _confirm(run: PikaRun, status: KeyStatus) -> Result:
    """Hold a server that has a key to the one that is kept here, if that can be done without unlocking it."""
    key = run.custody.in_force()
    run.doubt([key])
    if status.name != "unlocked":
        run.warnings.append(f"{run.pika.url} is {status.name}, so it was not seen whether {key.fingerprint} is its key; see state=unlocked")
        return run.result(server=status.name)
    with run.session():
        if not unlock(run.pika, key.reveal_text()):
            raise ApiError(f"{run.pika.url} has a key already, and {key.fingerprint} is not it; nothing was changed; correct key_file")
    return run.result(server=status.name)


__all__ = ("be_initialized", "be_locked", "be_unlocked")
