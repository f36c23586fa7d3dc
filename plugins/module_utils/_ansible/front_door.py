# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What every module that works on an installation does around its one call: dependencies, masking, lock, keys."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import typing as t

from .._errors import ServosError
from .._keys.keyring import ROLES, Keyring
from .._keys.material import MasterKey
from .._rotation.installation import Installation
from .._system.detached import run_detached
from .._system.files import ensure_private_directory, remove_if_only
from .._system.locks import exclusive_lock
from .._system.progress import watched_progress
from .dependencies import require_cryptography
from .leaving import Result, run_command, run_guarded, run_with_descriptors
from .masking import mask_keys

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Work = t.Callable[[Installation], Result]


class Held(t.Protocol):
    """What is worked on under a lock: an installation, or where else keys are kept."""

    state_dir: str
    keyring: Keyring

    def clear_leftovers(self) -> None:
        """Destroy what a killed run left of files that it was writing."""


def run_module(module: AnsibleModule, work: Work) -> None:
    """Run the work of a module on an installation, and leave through exit_json or fail_json; never return.

    C(work) returns the result; under C(_before) and C(_after) what a diff shows, which is counts and fingerprints.
    """
    require_cryptography(module)
    seen: list[Installation] = []

    def on_installation() -> Result:
        seen.append(installation_of(module))
        _mask_known(module, seen[0])
        return work(seen[0])

    def mask() -> None:
        for installation in seen:
            _mask_known(module, installation)

    run_guarded(module, on_installation, mask=mask)


def installation_of(module: AnsibleModule) -> Installation:
    """Build the installation that a module's options describe."""
    return Installation(
        module.params, run=lambda argv: run_command(module, argv), progress=watched_progress(),
        run_program=lambda argv, descriptors: run_with_descriptors(module, argv, descriptors),
    )


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


def given_key(module: AnsibleModule, installation: Installation, name: str) -> MasterKey | None:
    """Return the key of the options C(name) or C(name_file), or None where neither is set."""
    text, path = module.params.get(name), module.params.get(f"{name}_file")
    if text:
        key: MasterKey | None = installation.parse(text, where=f"the option {name}")
    elif path:
        key = installation.key_from_file(path)
    else:
        key = None
    mask_keys(module, [key])
    return key


def now() -> datetime.datetime:
    """Return the present moment, UTC."""
    return datetime.datetime.now(datetime.timezone.utc)


def _mask_known(module: AnsibleModule, installation: Installation) -> None:
    """Register whatever keys can be read now; what cannot be read cannot be printed either."""
    reads: list[t.Callable[[], MasterKey | None]] = [installation.env_key]
    reads += [functools.partial(installation.keyring.read, role) for role in ROLES]
    for read in reads:
        with contextlib.suppress(ServosError):
            mask_keys(module, [read()])
    for read_all in (installation.configuration.keys, installation.configuration.dropped_keys):
        with contextlib.suppress(ServosError):
            mask_keys(module, read_all())


__all__ = ("given_key", "installation_of", "now", "run_acting", "run_module")
