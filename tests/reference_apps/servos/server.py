# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server that behaves as this project assumes that ServOS/ACT does.

ASSUMPTION model, and not ServOS: no code of the product is public. Stated by its pages are the rotation path, the two
request fields, the bearer token, the two error texts, the start check of the key and that a restart is needed. Every
status, every body, every other path is invented, so that a client can be tried against all the branches it must
survive.

    server.py [--product servos|act] [--env-file FILE] [--pid-file FILE]
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import signal
import socket
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import layout
from database import ERRORS
from envfile import EnvFileError, load_env_file
from rotation import RotationRefused
from sealing import OpenError
from service import Service, StartRefused
from settings import PREFIXES, SettingsError, read_settings

ROTATE_PATH = "/api/maintenance/rotate-key"
# Where the redirect fault points. It rotates too, so that a client which follows the redirect is found out.
REDIRECTED_PATH = "/api/v2/maintenance/rotate-key"
_BODY_LIMIT_BYTES = 1 << 20
_PAGE = b'<!doctype html><html><body><div id="root"></div></body></html>'


class BadRequest(Exception):
    """The body is not what the endpoint takes."""


def log(message: str) -> None:
    """Write one line to stderr; callers never pass a key, a token or a body."""
    print(message, file=sys.stderr, flush=True)


class Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after each."""

    server: ReferenceServer
    timeout = 20

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Stay silent: the traffic of a test would bury the lines that matter."""

    def do_GET(self) -> None:
        self._dispatch("GET")

    def do_POST(self) -> None:
        self._dispatch("POST")

    def _dispatch(self, method: str) -> None:
        service = self.server.service
        path = self.path.partition("?")[0]
        parts = path.strip("/").split("/")
        try:
            if (method, path) == ("GET", "/api/health"):
                self._json(200, {"status": "ok"})
            elif not self._is_admin():
                return
            elif service.is_restart_required:
                self._json(503, {"error": "restart required"})
            elif path == ROTATE_PATH or (path == REDIRECTED_PATH and "redirect" in service.faults):
                self._rotate_or_not(method, path)
            elif parts[0] == "api" and len(parts) in (2, 4) and parts[1] in layout.CLASSES:
                self._class(method, parts)
            elif "spa_catchall" in service.faults:
                self._answer(200, _PAGE, "text/html; charset=utf-8")
            else:
                self._json(404, {"error": "not found"})
        except BadRequest as error:
            self._json(400, {"error": str(error)})
        except ERRORS as error:
            log(f"{method} {path}: database error: {error}")
            self._json(503, {"error": "database unavailable"})

    def _is_admin(self) -> bool:
        settings = self.server.service.settings
        scheme, _space, token = self.headers.get("Authorization", "").partition(" ")
        token_bytes = token.strip().encode("utf-8", "surrogateescape") if scheme.lower() == "bearer" else b""
        if hmac.compare_digest(token_bytes, settings.admin_token.encode()):
            return True
        if any(hmac.compare_digest(token_bytes, other.encode()) for other in settings.other_tokens):
            self._json(403, {"error": "admin required"})
        else:
            self._json(401, {"error": "unauthorized"})
        return False

    def _body(self) -> dict[str, Any]:
        length_text = self.headers.get("Content-Length", "")
        if not length_text.isdigit() or int(length_text) > _BODY_LIMIT_BYTES:
            raise BadRequest("invalid request body")
        try:
            body = json.loads(self.rfile.read(int(length_text)))
        except ValueError:
            raise BadRequest("invalid request body") from None
        if not isinstance(body, dict) or not all(isinstance(value, str) for value in body.values()):
            raise BadRequest("invalid request body")
        return body

    def _class(self, method: str, parts: list[str]) -> None:
        service, class_name = self.server.service, parts[1]
        if method == "GET" and len(parts) == 2:
            self._json(200, {"ids": service.list_ids(class_name)})
        elif method == "GET" and parts[3] == "reveal":
            try:
                value = service.reveal(class_name, parts[2])
            except OpenError:
                self._json(500, {"error": "decryption failed"})
                return
            self._json(*((404, {"error": "not found"}) if value is None else (200, {"value": value})))
        elif method == "POST" and len(parts) == 2 and class_name in layout.TABLES:
            body = self._body()
            if not body.get("value"):
                raise BadRequest("value is required")
            self._json(201, {"id": service.create(class_name, body["value"], body.get("name", "unnamed"))})
        else:
            self._json(405, {"error": "method not allowed"})

    def _rotate_or_not(self, method: str, path: str) -> None:
        faults = self.server.service.faults
        if "no_endpoint" in faults:
            self._json(404, {"error": "not found"})
        elif "spa_catchall" in faults:
            self._answer(200, _PAGE, "text/html; charset=utf-8")
        elif method != "POST" or "method_not_allowed" in faults:
            self._json(405, {"error": "method not allowed"})
        elif "redirect" in faults and path == ROTATE_PATH:
            self._answer(307, b"", "text/plain", Location=REDIRECTED_PATH)
        else:
            self._rotate()

    def _rotate(self) -> None:
        service = self.server.service
        body = self._body()
        if set(body) != {"old_key", "new_key"}:
            raise BadRequest("invalid request body")
        log("rotation requested")
        try:
            counts = service.rotate(body["old_key"], body["new_key"])
        except RotationRefused as refusal:
            log(f"rotation refused: {refusal.message}")
            self._refuse(refusal, body)
            return
        except ConnectionAbortedError as error:
            log(f"rotation rolled back: {error}")
            self._drop()
            return
        log("rotation committed")
        if "commit_then_drop" in service.faults:
            self._drop()
        elif "empty_reply" in service.faults:
            self._answer(200, b"", "application/json")
        else:
            echo = {"received": body} if "echo_keys" in service.faults else {}
            self._json(200, {"status": "ok", "rotated": counts, **echo})

    def _refuse(self, refusal: RotationRefused, body: dict[str, str]) -> None:
        faults = self.server.service.faults
        message = refusal.message
        if "echo_keys" in faults:
            message += f" (old_key={body['old_key']}, new_key={body['new_key']})"
        if faults.status_variant == "text":
            self._answer(refusal.status, message.encode(), "text/plain; charset=utf-8")
            return
        status = int(faults.status_variant or refusal.status)
        shape = faults.error_shape
        self._json(status, {"error": {"message": message}} if shape == "nested" else {shape: message})

    def _drop(self) -> None:
        """Close without a reply."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _json(self, status: int, content: dict[str, Any]) -> None:
        self._answer(status, json.dumps(content, ensure_ascii=False).encode(), "application/json")

    def _answer(self, status: int, body_bytes: bytes, content_type: str, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body_bytes)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body_bytes)


class ReferenceServer(ThreadingHTTPServer):
    """Threads are joined on close, so that a stop lets requests under way finish."""

    daemon_threads = False
    request_queue_size = 128

    def __init__(self, service: Service) -> None:
        self.service = service
        super().__init__((service.settings.host, service.settings.port), Handler)

    def server_bind(self) -> None:
        """Bind without the reverse lookup of HTTPServer, which can take seconds on a host without DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the kind of error only: a traceback could quote what was sent."""
        kind = sys.exc_info()[0]
        log(f"request failed: {kind.__name__ if kind else 'unknown'}")


def _reexec_with(env_file_path: str, arguments: argparse.Namespace) -> None:
    """Become the same program with the file's variables, so that they are the process's initial environment.

    An env file given to systemd ends up there as well, and an observer reads it from the process table.
    """
    command = [sys.executable, os.path.abspath(__file__), "--product", arguments.product]
    if arguments.pid_file:
        command += ["--pid-file", arguments.pid_file]
    os.execve(sys.executable, command, {**os.environ, **load_env_file(env_file_path)})


def serve(service: Service, pid_file_path: str | None) -> None:
    """Listen until SIGTERM or SIGINT."""
    with ReferenceServer(service) as server:
        for number in (signal.SIGTERM, signal.SIGINT):
            # shutdown() waits for the loop that this very thread runs, hence the other thread.
            signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
        if pid_file_path:
            Path(pid_file_path).write_text(f"{os.getpid()}\n", encoding="ascii")
        log(f"listening on {server.server_name}:{server.server_port}")
        try:
            server.serve_forever(poll_interval=0.05)
        finally:
            if pid_file_path:
                Path(pid_file_path).unlink(missing_ok=True)
    service.close()
    log("stopped")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description="Reference server of the ServOS/ACT model (an assumption, not ServOS)."
    )
    parser.add_argument("--product", choices=sorted(PREFIXES), default="servos")
    parser.add_argument("--env-file", help="load this file first; its lines win over the environment")
    parser.add_argument("--pid-file", help="written once listening, removed at a clean stop")
    arguments = parser.parse_args(argv)
    try:
        if arguments.env_file:
            _reexec_with(arguments.env_file, arguments)
        serve(Service(read_settings(os.environ, PREFIXES[arguments.product])), arguments.pid_file)
    except (SettingsError, EnvFileError, StartRefused, OSError) as error:
        log(f"cannot start: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
