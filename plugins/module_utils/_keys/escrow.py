# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Escrow as it is asked for, and the note that says which key lies where: what a key's holder needs when all else is lost.

Each escrowed key has a note of its own in the escrow directory, which holds no secret and outlives the key itself:

==================================  ==================================================================
escrow-0123456789abcdef.json        the note: fingerprint, files with their SHA-256, whom they are for
escrow-0123456789abcdef.age         the key, sealed to every one of C(age_recipients)
escrow-0123456789abcdef.share-N.age share N, sealed to its holder alone
==================================  ==================================================================
"""

from __future__ import annotations

import hashlib
import json
import os
import typing as t

from .._errors import EscrowError, ServosError
from .._system import files

_PREFIX = "escrow-"
_NOTE_SUFFIX = ".json"
NOTE_LIMIT_BYTES = 256 * 1024


class Wish(t.NamedTuple):
    """Where a key is to lie before it is used. C(vault): also in a vault file on the controller."""

    directory: str
    age_recipients: tuple[str, ...] = ()
    threshold: int | None = None
    holders: tuple[str, ...] = ()
    vault: bool = False

    @property
    def is_any(self) -> bool:
        """Whether anything at all is asked for."""
        return bool(self.age_recipients or self.holders or self.vault)

    def as_facts(self) -> dict[str, t.Any]:
        """Return it as the record of the keyring holds it; all of it is public."""
        return {
            "directory": self.directory, "age_recipients": list(self.age_recipients), "threshold": self.threshold,
            "holders": list(self.holders), "vault": self.vault,
        }


def wish_from_facts(facts: t.Mapping[str, t.Any]) -> Wish:
    """Read what C(as_facts) returned."""
    return Wish(
        directory=str(facts["directory"]), age_recipients=tuple(facts["age_recipients"]), threshold=facts["threshold"],
        holders=tuple(facts["holders"]), vault=bool(facts["vault"]),
    )


def escrow_directory(given: str | None, *, app: str) -> str:
    """Return the escrow directory that an option names, or the application's own."""
    return os.path.abspath(given or f"/var/lib/{app}/escrow")


def stem_of(directory: str, mark: str) -> str:
    """Return the path, without an ending, of everything that belongs to the key of a fingerprint."""
    return os.path.join(directory, _PREFIX + mark.partition(":")[2])


def note_path(directory: str, mark: str) -> str:
    """Return where the note of a key lies, or would lie."""
    return stem_of(directory, mark) + _NOTE_SUFFIX


def read_note(directory: str, mark: str) -> dict[str, t.Any]:
    """Return the note of a key, or an empty one where there is none, or none that can be understood."""
    return _note_at(note_path(directory, mark)) or {}


def write_note(directory: str, note: t.Mapping[str, t.Any]) -> None:
    """Write a note and come back only when it is on disk."""
    content = json.dumps(dict(note), indent=2, sort_keys=True).encode("utf-8") + b"\n"
    files.write_private_file(note_path(directory, note["fingerprint"]), content)


def list_notes(directory: str, *, app: str) -> list[dict[str, t.Any]]:
    """Return the notes of all keys of an application that were escrowed here, the newest first.

    Raises:
        EscrowError: there is no such directory, or it cannot be read.
    """
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise EscrowError(f"cannot list {directory}: {os.strerror(error.errno or 0)}; name the directory of the escrow") from None
    found = []
    for name in names:
        if name.startswith(_PREFIX) and name.endswith(_NOTE_SUFFIX):
            note = _note_at(os.path.join(directory, name))
            if note is not None and note.get("app") == app:
                found.append(note)
    return sorted(found, key=lambda note: (str(note.get("created_at")), str(note["fingerprint"])), reverse=True)


def _note_at(path: str) -> dict[str, t.Any] | None:
    if not os.path.lexists(path):
        return None
    try:
        note = json.loads(files.read_file(path, limit_bytes=NOTE_LIMIT_BYTES).decode("utf-8"))
    except (ValueError, ServosError):
        return None
    is_one = isinstance(note, dict) and isinstance(note.get("files"), list) and isinstance(note.get("fingerprint"), str)
    return t.cast("dict[str, t.Any]", note) if is_one else None


def entries_of(note: t.Mapping[str, t.Any], kind: str) -> list[dict[str, t.Any]]:
    """Return the files of a kind (V(age), V(share) or V(vault)) that a note names."""
    return [entry for entry in note.get("files", ()) if isinstance(entry, dict) and entry.get("kind") == kind]


def missing_kinds(wish: Wish, note: t.Mapping[str, t.Any]) -> list[str]:
    """List what of a wish is not there: V(age), V(share), V(vault). Files on this host are read and held against the note."""
    missing = []
    if wish.age_recipients and not any(
        _recipients(entry) == set(wish.age_recipients) and is_intact(wish.directory, entry) for entry in entries_of(note, "age")
    ):
        missing.append("age")
    if wish.holders and not _shares_are_there(wish, note):
        missing.append("share")
    if wish.vault and not entries_of(note, "vault"):
        missing.append("vault")
    return missing


def _shares_are_there(wish: Wish, note: t.Mapping[str, t.Any]) -> bool:
    shares = entries_of(note, "share")
    return (
        note.get("threshold") == wish.threshold
        and len(shares) == len(wish.holders)
        and {recipient for entry in shares for recipient in _recipients(entry)} == set(wish.holders)
        and all(is_intact(wish.directory, entry) for entry in shares)
    )


def _recipients(entry: t.Mapping[str, t.Any]) -> set[str]:
    return set(map(str, entry.get("recipients", ())))


def is_intact(directory: str, entry: t.Mapping[str, t.Any]) -> bool:
    """Whether a file on this host is what it was when it was read back."""
    path = os.path.join(directory, os.path.basename(str(entry.get("name"))))
    try:
        content = files.read_file(path, limit_bytes=NOTE_LIMIT_BYTES)
    except ServosError:
        return False
    return hashlib.sha256(content).hexdigest() == entry.get("sha256")


__all__ = (
    "Wish",
    "entries_of",
    "escrow_directory",
    "is_intact",
    "list_notes",
    "missing_kinds",
    "note_path",
    "read_note",
    "stem_of",
    "wish_from_facts",
    "write_note",
)
