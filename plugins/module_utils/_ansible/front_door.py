# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What every module that works on an installation does around its one call: dependencies, masking, keys."""

from __future__ import annotations

import contextlib
import functools
import typing as t

from .._errors import ServosError
from .._keys.keyring import ROLES
from .._keys.material import MasterKey
from .._rotation.installation import Installation
from .._system.progress import watched_progress
from .dependencies import require_cryptography
from .leaving import Result, run_command, run_guarded, run_with_descriptors
from .masking import mask_keys

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Work = t.Callable[[Installation], Result]


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


__all__ = ("given_key", "installation_of", "run_module")
