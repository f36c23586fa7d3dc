# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes that hold a secret in their memory: find them while they run, then end them as a fault of theirs would."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

from forms import key_bytes_of
from node import Node
from search import Secret

_SIGNALS = (signal.SIGABRT, signal.SIGSEGV)


def processes_of(node: Node) -> Iterator[int]:
    """Give the ids of the processes of a test host, as this machine counts them."""
    namespace = node.pid_namespace()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{entry}/ns/pid") == namespace:
                yield int(entry)
        except OSError:
            continue


def holders(node: Node, secret: Secret) -> list[int]:
    """List the processes, apart from the service itself, whose memory holds a key, as text or as bytes."""
    raw = key_bytes_of(secret.text)
    needles = [secret.text.encode(), *([raw] if raw else [])]
    found = []
    for pid in processes_of(node):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                if b"server.py" in stream.read():
                    continue
            if any(needle in part for part in memory_of(pid) for needle in needles):
                found.append(pid)
        except OSError:  # it has ended, or is the kernel's
            continue
    return found


def memory_of(pid: int) -> Iterator[bytes]:
    """Give what a debugger would see."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            first, last = (int(end, 16) for end in span.split("-"))
            if not mode.startswith("rw"):
                continue
            try:
                memory.seek(first)
                yield memory.read(last - first)
            except (OSError, ValueError, OverflowError):
                continue


def open_to_others(node: Node, pids: list[int]) -> list[int]:
    """List the processes that root on that host, who may not trace there, can attach to: those that are dumpable."""
    found = []
    for pid in pids:
        with open(f"/proc/{pid}/status", encoding="utf-8") as stream:
            inside = next(line.split()[-1] for line in stream if line.startswith("NSpid:"))
        if node.run(["sh", "-c", 'if ( : < "/proc/$1/mem" ) 2>/dev/null; then echo yes; fi', "sh", inside]):
            found.append(pid)
    return found


def end_as_a_fault_would(pids: list[int]) -> None:
    """Send the signals of an abort and of a wrong address in turn; both leave a core file unless something forbids it."""
    for number, pid in enumerate(pids):
        os.kill(pid, _SIGNALS[number % len(_SIGNALS)])
