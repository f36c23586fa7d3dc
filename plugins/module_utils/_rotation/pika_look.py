# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What there is to see of a Pika, and the hosts of a cluster that have to hold its key without being asked for it."""

from __future__ import annotations

import typing as t

from .._apps.pika_backup import db_version_of
from .._apps.pika_facts import cluster_of, secrets_set
from .._apps.pika_session import may_manage
from .._errors import ApiError, EnvFileError
from .._keys.material import MasterKey
from .._system.processes import process_variable
from .pika_backups import list_pika_backups
from .pika_custody import PikaCustody, parse_text
from .pika_run import PikaRun

_INFO = (
    "name", "version", "commit", "date", "user", "is_superadmin", "permissions", "capabilities", "setup_required", "vault_enabled",
    "encryption_config_invalid",
)  # fmt: skip


def look(run: PikaRun, *, backup_dir: str) -> dict[str, t.Any]:
    """Return what can be seen of the server and of its keys on this host; changes nothing on either.

    Without a login, and where the server is locked, some of it is None.
    """
    status = run.status()
    found: dict[str, t.Any] = {
        "server": status.name, "initialized": status.initialized, "unlocked": status.unlocked and status.is_readable,
        "info": None, "may_manage": None, "cluster": None, "db_version": None, "secrets": None,
    }  # fmt: skip
    if run.has_login:
        with run.session(as_manager=False) as info:
            found.update(_seen_inside(run, info, is_open=status.name in ("unlocked", "uninitialized")))
    else:
        found["info"] = _public(run.pika.info())
    if found["info"].get("encryption_config_invalid"):
        run.warnings.append(
            f"{run.pika.url} was started with a key in its configuration that is not its key, and stayed locked; correct "
            f"{run.custody.env_var} on that host"
        )
    found["backups"] = [
        {name: note.get(name) for name in ("path", "created_at", "expires_at", "db_version", "opens_with")}
        for note in list_pika_backups(backup_dir)
    ]
    return run.result(**found)


def _seen_inside(run: PikaRun, info: dict[str, t.Any], *, is_open: bool) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"info": _public(info), "may_manage": may_manage(info)}
    if not found["may_manage"]:
        return found
    cluster = cluster_of(run.pika)
    found["cluster"] = dict(cluster._asdict(), nodes=list(cluster.nodes)) if cluster is not None else None
    if is_open:
        flags = secrets_set(run.pika)
        found["secrets"] = {"set": sum(flags.values()), "unset": len(flags) - sum(flags.values())}
        found["db_version"] = db_version_of(run.pika)
    return found


def _public(info: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {name: info[name] for name in _INFO if name in info}


def phase_of(custody: PikaCustody) -> str:
    """Name where a rotation stands on this host: V(settled), V(staged), V(swapped)."""
    staged = custody.keyring.read("staged")
    if staged is None:
        return "settled"
    return "swapped" if staged in (custody.file_key(), custody.env_key()) else "staged"


def be_configured(run: PikaRun, key: MasterKey, *, pid_of: t.Callable[[], int | None] | None) -> dict[str, t.Any]:
    """Let the files of this host hold a key. The server is not asked for anything.

    Args:
        pid_of: finds the server's main process here, whose environment says which key it was started with.

    Returns:
        C(restart_due): the server here was not started with that key.

    Raises:
        EnvFileError: the env file does not set the variable, or cannot hold this key.
    """
    custody = run.custody
    if custody.env_file and custody.env_key() is None:
        raise EnvFileError(f"{custody.env_file} does not set {custody.env_var}; name the right file (config_env_file) or variable")
    custody.require_writable(key)
    run.doubt([key])
    for place in custody.put_in_force(key, write=run.write):
        run.did(f"put in force in {place}")
    server = server_name(run)
    started_with = _started_with(custody, pid_of)
    restart_due = started_with != key if started_with is not None else bool(run.steps)
    return run.result(
        server=server, restart_due=restart_due or server != "unlocked",
        process_key=started_with.fingerprint if started_with is not None else None,
    )  # fmt: skip


def server_name(run: PikaRun) -> str:
    """Name the server's state, or V(unknown) where it does not answer: its files are put right before it can be started."""
    try:
        return run.status().name
    except ApiError:
        return "unknown"


def _started_with(custody: PikaCustody, pid_of: t.Callable[[], int | None] | None) -> MasterKey | None:
    pid = pid_of() if pid_of is not None else None
    try:
        text = process_variable(pid, custody.env_var) if pid else None
    except (ProcessLookupError, PermissionError):
        return None
    return parse_text(text, where=f"process {pid}, {custody.env_var}") if text else None


__all__ = ("be_configured", "look", "phase_of", "server_name")
