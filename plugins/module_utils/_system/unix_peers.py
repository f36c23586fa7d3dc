# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""Which listening Unix socket a connected one leads to. Source: sock_diag(7), include/uapi/linux/unix_diag.h."""

from __future__ import annotations

import contextlib
import socket
import struct

_SOCK_DIAG, _BY_FAMILY = 4, 20
_REQUEST, _DUMP, _DONE, _ERROR = 0x1, 0x300, 3, 2
_SHOW_NAME, _SHOW_PEER = 0x1, 0x4
_NAME, _PEER = 0, 2
_ALL_STATES = 0xFFFFFFFF
_TIMEOUT_S = 5


def unix_peers() -> dict[int, str]:
    """Return, by inode of a connected Unix socket of this network namespace, the path that the other side listens on.

    Empty where the kernel does not say.
    """
    names: dict[int, str] = {}
    peers: dict[int, int] = {}
    with contextlib.suppress(OSError), socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _SOCK_DIAG) as asked:
        asked.settimeout(_TIMEOUT_S)
        body = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _ALL_STATES, 0, _SHOW_NAME | _SHOW_PEER, 0xFFFFFFFF, 0xFFFFFFFF)
        asked.sendto(struct.pack("=IHHII", 16 + len(body), _BY_FAMILY, _REQUEST | _DUMP, 1, 0) + body, (0, 0))
        while _read_messages(asked.recv(262144), names, peers):
            pass
    return {inode: names[peer] for inode, peer in peers.items() if peer in names}


def _read_messages(received: bytes, names: dict[int, str], peers: dict[int, int]) -> bool:
    """Take in what one datagram says. Returns whether more is to come."""
    while len(received) >= 16:
        length, kind = struct.unpack_from("=IH", received)
        if kind in (_DONE, _ERROR) or length < 32:
            return False
        inode = struct.unpack_from("=I", received, 20)[0]
        position = 32
        while position + 4 <= length:
            size, attribute = struct.unpack_from("=HH", received, position)
            if size < 4:
                break
            value = received[position + 4 : position + size]
            if attribute == _NAME and value[:1] not in (b"", b"\0"):
                names[inode] = value.rstrip(b"\0").decode("utf-8", "replace")
            elif attribute == _PEER and len(value) == 4:
                peers[inode] = struct.unpack("=I", value)[0]
            position += (size + 3) & ~3
        received = received[(length + 3) & ~3 :]
    return True


__all__ = ("unix_peers",)
