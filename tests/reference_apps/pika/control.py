# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control port of a test, on loopback: fault switches at run time, and what has been asked of the server.

    GET  /report   requests by method and path, paths whose URL held a secret, paths whose body or headers held what they should not
    POST /faults   {"fail_step": "4*1", "drop": null}
    POST /reset    forget the requests so far
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

from faults import FaultError, Faults
from replies import Request

_KEPT_BODY_BYTES = 1 << 16
_KEY_PATHS, _LOGIN_PATHS = "/api/v1/key/", "/login/"


class Recorder:
    """Remembers requests, in memory, to say later where a secret went that it should not have gone."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._guard:
            self._requests: list[tuple[Request, str, float]] = []

    def note(self, request: Request, at: float) -> None:
        """Remember a request."""
        with self._guard:
            self._requests.append((request, request.body[:_KEPT_BODY_BYTES].decode("utf-8", "replace"), at))

    def report(self) -> dict[str, Any]:
        """Count and look."""
        with self._guard:
            requests = list(self._requests)
        keys: set[str] = set()
        passwords: set[str] = set()
        others: set[str] = set()
        for request, text, unused in requests:
            values = _values(text)
            if request.path.startswith(_KEY_PATHS):
                keys.update(values.get(name, "") for name in ("key", "current_key", "new_key"))
            elif request.path.startswith(_LOGIN_PATHS):
                passwords.add(values.get("password", ""))
            others.add(request.headers.get("Authorization", "").rpartition(" ")[2])
            others.add(request.headers.get("X-Encryption-Password", ""))
            others.update(part.partition("=")[2] for part in request.headers.get("Cookie", "").split(";"))
        keys, passwords, others = ({text for text in group if len(text) >= 6} for group in (keys, passwords, others))
        strays: list[str] = []
        in_urls: list[str] = []
        for request, text, unused in requests:
            if _holds(request.target, keys | passwords | others):
                in_urls.append(request.path)
            headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
            is_key_stray = not request.path.startswith(_KEY_PATHS) and _holds(text, keys)
            is_password_stray = not request.path.startswith(_LOGIN_PATHS) and _holds(text, passwords)
            if is_key_stray or is_password_stray or _holds(headers, keys | passwords):
                strays.append(request.path)
        counts = Counter(f"{request.method} {request.path}" for request, unused, unused2 in requests)
        return {
            "requests": dict(counts),
            "log": [f"{request.method} {request.path}" for request, unused, unused2 in requests],
            "at": [at for unused, unused2, at in requests],
            "secrets_in_urls": sorted(set(in_urls)),
            "secrets_astray": sorted(set(strays)),
        }


def _values(text: str) -> dict[str, str]:
    try:
        content = json.loads(text)
    except ValueError:
        return dict(parse_qsl(text))
    if not isinstance(content, dict):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, str)}


def _holds(text: str, secrets: set[str]) -> bool:
    forms = (text, unquote(text), unquote_plus(text), text.encode("utf-8", "replace").decode("unicode_escape", "replace"))
    return any(secret in form for secret in secrets for form in forms)


class _Handler(BaseHTTPRequestHandler):
    server: ControlServer

    def log_message(self, *unused: Any) -> None:
        """Stay silent."""

    def do_GET(self) -> None:
        self._answer(200, self.server.report()) if self.path == "/report" else self._answer(404, {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/reset":
            self.server.recorder.reset()
            self._answer(200, {})
            return
        try:
            for name, value in json.loads(body).items():
                self.server.faults.set(name, None if value is None else str(value))
        except (FaultError, ValueError, AttributeError) as error:
            self._answer(400, {"error": str(error)})
            return
        self._answer(200, {})

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class ControlServer(ThreadingHTTPServer):
    """Listens on loopback only."""

    daemon_threads = True

    def __init__(self, port: int, recorder: Recorder, faults: Faults, state: Callable[[], dict[str, Any]]) -> None:
        self.recorder, self.faults, self._state = recorder, faults, state
        super().__init__(("127.0.0.1", port), _Handler)

    def report(self) -> dict[str, Any]:
        """Say what was asked, and how the process is."""
        return {**self.recorder.report(), **self._state(), "faults": self.faults.names()}
