# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server that behaves as the code of rakunlabs/pika was read to behave, in three versions.

MODEL, and not Pika: its code was read, and not run. README.md beside it says what is fact and what is invented.

    server.py [--port N] [--state DIR]

Variables of the product: PIKA_STORAGE_BW_PATH, PIKA_ENCRYPTION_PASSWORD, PIKA_SERVER_TLS_ENABLED (default true, self-signed),
PIKA_SERVER_HOST, PIKA_SERVER_PORT, PIKA_SERVER_BASE_PATH.
Variables of this reference, PIKA_REFERENCE_...: VERSION (A, B, C), FAULTS (faults.py has the switches), CONTROL_PORT
(control.py: switches at run time and a report of what was asked), SLEEP_SCALE and LIMITER_WINDOW_S (limiter), STRATEGY,
COOKIE, REDIRECT (303, 307), BODY_LIMIT, NODES ("n1=URL,n2=URL"), NODE, CLUSTER_SECRET.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from application import Application
from configuration import Configuration, ConfigurationError, read_configuration
from control import ControlServer
from faults import FaultError
from replies import Drop, Reply, Request, json_reply
from store import StoreInUse

_BACKUP_LIMIT_BYTES = 1 << 30
_CHUNK_BYTES = 8192
_LINGER_LIMIT_BYTES = 1 << 26


def log(message: str) -> None:
    """Write one line to stderr; callers never pass a key, a password or a body."""
    print(message, file=sys.stderr, flush=True)


class _BodyTooLarge(Exception):
    """More bytes than are taken."""


class Handler(BaseHTTPRequestHandler):
    """Requests of one connection."""

    server: PikaServer
    timeout = 60
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "pika-reference", ""

    def log_message(self, *unused: Any) -> None:
        """Stay silent: a request line could quote a secret that somebody put there."""

    def _answer(self) -> None:
        application = self.server.application
        is_backup = self.path.partition("?")[0].endswith("/api/v1/backup") or self.path.startswith("/_cluster/")
        try:
            body = self._read_body(_BACKUP_LIMIT_BYTES if is_backup else application.configuration.body_limit_bytes)
        except _BodyTooLarge:
            self.close_connection = True
            self._send(json_reply(413, {"message": "request body too large"}))
            self._linger()
            return
        try:
            reply = application.answer(Request(self.command, self.path, self.headers, body, self.client_address[0]))
        except Drop:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(reply)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _answer

    def _linger(self) -> None:
        # Closed with bytes unread, the connection would be reset, and the answer lost with it (nginx's lingering_close does this).
        self.wfile.flush()
        self.connection.settimeout(1)
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            for unused in range(_LINGER_LIMIT_BYTES // _CHUNK_BYTES):
                if not self.rfile.read1(_CHUNK_BYTES):
                    return

    def _read_body(self, limit_bytes: int) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length_text = self.headers.get("Content-Length", "0")
            if not length_text.isdigit() or int(length_text) > limit_bytes:
                raise _BodyTooLarge
            return self.rfile.read(int(length_text))
        body = bytearray()
        while True:
            size = int(self.rfile.readline().partition(b";")[0], 16)
            body += self.rfile.read(size)
            self.rfile.readline()
            if len(body) > limit_bytes:
                raise _BodyTooLarge
            if size == 0:
                return bytes(body)

    def _send(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        if reply.status != 204:
            if reply.body or reply.status == 200:
                self.send_header("Content-Type", reply.content_type)
            if reply.is_chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command == "HEAD" or reply.status == 204:
            return
        if not reply.is_chunked:
            self.wfile.write(reply.body)
            return
        body = reply.body if reply.cut_after is None else reply.body[: reply.cut_after]
        for start in range(0, len(body), _CHUNK_BYTES):
            chunk = body[start : start + _CHUNK_BYTES]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        while reply.is_endless:
            self.wfile.write(b"%x\r\n%s\r\n" % (_CHUNK_BYTES, bytes(_CHUNK_BYTES)))
        if reply.cut_after is None:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True


class PikaServer(ThreadingHTTPServer):
    """Threads end with the process: a connection that a client keeps open does not hold up a stop."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, configuration: Configuration, application: Application) -> None:
        self.application = application
        super().__init__((configuration.host, configuration.port), Handler)
        if configuration.has_tls:
            self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._context.load_cert_chain(*certificate(configuration.folder))

    def server_bind(self) -> None:
        """Bind without the reverse lookup of HTTPServer, which can take seconds on a host without DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands in the connection's own thread."""
        if self.application.configuration.has_tls:
            request.settimeout(20)
            request = self._context.wrap_socket(request, server_side=True)
        Handler(request, client_address, self)
        if self.application.configuration.has_tls:
            with contextlib.suppress(OSError):
                request.unwrap()
            request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the kind of error only: a traceback could quote what was sent."""
        kind = sys.exc_info()[0]
        if kind is not None and not issubclass(kind, (ConnectionError, ssl.SSLError)):
            log(f"request failed: {kind.__name__}")


def certificate(folder: Path) -> tuple[Path, Path]:
    """Return a self-signed certificate for localhost and its key, made with openssl the first time."""
    certificate_path, key_path = folder / "tls.crt", folder / "tls.key"
    if not certificate_path.exists():
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-keyout", str(key_path), "-out", str(certificate_path)],
            check=True, capture_output=True, timeout=30,
        )  # fmt: skip
    return certificate_path, key_path


def serve(configuration: Configuration) -> None:
    """Listen until SIGTERM or SIGINT."""
    application = Application(configuration)
    with PikaServer(configuration, application) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, hence the other thread.
            signal.signal(number, lambda *unused: threading.Thread(target=server.shutdown).start())
        if configuration.control_port:
            control = ControlServer(configuration.control_port, application.recorder, application.faults, application.state)
            threading.Thread(target=control.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        application.cluster.start()
        log(f"server started on {server.server_name}:{server.server_port}; {_lock_word(application)}")
        server.serve_forever(poll_interval=0.05)
        application.cluster.stop()
    log("stopped")


def _lock_word(application: Application) -> str:
    if not application.keys.is_initialized:
        return "encryption not yet enabled"
    return "unlocked" if application.keys.is_unlocked else "locked"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Reference server of the Pika model (not Pika).")
    parser.add_argument("--port", type=int, help="instead of PIKA_SERVER_PORT")
    parser.add_argument("--state", help="state directory, instead of PIKA_STORAGE_BW_PATH")
    arguments = parser.parse_args(argv)
    try:
        serve(read_configuration(os.environ, port=arguments.port, state=arguments.state))
    except (ConfigurationError, FaultError, StoreInUse, OSError, subprocess.SubprocessError) as error:
        log(f"cannot start: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
