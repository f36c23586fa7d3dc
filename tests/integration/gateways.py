# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway before a server that spoils one request: it answers itself (503), or says nothing (drop), before or after it has handed the
request on, or while the server is at work on it: `503-before`, `503-after`, `drop-before`, `drop-after`, `drop-during`."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class _Handler(BaseHTTPRequestHandler):
    server: Gateway
    timeout = 60

    def log_message(self, *unused: Any) -> None:
        """Stay silent."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        reply, moment = self.server.next_manner(self.path)
        if moment == "during":
            threading.Thread(target=self._forgotten, args=(body,), daemon=True).start()
        answer = None if moment in ("before", "during") else self._handed_on(body)
        if reply == "drop":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif reply == "503" or answer is None:
            self._send(503, [("Content-Type", "text/html")], b"<h1>no backend</h1>")
        else:
            kept = [(name, value) for name, value in answer[1] if name.lower() not in ("transfer-encoding", "content-length", "connection")]
            self._send(answer[0], kept, answer[2])

    do_GET = do_POST = _answer

    def _forgotten(self, body: bytes) -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            self._handed_on(body)

    def _handed_on(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=40)
        try:
            connection.request(self.command, self.path, body or None, dict(self.headers.items()))
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _send(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Gateway(ThreadingHTTPServer):
    """Counts the requests, and spoils the nth, or the first of a path."""

    daemon_threads = True

    def __init__(self, behind: int, nth: int, path: str, manner: str) -> None:
        self.behind, self._nth, self._path, self._manner = behind, nth, path, manner
        self.seen = 0
        super().__init__(("127.0.0.1", 0), _Handler)

    def next_manner(self, path: str) -> tuple[str, str]:
        """Return what is done to this request: which reply, and whether before or after it is handed on."""
        self.seen += 1
        if self.seen != self._nth and path != self._path:
            return "", ""
        self._path = ""
        reply, unused, moment = self._manner.partition("-")
        return reply, moment

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def gateway(behind: int, *, nth: int = 0, path: str = "", manner: str) -> Iterator[Gateway]:
    """Stand before the server at this port for the length of a with block."""
    server = Gateway(behind, nth, path, manner)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def crude(reply: bytes) -> Iterator[str]:
    """Listen for the length of a with block, answer every connection with these bytes, and yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, unused = listener.accept()
                except OSError:
                    return
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(10)
                    connection.recv(65536)
                    connection.sendall(reply)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)
