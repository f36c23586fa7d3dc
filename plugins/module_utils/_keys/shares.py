# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A master key in k-of-n shares: any k of them give it back, fewer say nothing about it.

The sharing is PyCryptodome's (Shamir, GF(2^128)), which takes 16 bytes at a time, so a key is two halves, shared each for
itself, in the variant that C(ssss-combine -x -D) reads. What comes out is the 32 bytes in hex, which every application
takes for the key, however it was written before.

Shares carry no checksum of their own: the fingerprint says whether the right ones were put together.
"""

from __future__ import annotations

import hmac
import re
import typing as t

from .._errors import EscrowError
from .material import MasterKey, fingerprint_of

try:
    from Cryptodome.Protocol.SecretSharing import Shamir
except ImportError:
    HAS_SHARING = False
else:
    HAS_SHARING = True

MOST_SHARES = 255
_HALF_BYTES = 16
_TITLE = re.compile(
    r"servos\.ops share (?P<number>\d{1,3}) of (?P<total>\d{1,3}) of (?P<mark>mk:[0-9a-f]{16}), set (?P<set>[0-9a-f]{8}); "
    r"any (?P<threshold>\d{1,3}) open it\Z"
)
_HALF = re.compile(r"(?:first|second) half: (\d{1,3})-([0-9a-f]{32})\Z")


class Share(t.NamedTuple):
    """One share. Only shares of one set (C(set_id)) go together. C(halves) are secret, 16 bytes each."""

    number: int
    total: int
    threshold: int
    mark: str
    set_id: str
    halves: tuple[bytes, bytes]

    def __repr__(self) -> str:
        return f"<Share {self.number} of {self.total} of {self.mark}>"


def require_sharing() -> None:
    """Refuse where the library is missing.

    Raises:
        EscrowError: naming the packages.
    """
    if not HAS_SHARING:
        raise EscrowError(
            "shares need PyCryptodome on the managed host, for the Python that Ansible runs there, and it is missing; nothing was "
            "changed; install python3-pycryptodome (Debian, Ubuntu), python3-pycryptodomex (Fedora, EPEL) or pycryptodomex (PyPI)"
        )


def split_key(key: MasterKey, *, threshold: int, count: int, set_id: str) -> list[Share]:
    """Share a key; its randomness is the library's own.

    Raises:
        EscrowError: the library is missing, or what it made does not give the key back.
    """
    require_sharing()
    key_bytes = key.reveal_bytes()
    if key.encoding == "fixed":
        raise EscrowError("shares give back 32 bytes, and not the text of a key that is derived in a way of its own; use age_recipients")
    halves = [Shamir.split(threshold, count, key_bytes[start : start + _HALF_BYTES], ssss=True) for start in (0, _HALF_BYTES)]
    shares = [
        Share(number, count, threshold, key.fingerprint, set_id, (first, second))
        for (number, first), (unused_number, second) in zip(*halves)
    ]
    # Each share is used once, and the last ones together, so that no single one can be wrong.
    for start in range(count):
        chosen = [shares[(start + step) % count] for step in range(threshold)]
        if not hmac.compare_digest(_combined(chosen), key_bytes):
            raise EscrowError("the shares that were made do not give the key back; is PyCryptodome sound on this host?")
    return shares


def combine_shares(shares: t.Sequence[Share]) -> MasterKey | None:
    """Return the key, written in hex, or None where there are too few shares, or they do not give the key that they name."""
    require_sharing()
    distinct = list({share.number: share for share in shares}.values())
    if not distinct or len(distinct) < distinct[0].threshold:
        return None
    key_bytes = _combined(distinct[: distinct[0].threshold])
    if fingerprint_of(key_bytes) != distinct[0].mark:
        return None
    return MasterKey(key_bytes=key_bytes, text=key_bytes.hex(), encoding="hex")


def share_text(share: Share) -> str:
    """Write a share as its holder finds it; C(ssss-combine) takes what follows the colons."""
    return (
        f"servos.ops share {share.number} of {share.total} of {share.mark}, set {share.set_id}; any {share.threshold} open it\n"
        f"first half: {share.number}-{share.halves[0].hex()}\n"
        f"second half: {share.number}-{share.halves[1].hex()}\n"
    )


def parse_share(text: str) -> Share | None:
    """Read a share, or return None where the text is none."""
    lines = text.splitlines()
    if len(lines) != 3:
        return None
    title, halves = _TITLE.match(lines[0]), [_HALF.match(line) for line in lines[1:]]
    if title is None or not all(half is not None and half.group(1) == title["number"] for half in halves):
        return None
    first, second = (bytes.fromhex(half.group(2)) for half in halves if half is not None)
    return Share(
        int(title["number"]), int(title["total"]), int(title["threshold"]), title["mark"], title["set"], (first, second)
    )


def _combined(shares: t.Sequence[Share]) -> bytes:
    return b"".join(Shamir.combine([(share.number, share.halves[half]) for share in shares], ssss=True) for half in (0, 1))


__all__ = ("MOST_SHARES", "Share", "combine_shares", "parse_share", "require_sharing", "share_text", "split_key")
