# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Put a backup in the place of the data, or into a scratch copy: proven first, with what it would lose, and what it replaces kept."""

from __future__ import annotations

import contextlib
import datetime
import os
import typing as t

from .._errors import ForeignValueError, ServosError, StoreError
from .._stores.database import Place
from .._stores.json_file import JsonSnapshots
from .._stores.postgres_server import PostgresServer
from .._system import files
from .._system.processes import pids_with_open_file
from .._system.services import wait_until_settled
from .backups import clear_leftovers, list_backups, path_for, sha256_of, write_note
from .census import take_census
from .installation import Installation
from .loss import loss_of
from .observe import Keys, read_keys


def restore_backup(
    installation: Installation,
    *,
    backup_dir: str,
    path: str | None,
    target: str | None,
    stop_timeout_s: float,
    start_timeout_s: float,
    retention_days: float,
    now: datetime.datetime,
    write: bool,
) -> dict[str, t.Any]:
    """Put a backup in the place of the data, or into a scratch file, which at a PostgreSQL server is a scratch database.

    What is replaced is set aside in C(backup_dir) for C(retention_days). The result's C(loss) says what only it holds.

    Raises:
        StoreError, ForeignValueError: no such backup, a changed or damaged one, or no known key opens it.
    """
    note = _choose_backup(backup_dir, installation, path=path)
    keys = _verify_backup(note, installation)
    result: dict[str, t.Any] = {"changed": True, "backup": note}
    if target:
        return dict(result, copy_url=_restore_to_scratch(installation.place(), note, target, write=write))
    service = installation.service()
    if not write:
        return dict(result, started=False, set_aside=None, loss=loss_of(installation, note, keys).as_result())
    was_running = service is not None and service.main_pid() is not None
    try:
        if service is not None:
            service.stop(stop_timeout_s)
        loss = loss_of(installation, note, keys)
        result["loss"] = loss.as_result()
        result["set_aside"] = _set_aside(installation, keys, backup_dir, retention_days, now, is_sound=not loss.unreadable)
        installation.progress.begin("restore")
        warnings = installation.place().put_back(note["path"])
    except BaseException:  # a fault of ours must not leave the service down either
        if service is not None and was_running:
            service.start(start_timeout_s)
        raise
    active = keys.active.fingerprint if keys.active is not None else None
    fits = set(note.get("keys", {})) <= {active}
    if service is not None and fits:
        service.start(start_timeout_s)
        wait_until_settled(service, is_ready=lambda: True, settle_s=1, timeout_s=start_timeout_s)
    elif not fits:
        warnings.append(
            "the restored data is under another key than the env file holds, so the service was not started; "
            "run servos_key_rotate to bring it over"
        )
    return dict(result, _warnings=warnings, started=service is not None and fits)


def _set_aside(
    installation: Installation, keys: Keys, backup_dir: str, retention_days: float, now: datetime.datetime, *, is_sound: bool
) -> str | None:
    """Keep what is about to be replaced, beside the backups and with a note of its own. Returns its path, or None where nothing is.

    It is listed and expires as a backup does, and is not restored by itself: it may be damaged, or open under no known key.
    """
    place = installation.place()
    if not place.exists():
        return None
    partial, kept = clear_leftovers(backup_dir, installation), path_for(installation, backup_dir, now)
    try:
        sealed = _copied(installation, keys, place, partial) if is_sound else _copied_as_it_is(place, partial)
        write_note(installation, kept, content=partial, keys=sealed, census=[], retention_days=retention_days, now=now, is_set_aside=True)
        place.form.rename(partial, kept)
    except ServosError:
        with contextlib.suppress(OSError, ServosError):  # what cannot be removed now goes before the next backup
            clear_leftovers(backup_dir, installation)
        raise
    return kept


def _copied(installation: Installation, keys: Keys, place: Place, partial: str) -> dict[str, int]:
    """Take a snapshot of a database, else copy it as it is. Returns its values by the fingerprint that opens them."""
    try:
        installation.progress.begin("backup")
        place.copy_to(partial)
        with place.form.open(partial).reading() as reader:
            return take_census(reader, installation.profile, keys.ciphers(), progress=installation.progress).sealed
    except ServosError:
        place.form.remove(partial)
        return _copied_as_it_is(place, partial)


def _copied_as_it_is(place: Place, partial: str) -> dict[str, int]:
    """Copy a damaged database before it is opened for writing, which may throw away a log that nobody understands."""
    place.copy_as_it_is(partial)
    return {}


def _choose_backup(backup_dir: str, installation: Installation, *, path: str | None) -> dict[str, t.Any]:
    """Return the note of the named backup, or of the newest.

    Raises:
        StoreError: there is none.
    """
    app = installation.profile.app
    notes = list_backups(backup_dir, app=app, database=None if path else installation.place().identity)
    if path:
        notes = [note for note in notes if os.path.abspath(note["path"]) == os.path.abspath(path)]
    else:
        notes = [note for note in notes if not note.get("is_set_aside")]
    if not notes:
        wanted = f"backup {path}" if path else f"backup of {app}"
        raise StoreError(
            f"there is no {wanted} with a note in {backup_dir}; nothing was changed; make one with servos_backup state=present"
        )
    return notes[0]


def _verify_backup(note: t.Mapping[str, t.Any], installation: Installation) -> Keys:
    """Hold a backup against its note, and against the keys that are known here. Returns those keys.

    Raises:
        StoreError: it is not what it was, or damaged.
        ForeignValueError: no key that is known here opens it.
    """
    path = note["path"]
    installation.progress.begin("check")
    if sha256_of(path) != note.get("sha256"):
        raise StoreError(
            f"{path} is not what it was when it was made (its SHA-256 differs from its note); nothing was changed; "
            "name another backup"
        )
    keys = read_keys(installation)
    known = keys.by_fingerprint()
    missing = [mark for mark in note.get("keys", {}) if mark not in known]
    if missing:
        raise ForeignValueError(
            f"{path} opens under {', '.join(missing)}, and the keys known here are {', '.join(known)}; nothing was changed; "
            "put that key in force first (from your password manager or escrow), or choose another backup"
        )
    return keys


def drop_scratch(installation: Installation, *, name: str, write: bool) -> dict[str, t.Any]:
    """Drop the scratch database that a restore made.

    Raises:
        StoreError: the database is none of a PostgreSQL server, or the scratch database is not ours.
    """
    place = installation.place()
    if not isinstance(place, PostgresServer):
        raise StoreError(f"{place.name} has no scratch databases; nothing was changed; remove the file that was restored to instead")
    return {"changed": place.drop_scratch(name) if write else place.has_scratch(name)}


def _restore_to_scratch(place: Place, note: t.Mapping[str, t.Any], target: str, *, write: bool) -> str:
    """Restore a backup beside the data; return the URL of what has, or would have, come of it."""
    if isinstance(place, PostgresServer):
        return place.restore_to_scratch(note["path"], target) if write else place.scratch_url(target)
    if os.path.realpath(target) == place.identity or pids_with_open_file(target):
        raise StoreError(f"{target} is a database in use, not a scratch file; nothing was changed; name another target, or none")
    if write:
        _restore_to_copy(place, note, target)
    return f"{'json' if place.form.suffix == JsonSnapshots.suffix else 'sqlite'}:///{target}"


def _restore_to_copy(place: Place, note: t.Mapping[str, t.Any], target: str) -> None:
    """Write a backup to a new database file, 0600, in a private directory; replace an earlier one of that name."""
    if not os.path.isdir(os.path.dirname(target)):
        files.ensure_private_directory(os.path.dirname(target))
    partial = target + ".partial"
    place.form.remove(partial)
    place.form.copy(note["path"], partial)
    place.form.remove(target)
    files.rename_file(partial, target)


__all__ = ("drop_scratch", "restore_backup")
