# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What an SSH server says before any key is exchanged: its version, and the algorithms that it offers (RFC 4253).

Nothing here trusts the other side: the caller's C(receive) bounds time and volume, and what is read is bounded again.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import HostKeyError

_MAX_LINE = 8192
_MAX_LINES_BEFORE = 50
_MAX_PACKET = 35000  # section 6.1
_MAX_PACKETS_BEFORE = 8
_MAX_SHOWN = 200
_DISCONNECT, _IGNORE, _DEBUG, _KEXINIT = 1, 2, 4, 20

Receive = t.Callable[[int], bytes]


class Offer(t.NamedTuple):
    """The algorithms that a server offers, in its order. C(_out) is for what we send, C(_in) for what it sends."""

    key_exchanges: tuple[str, ...]
    host_keys: tuple[str, ...]
    ciphers_out: tuple[str, ...]
    ciphers_in: tuple[str, ...]
    macs_out: tuple[str, ...]
    macs_in: tuple[str, ...]


def read_version(receive: Receive) -> str:
    """Read up to and including the server's identification (section 4.2). Return its protocol version.

    Raises:
        HostKeyError: what answers is not SSH, or is SSH 1.
    """
    for number in range(_MAX_LINES_BEFORE):
        line = _read_line(receive, is_first=number == 0)
        if line.startswith(b"SSH-"):
            version = line.split(b"-")[1].decode("ascii", "replace")
            if version not in ("2.0", "1.99"):
                raise HostKeyError("speaks SSH 1 or a version unknown here, and only SSH 2.0 will do; upgrade it")
            return version
    raise HostKeyError("is not an SSH server: it sends line after line, and none is an SSH version; check the port")


def _read_line(receive: Receive, *, is_first: bool) -> bytes:
    # A byte at a time, since what follows the line is for somebody else to read.
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = receive(1)
        if not piece and not line and is_first:
            raise HostKeyError("closes the connection without a word; is it starting, overloaded, or refusing this address?")
        if not piece or len(line) >= _MAX_LINE:
            raise HostKeyError("is not an SSH server: what it sends is no SSH version; check the port")
        line += piece
    return bytes(line)


def read_offer(receive: Receive) -> Offer:
    """Read the server's KEXINIT (section 7.1).

    Raises:
        HostKeyError: it disconnects, or sends something else.
    """
    for unused in range(_MAX_PACKETS_BEFORE):
        payload = _read_packet(receive)
        if payload[0] == _KEXINIT:
            return _offer_of(payload)
        if payload[0] == _DISCONNECT:
            raise HostKeyError("disconnects before it offers a key; is it overloaded, or refusing this address?")
        if payload[0] not in (_IGNORE, _DEBUG):
            break
    raise HostKeyError("sends another packet where SSH has its offer of algorithms; is it an SSH server?")


def _read_packet(receive: Receive) -> bytes:
    """Return the payload of one unencrypted packet (section 6), of one byte at least."""
    length = int.from_bytes(_exactly(receive, 4), "big")
    if not 5 <= length <= _MAX_PACKET:
        raise HostKeyError("sends a packet of impossible length; is it an SSH server?")
    packet = _exactly(receive, length)
    padding = packet[0]
    if not 4 <= padding < length - 1:
        raise HostKeyError("sends a packet with impossible padding; is it an SSH server?")
    return packet[1 : length - padding]


def _exactly(receive: Receive, count: int) -> bytes:
    buffer = bytearray()
    while len(buffer) < count:
        piece = receive(count - len(buffer))
        if not piece:
            raise HostKeyError("closes the connection before it offers a key; is it overloaded, or refusing this address?")
        buffer += piece
    return bytes(buffer)


def _offer_of(payload: bytes) -> Offer:
    place = 17  # the message number and a cookie of 16 bytes
    lists = []
    for unused in Offer._fields:
        length = int.from_bytes(payload[place : place + 4], "big")
        end = place + 4 + length
        if place + 4 > len(payload) or end > len(payload):
            raise HostKeyError("offers algorithms in a form that cannot be read; is it an SSH server?")
        lists.append(tuple(name for name in payload[place + 4 : end].decode("ascii", "replace").split(",") if name))
        place = end
    return Offer(*lists)


def shown(names: t.Iterable[str]) -> str:
    """Return algorithms as an error shows them: printable ASCII of moderate length, whatever the server sent."""
    # Two of the names are none: they tell the client what else the server can do.
    text = ", ".join(name for name in names if not name.startswith(("ext-info-", "kex-strict-")))
    text = re.sub("[^ -~]", "?", text)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


__all__ = ("Offer", "read_offer", "read_version", "shown")
