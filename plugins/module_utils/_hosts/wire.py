# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A connection that ends: one deadline for all of it, and a limit to what it takes in."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time

from .._errors import HostKeyError

# A whole key exchange takes 5 KB. paramiko sets no bound of its own to a line or a packet.
_LIMIT_BYTES = 256 * 1024


class Wire:
    """A socket as far as paramiko needs one. Past the deadline or the limit it is at its end, as if the peer had closed.

    What was read before C(rewind()) is read again after it, and what was sent then is not sent again: so the connection
    on which the server's offer was read serves for the first key exchange too.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline
        self._poll_s: float | None = None
        self._room = _LIMIT_BYTES
        self._heard = bytearray()
        self._said = 0
        self._replay = b""
        self._is_recording = True
        self._closed = False  # paramiko looks at this name

    @property
    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    @property
    def is_full(self) -> bool:
        """Whether the peer has sent more than any SSH server would."""
        return self._room <= 0

    def recv(self, size: int) -> bytes:
        """Read as a socket does. A C(settimeout) shorter than what is left is kept to."""
        if self._replay:
            piece, self._replay = self._replay[:size], self._replay[size:]
            return piece
        left_s = self._deadline - time.monotonic()
        if left_s <= 0 or self._room <= 0:
            return b""
        self._sock.settimeout(left_s if self._poll_s is None else min(self._poll_s, left_s))
        try:
            piece = self._sock.recv(size)
        except socket.timeout:
            if self._poll_s is None or self.is_late:
                return b""
            raise
        except ConnectionResetError:  # how a peer closes that has not read what we said
            return b""
        self._room -= len(piece)
        if self._is_recording:
            self._heard += piece
        return piece

    def send(self, content: bytes) -> int:
        """Write as a socket does, without what was said before C(rewind())."""
        if self._said and not self._is_recording:
            skipped = min(self._said, len(content))
            self._said -= skipped
            return skipped
        if self.is_late:
            raise OSError(errno.EPIPE, os.strerror(errno.EPIPE))
        sent = self._sock.send(content)
        if self._is_recording:
            self._said += sent
        return sent

    def rewind(self) -> None:
        """Begin again, for another reader; it has to say the same."""
        self._replay, self._heard = bytes(self._heard), bytearray()
        self._is_recording = False

    def start_afresh(self) -> None:
        """Leave the conversation to a reader that begins it."""
        self._is_recording = False
        self._said = 0

    def settimeout(self, timeout_s: float | None) -> None:
        """Set how long one read may take."""
        self._poll_s = timeout_s

    def close(self) -> None:
        """Close, and wake whoever reads."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def connect(host: str, port: int, *, deadline: float) -> Wire:
    """Connect to the first address that answers.

    Raises:
        HostKeyError: saying why none does.
    """
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError):
        raise HostKeyError("the name cannot be resolved; check its spelling, and DNS or /etc/hosts on this machine") from None
    reason = "there is no address"
    for position, (family, kind, protocol, unused_name, address) in enumerate(addresses):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(left_s / (len(addresses) - position))  # one address that is silent leaves time for the next
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            sock.close()
            reason = _reason(error)
            continue
        return Wire(sock, deadline)
    raise HostKeyError(reason)


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refuses the connection: nothing listens on that port, or a firewall says so; start sshd, or check the port"
    if isinstance(error, socket.timeout):
        return "no answer to the connection before the deadline; it is down, or a firewall drops it; check it, or raise timeout"
    return f"cannot be reached ({os.strerror(error.errno or 0)}); check network, address and routes"


__all__ = ("Wire", "connect")
