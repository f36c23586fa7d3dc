# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""ServOS's and ACT's rotation endpoint, and what each of its answers means.

Only two error texts are published; status codes and bodies are not, so an answer is judged by what it says before what
its number is. Bodies are never passed on: a server may echo the keys.
"""

from __future__ import annotations

import typing as t

from .._errors import ApiError, UnknownOutcomeError
from .http_base import Answer, request

_OLD_KEY_WRONG = "old master key incorrect"
_NO_CANARY = "integrity canary not found"


def post_rotation(
    base_url: str,
    *,
    path: str,
    token: str,
    old_text: str,
    new_text: str,
    encoding: str,
    timeout_s: float,
    ca_path: str | None,
) -> None:
    """Ask the application to rotate, once. Returns only when it says that it has.

    Raises:
        ApiError: it says that it has not; nothing was changed.
        UnknownOutcomeError: it may have; only the data can tell.
    """
    answer = request(
        "POST", base_url.rstrip("/") + path, token=token, body={"old_key": old_text, "new_key": new_text},
        timeout_s=timeout_s, ca_path=ca_path,
    )
    judge_rotation_answer(answer, url=base_url.rstrip("/") + path, encoding=encoding)


def judge_rotation_answer(answer: Answer, *, url: str, encoding: str) -> None:
    """Return if the answer says that the rotation was done.

    Raises:
        ApiError: it says that it was not.
        UnknownOutcomeError: it leaves that open.
    """
    status, said = answer.status, _said(answer).lower()
    at = f"{url} answered {status}"
    if _OLD_KEY_WRONG in said:
        raise ApiError(
            f'{at}, "Old master key incorrect": the data is under another key than the env file holds; '
            "see servos_key_info for the key that it is under"
        )
    if _NO_CANARY in said:
        raise ApiError(
            f'{at}, "Integrity canary not found": the database is damaged or was never initialized; '
            "do not initialize it again, restore a backup or ask the application's makers"
        )
    if 200 <= status < 300:
        if "html" in answer.content_type or answer.text.lstrip()[:1] == "<":
            raise ApiError(
                f"{at} with {answer.content_type or 'no content type'} instead of JSON: this version has no rotation endpoint "
                "(a web page answers for every path); use method=database"
            )
        if not isinstance(answer.document, dict):
            raise UnknownOutcomeError(f"{at} with {len(answer.text)} characters that are no JSON object")
        if "error" in answer.document:
            raise UnknownOutcomeError(f"{at}, but with an error in its body")
        return
    if 300 <= status < 400:
        raise ApiError(
            f"{at}, a redirect to {answer.location or 'nowhere'}; it was not followed, since it would take the keys there; correct api_url"
        )
    if status in (400, 422):
        other = "hex" if encoding == "base64" else "base64"
        raise ApiError(
            f"{at}: it did not accept the keys as they were sent, in {encoding}; nothing was sent again. If this version wants {other}, "
            f"set key_encoding={other} once the env file holds the key in {other}, or use method=database"
        )
    if status in (401, 403):
        raise ApiError(f"{at}: the token is refused (it must be an administrator's); the keys are not at fault; see api_token_file")
    if status in (404, 405, 501):
        raise ApiError(f"{at}: this version has no rotation endpoint there; correct api_url, or use method=database")
    if status in (409, 423, 429, 503):
        raise ApiError(f"{at}: not now; another rotation may be in progress; run again later")
    raise UnknownOutcomeError(at)


def _said(answer: Answer) -> str:
    """Return the error text of an answer, wherever it stands: error, message, detail, error.message, or plain text."""
    document: t.Any = answer.document
    if not isinstance(document, dict):
        return answer.text
    found = []
    for name in ("error", "message", "detail"):
        value = document.get(name)
        if isinstance(value, dict):
            value = value.get("message")
        if isinstance(value, str):
            found.append(value)
    return " ".join(found)


__all__ = ("judge_rotation_answer", "post_rotation")
