# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How a module changes things: under a lock, in a process that outlives the connection; and the moment that it goes by."""

from __future__ import annotations

import datetime
import os
import typing as t

from .._errors import ServosError
from .._keys.keyring import Keyring
from .._system.detached import run_detached
from .._system.files import ensure_private_directory, remove_if_only
from .._system.locks import exclusive_lock


class Held(t.Protocol):
    """What is worked on under a lock: an installation, or where else keys are kept."""

    state_dir: str
    keyring: Keyring

    def clear_leftovers(self) -> None:
        """Destroy what a killed run left of files that it was writing."""


def run_acting(
    installation: Held, work: t.Callable[[], dict[str, t.Any]], *, purpose: str, rotation_id: str | None = None
) -> dict[str, t.Any]:
    """Run work that changes things: under the installation's lock, in a process that outlives the connection.

    C(purpose) and C(rotation_id) (else the one that is under way) are what a second run is told of this one.
    """

    def locked() -> dict[str, t.Any]:
        is_new = not os.path.lexists(installation.state_dir)
        ensure_private_directory(installation.state_dir)
        try:
            record = installation.keyring.record()
            named = rotation_id or record.get("rotation_id") or record.get("new_key")
            described = f"{purpose} (rotation {named})" if named else purpose
            with exclusive_lock(installation.keyring.lock_path, purpose=described) as killed:
                installation.clear_leftovers()
                done = work()
                if killed:
                    text = f"an earlier run was killed before it ended: {killed}; its lock was taken over, and this run went on from there"
                    done["_warnings"] = [*done.get("_warnings", ()), text]
                return done
        finally:
            if is_new:
                remove_if_only(installation.state_dir, installation.keyring.lock_path)

    return run_detached(locked, expected=ServosError)


def now() -> datetime.datetime:
    """Return the present moment, UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


__all__ = ("Held", "now", "run_acting")
