# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A stream of Hrana over HTTP: one transaction on a libSQL server, over many requests, or none of it.

The state of a stream lies on the server, under a baton that each reply renews. What is lost before the commit is undone there
when the stream expires. A server that lets go of a transaction (sqld does so after five seconds, if somebody else wants to
write) would run what we send next outside of it, one statement at a time: so each batch begins with the release of a savepoint,
which fails where the transaction is gone, and no statement follows one that failed.

The HTTP base of the applications opens a connection a request, which here would be a TLS handshake a page while others wait for
the lock; this one keeps its connection. Redirects and proxies it does not follow either.

Sources: https://github.com/tursodatabase/libsql/blob/main/docs/HTTP_V2_SPEC.md and, as observed, sqld 0.24.32
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import ssl
import time
import typing as t

from .._errors import StoreBusyError, StoreError, StoreLostError, UnknownCommitError
from .hrana_values import Result, Statement, batch_of, results_of
from .libsql_url import SCHEMES, Server, server_of

_WAIT_S = 30
_REQUEST_S = 120
_REPLY_LIMIT_BYTES = 32 * 1024 * 1024
_PIECE_BYTES = 256 * 1024
_TURN_S = 0.2
# RFC 6750, section 2.1; http.client would quote anything else in its exception.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/:|-]+=*\Z")
_MARK = "servos_ops"
_HELD = [Statement(f"RELEASE {_MARK}"), Statement(f"SAVEPOINT {_MARK}")]
_GONE = ("TRANSACTION_TIMEOUT", "STREAM_EXPIRED")
_UNCHANGED = "nothing was changed; run the same command again"


class Stream:
    """One transaction. Not to be used again after an error."""

    def __init__(self, server: Server, token: str | None) -> None:
        if token is not None and not _TOKEN.match(token):
            raise StoreError(
                f"the token for {server.name} is not one word of letters, digits and . _ ~ + / : | -; nothing was sent; "
                "correct its file (database_token_file)"
            )
        self._server, self._token = server, token
        self._path = server.path + "/v2/pipeline"
        self._baton: str | None = None
        self._connection: http.client.HTTPConnection | None = None

    def begin(self, *, immediate: bool, lock_timeout_s: float) -> None:
        """Open the transaction; with C(immediate), with the lock of the writer.

        Raises:
            StoreBusyError: somebody else kept the lock.
        """
        statements = [Statement("BEGIN IMMEDIATE" if immediate else "BEGIN"), Statement(f"SAVEPOINT {_MARK}")]
        deadline = time.monotonic() + lock_timeout_s
        while True:
            unused_results, error = self._batch(statements, closing=False)
            if error is None:
                return
            if not _is_busy(error):
                raise self._refused(error)
            if time.monotonic() > deadline:
                raise StoreBusyError(
                    f"the database {self._server.name} stayed locked for {lock_timeout_s:g} s by another connection; "
                    "nothing was changed; stop the other writer or raise lock_timeout"
                )
            time.sleep(_TURN_S)

    def run(self, statements: t.Sequence[Statement]) -> list[Result]:
        """Run statements inside the transaction, in one request; return their results.

        Raises:
            StoreLostError: the transaction is gone, and nothing of it happened.
            StoreError: a statement was refused.
        """
        results, error = self._batch([*_HELD, *statements], closing=False)
        if error is not None:
            raise self._refused(error)
        return results[len(_HELD) :]

    def commit(self) -> None:
        """Commit, and end the stream.

        Raises:
            UnknownCommitError: the request went out, and no answer says what became of it.
            StoreError: it was not committed.
        """
        try:
            unused_results, error = self._batch([Statement(f"RELEASE {_MARK}"), Statement("COMMIT")], closing=True)
        except _UnansweredError as unanswered:
            raise UnknownCommitError(unanswered.reason) from None
        if error is not None:
            raise self._refused(error)
        self._baton = None

    def close(self) -> None:
        """Let go of the stream; what it did not commit is undone. Does not fail: the server does the same when it expires."""
        try:
            if self._baton is not None:
                with contextlib.suppress(StoreError):
                    self._exchange([batch_of([Statement("ROLLBACK")]), {"type": "close"}])
        finally:
            self._baton = None
            self._disconnect()

    def _batch(self, statements: t.Sequence[Statement], *, closing: bool) -> tuple[list[Result], t.Any]:
        requests: list[dict[str, t.Any]] = [batch_of(statements)]
        if closing:
            requests.append({"type": "close"})
        document = self._exchange(requests)
        try:
            replies = document["results"]
            if len(replies) != len(requests):
                raise ValueError("another number of results")
            if replies[0].get("type") == "error":
                return [], replies[0].get("error") or {}
            return results_of(replies[0], len(statements))
        except (ValueError, TypeError, KeyError, AttributeError):
            raise self._unanswered("its reply is not one to what was asked") from None

    def _exchange(self, requests: list[dict[str, t.Any]]) -> t.Any:
        body = json.dumps({"baton": self._baton, "requests": requests}).encode("utf-8")
        self._baton = None  # each may be used once
        status, kind, content = self._post(body)
        if status != 200:
            raise self._declined(status, content)
        if kind != "application/json":
            raise self._unanswered(f"it answered with {kind[:60] or 'no content type'} and not with JSON")
        try:
            document = json.loads(content)
            baton, base_url = document["baton"], document.get("base_url")
            if "results" not in document or not isinstance(baton, (str, type(None))):
                raise ValueError("not a reply")
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise self._unanswered("its reply is not whole, or not Hrana's JSON") from None
        if base_url is not None:
            self._follow(base_url)
        self._baton = baton
        return document

    def _post(self, body: bytes) -> tuple[int, str, bytes]:
        connection = self._connected()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        deadline = time.monotonic() + _REQUEST_S
        try:
            connection.request("POST", self._path, body=body, headers=headers)
            reply = connection.getresponse()
            pieces, size = [], 0
            while size <= _REPLY_LIMIT_BYTES:
                piece = reply.read(_PIECE_BYTES)
                if not piece:
                    break
                pieces.append(piece)
                size += len(piece)
                if time.monotonic() > deadline:
                    raise TimeoutError
        except (OSError, http.client.HTTPException) as error:
            self._disconnect()
            raise self._unanswered(f"the connection broke ({type(error).__name__})") from None
        if size > _REPLY_LIMIT_BYTES:
            self._disconnect()
            raise self._too_large()
        if reply.length:
            self._disconnect()
            raise self._unanswered("the connection broke in the middle of the reply")
        if reply.will_close:
            self._disconnect()  # a proxy lets go after so many requests; the stream is the baton's, and lives on over the next one
        kind = (reply.getheader("Content-Type") or "").split(";")[0].strip().lower()
        return reply.status, kind, b"".join(pieces)

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            server = self._server
            if server.is_tls:
                connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                    server.host, server.port, timeout=_WAIT_S, context=ssl.create_default_context()
                )
            else:
                connection = http.client.HTTPConnection(server.host, server.port, timeout=_WAIT_S)
            try:
                connection.connect()
            except ssl.SSLError as error:
                raise StoreError(
                    f"the TLS connection to {server.name} failed ({error.reason}); nothing was sent; correct the URL (database), or have "
                    "its certificate's authority trusted on the managed host"
                ) from None
            except OSError as error:
                raise StoreError(
                    f"no connection to the database {server.name} ({error.strerror or type(error).__name__}); nothing was changed; "
                    "see that the server is up and the URL is right (database)"
                ) from None
            connection.auto_open = 0  # a connection that broke is not made again behind our back
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _follow(self, base_url: t.Any) -> None:
        """Take the path that a server asks to be spoken to at from now on; another host would be given the token."""
        try:
            if str(base_url).partition(":")[0] not in SCHEMES:
                raise StoreError("this is no URL of a libSQL server; write libsql://host (database)")
            asked_for = server_of(str(base_url))
        except StoreError:
            asked_for = None
        server = self._server
        if asked_for is None or asked_for[:3] != server[:3]:
            raise self._unanswered("it wants to be spoken to at another address, which is not given the token; name that one (database)")
        self._path = asked_for.path + "/v2/pipeline"

    def _declined(self, status: int, content: bytes) -> StoreError:
        name = self._server.name
        if status in (401, 403):
            how = "does not accept the token: it may have expired, or be another database's" if self._token else "asks for a token"
            return StoreError(
                f"the database {name} answered {status}: it {how}; nothing was changed; put a token that is good into a file on the "
                "managed host and name it (database_token_file)"
            )
        if status in (404, 405):
            return StoreError(
                f"nothing answers {self._path} at {name} ({status}): this is no libSQL server, or no such database of it; "
                "nothing was changed; correct the URL (database)"
            )
        if 300 <= status < 400:
            return self._unanswered(f"it answered {status} to send us elsewhere, and no redirect is followed; name the address itself")
        if status == 400 and (b"STREAM_EXPIRED" in content[:1000] or b"baton" in content[:1000]):
            return StoreLostError(f"the database {name} ended the transaction, as its stream had expired; {_UNCHANGED}")
        if 400 <= status < 500:
            return StoreError(f"the database {name} answered {status}; {_UNCHANGED}, or correct the URL (database)")
        return self._unanswered(f"it answered {status}")

    def _unanswered(self, reason: str) -> _UnansweredError:
        told = f"the database {self._server.name} gave no answer that can be used: {reason}"
        error = _UnansweredError(f"{told}; {_UNCHANGED}")
        error.reason = told
        return error

    def _too_large(self) -> StoreError:
        # Not lost: to ask again would bring the same.
        return StoreError(
            f"a reply of the database {self._server.name} is too large, since a single row is; nothing was changed; leave the columns of "
            "such large contents out, if nothing in them is sealed (ignore of the profile)"
        )

    def _refused(self, error: t.Any) -> StoreError:
        code, told = "", ""
        if isinstance(error, dict):
            code, told = str(error.get("code") or ""), str(error.get("message") or "")
        name = self._server.name
        if code in _GONE or f"no such savepoint: {_MARK}" in told:
            return StoreLostError(
                f"the database {name} let go of the transaction: it had lasted too long while another connection wanted to write, or "
                f"the server does not keep transactions across requests; {_UNCHANGED}, at a quiet time or with the application stopped"
            )
        if code == "RESPONSE_TOO_LARGE":
            return self._too_large()
        if _is_busy(error):
            return StoreBusyError(f"the database {name} is locked by another connection; {_UNCHANGED}")
        told = "".join(character if character.isprintable() else " " for character in told)
        if self._token:
            told = told.replace(self._token, "...")
        return StoreError(
            f"the database {name} refused a statement: {told[:200]} ({code[:60]}); nothing was changed; "
            "see to that, then run again"
        )


class _UnansweredError(StoreLostError):
    """A request went out and no answer came that says what became of it: harmless before a commit."""

    reason = ""


def _is_busy(error: t.Any) -> bool:
    code = str(error.get("code") or "") if isinstance(error, dict) else ""
    return "BUSY" in code or "LOCKED" in code


__all__ = ("Stream",)
