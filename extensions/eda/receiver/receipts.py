# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What was received, on disk before it is acted on, so that it is acted on once, whatever is sent again or switched off.

One line of JSON for each webhook that was taken, and one when its event was passed on. What was taken and not passed on is passed on by
the next start. A webhook whose time of sending was signed is forgotten when that time is long past; of any other the mark stays for ever.

An event that was passed on may be lost with the process that was to act on it. So an event can be given a file of its own, which whoever
has acted on it removes: as long as it is there, each start passes the event on.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import typing as t

_HOUR_S = 3600
# So much longer than its signed time lets a webhook in: a clock that was set back does not let it in again.
_MARGIN_S = 7 * 86400
_COMPACTED_EVERY = 1000


class ReceiptsError(Exception):
    """The file cannot be used; nothing was taken."""


class Receipts:
    """The file of what was received. One process has it at a time, by a lock beside it.

    Effects: makes C(path) and C(path).lock, 0600, in a directory that is there; with C(acknowledge) also C(path).open, 0700, and in it a
    file for each event, which the event names as C(receipt).

    Raises:
        ReceiptsError: another receiver has it, it is open to others, unreadable, or cannot be written.
    """

    def __init__(self, path: str, *, tolerance_s: float, now: float, acknowledge: bool = False) -> None:
        self.path = os.path.abspath(path)
        self._open_dir = f"{self.path}.open" if acknowledge else ""
        self._keep_s = tolerance_s + _MARGIN_S
        self._taken: dict[str, dict[str, t.Any]] = {}
        self._descriptor = -1
        self._is_doubtful = True
        self._appended = 0
        self._lock = self._locked()
        try:
            self._load()
            self._rewrite(now)
            self.settle(now=now)
            if acknowledge:
                self._clear_open_dir()
        except BaseException:
            self.close()
            raise

    def knows(self, mark: str) -> bool:
        """Whether this webhook was taken before."""
        return mark in self._taken

    def taken_within_hour(self, now: float) -> int:
        """Return how many webhooks were taken within the last hour."""
        return sum(1 for receipt in self._taken.values() if now - _HOUR_S < receipt["at"] <= now)

    def take(self, mark: str, event: t.Mapping[str, t.Any], *, is_dated: bool, now: float) -> dict[str, t.Any]:
        """Remember a webhook, and come back when that is on disk. Returns the event to be passed on.

        Raises:
            ReceiptsError: it is not; nothing was taken.
        """
        taken = dict(event)
        if self._open_dir:
            taken["receipt"] = os.path.join(self._open_dir, taken["id"])
            self._make_open(taken["receipt"])
        receipt = {"mark": mark, "at": int(now), "dated": is_dated, "event": taken}
        self._append(receipt, now)
        self._taken[mark] = receipt
        return taken

    def passed_on(self, mark: str, *, now: float) -> None:
        """Remember that the event of a webhook was passed on, and need not be again.

        Raises:
            ReceiptsError: that is not on disk; the next start passes it on again.
        """
        self._taken[mark]["event"] = None
        self._append({"passed_on": mark}, now)

    def settle(self, *, now: float) -> None:
        """Remember which events were acted on, by their files, which are gone.

        Raises:
            ReceiptsError: as C(passed_on) does.
        """
        for mark, event in self.waiting():
            if "receipt" in event and not os.path.lexists(event["receipt"]):
                self.passed_on(mark, now=now)

    def waiting(self) -> list[tuple[str, dict[str, t.Any]]]:
        """Return mark and event of what was taken and not passed on, the oldest first."""
        return [(mark, receipt["event"]) for mark, receipt in self._taken.items() if receipt["event"] is not None]

    def close(self) -> None:
        """Let go of the file and its lock."""
        for descriptor in (self._descriptor, self._lock):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._lock = -1

    def _locked(self) -> int:
        directory = os.path.dirname(self.path)
        try:
            found = os.stat(directory)
            if stat.S_IMODE(found.st_mode) & 0o022:
                raise ReceiptsError(f"receipts_file: others may write to {directory}; name a directory of your own")
            lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _failed("lock", self.path, error) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise ReceiptsError(f"receipts_file: another receiver uses {self.path}; stop it, or give each a file of its own") from None
        return lock

    def _make_open(self, path: str) -> None:
        """Make the file of an event before the event is taken: without it, a taken event counts as acted on."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._open_dir, 0o700)
                _fsync_directory(os.path.dirname(self.path))
            found = os.lstat(self._open_dir)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ReceiptsError(f"receipts_file: {self._open_dir} is not a directory of ours with the mode 0700")
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            _fsync_directory(self._open_dir)
        except OSError as error:
            raise _failed("write", path, error) from None

    def _clear_open_dir(self) -> None:
        """Remove the files of events that were not taken after all: the power went, or the disk was full, in between."""
        needed = {os.path.basename(event["receipt"]) for unused_mark, event in self.waiting() if "receipt" in event}
        with contextlib.suppress(OSError):  # one that stays is removed by the next start
            for name in os.listdir(self._open_dir):
                if name.startswith("evt-") and name not in needed:
                    os.unlink(os.path.join(self._open_dir, name))

    def _load(self) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _failed("read", self.path, error) from None
        with os.fdopen(descriptor, "rb") as stream:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
                raise ReceiptsError(f"receipts_file: {self.path} is not a file of ours with the mode 0600")
            lines = stream.read().split(b"\n")
        # What stands behind the last end of a line was being written when the power went, and nobody was told that it was taken.
        for number, line in enumerate(lines[:-1], start=1):
            try:
                self._read(json.loads(line.decode("utf-8")))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise ReceiptsError(
                    f"receipts_file: line {number} of {self.path} cannot be read, so nobody knows what was received; restore the file, or "
                    "change the webhook's secret and then move the file away"
                ) from None

    def _read(self, told: dict[str, t.Any]) -> None:
        if "passed_on" in told:
            if told["passed_on"] in self._taken:
                self._taken[told["passed_on"]]["event"] = None
            return
        event = told["event"]
        if event is not None:
            event = dict(event)
        self._taken[str(told["mark"])] = {"mark": str(told["mark"]), "at": int(told["at"]), "dated": bool(told["dated"]), "event": event}

    def _append(self, told: t.Mapping[str, t.Any], now: float) -> None:
        if self._is_doubtful or self._appended >= _COMPACTED_EVERY:
            self._rewrite(now)
        try:
            _write_all(self._descriptor, _line(told))
            os.fsync(self._descriptor)
        except OSError as error:
            # What of it is on disk nobody knows: the next one writes all anew.
            self._is_doubtful = True
            raise _failed("write", self.path, error) from None
        self._appended += 1

    def _rewrite(self, now: float) -> None:
        """Write the file anew, without what need not be remembered any more, and go on with the new one."""
        kept = {
            mark: receipt for mark, receipt in self._taken.items()
            if not receipt["dated"] or receipt["event"] is not None or receipt["at"] + self._keep_s > now
        }  # fmt: skip
        temporary = f"{self.path}.new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                _write_all(descriptor, b"".join(_line(receipt) for receipt in kept.values()))
                os.fsync(descriptor)
                os.rename(temporary, self.path)
                _fsync_directory(os.path.dirname(self.path))
            except BaseException:
                os.close(descriptor)
                raise
        except OSError as error:
            self._is_doubtful = True
            raise _failed("write", self.path, error) from None
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor, self._taken, self._is_doubtful, self._appended = descriptor, kept, False, 0


def _line(told: t.Mapping[str, t.Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode("utf-8") + b"\n"


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


def _fsync_directory(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(what: str, path: str, error: OSError) -> ReceiptsError:
    return ReceiptsError(f"receipts_file: cannot {what} {path}: {os.strerror(error.errno or 0)}")


__all__ = ("Receipts", "ReceiptsError")
