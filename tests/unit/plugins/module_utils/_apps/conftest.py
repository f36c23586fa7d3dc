# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real HTTP server on this host that counts what it is sent and answers as it is told."""

from __future__ import annotations

import http.server
import threading

import pytest


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen = []
        self.status, self.headers, self.body, self.act = 200, {"Content-Type": "application/json"}, b"{}", None
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        """A client that goes away is what some tests do."""

    def close(self):
        self.shutdown()
        self.server_close()
        self.thread.join()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *args):  # noqa: A002
        """Print nothing."""

    def answer(self):
        server = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        # As it was sent: http.server makes one slash of two.
        server.seen.append((self.command, self.requestline.split()[1], {name.lower(): value for name, value in self.headers.items()}, body))
        if server.act is not None:
            server.act(self)
            self.close_connection = True
            return
        self.send_response(server.status)
        for name, value in server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(server.body)))
        self.end_headers()
        self.wfile.write(server.body)

    do_GET = do_POST = do_CONNECT = answer


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


@pytest.fixture
def trap():
    """A second one, which nothing may ever reach."""
    made = Server()
    yield made
    made.close()
