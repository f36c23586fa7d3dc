# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How far long work has come: counted by whoever does it, a page at a time, and told to whoever asks.

A module prints nothing before its end, so the controller asks beside it. The answer comes through a Unix socket with an
abstract name (unix(7)): there is no file, so check mode writes nothing, and nothing is left behind however the process
ends. Where nobody will ask, and in the first seconds, there is no socket at all. The answer is a phase and numbers.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import socket
import struct
import threading
import time
import typing as t

# Carries the name by which the controller will ask; it is random, and made for one call of one module.
VARIABLE = "SERVOS_OPS_PROGRESS"
PHASES = ("backup", "census", "check", "lock", "restore", "rewrap", "scrub", "search", "start", "stop")
ANSWER_BYTES = 400
MOST_STEPS = 200
_QUIET_S = 2.0
_PATIENCE_S = 2
_NAME = re.compile(r"[0-9a-f]{32}\Z")


class _Stage:
    """One phase of the work; replaced as a whole, since another thread reads it."""

    __slots__ = ("done", "phase", "since", "total")

    def __init__(self, phase: str, total: int | None) -> None:
        self.phase = phase
        self.total = total
        self.done = 0
        self.since = time.monotonic()


class Progress:
    """What a run is at.

    Args:
        name: by which the controller asks; None where it does not.
    """

    def __init__(self, name: str | None = None) -> None:
        self._name = name
        self._stage = _Stage("", None)
        self._answering_in: int | None = None
        self._began: list[tuple[str, float, float]] = []

    @property
    def is_watched(self) -> bool:
        """Whether anybody will ask, so that it is worth finding out how much there is to do."""
        return self._name is not None

    def begin(self, phase: str, total: int | None = None) -> None:
        """Enter a phase, one of C(PHASES).

        Args:
            total: what C(advance) will have counted at its end; None where that is not known, or nothing is counted.

        Effects: where the work is watched, a thread of this process that answers, from C(_QUIET_S) seconds on.
        """
        self._stage = _Stage(phase, total)
        if len(self._began) < MOST_STEPS and not (self._began and self._began[-1][0] == phase):
            self._began.append((phase, time.time(), self._stage.since))
        # The work may have been handed to a fork of this process, and a fork has no threads but its own.
        if self._name is not None and self._answering_in != os.getpid():
            self._answering_in = os.getpid()
            with contextlib.suppress(RuntimeError):  # no more threads here: then nobody is told, and the work goes on
                threading.Thread(target=self._answer_all, args=(self._name,), daemon=True).start()

    def advance(self, count: int) -> None:
        """Count what is done; a page at a time, since a call for each value would cost as much as the cipher."""
        self._stage.done += count

    def timeline(self) -> list[dict[str, t.Any]]:
        """Return what was entered so far: C(what), C(at) (ISO 8601, UTC) and C(seconds) until the next phase, or until now.

        Phases that follow themselves are one, and those after the first C(MOST_STEPS) are part of the last.
        """
        ends = [since for unused_phase, unused_at, since in self._began[1:]] + [time.monotonic()]
        return [
            {"at": _iso(at), "what": phase, "seconds": round(end - since, 3)}
            for (phase, at, since), end in zip(self._began, ends)
        ]

    def as_answer(self) -> bytes:
        """Render the state as the controller reads it: phase, done, total, and seconds in the phase."""
        stage = self._stage
        told = {"phase": stage.phase, "done": stage.done, "total": stage.total, "seconds": round(time.monotonic() - stage.since, 1)}
        return json.dumps(told).encode("ascii") + b"\n"

    def _answer_all(self, name: str) -> None:
        time.sleep(_QUIET_S)
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind("\0" + socket_name(name))
            listener.listen(1)
            while True:
                asked, unused_address = listener.accept()
                with contextlib.suppress(OSError), asked:
                    asked.settimeout(_PATIENCE_S)
                    if uid_of_peer(asked) in (0, os.geteuid()):
                        asked.sendall(self.as_answer())


def _iso(at: float) -> str:
    moment = datetime.datetime.fromtimestamp(at, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def socket_name(name: str) -> str:
    """Return the abstract name of the socket, without its leading zero byte."""
    return f"servos-ops-progress-{name}"


def uid_of_peer(connected: socket.socket) -> int:
    """Return the user at the other end of a Unix socket. Source: SO_PEERCRED in unix(7)."""
    unused_pid, uid, unused_gid = struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)


def watched_progress() -> Progress:
    """Return the progress of this process, answering where the controller has said that it will ask.

    Effects: takes the variable out of the environment, so that no service that is started inherits it.
    """
    name = os.environ.pop(VARIABLE, "")
    return Progress(name if _NAME.match(name) and hasattr(socket, "SO_PEERCRED") else None)


__all__ = ("ANSWER_BYTES", "PHASES", "VARIABLE", "Progress", "socket_name", "uid_of_peer", "watched_progress")
