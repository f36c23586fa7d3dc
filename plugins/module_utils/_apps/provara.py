# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Ask Provara's gateway for its listing of provider keys, which shows what it can read: once, with nothing followed.

Source: Provara, packages/gateway/src/{routes/api-keys,auth/admin,crypto/index}.ts at c4493c1. A row that it cannot open is
listed with status 200, so the status proves nothing; and what it shows of a value is part of a secret, so that nothing of an
answer is passed on but ids, names and numbers.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import ApiError
from .http_base import Answer, request

LISTED_TABLE = "api_keys"
LISTING_PATH = "/v1/api-keys"
_SESSION_COOKIE = "provara_session"
_BULLETS = "\u2022" * 8
_NO_HEADER_VALUE = re.compile(r"[^\x20-\x7E\t]")
_HEADER_VALUE = re.compile(r"[\x21-\x7E](?:[\x20-\x7E]*[\x21-\x7E])?\Z")
_SESSION = re.compile(r"[A-Za-z0-9_.~%-]+\Z")
# A row takes some 200 bytes.
_LIMIT_BYTES = 64 * 1024 * 1024


class ShownRow(t.NamedTuple):
    """A row as the gateway lists it. C(masked) holds the end of a secret and goes nowhere."""

    row_id: str
    name: str
    masked: str

    @property
    def is_unreadable(self) -> bool:
        """Whether the gateway says that it cannot open the row."""
        return "decrypt error" in self.masked.lower()


def masks_of(plaintext: bytes) -> frozenset[str]:
    """Return what a gateway that can open a value shows of it: eight bullets and its last four characters.

    They are counted as JavaScript does, in UTF-16. Of a value with characters that no HTTP header can hold, a version may
    show the end of what is left without them.
    """
    text = plaintext.decode("utf-8", "replace")
    return frozenset(_BULLETS + _last_four(form) for form in (text, _NO_HEADER_VALUE.sub("", text).strip()))


def _last_four(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass")[-8:].decode("utf-16-le", "surrogatepass")


def admin_headers(text: str, *, where: str) -> dict[str, str]:
    """Return the header that shows the admin key.

    Raises:
        ApiError: a text that no header can hold.
    """
    if not _HEADER_VALUE.match(text):
        raise ApiError(f"{where} holds no admin key: one line of ASCII is expected; nothing was sent; correct it")
    return {"X-Admin-Key": text}


def session_headers(text: str, *, where: str) -> dict[str, str]:
    """Return the header that shows a session, from its id or from the cookie as a browser shows it.

    Raises:
        ApiError: a text that is no session.
    """
    session = text[len(_SESSION_COOKIE) + 1 :] if text.startswith(_SESSION_COOKIE + "=") else text
    if not _SESSION.match(session):
        raise ApiError(f"{where} holds no session: the value of the cookie {_SESSION_COOKIE} is expected; nothing was sent; correct it")
    return {"Cookie": f"{_SESSION_COOKIE}={session}"}


def read_listing(
    base_url: str, *, headers: t.Mapping[str, str], timeout_s: float, ca_path: str | None
) -> list[ShownRow]:
    """Ask for the listing, once.

    Args:
        base_url: such as C(http://127.0.0.1:4000).
        headers: who asks; empty where the gateway asks nobody.

    Raises:
        ApiError: the gateway refused, cannot be asked, or answered something else than a listing.
    """
    url = base_url.rstrip("/") + LISTING_PATH
    answer = request(
        "GET", url, token=None, body=None, timeout_s=timeout_s, ca_path=ca_path, headers=headers, limit_bytes=_LIMIT_BYTES,
        ca_option="ca_file",
    )
    return _rows_of(answer, at=f"{url} answered {answer.status}", has_session="Cookie" in headers)


def _rows_of(answer: Answer, *, at: str, has_session: bool) -> list[ShownRow]:
    _refuse_status(answer, at, has_session)
    if answer.content_type != "application/json":
        raise ApiError(f"{at} with {answer.content_type or 'no content type'} instead of JSON: this is not the gateway; correct the URL")
    keys = answer.document.get("keys") if isinstance(answer.document, dict) else None
    if not isinstance(keys, list):
        raise ApiError(f"{at}, but with no list of keys in JSON: this is not the gateway, or another version of it; correct the URL")
    rows = []
    for entry in keys:
        found = [entry.get(name) for name in ("id", "name", "maskedValue")] if isinstance(entry, dict) else [None]
        if not all(isinstance(value, str) for value in found):
            raise ApiError(f"{at}, but an entry of its list has no id, name and masked value: this is another version of the gateway")
        rows.append(ShownRow(*map(str, found)))
    return rows


def _refuse_status(answer: Answer, at: str, has_session: bool) -> None:
    status = answer.status
    if status == 200:
        return
    if 300 <= status < 400:
        raise ApiError(f"{at}, a redirect; it was not followed, since it would take the admin key or the session there; correct the URL")
    if status == 401:
        what = "the session is unknown or has expired; log in again (session_cookie_file)"
        if not has_session:
            what = "the admin key is missing or wrong (admin_key_file); it was not tried again, since five failures lock everybody out"
        raise ApiError(f"{at}: {what}")
    if status == 403:
        raise ApiError(f"{at}: the session's user is neither admin nor owner of the tenant; log in as one who is (session_cookie_file)")
    if status == 429:
        told = answer.headers.get("retry-after", "")
        wait = f"{told} s" if told.isdigit() else "a minute"
        raise ApiError(
            f"{at}: too many failed attempts, and for {wait} the right admin key is refused too; it was not tried again: correct "
            "admin_key_file, wait, then run again"
        )
    if status == 503 and _kind_of(answer) == "configuration_error":
        raise ApiError(f"{at}: the gateway runs without PROVARA_MASTER_KEY; put it back into its environment and restart it")
    raise ApiError(f"{at}, expected 200; see the log of the gateway for why")


def _kind_of(answer: Answer) -> t.Any:
    error = answer.document.get("error") if isinstance(answer.document, dict) else None
    return error.get("type") if isinstance(error, dict) else None


__all__ = ("LISTED_TABLE", "LISTING_PATH", "ShownRow", "admin_headers", "masks_of", "read_listing", "session_headers")
