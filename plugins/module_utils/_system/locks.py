# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""One run at a time on one installation.

The lock is the kernel's (flock(2)), so it ends with the process that holds it, however that ends; the text in the
file only says who holds it. Who lets go of the lock empties the file: a text in a file that nobody holds tells of a run that
was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
import typing as t

from .._errors import HeldLockError
from .files import file_error

_POLL_S = 0.01
_PATIENCE_S = 1


@contextlib.contextmanager
def exclusive_lock(path: str, *, purpose: str, wait_s: float = 0, what: str = "this installation") -> t.Iterator[str | None]:
    """Hold the lock file for the length of a with block; wait for it no longer than C(wait_s) seconds, but at least one.

    Effects: makes the file (0600), writes host, user, process id, start time (UTC) and C(purpose) into it; empties it at the end.

    Yields who held it last and was killed, in words, or None.

    Raises:
        HeldLockError: naming who holds it.
        FileError: the file cannot be made.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise file_error("open the lock file", path, error) from None
    try:
        began = time.monotonic()
        while not take_lock(descriptor):
            waited_s = time.monotonic() - began
            # One that is being killed, or has only just taken it, is given a moment to go, or to sign.
            if waited_s >= max(wait_s, _PATIENCE_S):
                raise HeldLockError(
                    f"another run is at work on {what}: {_holder(descriptor)}; wait for it to end, then run again"
                )
            time.sleep(_POLL_S)
        killed = _holder(descriptor) if os.fstat(descriptor).st_size else None
        _sign(descriptor, path, purpose)
        try:
            yield killed
        finally:
            with contextlib.suppress(OSError):  # a text that stays only makes the next run say that we were killed
                os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def take_lock(descriptor: int) -> bool:
    """Lock an open file, or directory, for this process alone, without waiting. Returns whether that succeeded."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(descriptor: int, path: str, purpose: str) -> None:
    """Write into the lock file who holds it."""
    try:
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        note = {"host": socket.gethostname(), "user": _user(), "pid": os.getpid(), "since": started, "purpose": purpose}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(note).encode("utf-8"), 0)
    except OSError as error:
        raise file_error("write", path, error) from None


def _holder(descriptor: int) -> str:
    try:
        note = json.loads(os.pread(descriptor, 4096, 0).decode("utf-8"))
        return f"{note['purpose']} by {note.get('user', 'nobody named')} on {note['host']} since {note['since']} (process {note['pid']})"
    except (ValueError, KeyError, TypeError):
        return "one that has not said who it is"


def _user() -> str:
    """Name the user behind this process: who called sudo, else whose it is."""
    return os.environ.get("SUDO_USER") or os.environ.get("LOGNAME") or f"uid {os.getuid()}"


__all__ = ("exclusive_lock", "take_lock")
