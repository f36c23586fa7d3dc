# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The archive of escrowed keys: which of them opens a given database or backup, and whether what lies there is still sound.

Changes nothing. A key that an identity on this host opens is used in memory, and shown as a fingerprint like any other.
"""

from __future__ import annotations

import os
import typing as t

from .._errors import EscrowError, KeyFormatError
from .._keys.escrow import entries_of, escrow_directory, is_intact, list_notes
from .._keys.keyring import key_file_text
from .._keys.material import MasterKey
from .._keys.shares import Share, combine_shares, parse_share, require_sharing
from .._sealing.aes_gcm import Cipher
from .._stores.database import Database
from .backups import read_note, sha256_of
from .census import Census, take_census
from .escrowing import AGE_MISSING, Runner
from .installation import Installation
from .observe import Keys

_SHARE_LIMIT_BYTES = 4096


class Archive:
    """The notes in an escrow directory, and the keys that can be opened of them here.

    Args:
        identity_files: identities of age on this host, each tried on every sealed file.
        combine: whether shares that open are put together to the key.
        run: runs age.
    """

    def __init__(
        self, installation: Installation, directory: str, *, identity_files: t.Sequence[str], combine: bool, run: Runner
    ) -> None:
        self._installation, self._directory, self._run = installation, directory, run
        self._identity_files = list(identity_files)
        for path in self._identity_files:
            if not os.path.isfile(path):
                raise EscrowError(f"there is no identity file {path} on this host; name another (archive.identity_files)")
        if combine:
            require_sharing()
        self.notes = list_notes(directory, app=installation.profile.app)
        self.opened: dict[str, MasterKey] = {}
        self._shares: list[Share] = []
        self._judged = {note["fingerprint"]: [self._judge(entry, note) for entry in note["files"]] for note in self.notes}
        if combine:
            self._combine()

    def rows(self, known: Keys | None) -> list[dict[str, t.Any]]:
        """Return one entry a key: where it lies, whether that is intact, and which role it has here, if any."""
        rows = []
        for note in self.notes:
            mark = note["fingerprint"]
            role = known.role_of(mark) if known is not None and mark in known.by_fingerprint() else None
            rows.append({
                "fingerprint": mark, "created_at": note.get("created_at"), "threshold": note.get("threshold"), "role": role,
                "opened": mark in self.opened, "files": self._judged[mark],
            })  # fmt: skip
        return rows

    def _judge(self, entry: t.Mapping[str, t.Any], note: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """Hold one file against its note, and try the identities on it. What lies elsewhere is not looked at: none."""
        if entry.get("kind") not in ("age", "share"):
            return dict(entry, intact=None, opens=None)
        intact = is_intact(self._directory, entry)
        opens = self._opens(entry, note) if intact and self._identity_files else None
        return dict(entry, intact=intact, opens=opens)

    def _opens(self, entry: t.Mapping[str, t.Any], note: t.Mapping[str, t.Any]) -> bool:
        mark = note["fingerprint"]
        content = self._decrypted(os.path.join(self._directory, os.path.basename(entry["name"])))
        if content is None:
            return False
        if entry["kind"] == "share":
            share = parse_share(content[:_SHARE_LIMIT_BYTES].decode("utf-8", "replace"))
            if share is None or share.mark != mark:
                return False
            self._shares.append(share)
            return True
        try:
            key = self._installation.parse(key_file_text(content), where=entry["name"])
        except KeyFormatError:
            return False
        if key.fingerprint != mark:
            return False
        self.opened[key.fingerprint] = key
        return True

    def _decrypted(self, path: str) -> bytes | None:
        argv = ["age", "--decrypt"]
        for identity in self._identity_files:
            argv += ["--identity", identity]
        try:
            code, content, unused_complaint = self._run([*argv, path], b"")  # what it complains of may quote an identity
        except OSError:
            raise EscrowError(AGE_MISSING + "nothing was changed") from None
        return content if code == 0 else None

    def _combine(self) -> None:
        for set_id in {share.set_id for share in self._shares}:
            key = combine_shares([share for share in self._shares if share.set_id == set_id])
            if key is not None:
                self.opened[key.fingerprint] = key


def look_up(
    installation: Installation, asked: t.Mapping[str, t.Any], *, known: Keys | None, run: Runner
) -> dict[str, t.Any]:
    """Say what lies in the archive, and which of its keys opens a database.

    Args:
        asked: the option C(archive).
        known: the keys of the installation, where it was looked at.

    Returns:
        C(archived_keys), C(opens) (values of the database by the key that opens them) and C(unopened_values).
    """
    directory = escrow_directory(asked.get("directory"), app=installation.profile.app)
    archive = Archive(
        installation, directory, identity_files=asked.get("identity_files") or (), combine=bool(asked.get("combine_shares")), run=run
    )
    keys = dict(known.by_fingerprint()) if known is not None else {}
    for key in [installation.key_from_file(path) for path in asked.get("key_files") or ()] + list(archive.opened.values()):
        keys.setdefault(key.fingerprint, key)
    noted, warnings = _noted(asked.get("of") or installation.place().identity)
    # Without a key nothing can be counted; what is in the note was counted when the backup was made.
    census = _census_of(installation, asked.get("of"), keys) if keys else None
    counted = census.sealed if census is not None else {}
    archived = {note["fingerprint"]: note for note in archive.notes}
    opens = [
        {
            "fingerprint": mark,
            "values": counted.get(mark, noted.get(mark)),
            "opened": mark in counted,
            "archived": mark in archived,
            "files": [str(entry.get("name") or entry.get("path")) for entry in archived.get(mark, {}).get("files", ())],
        }
        for mark in [*counted, *(mark for mark in noted if mark not in counted)]
    ]
    return {
        "archived_keys": archive.rows(known),
        "opens": opens,
        "unopened_values": _unopened(census) if census is not None else None,
        "_warnings": warnings + _warnings_of(archive),
    }


def _noted(path: str) -> tuple[dict[str, int], list[str]]:
    """Return what the note of a backup says about its keys, if it is one, and is what it was."""
    if not os.path.exists(path + ".json"):
        return {}, []
    note = read_note(path)
    keys = note.get("keys") if note is not None else None
    if not isinstance(keys, dict) or not all(isinstance(count, int) for count in keys.values()):
        return {}, [f"{path}.json is not the note of a backup, and was not used"]
    if note is None or sha256_of(path) != note.get("sha256"):
        return {}, [f"{path} is not what it was when it was made (its SHA-256 differs from its note), so the note was not used"]
    return keys, []


def _census_of(installation: Installation, path: str | None, keys: t.Mapping[str, MasterKey]) -> Census:
    ciphers = {mark: Cipher(key.reveal_bytes()) for mark, key in keys.items()}
    database: Database = installation.snapshot(path) if path else installation.database()
    return database.read(lambda reader: take_census(reader, installation.profile, ciphers, progress=installation.progress))


def _unopened(census: Census) -> int:
    """Count what looks sealed and opens under no key; where nothing opens at all, that is what the strangers are."""
    return census.foreign or (sum(stranger.unopened for stranger in census.strangers) if not census.sealed else 0)


def _warnings_of(archive: Archive) -> list[str]:
    warnings = []
    for row in archive.rows(None):
        damaged = [entry["name"] for entry in row["files"] if entry["intact"] is False]
        if damaged:
            warnings.append(f"the archive of {row['fingerprint']} has lost {', '.join(damaged)}, or it was changed; escrow the key again")
        if not entries_of(row, "age") and not entries_of(row, "share") and not entries_of(row, "vault"):
            warnings.append(f"the archive of {row['fingerprint']} names no file")
    return warnings


__all__ = ("Archive", "look_up")
