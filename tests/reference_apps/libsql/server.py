# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A libSQL server over a SQLite file: POST /v2/pipeline, in the manner of sqld, with switches for everything that can go wrong.

    server.py --database D [--port P] [--token-file F] [--certificate C --private-key K] [--expiry 10] [--transaction 5]

Prints one line of JSON with its port when it listens. Faults are set by POST /control with a JSON object, which also begins to
count requests anew; GET /control returns how many there were, and the words of their statements. The body's C(fault) is one of
FAULTS, C(at) the request it befalls (from 1; 0 for each one), C(since) every request from that one on; C(sql), C(status),
C(seconds) and C(base_url) belong to some of them. With C(without_transactions) each request is committed by itself. C(forget)
ends all streams first, as their expiry does.
"""

from __future__ import annotations

import argparse
import json
import secrets
import socket
import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from streams import Declined, StatementError, Stream, Streams

FAULTS = (
    "drop_before",  # the connection ends before the server acts
    "drop_after",  # ... after it has acted
    "expire",  # all streams are forgotten first
    "rob",  # all transactions are ended first, as for another writer
    "edit",  # sql is run first, inside the transaction
    "status",  # answered with C(status) and no JSON
    "redirect",
    "html",
    "content_type",
    "truncated",  # JSON that ends in the middle
    "short",  # a reply shorter than its Content-Length
    "fewer_results",
    "lying_count",  # affected_row_count 0 for each UPDATE
    "lost_write",  # an UPDATE is answered as done, and is not
    "base_url",
    "slow",
    "garbage",  # JSON that is no reply
    "goodbye",  # answered in full, and the connection ended in good order, as a proxy does after so many requests
)


class Faults:
    """What goes wrong, and when."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.wish: dict[str, Any] = {}
        self.requests = 0
        self.asked: list[str] = []

    def set(self, wish: dict[str, Any]) -> None:
        with self._lock:
            self.wish, self.requests, self.asked = wish, 0, []

    def next(self) -> str | None:
        """Count a request; return what befalls it."""
        with self._lock:
            self.requests += 1
            wish = self.wish
            since = wish.get("since")
            is_now = self.requests >= since if since else wish.get("at", 0) in (0, self.requests)
            return wish.get("fault") if is_now else None


class Handler(BaseHTTPRequestHandler):
    """Answers the pipeline and its control."""

    protocol_version = "HTTP/1.1"
    server: LibsqlServer

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def do_GET(self) -> None:
        if self.path == "/control":
            self._answer(200, {"requests": self.server.faults.requests, "asked": self.server.faults.asked})
        else:
            self._answer(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/control":
            wish = json.loads(body)
            if wish.get("forget"):
                self.server.streams.forget_all()
            self.server.streams.keeps_transactions = not wish.get("without_transactions")
            self.server.faults.set(wish)
            self._answer(200, {})
            return
        self.server.faults.asked.append(_words(body))
        fault = self.server.faults.next()
        if fault == "drop_before":
            self._drop()
            return
        if not self._is_let_in():
            self._answer(401, {"error": "Unauthorized: `The JWT has expired`"})
            return
        if self.path not in self.server.paths:
            self._answer(404, "")
            return
        try:
            document = self._pipeline(json.loads(body), fault)
        except Declined as declined:
            self._answer(declined.status, declined.document)
            return
        self._reply(document, fault)

    def _is_let_in(self) -> bool:
        token = self.server.token()
        sent = self.headers.get("Authorization") or ""
        return token is None or secrets.compare_digest(sent.encode(), f"Bearer {token}".encode())

    def _pipeline(self, asked: dict[str, Any], fault: str | None) -> dict[str, Any]:
        streams, wish = self.server.streams, self.server.faults.wish
        if fault == "expire":
            streams.forget_all()
        elif fault == "rob":
            streams.rob_all()
        elif fault == "edit":
            streams.edit(wish["sql"])
        elif fault == "slow":
            time.sleep(wish["seconds"])
        stream = streams.take(asked.get("baton"))
        results: list[dict[str, Any]] = []
        is_open = True
        for request in asked["requests"]:
            if request["type"] == "close":
                is_open = False
                results.append({"type": "ok", "response": {"type": "close"}})
            elif request["type"] == "execute":
                results.append(self._execute(stream, request["stmt"], fault))
            elif request["type"] == "batch":
                results.append(self._batch(stream, request["batch"]["steps"], fault))
            else:
                results.append({"type": "error", "error": {"message": "unknown request", "code": "UNKNOWN"}})
        baton = streams.give_back(stream) if is_open else None
        if not is_open:
            stream.close()
        base_url = wish["base_url"] if fault == "base_url" else None
        return {"baton": baton, "base_url": base_url, "results": results[:-1] if fault == "fewer_results" else results}

    def _run(self, stream: Stream, statement: dict[str, Any], fault: str | None) -> dict[str, Any]:
        is_update = statement["sql"].startswith("UPDATE")
        if fault == "lost_write" and is_update:
            return {"cols": [], "rows": [], "affected_row_count": 1}
        result = self.server.streams.run(stream, statement)
        if fault == "lying_count" and is_update:
            result["affected_row_count"] = 0
        return result

    def _execute(self, stream: Stream, statement: dict[str, Any], fault: str | None) -> dict[str, Any]:
        try:
            return {"type": "ok", "response": {"type": "execute", "result": self._run(stream, statement, fault)}}
        except StatementError as error:
            return {"type": "error", "error": {"message": error.message, "code": error.code}}

    def _batch(self, stream: Stream, steps: list[dict[str, Any]], fault: str | None) -> dict[str, Any]:
        done: list[Any] = [None] * len(steps)
        errors: list[Any] = [None] * len(steps)
        for number, step in enumerate(steps):
            if not _holds(step.get("condition"), done, errors):
                continue
            try:
                done[number] = self._run(stream, step["stmt"], fault)
            except StatementError as error:
                errors[number] = {"message": error.message, "code": error.code}
        return {"type": "ok", "response": {"type": "batch", "result": {"step_results": done, "step_errors": errors}}}

    def _reply(self, document: dict[str, Any], fault: str | None) -> None:
        content = json.dumps(document).encode()
        if fault == "drop_after":
            self._drop()
        elif fault == "status":
            self._send(self.server.faults.wish["status"], "text/plain", b"declined")
        elif fault == "redirect":
            self._send(307, "text/plain", b"", {"Location": "http://127.0.0.1:9/v2/pipeline"})
        elif fault == "html":
            self._send(200, "text/html", b"<html><body>Sign in</body></html>")
        elif fault == "content_type":
            self._send(200, "text/plain", content)
        elif fault == "truncated":
            self._send(200, "application/json", content[: len(content) // 2])
        elif fault == "short":
            self._send(200, "application/json", content[: len(content) // 2], {"Content-Length": str(len(content))})
            self._drop()
        elif fault == "garbage":
            self._send(200, "application/json", b'["ok"]')
        elif fault == "goodbye":
            self._send(200, "application/json", content, {"Connection": "close"})
        else:
            self._send(200, "application/json", content)

    def _answer(self, status: int, document: Any) -> None:
        if isinstance(document, str):
            self._send(status, "text/plain", document.encode())
        else:
            self._send(status, "application/json", json.dumps(document).encode())

    def _send(self, status: int, kind: str, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        self.wfile.flush()

    def _drop(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *unused: Any) -> None:
        """Say nothing."""


def _words(body: bytes) -> str:
    """Say what a request asks for: the first word of each statement, each once."""
    try:
        steps = [step["stmt"] for request in json.loads(body)["requests"] for step in request.get("batch", {}).get("steps", ())]
    except (ValueError, TypeError, KeyError, AttributeError):
        return "?"
    return " ".join(dict.fromkeys(statement["sql"].split()[0] for statement in steps))


def _holds(condition: Any, done: list[Any], errors: list[Any]) -> bool:
    if condition is None:
        return True
    if condition["type"] == "ok":
        return done[condition["step"]] is not None
    if condition["type"] == "error":
        return errors[condition["step"]] is not None
    if condition["type"] == "not":
        return not _holds(condition["cond"], done, errors)
    raise Declined(400, "a condition that is not known")


class LibsqlServer(ThreadingHTTPServer):
    """The server and what its handlers share."""

    daemon_threads = True

    def __init__(self, arguments: argparse.Namespace) -> None:
        super().__init__(("127.0.0.1", arguments.port), Handler)
        self.streams = Streams(arguments.database, expiry_s=arguments.expiry, transaction_s=arguments.transaction)
        self.faults = Faults()
        self.paths = ("/v2/pipeline", "/sticky/v2/pipeline")
        self._token_file = arguments.token_file
        if arguments.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(arguments.certificate, arguments.private_key)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def token(self) -> str | None:
        """Return the token that is good now, which the tests may change."""
        return self._token_file.read_text().strip() if self._token_file else None

    def handle_error(self, *unused: Any) -> None:
        """Say nothing of clients that go away."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(*unused)


def main() -> None:
    parser = argparse.ArgumentParser(description="A libSQL server for tests.")
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--private-key", type=Path)
    parser.add_argument("--expiry", type=float, default=10)
    parser.add_argument("--transaction", type=float, default=5)
    server = LibsqlServer(parser.parse_args())
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
