# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Watch command lines and environments of a run: all processes of a node's container, and all that carry a mark.

The kernel tells of every exec (proc connector); a look at all processes each 10 ms finds the rest, such as a changed title.
Other processes of this machine are not looked into.

usage: processes.py OUT MARK PID_NAMESPACE        until its standard input is closed
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import sys
import time

_EVERY_S = 0.01
_YOUNG_S = 1.0
_OLD_AGAIN_S = 0.5
_CONNECTOR, _PROC, _LISTEN, _EXEC = 11, 1, 1, 2


def connect() -> socket.socket | None:
    """Ask the kernel to tell of processes. Source: linux/cn_proc.h."""
    try:
        events = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _CONNECTOR)
        events.bind((os.getpid(), _PROC))
        events.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        body = struct.pack("=IIIIHHI", _PROC, 1, 0, 0, 4, 0, _LISTEN)
        events.send(struct.pack("=IHHII", 16 + len(body), 3, 0, 0, os.getpid()) + body)
    except OSError:
        return None
    return events


def read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except OSError:
        return None


class Watch:
    """What was seen of the processes that are ours."""

    def __init__(self, mark: bytes, namespace: str) -> None:
        self._mark, self._namespace = mark, namespace
        self.seen: dict[tuple[str, bytes, bytes], None] = {}
        self.looks = self.execs = 0

    def look(self, pid: int) -> bool:
        """Take down a process; return whether it is one of ours."""
        line = read(f"/proc/{pid}/cmdline") or b""  # first of all: it may be gone in a moment
        environ = read(f"/proc/{pid}/environ") or b""
        try:
            is_of_node = os.readlink(f"/proc/{pid}/ns/pid") == self._namespace
        except OSError:
            is_of_node = False
        if not is_of_node and self._mark not in environ:
            return False
        self.looks += 1
        self.seen[("node" if is_of_node else "controller", line, environ)] = None
        return True

    def take(self, events: socket.socket | None) -> None:
        """Look at every process that the kernel has told of by now."""
        while events is not None:
            try:
                message = events.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                continue  # more events than fit; the rounds go on
            if len(message) >= 60 and struct.unpack_from("=I", message, 36)[0] == _EXEC:
                self.execs += 1
                self.look(struct.unpack_from("=I", message, 52)[0])


def hurry() -> None:
    """Go before all others: what we wait for lives for a millisecond, and we need little."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def main(out: str, mark: str, namespace: str) -> None:
    watch, events = Watch(mark.encode(), namespace), connect()
    first_seen: dict[int, float] = {}
    others: set[int] = set()
    is_over, next_full, next_round = False, 0.0, 0.0
    hurry()
    print("watching", flush=True)
    while not is_over:
        ready, *unused = select.select([sys.stdin, *([events] if events else [])], [], [], max(0.0, next_round - time.monotonic()))
        is_over = sys.stdin in ready
        watch.take(events)
        now = time.monotonic()
        if now < next_round and not is_over:
            continue
        next_round = now + _EVERY_S
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        first_seen = {pid: first_seen.get(pid, now) for pid in there}
        others &= there
        is_full = now >= next_full or is_over
        for pid, since in first_seen.items():
            # One that is not ours does not become so but by an exec, of which we are told.
            is_young = now - since < _YOUNG_S and (events is None or pid not in others)
            if (is_full or is_young) and pid != os.getpid():
                if watch.look(pid):
                    others.discard(pid)
                else:
                    others.add(pid)
                watch.take(events)
        if is_full:
            next_full = now + _OLD_AGAIN_S
    with open(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        seen = [[where, line.decode("latin-1"), environ.decode("latin-1")] for where, line, environ in watch.seen]
        json.dump({"seen": seen, "looks": watch.looks, "execs": watch.execs, "events": bool(events), "cpu_s": time.process_time()}, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])
