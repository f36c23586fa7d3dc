# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The state directory: the staged, previous and withdrawn key, and the record of the last rotation.

Each key is a file of its own, 0600, that holds the text of the key as it stands in the env file and nothing else, so
that it can be used by hand when all else is lost. Which keys there are is seen from the files; the record only
remembers what cannot be observed (names and times).

=============  =====================================================================================
staged.key     about to be the active key, or already is; kept until the rotation is retired
previous.key   was active before; kept until retired
withdrawn.key  was taken back by a rollback; kept until retired, since a backup may need it
record.json    id, fingerprints and times (UTC) of the last rotation
=============  =====================================================================================
"""

from __future__ import annotations

import json
import os
import typing as t

from .._errors import FileError
from .._system import files
from .material import MasterKey, Rule, parse_key

ROLES = ("staged", "previous", "withdrawn")
_RECORD = "record.json"


class Keyring:
    """The keys of one installation in one state directory.

    Reading has no effects. Writing makes the directory (0700) and comes back only when all is on disk.
    """

    def __init__(self, state_dir: str, *, derivation: Rule) -> None:
        self.state_dir = state_dir
        self._derivation = derivation

    def path_of(self, role: str) -> str:
        """Return where the key of a role lies, or would lie."""
        return os.path.join(self.state_dir, f"{role}.key")

    @property
    def lock_path(self) -> str:
        """Where the lock of the installation lies."""
        return os.path.join(self.state_dir, "lock")

    def read(self, role: str) -> MasterKey | None:
        """Return the key of a role, or None.

        Raises:
            KeyFormatError: the file does not hold a key (it is never overwritten then).
            FileError: it cannot be read.
        """
        path = self.path_of(role)
        if not os.path.lexists(path):
            return None
        content = files.read_file(path, limit_bytes=64 * 1024)
        if content and not content.strip(b"\x00"):
            return None  # a run was killed between overwriting and removing it
        return parse_key(key_file_text(content), derivation=self._derivation, where=path)

    def write(self, role: str, key: MasterKey) -> bool:
        """Make a key durable under a role: write, fsync, rename, fsync, read back. Returns whether it was not there yet.

        Raises:
            FileError: another key is there already, or what was read back differs.
        """
        kept = self.read(role)
        if kept is not None:
            if kept == key:  # however it is written
                files.fsync_file(self.path_of(role))
                return False
            raise FileError(
                f"{self.path_of(role)} already holds {kept.fingerprint}; it is never overwritten; finish or roll back that rotation first"
            )
        files.ensure_private_directory(self.state_dir)
        content = key.reveal_text().encode("utf-8", "surrogateescape")
        if content.endswith(b"\n"):
            content += b"\n"  # a reader takes one line end off, and this one is not the file's
        files.write_private_file(self.path_of(role), content)
        if self.read(role) != key:
            raise FileError(f"{self.path_of(role)} does not hold what was written to it; is its disk sound?")
        return True

    def destroy(self, role: str) -> bool:
        """Overwrite and remove the key of a role. Returns whether it was there.

        It loses its name first: a kill while it is overwritten would leave half a key where a whole one is expected.
        """
        path = self.path_of(role)
        files.clear_leftover_of(path)
        if not os.path.lexists(path) or os.path.islink(path):
            return files.destroy_file(path)
        files.set_aside(path)
        return files.clear_leftover_of(path)

    def clear_leftovers(self) -> None:
        """Destroy what a killed run left of files that it was writing here."""
        for name in (*(f"{role}.key" for role in ROLES), _RECORD):
            files.clear_leftover_of(os.path.join(self.state_dir, name))

    def withdraw_staged(self) -> None:
        """Turn the staged key into the withdrawn one, in one step."""
        files.rename_file(self.path_of("staged"), self.path_of("withdrawn"))

    def record(self) -> dict[str, t.Any]:
        """Return what is remembered of the last rotation; empty where nothing is, or where it cannot be understood."""
        path = os.path.join(self.state_dir, _RECORD)
        if not os.path.exists(path):
            return {}
        try:
            found = json.loads(files.read_file(path).decode("utf-8"))
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def remember(self, **facts: t.Any) -> None:
        """Add facts to the record."""
        files.ensure_private_directory(self.state_dir)
        merged = dict(self.record(), **facts)
        content = json.dumps(merged, indent=2, sort_keys=True).encode("utf-8") + b"\n"
        files.write_private_file(os.path.join(self.state_dir, _RECORD), content)


def key_file_text(content: bytes) -> str:
    """Return the key text in the bytes of a key file: one line end at its end belongs to the file, not to the key."""
    for line_end in (b"\r\n", b"\n"):
        if content.endswith(line_end):
            content = content[: -len(line_end)]
            break
    return content.decode("utf-8", "surrogateescape")


__all__ = ("ROLES", "Keyring", "key_file_text")
