# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""One Pika server at one address: logging in, asking, logging out.

Every answer is judged by what it must be: the status, JSON, and the expected field. A route that does not exist answers with the web
page, and one that needs a login redirects to it, with status 200 in the end, so neither is ever taken for a yes.
"""

from __future__ import annotations

import re
import typing as t
import urllib.parse

from .._errors import ApiError, ServosError
from .http_base import Answer, request

MANAGE = "settings.manage"
# The server itself sleeps for up to 15 s after failed tries, and forwards to its leader for up to 30 s.
SHORTEST_TIMEOUT_S = 15
_READABLE_COOKIE = "auth_success"
_SESSION_COOKIE = "pika_session"
_STRATEGY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")


class Pika:
    """A server, and our session with it once there is one."""

    def __init__(self, url: str, *, timeout_s: float, ca_path: str | None = None, verify: bool = True) -> None:
        self.url = url.rstrip("/")
        self._timeout_s, self._ca_path, self._verify = timeout_s, ca_path, verify
        self._token: str | None = None
        self._cookie: str | None = None

    @property
    def has_token(self) -> bool:
        """Whether an API token stands in for a login."""
        return self._token is not None

    @property
    def has_session(self) -> bool:
        """Whether there is anything that says who we are."""
        return self._token is not None or self._cookie is not None

    def send(
        self,
        method: str,
        path: str,
        body: t.Mapping[str, t.Any] | None = None,
        *,
        sink: t.Callable[[bytes], None] | None = None,
    ) -> Answer:
        """Send one request, once, as whoever we are."""
        headers = {"Cookie": self._cookie} if self._cookie is not None else None
        return request(
            method, self.url + path, token=self._token, body=body, timeout_s=self._timeout_s, ca_path=self._ca_path, verify=self._verify,
            headers=headers, ca_option="ca_file", sink=sink,
        )

    def use_token(self, token: str) -> None:
        """Be who an API token is."""
        self._token = token

    def log_in(self, *, username: str, password: str, strategy: str | None) -> None:
        """Log in with a password, once.

        Args:
            strategy: the way in, by its name; None for the only one there is, or V(local).

        Raises:
            ApiError: it was refused, or is no login with a password alone.
        """
        path = self._login_path(strategy)
        answer = self.send("POST", path, {"username": username, "password": password})
        self._cookie = judge_login(answer, url=self.url + path)

    def log_out(self) -> str | None:
        """End our session. Returns what is to be warned of, if that did not succeed."""
        if self._cookie is None:
            return None
        try:
            answer = self.send("POST", "/logout")
        except ServosError as error:
            return f"the session could not be ended, and lasts until it expires: {error}"
        finally:
            self._cookie = None
        if answer.status not in (200, 204):
            return f"{self.url}/logout answered {answer.status}: the session lasts until it expires"
        return None

    def info(self) -> dict[str, t.Any]:
        """Return what the server says of itself and of us; answered while it is locked too."""
        answer = self.send("GET", "/api/v1/info")
        found = answer.document
        if answer.status == 401 and self.has_token:
            raise ApiError(f"{self.url}/api/v1/info {described(answer)}: the API token is none that it knows; correct token_file")
        if answer.status != 200 or not isinstance(found, dict) or "version" not in found:
            raise ApiError(f"{self.url}/api/v1/info {described(answer)}: this is no Pika, or url lacks its base path; correct url")
        return found

    def require_manager(self) -> dict[str, t.Any]:
        """Return what C(info) returns, if we may work on the key.

        Raises:
            ApiError: we may not, or are nobody.
        """
        info = self.info()
        if may_manage(info):
            return info
        if self.has_token:
            raise ApiError(
                f"the API token does not carry {MANAGE} at {self.url}; in the versions known here no token can, whatever Pika's pages say: "
                "give username and password_file of an account that has it"
            )
        if not info.get("user"):
            raise ApiError(f"{self.url} does not take the session that it gave; nothing was changed; run again")
        raise ApiError(
            f"the account may not work on the key of {self.url}: it lacks the capability {MANAGE}; nothing was changed; "
            "grant it, or give another username"
        )

    def _login_path(self, strategy: str | None) -> str:
        if strategy is not None and not _STRATEGY.match(strategy):
            raise ApiError("login_strategy is no name of a way to log in; write one of letters, digits and . _ - only")
        answer = self.send("GET", "/login/info")
        ways = _password_ways(answer.document) if answer.status == 200 else {}
        name = strategy or ("local" if "local" in ways or not ways else next(iter(ways)) if len(ways) == 1 else None)
        if name is None or (strategy and ways and strategy not in ways):
            raise ApiError(
                f"{self.url} has these ways to log in with a password: {', '.join(sorted(ways))}; name one of them (login_strategy)"
            )
        return self._path_below(ways.get(name) or f"/login/pass/{name}")

    def _path_below(self, path: str) -> str:
        """Return a path that the server named, relative to the base URL: it may have the base path in front already."""
        parts = urllib.parse.urlsplit(path)
        if parts.scheme or parts.netloc or not path.startswith("/"):
            raise ApiError(
                f"{self.url}/login/info names a place on another host to log in at; the password is not sent there; "
                "is url the address of a Pika?"
            )
        base = urllib.parse.urlsplit(self.url).path
        return path[len(base) :] if base and path.startswith(base + "/") else path


def may_manage(info: t.Mapping[str, t.Any]) -> bool:
    """Tell whether what the server says of us lets us work on its key."""
    return info.get("is_superadmin") is True or MANAGE in (info.get("permissions") or ())


def _password_ways(document: t.Any) -> dict[str, str]:
    ways = document.get("strategies") if isinstance(document, dict) else None
    return {
        str(way["name"]): str(way.get("url") or "")
        for way in (ways if isinstance(ways, list) else [])
        if isinstance(way, dict) and way.get("kind") == "password" and _STRATEGY.match(str(way.get("name") or ""))
    }


def judge_login(answer: Answer, *, url: str) -> str:
    """Return the C(Cookie) header of the session that an answer opens.

    Raises:
        ApiError: it opens none.
    """
    document = answer.document if isinstance(answer.document, dict) else {}
    says = str(document.get("error") or "")
    at = f"{url} {described(answer)}"
    if answer.status == 200:
        if document.get("phase") == "totp_required":
            raise ApiError(
                f"{url} asks for a one-time code (TOTP): such an account cannot work unattended; give an account for automation without it"
            )
        mine = {name: value for name, value in answer.cookies.items() if name != _READABLE_COOKIE}
        chosen = _SESSION_COOKIE if _SESSION_COOKIE in mine else next(iter(mine), None)
        if chosen is None or not document:
            raise ApiError(f"{at} and opened no session; nothing was changed; is url the address of a Pika, with its base path?")
        return f"{chosen}={mine[chosen]}"
    if answer.status == 401:
        raise ApiError(
            f"{at}: username or password is wrong; it was not tried again, since each failure counts (15 for a name, 30 for an address, "
            "within 15 minutes); correct password_file"
        )
    if answer.status == 404 or says == "unknown_strategy":
        raise ApiError(f"{at}: there is no such way to log in; see the names in /login/info (login_strategy)")
    if answer.status == 429:
        raise ApiError(f"{at}: too many failed logins; {come_back(answer)}; nothing was changed")
    if 300 <= answer.status < 400:
        raise ApiError(f"{at}, a redirect, which was not followed, since it would take the password along; correct url")
    if answer.status in (502, 503):
        raise ApiError(f"{at}: nobody can log in just now (a cluster without a leader?); nothing was changed; run again later")
    raise ApiError(f"{at}: the login was refused; nothing was changed; see the log of Pika for why")


def described(answer: Answer) -> str:
    """Say what an answer is without what it says, which may quote what was sent."""
    return f"answered {answer.status} with {answer.content_type or 'no content type'}"


def come_back(answer: Answer) -> str:
    """Say when to try again after a 429."""
    wait = answer.headers.get("retry-after", "")
    return f"run again in {wait} s" if wait.isdigit() else "run again in 15 minutes"


__all__ = ("MANAGE", "SHORTEST_TIMEOUT_S", "Pika", "come_back", "described", "judge_login", "may_manage")
