# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How many connections there are at a time, and for how long, so that who holds many open and says little keeps out nobody.

aiohttp waits for ever for the first words of a request. Where there are too many, the oldest has to go: an honest sender needs a moment.
"""

from __future__ import annotations

import asyncio
import typing as t


class Connections:
    """All connections of a receiver, the oldest first."""

    def __init__(self, *, most: int, longest_s: float) -> None:
        self._most, self._longest_s = most, longest_s
        self._open: dict[Watched, asyncio.TimerHandle] = {}

    def watched(self, protocol: asyncio.Protocol) -> Watched:
        """Return what stands between a connection and the protocol that speaks on it."""
        return Watched(protocol, self)

    def began(self, connection: Watched) -> None:
        """Let a connection in; another one may have to go."""
        self._open[connection] = asyncio.get_running_loop().call_later(self._longest_s, connection.end)
        if len(self._open) > self._most:
            next(iter(self._open)).end()

    def ended(self, connection: Watched) -> None:
        """Forget a connection."""
        timer = self._open.pop(connection, None)
        if timer is not None:
            timer.cancel()


class Watched(asyncio.Protocol):
    """Passes on all that happens on a connection."""

    def __init__(self, inner: asyncio.Protocol, connections: Connections) -> None:
        self._inner, self._connections = inner, connections
        self._transport: t.Any = None

    def end(self) -> None:
        """End the connection at once, whatever was still to be said."""
        self._connections.ended(self)
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It begins."""
        self._transport = transport
        self._inner.connection_made(transport)
        self._connections.began(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        self._connections.ended(self)
        self._inner.connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Something was said."""
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Nothing more will be said."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """The other side reads slowly."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """The other side has read."""
        self._inner.resume_writing()


__all__ = ("Connections", "Watched")
