# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""From the master key to the key of one codec: derived once, or again for each value that brings its own salt. Pure."""

from __future__ import annotations

import json
import typing as t

from .._errors import ProfileError
from .aes_gcm import Cipher
from .derivation import Derivation, derivation_of

_REMEMBERED = 32  # a value is opened, sealed and opened again under one salt, and guessed at under a dozen


class KeySchedule:
    """C(key) of a codec: a derivation that starts from the master key's bytes, and C(slice), which of the result is used.

    C(size) is the number of key bytes, None where any will do (a mac); C(more) is what follows them, for the nonce.
    """

    def __init__(self, spec: t.Any, size: int | None, more: int) -> None:
        self.size, self._more = size, more
        self._slice: tuple[int, int] | None = None
        self._derivation: Derivation | None = None
        # What is derived once serves every codec that derives in the same way.
        self._mark = json.dumps([spec, size, more], sort_keys=True)
        if spec is None:
            return
        if not isinstance(spec, dict):
            raise ProfileError("key of a codec is a dictionary with kdf, slice, or both")
        own = dict(spec)
        if "slice" in own:
            self._slice = _slice_of(own.pop("slice"))
        if own:
            own.setdefault("bytes", self._slice[1] if self._slice else (size or 32) + more)
            self._derivation = derivation_of(own, of_values=True)
            given = self._derivation.size_bytes
            if self._slice is not None and given is not None and given < self._slice[1]:
                raise ProfileError(f"slice of a codec's key goes to byte {self._slice[1]}, and its derivation gives {given}; correct bytes")

    @property
    def takes_salt(self) -> bool:
        """Whether each value brings its own salt."""
        return self._derivation is not None and self._derivation.salt is None

    @property
    def has_derivation(self) -> bool:
        """Whether the key is not the master key's bytes as they are."""
        return self._derivation is not None or self._slice is not None

    @property
    def source_bytes_needed(self) -> int:
        """Return how many bytes of the master key are used at least."""
        if self._derivation is not None:
            return 1
        return self._slice[1] if self._slice is not None else (self.size or 1) + self._more

    def of(self, cipher: Cipher, salt: bytes) -> tuple[bytes | None, bytes]:
        """Return key and what follows it; None where the master key does not give that many bytes."""
        known = cipher.made.setdefault(self._mark, {})
        if salt not in known:
            if len(known) >= _REMEMBERED:
                known.clear()
            known[salt] = self._made(cipher.source, salt)
        found: tuple[bytes | None, bytes] = known[salt]
        return found

    def _made(self, source: bytes, salt: bytes) -> tuple[bytes | None, bytes]:
        made = source
        if self._derivation is not None:
            made = self._derivation.derive(source, salt=salt if self.takes_salt else None)
        if self._slice is not None:
            made = made[self._slice[0] : self._slice[1]] if len(made) >= self._slice[1] else b""
        size = len(made) - self._more if self.size is None else self.size
        if not made or len(made) != size + self._more:
            return None, b""
        return made[:size], made[size:]


def _slice_of(value: t.Any) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2 or not all(str(bound).isdigit() for bound in value) or int(value[0]) >= int(value[1]):
        raise ProfileError("slice of a codec's key is two numbers of bytes: from, and to")
    return int(value[0]), int(value[1])


__all__ = ("KeySchedule",)
