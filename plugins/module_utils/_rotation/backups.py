# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Backups of the data: made from the live database, proven by their own census, and forgotten after their time.

Beside each copy lies a note with its SHA-256, its counts, and the fingerprint of the key that opens it, since a backup
without its key is worth nothing. The note holds no key.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import typing as t

from .._errors import FileError, ServosError, StoreError
from .._stores.database import Database
from .._stores.urls import form_of
from .._system import files
from .._system.exposure import names_in
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
        result["backup"], result["_warnings"] = _make_backup(
            installation, backup_dir=backup_dir, retention_days=retention_days, allow_empty=allow_empty, now=now
        )
        for note in doomed:
            _remove_backup(note)
        result["_after"] = {"backups": _names(backup_dir, installation)}
    else:
        _refuse_useless(installation, read_keys(installation), installation.database(), allow_empty=allow_empty)
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
    if write and os.path.isdir(backup_dir):
        clear_leftovers(backup_dir, installation)
    after = [name for name in before if name not in [note["path"] for note in doomed]]
    return {
        "changed": bool(doomed), "removed": [note["path"] for note in doomed],
        "_before": {"backups": before}, "_after": {"backups": after},
    }


def _names(backup_dir: str, installation: Installation) -> list[str]:
    return [note["path"] for note in list_backups(backup_dir, app=installation.profile.app, database=installation.place().identity)]


def _refuse_useless(installation: Installation, keys: Keys, database: Database, *, allow_empty: bool) -> Census:
    """Refuse a database that no known key opens: its copy would be no backup."""
    with database.reading() as reader:
        census = take_census(reader, installation.profile, keys.ciphers(), progress=installation.progress)
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
) -> tuple[dict[str, t.Any], list[str]]:
    """Copy the database, check the copy, and write its note. Returns the note, and what deserves a look.

    Raises:
        StoreError: no room, no database, the copy is damaged, or holds nothing sealed.
        ForeignValueError: the copy holds values that no known key opens.
    """
    keys = read_keys(installation)
    place = installation.place()
    place.open()
    is_new = files.ensure_private_directory(backup_dir) and not os.listdir(backup_dir)
    partial = clear_leftovers(backup_dir, installation)
    path = path_for(installation, backup_dir, now)
    try:
        installation.progress.begin("backup")
        warnings = place.copy_to(partial)
        installation.progress.begin("check")
        place.form.check(partial)
        census = _refuse_useless(installation, keys, place.form.open(partial), allow_empty=allow_empty)
        installation.progress.begin("check")
        note = write_note(
            installation, path, content=partial, keys=census.sealed, census=census_rows(census, keys),
            retention_days=retention_days, now=now,
        )
        files.rename_file(partial, path)
    except BaseException:
        with contextlib.suppress(OSError, ServosError):  # what cannot be removed now goes before the next backup
            clear_leftovers(backup_dir, installation)
            if is_new:
                os.rmdir(backup_dir)
        raise
    place.form.remove(partial)
    return note, warnings


def path_for(installation: Installation, backup_dir: str, now: datetime.datetime) -> str:
    """Return where a backup that is made now lies.

    Raises:
        StoreError: there is one already.
    """
    stamp = now.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
    path = os.path.join(backup_dir, f"{installation.profile.app}-{stamp}{installation.place().form.suffix}")
    if os.path.lexists(path):
        raise StoreError(f"there is a backup {path} already; nothing was changed; run again")
    return path


def write_note(
    installation: Installation,
    path: str,
    *,
    keys: t.Mapping[str, int],
    census: t.Sequence[t.Mapping[str, t.Any]],
    retention_days: float,
    now: datetime.datetime,
    content: str | None = None,
    is_set_aside: bool = False,
) -> dict[str, t.Any]:
    """Write, and return, the note of a backup at C(path), whose bytes lie in C(content) as long as it has not its name."""
    note = {
        "app": installation.profile.app,
        "path": path,
        "database": installation.place().identity,
        "created_at": written(now),
        "expires_at": written(now + datetime.timedelta(days=retention_days)),
        "sha256": sha256_of(content or path),
        "size_bytes": os.path.getsize(content or path),
        "keys": dict(keys),
        "census": list(census),
    }
    if is_set_aside:
        note["is_set_aside"] = True
    draft = f"{_partial_of(installation, os.path.dirname(path))}.json"
    files.write_private_file(draft, json.dumps(note, indent=2, sort_keys=True).encode("utf-8") + b"\n")
    files.rename_file(draft, path + ".json")
    return note


def _partial_of(installation: Installation, backup_dir: str) -> str:
    """Name the file in which a backup of this database is made: always the same, so that a killed run leaves no trail of them."""
    mark = hashlib.sha256(os.fsencode(installation.place().identity)).hexdigest()[:16]
    return os.path.join(backup_dir, f".{installation.profile.app}-{mark}.partial")


def clear_leftovers(backup_dir: str, installation: Installation) -> str:
    """Remove what a killed run left of a backup of this database; return the name under which one is made.

    A note is written before its copy gets its name, and removed after it; one without a copy says nothing.
    """
    form = installation.place().form
    partial = _partial_of(installation, backup_dir)
    form.remove(partial)
    files.clear_leftover_of(partial + ".json")
    files.remove_file(partial + ".json")
    for path in (os.path.join(backup_dir, name[: -len(".json")]) for name in os.listdir(backup_dir) if _is_note(name)):
        if not os.path.exists(path) and _is_of(read_note(path), installation.place().identity):
            form.remove(path)  # a log that was set aside has its name before the file that it belongs to
            files.remove_file(path + ".json")
    return partial


def read_note(path: str) -> dict[str, t.Any] | None:
    """Return the note beside a backup, or None where there is none, or none that can be understood."""
    try:
        note = json.loads(files.read_file(path + ".json").decode("utf-8"))
    except (ValueError, ServosError):
        return None
    return note if isinstance(note, dict) and isinstance(note.get("keys") or {}, dict) else None


def without_note(backup_dir: str) -> list[str]:
    """Return what lies there under the name of a backup, and has no note that can be understood: which key opens it nobody knows.

    Raises:
        FileError: the directory may not be listed.
    """
    paths = [os.path.join(backup_dir, name) for name in names_in(backup_dir) if form_of(name) is not None]
    return [path for path in paths if read_note(path) is None]


def what_is_amiss(path: str, note: t.Mapping[str, t.Any]) -> str:
    """Say why a backup is not what its note was written of; empty where it is. All of it is read.

    Raises:
        FileError: it may not be read.
    """
    if not os.path.isfile(path):
        return ""
    noted = note.get("size_bytes")
    if isinstance(noted, int) and os.path.getsize(path) != noted:
        return f"it has {os.path.getsize(path)} bytes, and was proven with {noted}"
    if isinstance(note.get("sha256"), str) and sha256_of(path) != note["sha256"]:
        return "its bytes are not those that it was proven with"
    return ""


def _is_note(name: str) -> bool:
    return name.endswith(".json") and form_of(name[: -len(".json")]) is not None


def _is_of(note: t.Mapping[str, t.Any] | None, identity: str) -> bool:
    recorded = str(note.get("database")) if note is not None else ""
    return identity in (recorded, os.path.realpath(recorded))


def list_backups(backup_dir: str, *, app: str, database: str | None = None) -> list[dict[str, t.Any]]:
    """Return the notes of all whole backups of an application, the newest first; of one database only, if it is given."""
    found = []
    try:
        names = os.listdir(backup_dir)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise FileError(f"cannot list {backup_dir}: {os.strerror(error.errno or 0)}; see to that, then run again") from None
    for name in names:
        if not _is_note(name):
            continue
        path = os.path.join(backup_dir, name[: -len(".json")])
        note = read_note(path)
        if note is None or note.get("app") != app or not os.path.exists(path):
            continue
        if database is None or _is_of(note, database):
            found.append(dict(note, path=path))
    return sorted(found, key=lambda note: str(note.get("created_at")) + note["path"], reverse=True)


def backups_by_key(installation: Installation, keys: Keys, backup_dir: str) -> list[dict[str, t.Any]]:
    """List this database's backups: path, times, values by fingerprint, and the roles of the keys that open them."""
    roles = {mark: keys.role_of(mark) for mark in keys.by_fingerprint()}
    listed = []
    for note in list_backups(backup_dir, app=installation.profile.app, database=installation.place().identity):
        needed = dict(note.get("keys") or {})
        shown = {name: note.get(name) for name in ("path", "created_at", "expires_at")}
        listed.append(dict(shown, keys=needed, opens_with=[roles.get(mark, "none that is kept here") for mark in needed]))
    return listed


def _expired(
    backup_dir: str, installation: Installation, *, now: datetime.datetime, known: t.Container[str] | None, spare_newest: bool
) -> list[dict[str, t.Any]]:
    """List what may go: past its time, perhaps but the newest; and what none of the C(known) keys opens, if given.

    What was set aside is no newest backup: it is never restored by itself.
    """
    stamp = written(now)
    notes = list_backups(backup_dir, app=installation.profile.app, database=installation.place().identity)
    whole = [note["path"] for note in notes if not note.get("is_set_aside")]
    spared = whole[:1] if spare_newest else []
    doomed = []
    for note in notes:
        needs = note.get("keys") or {}
        unreadable = known is not None and needs and not all(mark in known for mark in needs)
        if unreadable or (note["path"] not in spared and str(note.get("expires_at", "")) < stamp):
            doomed.append(note)
    return doomed


def _remove_backup(note: t.Mapping[str, t.Any]) -> None:
    """Remove a backup and its note; the note last, since one without its backup is known for what it is."""
    form = form_of(note["path"])
    if form is not None:
        form.remove(note["path"])
    files.remove_file(note["path"] + ".json")


def sha256_of(path: str) -> str:
    """Return the SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as stream:
            for chunk in iter(lambda: stream.read(1024 * 1024), b""):
                digest.update(chunk)
    except OSError as error:
        raise FileError(f"cannot read {path}: {os.strerror(error.errno or 0)}; see to that, then run again") from None
    return digest.hexdigest()


__all__ = (
    "backups_by_key",
    "clear_leftovers",
    "keep_backups",
    "list_backups",
    "path_for",
    "prune_backups",
    "read_note",
    "sha256_of",
    "what_is_amiss",
    "without_note",
    "write_note",
)
