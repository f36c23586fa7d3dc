# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A libSQL database behind a server, such as sqld or Turso: read at one moment, rewritten in one transaction over many requests."""

from __future__ import annotations

import contextlib
import time
import typing as t

from .._errors import FileError, StoreError, StoreLostError, UnknownCommitError
from .._system import files
from .hrana import Stream
from .libsql_tables import LibsqlReader, LibsqlWriter, Sample
from .libsql_url import Server

T = t.TypeVar("T")

_TRIES = 3
_TURN_S = 1.0
_SCRUB_WARNING = (
    "the free pages and the log of {name} belong to its server, and are not scrubbed by us; a point-in-time recovery, a branch or a "
    "replica of it keeps the values under the old key for as long as it is kept: see to their retention, and keep the old key as long"
)


class LibsqlDatabase:
    """One database of a libSQL server."""

    is_remote = True

    def __init__(self, server: Server, token_path: str | None) -> None:
        self._server = server
        self._token_path = token_path
        self.name = server.name

    @contextlib.contextmanager
    def reading(self, *, copied: bool = False) -> t.Iterator[LibsqlReader]:  # noqa: ARG002 - it always is like a copy
        """Open one read transaction: what others do meanwhile is not seen."""
        stream = self._stream()
        try:
            stream.begin(immediate=False, lock_timeout_s=0)
            yield LibsqlReader(stream, self.name)
        finally:
            stream.close()

    def read(self, work: t.Callable[[t.Any], T]) -> T:
        """Return what C(work) makes of a reader; it is tried again where the connection broke, since reading changes nothing."""
        for unused_try in range(_TRIES - 1):
            with contextlib.suppress(StoreLostError), self.reading() as reader:
                return work(reader)
        with self.reading() as reader:
            return work(reader)

    @contextlib.contextmanager
    def writing(self, *, lock_timeout_s: float, overwrite_freed: bool = False) -> t.Iterator[LibsqlWriter]:  # noqa: ARG002
        """Open one write transaction; commit when the block ends, let go of it when it raises.

        A commit whose answer is lost is not repeated: the next transaction, which has to wait for the end of this one, looks at
        rows that it had written.

        Raises:
            StoreBusyError: the lock was not to be had within C(lock_timeout_s) seconds.
            UnknownCommitError: not even that could be seen.
        """
        stream = self._stream()
        try:
            stream.begin(immediate=True, lock_timeout_s=lock_timeout_s)
            writer = LibsqlWriter(stream, self.name)
            yield writer
            try:
                stream.commit()
            except UnknownCommitError as unknown:
                stream.close()
                self._settle(unknown, writer.samples, lock_timeout_s)
        finally:
            stream.close()

    @contextlib.contextmanager
    def looking(self, *, lock_timeout_s: float) -> t.Iterator[LibsqlWriter]:
        """Open a transaction with the lock of the writer, so that each earlier one has come to its end; it is not committed."""
        stream = self._stream()
        try:
            stream.begin(immediate=True, lock_timeout_s=lock_timeout_s)
            yield LibsqlWriter(stream, self.name)
        finally:
            stream.close()

    def _settle(self, unknown: UnknownCommitError, samples: t.Sequence[Sample], lock_timeout_s: float) -> None:
        """See whether a transaction was committed. Returns if it was."""
        reason = "it wrote nothing that would tell"
        for turn in range(_TRIES if samples else 0):
            time.sleep(turn * _TURN_S)
            try:
                with self.looking(lock_timeout_s=lock_timeout_s) as reader:
                    found = [reader.holds(sample) for sample in samples]
                if True in found:
                    return
                if False in found:
                    raise _NotCommittedError(f"{unknown}; the commit did not happen, nothing was changed; run the same command again")
                reason = "the rows that would tell were changed since"
            except _NotCommittedError:
                raise
            except StoreError as error:
                reason = str(error).split(";", maxsplit=1)[0]
        raise UnknownCommitError(
            f"{unknown}; this was the answer to the commit, and whether it happened cannot be seen now ({reason}): either all values are "
            "as they were or all are as they were to be; run the same command again, which looks first"
        )

    def require_room(self, *, scrub: bool) -> None:
        """Do nothing: how much room a server has it does not tell."""

    def scrub(self, *, lock_timeout_s: float) -> dict[str, t.Any]:  # noqa: ARG002
        """Do nothing, and say so: free pages and logs are the server's own."""
        return {"vacuumed": False, "wal_bytes": None, "warning": _SCRUB_WARNING.format(name=self.name)}

    def empty_log(self, *, lock_timeout_s: float) -> dict[str, t.Any]:
        """Do nothing, and say so."""
        return self.scrub(lock_timeout_s=lock_timeout_s)

    def _stream(self) -> Stream:
        return Stream(self._server, _token(self._token_path) if self._token_path else None)


class _NotCommittedError(StoreError):
    """It was looked, and the commit had not happened."""


def _token(path: str) -> str:
    try:
        content = files.read_file(path, limit_bytes=64 * 1024)
    except FileError as error:
        raise StoreError(f"{error}; nothing was changed; name a file that holds the database's token (database_token_file)") from None
    token = content.decode("utf-8", "replace").strip()
    if not token:
        raise StoreError(f"{path} is empty; nothing was changed; put the database's token into it (database_token_file)")
    return token


__all__ = ("LibsqlDatabase",)
