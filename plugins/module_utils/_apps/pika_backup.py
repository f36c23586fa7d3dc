# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Pika's own backup: a stream behind a header of 25 bytes that says how long it is.

The server has sent its 200 before it reads the first record, so whatever goes wrong later only makes the stream end early. A backup
is whole when as many bytes have come as its header says.
"""

from __future__ import annotations

import struct
import typing as t

from .._errors import ApiError, UnknownOutcomeError
from .pika_session import Pika, described

_MAGIC = b"PIKABW\x00\x01"
_HEADER = struct.Struct(">8sBQQ")
_ENCRYPTED = 1


class BackupHeader(t.NamedTuple):
    """What the header says: a password's envelope or not, bytes that follow the header, the database's version."""

    is_encrypted: bool
    size_bytes: int
    db_version: int

    @property
    def whole_bytes(self) -> int:
        """How long the file is, with its header."""
        return _HEADER.size + self.size_bytes


class _Gauge:
    """Passes a stream on, and reads its header as it goes by."""

    def __init__(self, sink: t.Callable[[bytes], None], begin: t.Callable[[BackupHeader], None], where: str) -> None:
        self._sink, self._begin, self._where = sink, begin, where
        self._head, self.seen_bytes = b"", 0
        self.header: BackupHeader | None = None

    def take(self, piece: bytes) -> None:
        self.seen_bytes += len(piece)
        if self.header is None:
            self._head += piece
            if len(self._head) < _HEADER.size:
                return
            self.header = parse_header(self._head, where=self._where)
            self._begin(self.header)
            piece, self._head = self._head, b""
        if self.seen_bytes > self.header.whole_bytes:
            # No more of it is kept: without an end it would fill the disk.
            raise ApiError(
                f"the backup of {self._where} is not whole: more than the {self.header.whole_bytes} bytes came that it announces; nothing "
                "was rotated; see the server's log, then run again"
            )
        self._sink(piece)


def receive_backup(
    pika: Pika, sink: t.Callable[[bytes], None], *, begin: t.Callable[[BackupHeader], None] = lambda unused_header: None
) -> BackupHeader:
    """Stream a backup into C(sink). C(begin) is told its header first, and may refuse.

    Raises:
        ApiError: it is no backup, or no whole one.
    """
    where = f"{pika.url}/api/v1/backup"
    gauge = _Gauge(sink, begin, where)
    try:
        answer = pika.send("GET", "/api/v1/backup", sink=gauge.take)
    except UnknownOutcomeError as error:
        raise ApiError(f"the backup of {where} did not come in whole: {error}; nothing was rotated; run again") from None
    if answer.status != 200 or gauge.header is None:
        what = described(answer) if answer.status != 200 or not gauge.seen_bytes else f"sent {gauge.seen_bytes} bytes"
        raise ApiError(f"{where} {what}: that is no backup; nothing was rotated; see the server's log, then run again")
    if gauge.seen_bytes != gauge.header.whole_bytes:
        raise ApiError(
            f"the backup of {where} is not whole: {gauge.seen_bytes} of {gauge.header.whole_bytes} bytes came; nothing was rotated; "
            "see the server's log, then run again"
        )
    return gauge.header


def parse_header(head: bytes, *, where: str) -> BackupHeader:
    """Read the first 25 bytes of a backup.

    Raises:
        ApiError: they are no such header.
    """
    if len(head) < _HEADER.size or not head.startswith(_MAGIC):
        raise ApiError(f"{where} is no backup of Pika: it does not begin as one; nothing was rotated; see what {where} answers")
    unused_magic, flags, size_bytes, db_version = _HEADER.unpack(head[: _HEADER.size])
    return BackupHeader(bool(flags & _ENCRYPTED), size_bytes, db_version)


def db_version_of(pika: Pika) -> int:
    """Ask for the version that a backup would have now.

    Raises:
        ApiError: it does not say.
    """
    answer = pika.send("GET", "/api/v1/backup/info")
    version = answer.document.get("db_version") if isinstance(answer.document, dict) else None
    if answer.status != 200 or not isinstance(version, int):
        raise ApiError(
            f"{pika.url}/api/v1/backup/info {described(answer)}: it cannot be backed up as it is; nothing was changed; "
            "is it ready?"
        )
    return version


__all__ = ("BackupHeader", "db_version_of", "parse_header", "receive_backup")
