# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""One HTTP request to an application, with the care that keys in its body need.

No redirect is followed (307 would post the keys elsewhere, 303 would turn the answer into a page), nothing is sent
twice, no proxy is asked, TLS is verified, and plain HTTP goes to this host only.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import re
import socket
import ssl
import typing as t
import urllib.parse

from .._errors import ApiError, NoAnswerYetError, UnknownOutcomeError

_BODY_LIMIT_BYTES = 1024 * 1024
# RFC 6750, section 2.1; http.client would quote anything else in its exception.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/:|-]+=*\Z")


class Answer(t.NamedTuple):
    """Status, content type (lower case, without parameters), the JSON document if it is one, and the text."""

    status: int
    content_type: str
    document: t.Any
    text: str
    location: str


def request(
    method: str,
    url: str,
    *,
    token: str | None,
    body: t.Mapping[str, t.Any] | None,
    timeout_s: float,
    ca_path: str | None = None,
) -> Answer:
    """Send one request and read its answer.

    Args:
        url: http or https; http only to a loopback address.
        token: sent as C(Authorization: Bearer).
        timeout_s: for connecting, and for each wait on the connection.
        ca_path: PEM file of the authorities to trust instead of the system's.

    Raises:
        ApiError: nothing was sent: no connection, a certificate that does not verify, plain HTTP to another host.
        UnknownOutcomeError: the request went out, at least in part, and no whole answer came back.
        NoAnswerYetError: ... within C(timeout_s), so it may still come.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, unused_port = parts.hostname or "", parts.port
    except ValueError:
        raise ApiError("the API URL is malformed; nothing was sent; correct it") from None
    where = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not host:
        raise ApiError("the API URL must start with https:// (or http:// for this host)")
    if parts.scheme == "http" and not _is_loopback(host):
        raise ApiError(f"{where} is plain HTTP to another host, and master keys would cross the network in clear; use https")
    if token is not None and not _TOKEN.match(token):
        raise ApiError(f"the token for {where} is not one word of letters, digits and . _ ~ + / : | -; nothing was sent; correct its file")
    connection = _connection(parts, host, timeout_s, ca_path, where)
    headers = {"Accept": "application/json", "Connection": "close"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        headers["Content-Type"] = "application/json"
        content = json.dumps(body).encode("utf-8")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise ApiError(f"the TLS connection to {where} failed ({error.reason}); nothing was sent; see api_ca_file") from None
        except OSError as error:
            raise ApiError(f"no connection to {where} ({error.strerror or type(error).__name__}); nothing was sent") from None
        try:
            connection.request(method, target, body=content, headers=headers)
            reply = connection.getresponse()
            raw = reply.read(_BODY_LIMIT_BYTES)
        except http.client.InvalidURL:
            raise ApiError(f"the URL at {where} has white space or control characters; nothing was sent; correct it") from None
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, socket.timeout):
                raise NoAnswerYetError(f"{where} did not answer within {timeout_s:g} s") from None
            raise UnknownOutcomeError(
                f"the connection to {where} broke after the request had gone out ({type(error).__name__})"
            ) from None
        # http.client takes the end of the connection for the end of the answer, even in the middle of either.
        is_cut = bool(reply.length) if reply.length is not None else not raw and not reply.chunked
        if is_cut and len(raw) < _BODY_LIMIT_BYTES and reply.status not in (204, 304):
            raise UnknownOutcomeError(f"the connection to {where} broke after the request had gone out (in the middle of the answer)")
    finally:
        connection.close()
    return _answer(reply, raw)


def _connection(
    parts: urllib.parse.SplitResult, host: str, timeout_s: float, ca_path: str | None, where: str
) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=ca_path or None)
    except (OSError, ssl.SSLError):
        raise ApiError(f"{ca_path} holds no certificates that can be read (api_ca_file); nothing was sent to {where}") from None
    return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _answer(reply: http.client.HTTPResponse, raw: bytes) -> Answer:
    text = raw.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    content_type = (reply.getheader("Content-Type") or "").split(";")[0].strip().lower()
    return Answer(reply.status, content_type, document, text, reply.getheader("Location") or "")


__all__ = ("Answer", "request")
