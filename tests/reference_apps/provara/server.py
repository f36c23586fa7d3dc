# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small HTTP server that behaves as Provara's gateway does where its master key matters.

FACT, in code of our own: paths, statuses, bodies, authentication and lock-out are those of the real one at c4493c1.
MODEL: sessions come from a file instead of two tables, the answer to a reload, and every fault.

    server.py [--host H] [--env-file FILE] [--pid-file FILE]

Environment, all of it read at the start:
    DATABASE_URL            file:/absolute/path
    PORT                    4000
    PROVARA_MASTER_KEY      unset or empty: nothing is configured, and the gateway starts all the same
    PROVARA_ADMIN_SECRET    what X-Admin-Key must be; unset: everything is open
    PROVARA_MODE            self_hosted, or multi_tenant (then only sessions count)
    PROVARA_CLOUD           true: the connectors' paths are there
    PROVARA_SESSIONS_FILE   JSON: session id -> {"tenant": T, "role": owner|admin|developer|viewer}
    PROVARA_FAULTS          see Faults
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import re
import shlex
import signal
import socketserver
import sqlite3
import sys
import threading
import time
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gateway import UNREADABLE, Gateway, RequestError

_MAX_FAILURES, _LOCKOUT_S = 5, 60.0
_RANKS = {"viewer": 1, "developer": 2, "admin": 3, "owner": 4}
_PAGE = b"<!doctype html><html><body>Sign in</body></html>"
_LIES = ("decrypt_error", "another_ending", "another_name", "left_out", "twice", "invented", "no_list", "no_value", "nothing")
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Faults:
    """PROVARA_FAULTS: words with a comma between them, some with a value behind an equals sign.

    Of the listing: redirect (307 to another path, which answers), html (a page with 200), text (JSON as text/plain), truncated,
    broken (no JSON), status=N, slow_ms=N, lie=KIND, mask_stripped (the last four of what a provider would be sent).
    Of the start: only_on_key=P and not_on_key=P, the beginning of the SHA-256 of the key's text in hex.
    """

    words: frozenset[str]
    values: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, text: str) -> Faults:
        words, values = set(), {}
        for part in filter(None, text.split(",")):
            name, has_value, value = part.partition("=")
            if has_value:
                values[name] = value
            else:
                words.add(name)
        unknown = (words - {"redirect", "html", "text", "truncated", "broken", "mask_stripped"}) | (
            set(values) - {"status", "slow_ms", "lie", "only_on_key", "not_on_key"}
        )
        if unknown or values.get("lie", _LIES[0]) not in _LIES:
            raise ValueError(f"PROVARA_FAULTS: unknown {', '.join(sorted(unknown)) or 'lie'}")
        return cls(frozenset(words), values)

    def __contains__(self, word: str) -> bool:
        return word in self.words

    def refuses(self, key_text: str) -> bool:
        """Whether the gateway must not start on this key."""
        mark = hashlib.sha256(key_text.encode("utf-8")).hexdigest()
        only, never = self.values.get("only_on_key"), self.values.get("not_on_key")
        return bool((only and not mark.startswith(only)) or (never and mark.startswith(never)))


def told_wrongly(keys: list[dict[str, Any]], lie: str) -> Any:
    """Return a listing that says something else about its first row than it should."""
    first, rest = dict(keys[0]), keys[1:]
    if lie == "decrypt_error":
        return [{**first, "maskedValue": UNREADABLE}, *rest]
    if lie == "another_ending":
        return [{**first, "maskedValue": first["maskedValue"][:-1] + "\u00a4"}, *rest]
    if lie == "another_name":
        return [{**first, "name": first["name"] + "_2"}, *rest]
    if lie == "twice":
        return [first, *keys]
    if lie == "invented":
        return [{**first, "id": "invented"}, *keys]
    if lie == "no_value":
        return [{name: value for name, value in first.items() if name != "maskedValue"}, *rest]
    return {"left_out": rest, "no_list": {"first": first}, "nothing": []}[lie]


class Attempts:
    """Counts the failures of each client; after five in a row it is locked out, with the right key too."""

    def __init__(self) -> None:
        self._failures: dict[str, int] = {}
        self._locked_until: dict[str, float] = {}
        self._lock = threading.Lock()

    def left_s(self, client: str) -> float:
        """Return how long a client is still locked out."""
        with self._lock:
            return max(0.0, self._locked_until.get(client, 0.0) - time.monotonic())

    def note(self, client: str, *, is_right: bool) -> None:
        """Count a failure, or forget those before a success."""
        with self._lock:
            if is_right:
                self._failures.pop(client, None)
                self._locked_until.pop(client, None)
                return
            self._failures[client] = self._failures.get(client, 0) + 1
            if self._failures[client] >= _MAX_FAILURES:
                self._locked_until[client] = time.monotonic() + _LOCKOUT_S


class Handler(BaseHTTPRequestHandler):
    """One request; the connection is closed after each."""

    server: GatewayServer
    timeout = 20

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Stay silent: a log could quote a path with an id, and nobody reads it here."""

    def do_GET(self) -> None:
        self._dispatch("GET")

    def do_POST(self) -> None:
        self._dispatch("POST")

    def do_DELETE(self) -> None:
        self._dispatch("DELETE")

    def _dispatch(self, method: str) -> None:
        path = self.path.partition("?")[0]
        try:
            if (method, path) == ("GET", "/health"):
                self._json(200, {"status": "ok", "mode": self.server.mode})
                return
            tenant_id = self._require_admin()
            if path.startswith("/v1/context/"):
                self._context(method, path, tenant_id)
            elif (method, path) == ("GET", "/v1/api-keys/status"):
                self._json(200, {"configured": self.server.gateway.is_configured})
            elif method == "GET" and path in ("/v1/api-keys", "/v1/elsewhere"):
                self._listing(path, tenant_id)
            elif (method, path) == ("POST", "/v1/api-keys"):
                was_there, shown = self.server.gateway.put(self._body(), tenant_id)
                self._json(200 if was_there else 201, {"key": shown, "updated": was_there})
            elif method == "DELETE" and path.startswith("/v1/api-keys/"):
                self.server.gateway.delete(path.rpartition("/")[2], tenant_id)
                self._json(200, {"deleted": True})
            elif (method, path) == ("POST", "/v1/providers/reload"):
                self._json(200, {"reloaded": True, "providers": self.server.gateway.reload()})
            else:
                self._answer(404, b"404 Not Found", "text/plain; charset=UTF-8")
        except RequestError as error:
            headers = {"Retry-After": "60"} if error.status == 429 else {}
            self._json(error.status, {"error": {"message": error.message, "type": error.kind}}, **headers)
        except sqlite3.Error:
            self._answer(500, b"Internal Server Error", "text/plain; charset=UTF-8")

    def _require_admin(self) -> str | None:
        """Return the tenant whose rows are meant, or None for all."""
        if self.server.mode == "multi_tenant":
            session = self.server.sessions.get(self._cookie("provara_session"))
            if session is None:
                raise RequestError(401, "Authentication required. Please sign in.", "auth_error")
            if _RANKS.get(session["role"], 1) < _RANKS["admin"]:
                raise RequestError(403, "Insufficient permissions. admin role or higher required.", "auth_error")
            return str(session["tenant"])
        secret = self.server.admin_secret
        if not secret:
            return None
        client = self.headers.get("X-Forwarded-For", "").split(",")[0].strip() or self.client_address[0]
        attempts = self.server.attempts
        if attempts.left_s(client):
            raise RequestError(429, "Too many failed auth attempts. Try again later.", "rate_limited")
        is_right = hmac.compare_digest(self.headers.get("X-Admin-Key", "").encode("latin-1", "replace"), secret.encode("utf-8"))
        attempts.note(client, is_right=is_right)
        if not is_right:
            raise RequestError(401, "Unauthorized. Invalid or missing admin key.", "auth_error")
        return None

    def _cookie(self, name: str) -> str:
        try:
            found = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        except CookieError:
            return ""
        return found.value if found else ""

    def _context(self, method: str, path: str, tenant_id: str | None) -> None:
        if not self.server.is_cloud:
            raise RequestError(402, "This feature is available on Provara Cloud.", "cloud_only")
        if (method, path) == ("GET", "/v1/context/credentials"):
            self._json(200, {"credentials": self.server.gateway.connectors(tenant_id)})
        elif (method, path) == ("POST", "/v1/context/credentials"):
            self._json(201, {"credential": {"id": self.server.gateway.put_connector(self._body(), tenant_id)}})
        else:
            self._answer(404, b"404 Not Found", "text/plain; charset=UTF-8")

    def _listing(self, path: str, tenant_id: str | None) -> None:
        faults = self.server.faults
        if path == "/v1/elsewhere" and "redirect" not in faults:
            self._answer(404, b"404 Not Found", "text/plain; charset=UTF-8")
            return
        keys: Any = self.server.gateway.listed(tenant_id)
        if "slow_ms" in faults.values:
            time.sleep(int(faults.values["slow_ms"]) / 1000)
        if "lie" in faults.values:
            keys = told_wrongly(keys, faults.values["lie"])
        content = as_json({"keys": keys})
        if "redirect" in faults and path != "/v1/elsewhere":
            self._answer(307, b"", "text/plain", Location="/v1/elsewhere")
        elif "html" in faults:
            self._answer(200, _PAGE, "text/html; charset=UTF-8")
        elif "text" in faults:
            self._answer(200, content, "text/plain; charset=UTF-8")
        elif "broken" in faults:
            self._answer(200, content[:-1], "application/json")
        elif "truncated" in faults:
            self._answer(200, content, "application/json", half=True)
        elif "status" in faults.values:
            self._answer(int(faults.values["status"]), content, "application/json")
        else:
            self._answer(200, content, "application/json")

    def _body(self) -> dict[str, Any]:
        try:
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RequestError(400, "name, provider, and value are required", "validation_error")
        return body

    def _json(self, status: int, content: dict[str, Any], **headers: str) -> None:
        self._answer(status, as_json(content), "application/json", **headers)

    def _answer(self, status: int, body: bytes, content_type: str, *, half: bool = False, **headers: str) -> None:
        self.send_response(status)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in {"Content-Type": content_type, "Content-Length": str(len(body)), **named}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if half else body)


class GatewayServer(ThreadingHTTPServer):
    """The gateway with its settings."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, environ: dict[str, str]) -> None:
        scheme, has_scheme, path = environ.get("DATABASE_URL", "").partition("file:")
        if scheme or not has_scheme:
            raise ValueError("DATABASE_URL must be file:/absolute/path here")
        self.faults = Faults.read(environ.get("PROVARA_FAULTS", ""))
        key_text = environ.get("PROVARA_MASTER_KEY", "")
        if self.faults.refuses(key_text):
            raise ValueError("a fault of the start: this key is refused")
        self.gateway = Gateway(path, key_text, masks_stripped="mask_stripped" in self.faults)
        self.mode = "multi_tenant" if environ.get("PROVARA_MODE") == "multi_tenant" else "self_hosted"
        self.is_cloud = environ.get("PROVARA_CLOUD") == "true"
        self.admin_secret = environ.get("PROVARA_ADMIN_SECRET", "")
        sessions = environ.get("PROVARA_SESSIONS_FILE")
        self.sessions: dict[str, dict[str, str]] = json.loads(Path(sessions).read_text("utf-8")) if sessions else {}
        self.attempts = Attempts()
        super().__init__((host, int(environ.get("PORT") or 4000)), Handler)

    def server_bind(self) -> None:
        """Bind without the reverse lookup of HTTPServer, which can take seconds on a host without DNS."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log the kind of error only: a traceback could quote what was sent."""
        kind = sys.exc_info()[0]
        print(f"request failed: {kind.__name__ if kind else 'unknown'}", file=sys.stderr, flush=True)


def as_json(content: Any) -> bytes:
    """Write JSON as JavaScript does: what is not ASCII as it is, half of a pair escaped."""
    text = json.dumps(content, ensure_ascii=False)
    return _LONE_SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode("utf-8")


def read_env_file(path: str) -> dict[str, str]:
    """Read an env file as systemd reads a plain one: NAME=value, with or without quotes."""
    found = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        name, is_assignment, value = line.strip().partition("=")
        if is_assignment and not name.startswith(("#", ";")):
            found[name] = " ".join(shlex.split(value)) if value[:1] in ("'", '"') else value
    return found


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Reference gateway: Provara where its master key matters.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--env-file", help="these variables become the environment that the process is started with")
    parser.add_argument("--pid-file", help="written once listening, removed at a clean stop")
    arguments = parser.parse_args(argv)
    try:
        if arguments.env_file:
            # Started anew, so that an observer finds them in the process table, as those of a unit's EnvironmentFile.
            command = [sys.executable, os.path.abspath(__file__), "--host", arguments.host]
            command += ["--pid-file", arguments.pid_file] if arguments.pid_file else []
            os.execve(sys.executable, command, {**os.environ, **read_env_file(arguments.env_file)})
        with GatewayServer(arguments.host, dict(os.environ)) as server:
            for number in (signal.SIGTERM, signal.SIGINT):
                # shutdown() waits for the loop that this very thread runs, hence the other thread.
                signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
            if arguments.pid_file:
                Path(arguments.pid_file).write_text(f"{os.getpid()}\n", encoding="ascii")
            server.serve_forever(poll_interval=0.05)
            if arguments.pid_file:
                Path(arguments.pid_file).unlink(missing_ok=True)
    except (OSError, ValueError, sqlite3.Error) as error:
        print(f"cannot start: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
