# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What every module does around its one call: dependencies, masking, the one place that turns an error into a failure."""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
import sys
import typing as t

from .._errors import ServosError
from .._keys.keyring import ROLES
from .._keys.material import MasterKey
from .._rotation.installation import Installation
from .._system.detached import DetachedError, run_detached, without_message
from .._system.files import ensure_private_directory, remove_if_only
from .._system.locks import exclusive_lock
from .dependencies import require_cryptography
from .masking import mask_keys

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

Work = t.Callable[[Installation], t.Dict[str, t.Any]]


def run_module(module: AnsibleModule, work: Work) -> None:
    """Run the work of a module and leave through exit_json or fail_json; never return.

    C(work) returns the result; under C(_before) and C(_after) what a diff shows, which is counts and fingerprints.
    """
    require_cryptography(module)
    installation: Installation | None = None
    try:
        installation = Installation(module.params, run=lambda argv: _run(module, argv))
        _mask_known(module, installation)
        result = work(installation)
    except ServosError as error:
        if installation is not None:
            _mask_known(module, installation)
        module.fail_json(msg=str(error), error=type(error).__name__)
        return
    except Exception as error:  # a fault of ours: its text may quote what it stumbled over, so only its place is shown
        where = str(error) if isinstance(error, DetachedError) else without_message(sys.exc_info())
        module.fail_json(
            msg="unexpected error; this is a fault of servos.ops; see where with servos_key_info, and report the lines of exception",
            error=type(error).__name__, exception=where,
        )
        return
    _mask_known(module, installation)
    before, after = result.pop("_before", None), result.pop("_after", None)
    for text in result.pop("_warnings", ()):
        module.warn(text)
    if before is not None or after is not None:
        result["diff"] = {"before": _lines(before or {}), "after": _lines(after or {})}
    module.exit_json(**result)


def run_acting(installation: Installation, work: t.Callable[[], dict[str, t.Any]], *, purpose: str) -> dict[str, t.Any]:
    """Run work that changes things: under the installation's lock, in a process that outlives the connection."""

    def locked() -> dict[str, t.Any]:
        is_new = not os.path.lexists(installation.state_dir)
        ensure_private_directory(installation.state_dir)
        try:
            with exclusive_lock(installation.keyring.lock_path, purpose=purpose):
                return work()
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


def _run(module: AnsibleModule, argv: list[str]) -> tuple[int, str, str]:
    """Run a command by Ansible's own means, and let a missing one be an OSError."""
    done: tuple[int, str, str] = module.run_command(argv, environ_update={"LC_ALL": "C.UTF-8"}, handle_exceptions=False)
    return done


def _mask_known(module: AnsibleModule, installation: Installation) -> None:
    """Register whatever keys can be read now; what cannot be read cannot be printed either."""
    reads: list[t.Callable[[], MasterKey | None]] = [installation.env_key]
    reads += [functools.partial(installation.keyring.read, role) for role in ROLES]
    for read in reads:
        with contextlib.suppress(ServosError):
            mask_keys(module, [read()])


def _lines(facts: t.Mapping[str, t.Any]) -> str:
    """Render facts one a line, so that a diff shows what differs."""
    rows = []
    for name, value in facts.items():
        if name == "census":
            rows += [_census_line(row) for row in value]
        else:
            rows.append(f"{name}: {value if value is not None else '-'}")
    return "\n".join(rows) + "\n" if rows else ""


def _census_line(row: t.Mapping[str, t.Any]) -> str:
    place = f"{row['table']}.{row['column']}" + (f" {row['path']}" if row.get("path") else "")
    counts = ", ".join(
        f"{name} {row[name]}" for name in ("active", "staged", "previous", "withdrawn", "empty", "plain", "foreign") if row.get(name)
    )
    return f"{place}: {counts or 'nothing'}"


__all__ = ("given_key", "now", "run_acting", "run_module")
