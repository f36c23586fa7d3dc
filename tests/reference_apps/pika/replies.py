# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A request, a reply, and the ways a handler ends without returning one."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = b'<!doctype html><html><head><title>Pika</title></head><body><div id="app"></div></body></html>'
CLASS_WORDS = {400: "bad request", 401: "unauthorized", 403: "forbidden", 404: "not found", 409: "conflict", 503: "service unavailable"}


@dataclass
class Reply:
    """What goes back."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: list[tuple[str, str]] = field(default_factory=list)
    # Bytes after which the connection is cut, in the middle of the body; None sends it all.
    cut_after: int | None = None
    is_chunked: bool = False
    # The body goes on with zeros for as long as somebody reads.
    is_endless: bool = False


class Refused(Exception):
    """The request is refused: a status and the text of `message`, the class word included."""

    def __init__(self, status: int, message: str, *, class_word: bool = True) -> None:
        super().__init__(message)
        self.status, self.message, self.class_word = status, message, class_word


class Drop(Exception):
    """The connection is closed without a reply."""


@dataclass
class Request:
    """One request as it came; `path` is without the base path and the query."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str = "127.0.0.1"
    path: str = ""
    query: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.target)
        self.path = self.path or parts.path
        self.query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}

    @property
    def is_json(self) -> bool:
        """Whether the body is said to be JSON."""
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower() == "application/json"

    def cookie(self, name: str) -> str:
        """Return a cookie's value, or nothing."""
        try:
            morsel = SimpleCookie(self.headers.get("Cookie", "")).get(name)
        except CookieError:
            return ""
        return morsel.value if morsel else ""

    def bound(self, *names: str) -> dict[str, str]:
        """Bind a JSON object's texts to fields as the product does; what is absent is empty.

        A body of another content type binds nothing (a guess: the code of the binder was not read).
        """
        if not self.is_json:
            return dict.fromkeys(names, "")
        return {name: value for name, value in bind_json(self.body, *names).items() if name in names}


def bind_json(body: bytes, *names: str) -> dict[str, Any]:
    """Parse an object, or refuse with the parser's text and the class word on a line of its own."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        problem = "unexpected end of JSON input" if not body.strip() else "invalid character in JSON input"
        raise Refused(400, f"{problem}\nbad request", class_word=False) from None
    if not isinstance(content, dict):
        raise Refused(400, "json: cannot unmarshal value into Go value of type struct\nbad request", class_word=False)
    for name in names:
        if not isinstance(content.get(name, ""), (str, type(None))):
            text = f"json: cannot unmarshal value into Go struct field .{name} of type string\nbad request"
            raise Refused(400, text, class_word=False)
        content[name] = content.get(name) or ""
    return content


def json_reply(status: int, content: Any, *headers: tuple[str, str]) -> Reply:
    """Reply with JSON."""
    return Reply(status, json.dumps(content, ensure_ascii=False).encode(), headers=list(headers))


def html_reply(status: int = 200, body: bytes = PAGE, *headers: tuple[str, str]) -> Reply:
    """Reply with a page."""
    return Reply(status, body, "text/html; charset=utf-8", list(headers))


def text_reply(status: int, text: str, *headers: tuple[str, str]) -> Reply:
    """Reply with plain text."""
    return Reply(status, text.encode(), "text/plain; charset=utf-8", list(headers))


def message_reply(status: int, message: str, *, has_request_id: bool, class_word: bool = True) -> Reply:
    """Reply in the form of the API's errors: `message`, with the class word after a colon, and no `code`."""
    if class_word:
        message = f"{message}: {CLASS_WORDS.get(status, 'internal server error')}"
    content = {"message": message}
    if has_request_id and status >= 500:
        content["request_id"] = os.urandom(8).hex()
    return json_reply(status, content)
