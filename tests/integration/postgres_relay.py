# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relay before a PostgreSQL server that breaks connections, and knows one statement from the next."""

from __future__ import annotations

import contextlib
import socket
import threading

# BackendKeyData: https://www.postgresql.org/docs/current/protocol-message-formats.html
_BACKEND_KEY = b"K\0\0\0\x0c"


class Relay:
    """Listens on a port of its own. C(statements) is what clients have sent, one entry for each piece of the stream.

    C(cut_at) breaks all connections at that entry (from 1 on), C(cut_text) at the first that holds it; before it reaches the server,
    or after it did and before anything of the answer comes back. C(stays_down) breaks whatever comes after. C(is_pooler) lets it name
    a process of its own to who connects, as PgBouncer does. C(down_text) breaks each later connection that sends it.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.statements: list[bytes] = []
        self.cut_at, self.cut_text, self.is_after, self.stays_down = 0, b"", False, False
        self.down_text = b""
        self.was_cut = self.is_pooler = False
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, unused_address = self._listener.accept()
            except OSError:
                return
            if self.was_cut and self.stays_down:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self._target))
            threading.Thread(target=self._relay, args=(client, server), daemon=True).start()
            threading.Thread(target=self._answer, args=(server, client), daemon=True).start()

    def _relay(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := client.recv(65536):
                with self._lock:
                    self.statements.append(piece)
                    cut = not self.was_cut and (len(self.statements) == self.cut_at or bool(self.cut_text and self.cut_text in piece))
                    cut = cut or (self.was_cut and bool(self.down_text and self.down_text in piece))
                    self.was_cut = self.was_cut or cut
                if cut and self.is_after:
                    client.shutdown(socket.SHUT_WR)  # nothing of the answer comes back
                    server.sendall(piece)
                    server.shutdown(socket.SHUT_WR)
                    while server.recv(65536):  # the server has done it by the time that it closes
                        pass
                    break
                if cut:
                    break
                server.sendall(piece)
        for end in (client, server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _answer(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := server.recv(65536):
                place = piece.find(_BACKEND_KEY)
                if self.is_pooler and place >= 0:
                    piece = piece[: place + 5] + b"\0\0\0\1" + piece[place + 9 :]
                client.sendall(piece)
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
