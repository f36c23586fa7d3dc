# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Look at running processes through /proc. Source: proc(5)."""

from __future__ import annotations

import os
import time
import typing as t


def process_variable(pid: int, name: str) -> str | None:
    """Return a variable from the environment that a process was started with, or None where it has none.

    Raises:
        ProcessLookupError: there is no such process (any more).
        PermissionError: its environment is not ours to read.
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            entries = stream.read().split(b"\x00")
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    wanted = name.encode("ascii") + b"="
    for entry in entries:
        if entry.startswith(wanted):
            return entry[len(wanted) :].decode("utf-8", "surrogateescape")
    return None


def hides_environment(pid: int) -> bool:
    """Tell whether a process has overwritten the environment that it was started with, as setproctitle does to make room for a title.

    Raises:
        ProcessLookupError, PermissionError: as C(process_variable).
    """
    try:
        with open(f"/proc/{pid}/environ", "rb") as stream:
            content = stream.read()
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    return bool(content) and b"=" not in content


class Environments(t.NamedTuple):
    """Environments as processes were started with: C(found) by process id, and how many C(unread) ones are not ours to read."""

    found: dict[int, bytes]
    unread: int


def environments() -> Environments:
    """Read the environment of every process on this host, but for this one and those that it descends from.

    Each is the bytes of C(/proc/PID/environ): NAME=value, ended by a zero byte. Source: proc(5).
    """
    own, found, unread = _with_ancestors(os.getpid()), {}, 0
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in own:
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as stream:
                found[int(entry)] = stream.read()
        except PermissionError:
            unread += 1
        except OSError:
            continue  # it has ended
    return Environments(found, unread)


def command_lines() -> dict[int, bytes]:
    """Return the arguments of every process on this host, which every user may read: words, each ended by a zero byte; see proc(5)."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as stream:
                    found[int(entry)] = stream.read()
            except OSError:
                continue  # it has ended
    return found


def name_of(pid: int) -> str:
    """Return the name of a process's program, 15 characters at most; its arguments may hold secrets."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as stream:
            return stream.read().strip()
    except OSError:
        return "ended since"


def _with_ancestors(pid: int) -> set[int]:
    found: set[int] = set()
    while pid and pid not in found:
        found.add(pid)
        try:
            with open(f"/proc/{pid}/stat", "rb") as stream:
                pid = int(stream.read().rpartition(b")")[2].split()[1])
        except OSError:
            break
    return found


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is not a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def start_ticks(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot, or None where it has ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return int(stream.read().rpartition(b")")[2].split()[19])
    except (FileNotFoundError, ProcessLookupError):
        return None


def started_at(pid: int) -> float | None:
    """Return when a process was started, in seconds since 1970 by the clock as it goes now, or None where it has ended."""
    ticks = start_ticks(pid)
    if ticks is None:
        return None
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME) + ticks / os.sysconf("SC_CLK_TCK")


def pids_with_open_file(path: str) -> list[int]:
    """List the other processes that have a file open, as far as we may see."""
    try:
        wanted = os.stat(path)
    except OSError:
        return []
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            descriptors = os.listdir(f"/proc/{entry}/fd")
        except OSError:
            continue
        for descriptor in descriptors:
            try:
                seen = os.stat(f"/proc/{entry}/fd/{descriptor}")
            except OSError:
                continue
            if (seen.st_dev, seen.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(int(entry))
                break
    return sorted(found)


__all__ = (
    "Environments", "environments", "hides_environment", "is_running", "name_of", "pids_with_open_file", "process_variable", "start_ticks",
    "started_at",
)
