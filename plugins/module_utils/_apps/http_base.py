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
import json
import re
import socket
import ssl
import typing as t
import urllib.parse

from .._errors import ApiError, NoAnswerYetError, UnknownOutcomeError
from .._system.addresses import is_loopback

_BODY_LIMIT_BYTES = 1024 * 1024
_PIECE_BYTES = 256 * 1024
_PLAIN_HEADER = re.compile(r"[\x20-\x7e]*\Z")
# RFC 6750, section 2.1; http.client would quote anything else in its exception.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/:|-]+=*\Z")


class Answer(t.NamedTuple):
    """Status, content type (lower case, without parameters), the JSON document if it is one, and the text.

    C(headers) are by name in lower case, the last of a name; C(cookies) are what C(Set-Cookie) sets, by name.
    """

    status: int
    content_type: str
    document: t.Any
    text: str
    location: str
    headers: t.Mapping[str, str] = {}
    cookies: t.Mapping[str, str] = {}


def request(
    method: str,
    url: str,
    *,
    token: str | None,
    body: t.Mapping[str, t.Any] | None,
    timeout_s: float,
    ca_path: str | None = None,
    headers: t.Mapping[str, str] | None = None,
    verify: bool = True,
    ca_option: str = "api_ca_file",
    sink: t.Callable[[bytes], None] | None = None,
    limit_bytes: int = _BODY_LIMIT_BYTES,
) -> Answer:
    """Send one request and read its answer.

    Args:
        url: http or https; http only to a loopback address.
        token: sent as C(Authorization: Bearer).
        timeout_s: for connecting, and for each wait on the connection.
        ca_path: PEM file of the authorities to trust instead of the system's.
        headers: what else to send; neither names nor values may have line ends.
        verify: False takes any certificate.
        ca_option: the option that names C(ca_path), for messages.
        sink: is given the body of a 200 that is neither JSON nor HTML, piece by piece; C(text) is empty then. What it raises
            ends the request.
        limit_bytes: of the answer's body; the rest is not read.

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
    if "@" in parts.netloc:
        raise ApiError("the API URL holds a user name or password, which would stand in messages and notes; nothing was sent; take it out")
    where = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in ("http", "https") or not host:
        raise ApiError(
            "the API URL has another scheme than https, or names no host; nothing was sent; "
            "write https://HOST (or http:// for this host)"
        )
    if parts.scheme == "http" and not is_loopback(host):
        raise ApiError(f"{where} is plain HTTP to another host, and master keys would cross the network in clear; use https")
    if token is not None and not _TOKEN.match(token):
        raise ApiError(f"the token for {where} is not one word of letters, digits and . _ ~ + / : | -; nothing was sent; correct its file")
    sent = dict(headers or {}, Accept="application/json", Connection="close")
    if any(not _PLAIN_HEADER.match(text) for text in sent.values()):
        raise ApiError(
            f"a header for {where} has characters that no header may have; nothing was sent; "
            "correct the file that it comes from"
        )
    connection = _connection(parts, host, timeout_s, ca_path, where, verify=verify, ca_option=ca_option)
    if token:
        sent["Authorization"] = f"Bearer {token}"
    content = None
    if body is not None:
        sent["Content-Type"] = "application/json"
        content = json.dumps(body).encode("utf-8")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        try:
            connection.connect()
        except ssl.SSLError as error:
            raise ApiError(f"the TLS connection to {where} failed ({error.reason}); nothing was sent; see {ca_option}") from None
        except OSError as error:
            raise ApiError(f"no connection to {where} ({error.strerror or type(error).__name__}); nothing was sent; is it up?") from None
        try:
            connection.request(method, target, body=content, headers=sent)
            reply = connection.getresponse()
            raw = b"" if sink is not None and _is_file(reply) else reply.read(limit_bytes)
            if sink is not None and _is_file(reply):
                for piece in iter(lambda: reply.read(_PIECE_BYTES), b""):
                    raw = piece[:1]  # something came, which is all that is asked below
                    sink(piece)
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
        if is_cut and len(raw) < limit_bytes and reply.status not in (204, 304):
            raise UnknownOutcomeError(f"the connection to {where} broke after the request had gone out (in the middle of the answer)")
    finally:
        connection.close()
    return _answer(reply, raw if sink is None or not _is_file(reply) else b"")


def _connection(
    parts: urllib.parse.SplitResult, host: str, timeout_s: float, ca_path: str | None, where: str, *, verify: bool, ca_option: str
) -> http.client.HTTPConnection:
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=ca_path or None)
    except (OSError, ssl.SSLError):
        raise ApiError(f"{ca_path} holds no certificates that can be read; nothing was sent to {where}; correct {ca_option}") from None
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)


def _answer(reply: http.client.HTTPResponse, raw: bytes) -> Answer:
    text = raw.decode("utf-8", "replace")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):  # the latter for brackets in brackets in brackets
        document = None
    headers = {name.lower(): value for name, value in reply.getheaders()}
    return Answer(
        reply.status, _content_type(reply), document, text, reply.getheader("Location") or "", headers,
        dict(_cookies(reply.headers.get_all("Set-Cookie") or [])),
    )


def _content_type(reply: http.client.HTTPResponse) -> str:
    return (reply.getheader("Content-Type") or "").split(";")[0].strip().lower()


def _is_file(reply: http.client.HTTPResponse) -> bool:
    kind = _content_type(reply)
    return reply.status == 200 and "json" not in kind and "html" not in kind


def _cookies(lines: t.Iterable[str]) -> t.Iterator[tuple[str, str]]:
    """Read name and value of each cookie as they stand; one that is being deleted has an empty value. Source: RFC 6265, 5.2."""
    for line in lines:
        name, separator, value = line.split(";")[0].partition("=")
        if separator and name.strip() and value.strip():
            yield name.strip(), value.strip()


__all__ = ("Answer", "request")
