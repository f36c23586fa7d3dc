# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Backups of a Pika, made by itself and kept here until their time is over.

A backup holds what is on the server's disk, sealed secrets and the verifier of their key, so it opens with the key of its time. The
note beside it says which one that is, by its fingerprint.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import typing as t

from .._apps.pika_backup import BackupHeader, receive_backup
from .._apps.pika_session import Pika
from .._errors import ApiError, FileError
from .._system import files
from .due import written

_SUFFIX = ".pikabw"
_PARTIAL = ".partial"


def keep_backup(
    pika: Pika, *, backup_dir: str, key_mark: str, retention_days: float, now: datetime.datetime
) -> dict[str, t.Any]:
    """Stream a backup to a file, prove that it is whole, and write its note. Returns the note.

    Raises:
        ApiError: what came is no whole backup; nothing of it is kept.
        FileError: no room, or no such place.
    """
    files.ensure_private_directory(backup_dir)
    partial = os.path.join(backup_dir, _PARTIAL)
    files.remove_file(partial)
    digest = hashlib.sha256()
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise files.file_error("write", partial, error) from None

    def take(piece: bytes) -> None:
        digest.update(piece)
        try:
            while piece:
                piece = piece[os.write(descriptor, piece) :]
        except OSError as error:
            raise files.file_error("write", partial, error) from None

    def begin(header: BackupHeader) -> None:
        if header.is_encrypted:
            raise ApiError(
                f"the backup of {pika.url} is under a password that nobody gave; nothing was rotated; "
                "take the password off the backups of Pika, then run again"
            )
        free = files.free_bytes(backup_dir)
        if header.whole_bytes > free:
            raise FileError(f"{backup_dir} has {free} bytes left, and the backup needs {header.whole_bytes}; make room and run again")

    try:
        try:
            header = receive_backup(pika, take, begin=begin)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        stamp = now.astimezone(datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        path = os.path.join(backup_dir, f"pika-{stamp}-v{header.db_version}{_SUFFIX}")
        if os.path.lexists(path):
            raise FileError(f"there is a backup {path} already; nothing was rotated; run again")
        note = {
            "app": "pika",
            "url": pika.url,
            "path": path,
            "created_at": written(now),
            "expires_at": written(now + datetime.timedelta(days=retention_days)),
            "db_version": header.db_version,
            "size_bytes": header.whole_bytes,
            "sha256": digest.hexdigest(),
            "opens_with": key_mark,
        }
        files.write_private_file(path + ".json", json.dumps(note, indent=2, sort_keys=True).encode("utf-8") + b"\n")
        files.rename_file(partial, path)
    except BaseException:
        files.remove_file(partial)
        raise
    return note


def list_pika_backups(backup_dir: str) -> list[dict[str, t.Any]]:
    """Return the notes of all whole backups, the newest first."""
    found = []
    for name in os.listdir(backup_dir) if os.path.isdir(backup_dir) else []:
        path = os.path.join(backup_dir, name[: -len(".json")])
        if not name.endswith(_SUFFIX + ".json") or not os.path.exists(path):
            continue
        try:
            note = json.loads(files.read_file(path + ".json").decode("utf-8"))
        except (ValueError, FileError):
            continue
        if isinstance(note, dict) and note.get("app") == "pika":
            found.append(dict(note, path=path))
    return sorted(found, key=lambda note: str(note.get("created_at")) + note["path"], reverse=True)


def remove_expired(backup_dir: str, *, now: datetime.datetime, spare: str) -> list[str]:
    """Remove the backups past their time, but for one; return their paths. A note goes last, so what is left of a kill is found."""
    stamp, removed = written(now), []
    for note in list_pika_backups(backup_dir):
        if note["path"] != spare and str(note.get("expires_at") or stamp) < stamp:
            files.remove_file(note["path"])
            files.remove_file(note["path"] + ".json")
            removed.append(note["path"])
    for name in os.listdir(backup_dir):
        path = os.path.join(backup_dir, name[: -len(".json")])
        if name.endswith(_SUFFIX + ".json") and not os.path.lexists(path):
            files.remove_file(path + ".json")
    return removed


__all__ = ("keep_backup", "list_pika_backups", "remove_expired")
