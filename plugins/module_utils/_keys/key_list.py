# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Several keys in one value of a configuration: the first seals, and each of them opens (MultiFernet, for example).

A swap puts one key in the place of the list. What stood there is kept in the state directory first, since the configuration may
be the only place of the listed keys: a rollback puts it back, and a value under one of them that turns up late still opens.
"""

from __future__ import annotations

import os

from .._errors import FileError, KeyFormatError
from .._system import files

_BLANKS = " \t"
_FILE = "listed.key"


def split_keys(text: str, separator: str | None, *, where: str) -> list[str]:
    """Return the texts of the keys in a value, the active one first. Blanks around a separator belong to no key.

    Raises:
        KeyFormatError: two separators follow each other, or one stands at an edge.
    """
    if separator is None or not text:
        return [text]
    texts = text.split(separator)
    if len(texts) > 1:
        texts = [one.strip(_BLANKS) for one in texts]
    if not all(texts):
        raise KeyFormatError(f"{where} is a list of {len(texts)} keys, one of which is empty; take out the {separator} too many")
    return texts


class KeptList:
    """The text of the list that a swap took out of the configuration, until it is retired."""

    def __init__(self, state_dir: str) -> None:
        self._state_dir = state_dir
        self.path = os.path.join(state_dir, _FILE)

    def read(self) -> str | None:
        """Return the text, or None where none is kept.

        Raises:
            FileError: it cannot be read.
        """
        if not os.path.lexists(self.path):
            return None
        content = files.read_file(self.path, limit_bytes=64 * 1024)
        if not content.strip(b"\x00"):
            return None  # a run was killed between overwriting and removing it
        return content.decode("utf-8", "surrogateescape")

    def require_place_for(self, text: str) -> None:
        """Refuse a list while another one is kept.

        Raises:
            FileError: naming the file.
        """
        kept = self.read()
        if kept is not None and kept != text:
            raise FileError(
                f"{self.path} keeps the list of keys of the last rotation, and the configuration holds another one; it is never "
                "overwritten; nothing was changed; retire it first (playbook servos.ops.retire), or put that list back"
            )

    def keep(self, text: str) -> None:
        """Make the text durable: write, fsync, rename, fsync, read back.

        Raises:
            FileError: another list is kept already, or what was read back differs.
        """
        self.require_place_for(text)
        if self.read() == text:
            files.fsync_file(self.path)
            return
        files.ensure_private_directory(self._state_dir)
        files.write_private_file(self.path, text.encode("utf-8", "surrogateescape"))
        if self.read() != text:
            raise FileError(f"{self.path} does not hold what was written to it; is its disk sound?")

    def destroy(self) -> bool:
        """Overwrite and remove it. Returns whether it was there. It loses its name first, as a key of the keyring does."""
        files.clear_leftover_of(self.path)
        if not os.path.lexists(self.path) or os.path.islink(self.path):
            return files.destroy_file(self.path)
        files.set_aside(self.path)
        return files.clear_leftover_of(self.path)

    def clear_leftovers(self) -> None:
        """Destroy what a killed run left of it half-written."""
        files.clear_leftover_of(self.path)


__all__ = ("KeptList", "split_keys")
