# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Backups of the data: made from the live database, proven by their own census, and forgotten after their time.

Beside each copy lies a note with its SHA-256, its counts, and the fingerprint of the key that opens it, since a backup
without its key is worth nothing. The note holds no key.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import typing as t

from .._errors import FileError, ForeignValueError, ServosError, StoreError
from .._stores.sqlite_copy import check_integrity, copy_database, overwrite_database, remove_database
from .._stores.urls import open_database
from .._system import files
from .._system.processes import pids_with_open_file
from .._system.services import wait_until_settled
from .census import Census, take_census
from .due import written
from .installation import Installation
from .observe import Keys, census_rows, read_keys


def keep_backups(
    installation: Installation, *, backup_dir: str, retention_days: float, allow_empty: bool, now: datetime.datetime, write: bool
) -> dict[str, t.Any]:
    """Make a backup, and remove those past their time."""
    doomed = _expired(backup_dir, installation, now=now, known=None, spare_newest=False)
    result: dict[str, t.Any] = {"changed": True, "removed": [note["path"] for note in doomed]}
    result["_before"] = {"backups": _names(backup_dir, installation)}
    if write:
        result["backup"] = _make_backup(
            installation, backup_dir=backup_dir, retention_days=retention_days, allow_empty=allow_empty, now=now
        )
        for note in doomed:
            _remove_backup(note)
        result["_after"] = {"backups": _names(backup_dir, installation)}
    else:
        _refuse_useless(installation, read_keys(installation), installation.database().path, allow_empty=allow_empty)
        result["_after"] = {"backups": f"{result['_before']['backups']} and one more"}
    return result


def prune_backups(
    installation: Installation, *, backup_dir: str, unreadable: bool, now: datetime.datetime, write: bool
) -> dict[str, t.Any]:
    """Remove backups past their time and, if asked, those that no known key opens."""
    known = read_keys(installation).by_fingerprint() if unreadable else None
    doomed = _expired(backup_dir, installation, now=now, known=known, spare_newest=True)
    before = _names(backup_dir, installation)
    for note in doomed if write else ():
        _remove_backup(note)
    after = [name for name in before if name not in [note["path"] for note in doomed]]
    return {
        "changed": bool(doomed), "removed": [note["path"] for note in doomed],
        "_before": {"backups": before}, "_after": {"backups": after},
    }


def restore_backup(
    installation: Installation,
    *,
    backup_dir: str,
    path: str | None,
    target: str | None,
    stop_timeout_s: float,
    start_timeout_s: float,
    write: bool,
) -> dict[str, t.Any]:
    """Put a backup in the place of the data, or into a scratch file.

    Raises:
        StoreError, ForeignValueError: no such backup, a changed or damaged one, or no known key opens it.
    """
    note = _choose_backup(backup_dir, installation, path=path)
    keys = _verify_backup(note, installation)
    result: dict[str, t.Any] = {"changed": True, "backup": note}
    if target:
        if os.path.realpath(target) == installation.database_path() or pids_with_open_file(target):
            raise StoreError(f"{target} is a database in use, not a scratch file; nothing was changed; name another target, or none")
        if write:
            _restore_to_copy(note, target)
        return result
    service = installation.service()
    is_lost = not os.path.exists(installation.database_path())
    if not is_lost:
        installation.database()
    if not write:
        return dict(result, started=False)
    was_running = service is not None and service.main_pid() is not None
    if service is not None:
        service.stop(stop_timeout_s)
    try:
        _put_back(note, installation.database_path(), is_lost=is_lost)
    except ServosError:
        if service is not None and was_running:
            service.start(start_timeout_s)
        raise
    active = keys.active.fingerprint if keys.active is not None else None
    fits = set(note.get("keys", {})) <= {active}
    if service is not None and fits:
        service.start(start_timeout_s)
        wait_until_settled(service, is_ready=lambda: True, settle_s=1, timeout_s=start_timeout_s)
    elif not fits:
        result["_warnings"] = [
            "the restored data is under another key than the env file holds, so the service was not started; "
            "run servos_key_rotate to bring it over"
        ]
    return dict(result, started=service is not None and fits)


def _put_back(note: t.Mapping[str, t.Any], path: str, *, is_lost: bool) -> None:
    """Put a backup in the place of a database, or of one that is gone; that one then belongs to its directory's owner."""
    if not is_lost:
        overwrite_database(note["path"], path)
        return
    remove_database(path)  # a log without its database would be taken for the backup's
    copy_database(note["path"], path)
    owner = os.stat(os.path.dirname(path))
    if (owner.st_uid, owner.st_gid) != (os.geteuid(), os.getegid()):
        os.chown(path, owner.st_uid, owner.st_gid)


def _names(backup_dir: str, installation: Installation) -> list[str]:
    return [note["path"] for note in list_backups(backup_dir, app=installation.profile.app, database=installation.database_path())]


def _refuse_useless(installation: Installation, keys: Keys, path: str, *, allow_empty: bool) -> Census:
    """Refuse a database that no known key opens: its copy would be no backup."""
    with open_database(path).reading() as reader:
        census = take_census(reader, installation.profile, keys.ciphers())
    census.refuse_foreign(keys.described())
    census.refuse_wrong_key(keys.described())
    if not census.sealed and not allow_empty:
        raise StoreError(
            "no value in the database opens under any known key: this is probably the wrong database; "
            "no backup was made; name the right one, or set allow_empty=true"
        )
    return census


def _make_backup(
    installation: Installation, *, backup_dir: str, retention_days: float, allow_empty: bool, now: datetime.datetime
) -> dict[str, t.Any]:
    """Copy the database, check the copy, and write its note. Returns the note.

    Raises:
        StoreError: no room, no database, the copy is damaged, or holds nothing sealed.
        ForeignValueError: the copy holds values that no known key opens.
    """
    keys = read_keys(installation)
    database = installation.database()
    is_new = files.ensure_private_directory(backup_dir) and not os.listdir(backup_dir)
    stamp = now.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    path = os.path.join(backup_dir, f"{installation.profile.app}-{stamp}.db")
    if os.path.lexists(path):
        raise StoreError(f"there is a backup {path} already; nothing was changed; run again")
    partial = path + ".partial"
    try:
        copy_database(database.path, partial)
        check_integrity(partial)
        census = _refuse_useless(installation, keys, partial, allow_empty=allow_empty)
        note = {
            "app": installation.profile.app,
            "path": path,
            "database": database.path,
            "created_at": written(now),
            "expires_at": written(now + datetime.timedelta(days=retention_days)),
            "sha256": sha256_of(partial),
            "size_bytes": os.path.getsize(partial),
            "keys": census.sealed,
            "census": census_rows(census, keys),
        }
        files.write_private_file(path + ".json", json.dumps(note, indent=2, sort_keys=True).encode("utf-8") + b"\n")
        files.rename_file(partial, path)
    except BaseException:
        remove_database(partial)
        if is_new:
            os.rmdir(backup_dir)
        raise
    remove_database(partial)
    return note


def list_backups(backup_dir: str, *, app: str, database: str | None = None) -> list[dict[str, t.Any]]:
    """Return the notes of all whole backups of an application, the newest first; of one database only, if it is given."""
    found = []
    try:
        names = os.listdir(backup_dir)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(f"cannot list {backup_dir}: {os.strerror(error.errno or 0)}") from None
    for name in names:
        if not name.endswith(".db.json"):
            continue
        path = os.path.join(backup_dir, name[: -len(".json")])
        try:
            note = json.loads(files.read_file(path + ".json").decode("utf-8"))
        except (ValueError, ServosError):
            continue
        if not isinstance(note, dict) or note.get("app") != app or not os.path.exists(path):
            continue
        if database is None or os.path.realpath(str(note.get("database"))) == database:
            found.append(dict(note, path=path))
    return sorted(found, key=lambda note: str(note.get("created_at")) + note["path"], reverse=True)


def backups_by_key(installation: Installation, keys: Keys, backup_dir: str) -> list[dict[str, t.Any]]:
    """List this database's backups: path, times, values by fingerprint, and the roles of the keys that open them."""
    roles = {mark: keys.role_of(mark) for mark in keys.by_fingerprint()}
    listed = []
    for note in list_backups(backup_dir, app=installation.profile.app, database=installation.database_path()):
        needed = dict(note.get("keys") or {})
        shown = {name: note.get(name) for name in ("path", "created_at", "expires_at")}
        listed.append(dict(shown, keys=needed, opens_with=[roles.get(mark, "none that is kept here") for mark in needed]))
    return listed


def _choose_backup(backup_dir: str, installation: Installation, *, path: str | None) -> dict[str, t.Any]:
    """Return the note of the named backup, or of the newest.

    Raises:
        StoreError: there is none.
    """
    app = installation.profile.app
    notes = list_backups(backup_dir, app=app, database=None if path else installation.database_path())
    if path:
        notes = [note for note in notes if os.path.abspath(note["path"]) == os.path.abspath(path)]
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
    if sha256_of(path) != note.get("sha256"):
        raise StoreError(f"{path} is not what it was when it was made (its SHA-256 differs from its note); nothing was changed")
    keys = read_keys(installation)
    known = keys.by_fingerprint()
    missing = [mark for mark in note.get("keys", {}) if mark not in known]
    if missing:
        raise ForeignValueError(
            f"{path} opens under {', '.join(missing)}, and the keys known here are {', '.join(known)}; nothing was changed; "
            "put that key in force first (from your password manager or escrow), or choose another backup"
        )
    return keys


def _restore_to_copy(note: t.Mapping[str, t.Any], target: str) -> None:
    """Write a backup to a new database file, 0600, in a private directory; replace an earlier one of that name."""
    if not os.path.isdir(os.path.dirname(target)):
        files.ensure_private_directory(os.path.dirname(target))
    partial = target + ".partial"
    remove_database(partial)
    copy_database(note["path"], partial)
    remove_database(target)
    files.rename_file(partial, target)


def _expired(
    backup_dir: str, installation: Installation, *, now: datetime.datetime, known: t.Container[str] | None, spare_newest: bool
) -> list[dict[str, t.Any]]:
    """List what may go: past its time, perhaps but the newest; and what none of the C(known) keys opens, if given."""
    stamp = written(now)
    doomed = []
    for position, note in enumerate(
        list_backups(backup_dir, app=installation.profile.app, database=installation.database_path())
    ):
        needs = note.get("keys") or {}
        unreadable = known is not None and needs and not all(mark in known for mark in needs)
        if unreadable or ((position or not spare_newest) and str(note.get("expires_at", "")) < stamp):
            doomed.append(note)
    return doomed


def _remove_backup(note: t.Mapping[str, t.Any]) -> None:
    """Remove a backup and its note; the note last, so that what is left by a kill is still known."""
    remove_database(note["path"])
    files.remove_file(note["path"] + ".json")


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(chunk)
    except OSError as error:
        raise FileError(f"cannot read {path}: {os.strerror(error.errno or 0)}") from None
    return digest.hexdigest()


__all__ = ("backups_by_key", "keep_backups", "list_backups", "prune_backups", "restore_backup", "sha256_of")
