# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Signing in: POST /login/pass/STRATEGY, the second factor, the first admin, and out again.

These are routes of a library of the product's author; their errors have a form of their own.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs

from accounts import TOTP_LIFE_S, Accounts
from configuration import Configuration
from faults import Faults
from limiter import Limiter
from replies import Drop, Refused, Reply, Request, bind_json, html_reply, json_reply

_SNIPPET = b"<div>signed in</div>"


def rate_limited(retry_after_s: int) -> Reply:
    """Reply as the limiter does."""
    content = {"error": "rate_limited", "message": "too many attempts, try again later"}
    return json_reply(429, content, ("Retry-After", str(retry_after_s)))


class Logins:
    """The routes under /login/ and /logout."""

    def __init__(self, configuration: Configuration, accounts: Accounts, limiter: Limiter | None, faults: Faults) -> None:
        self._configuration, self._accounts, self._limiter, self._faults = configuration, accounts, limiter, faults

    def answer(self, request: Request) -> Reply | None:
        """Answer a request that is one of these, or return None: the rest of the site is the browser's page."""
        if (request.method, request.path) == ("GET", "/login/info"):
            return json_reply(200, self._info())
        if request.path == "/logout" and request.method == "POST":
            self._accounts.end_session(request.cookie(self._configuration.cookie_name))
            return Reply(204, headers=[("Set-Cookie", f"{self._configuration.cookie_name}=; Path=/; Max-Age=0")])
        kind, unused, strategy = request.path.removeprefix("/login/").partition("/")
        if request.method != "POST" or not request.path.startswith("/login/") or kind not in ("pass", "register"):
            return None
        if strategy != self._configuration.strategy:
            return json_reply(404, {"error": "unknown_strategy"})
        return self._register(request) if kind == "register" else self._login(request)

    def _info(self) -> dict[str, Any]:
        strategy, base_path = self._configuration.strategy, self._configuration.base_path
        entry = {
            "name": strategy, "kind": "password", "label": strategy.title(),
            "url": self._faults.peek("login_url") or f"{base_path}/login/pass/{strategy}",
            "fields": [{"name": "username", "type": "text"}, {"name": "password", "type": "password"}],
        }  # fmt: skip
        content: dict[str, Any] = {"title": "Pika", "strategies": [entry]}
        if self._accounts.is_empty:
            content["signup_first"] = True
            entry["register"] = f"{base_path}/login/register/{strategy}"
        return content

    def _fields(self, request: Request) -> dict[str, Any]:
        if request.is_json:
            return bind_json(request.body, "username", "password", "totp_session_id", "code")
        return {name: values[0] for name, values in parse_qs(request.body.decode("utf-8", "replace")).items()}

    def _login(self, request: Request) -> Reply:
        try:
            fields = self._fields(request)
        except Refused:
            fields = {}
        username = fields.get("username", "")
        if self._limiter:
            wait_s = self._limiter.retry_after_s(request.peer, username)
            if wait_s:
                return rate_limited(wait_s)
        reply = self._check(request, fields)
        if self._limiter and reply.status in (400, 401):
            self._limiter.failed(request.peer, username)
        return reply

    def _check(self, request: Request, fields: dict[str, Any]) -> Reply:
        if fields.get("totp_session_id"):
            name = self._accounts.end_totp(fields["totp_session_id"], fields.get("code", ""))
            return self._signed_in(request, name) if name else self._error(request, 401, "invalid_credentials")
        if not fields.get("username") or not fields.get("password"):
            return self._error(request, 400, "bad_request")
        name = fields["username"]
        if not self._accounts.is_password(name, fields["password"]):
            return self._error(request, 401, "invalid_credentials")
        if self._accounts.needs_totp(name):
            content = {
                "phase": "totp_required", "totp_session_id": self._accounts.begin_totp(name),
                "strategy": self._configuration.strategy, "expires_in": TOTP_LIFE_S,
            }  # fmt: skip
            return json_reply(200, content)
        return self._signed_in(request, name)

    def _register(self, request: Request) -> Reply:
        try:
            fields = self._fields(request)
        except Refused:
            fields = {}
        if not fields.get("username") or not fields.get("password"):
            return self._error(request, 400, "bad_request")
        if not self._accounts.is_empty:
            return self._error(request, 409, "user_exists")
        self._accounts.add_user(fields["username"], fields["password"], is_superadmin=True)
        return self._signed_in(request, fields["username"])

    def _signed_in(self, request: Request, name: str) -> Reply:
        fault = self._faults.take("login_reply")
        if fault == "drop":
            raise Drop
        cookie = self._accounts.begin_session(name)
        attributes = "Path=/; SameSite=Lax" + ("; Secure" if self._configuration.has_tls else "")
        cookies = [
            ("Set-Cookie", f"{self._configuration.cookie_name}={cookie}; HttpOnly; {attributes}"),
            ("Set-Cookie", f"auth_success=1; Max-Age=30; {attributes}"),
        ]
        if fault == "html":
            return html_reply()
        if fault:
            return json_reply(200, {} if fault == "empty" else {"strategy": self._configuration.strategy, "redirect_path": ""})
        if not request.is_json:
            return html_reply(200, _SNIPPET, *cookies)
        return json_reply(200, {"strategy": self._configuration.strategy, "redirect_path": ""}, *cookies)

    def _error(self, request: Request, status: int, error: str) -> Reply:
        if request.is_json:
            return json_reply(status, {"error": error})
        return html_reply(status, f"<div>{error}</div>".encode())
