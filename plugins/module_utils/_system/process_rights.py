# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""What else /proc says of a process: its threads, descriptors and sockets, and where it runs. Source: proc(5)."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import typing as t

from .descriptor_facts import DescriptorFacts

_NAME_LENGTH = 15  # TASK_COMM_LEN less the end


def thread_statuses(pid: int) -> dict[int, str]:
    """Return the text of C(status) for each thread, by thread id.

    Raises:
        ProcessLookupError: there is no such process (any more).
    """
    try:
        threads = [int(name) for name in os.listdir(f"/proc/{pid}/task")]
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    found = {}
    for thread in sorted(threads):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(
            f"/proc/{pid}/task/{thread}/status", encoding="ascii", errors="replace"
        ) as stream:
            found[thread] = stream.read()
    if pid not in found:
        raise ProcessLookupError(pid)
    return found


def owners_of(pid: int) -> tuple[set[int], set[int]]:
    """Return the users and the groups, supplementary ones included, that a process runs as; none of one that has ended."""
    found: dict[str, set[int]] = {"Uid": set(), "Gid": set(), "Groups": set()}
    with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(
        f"/proc/{pid}/status", encoding="ascii", errors="replace"
    ) as stream:
        for name, unused_colon, numbers in (line.partition(":") for line in stream):
            if name in found:
                found[name] = {int(number) for number in numbers.split()}
    return found["Uid"], found["Gid"] | found["Groups"]


def open_descriptors(pid: int) -> list[DescriptorFacts]:
    """List the open descriptors of a process; one that is closed meanwhile is left out.

    Raises:
        ProcessLookupError: there is no such process (any more).
        PermissionError: they are not ours to see.
    """
    try:
        numbers = sorted(int(name) for name in os.listdir(f"/proc/{pid}/fd"))
    except FileNotFoundError:
        raise ProcessLookupError(pid) from None
    found = []
    for number in numbers:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            path = f"/proc/{pid}/fd/{number}"
            target, seen = os.readlink(path), os.stat(path)
            with open(f"/proc/{pid}/fdinfo/{number}", encoding="ascii", errors="replace") as stream:
                said = dict(line.split(":", 1) for line in stream.read().splitlines() if ":" in line)
            device = (os.major(seen.st_rdev), os.minor(seen.st_rdev))
            flags = int(said.get("flags", "0").strip() or "0", 8)
            found.append(DescriptorFacts(number, target, seen.st_mode, seen.st_uid, seen.st_gid, device, flags))
    return found


def socket_tables(pid: int, names: t.Iterable[str]) -> dict[str, str]:
    """Return tables of C(/proc/PID/net), of the process's own network; one that the kernel does not have is left out."""
    found = {}
    for name in names:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{name}", encoding="ascii", errors="replace") as stream:
            found[name] = stream.read()
    return found


def namespaces_apart(pid: int) -> list[str]:
    """Name the namespaces (pid, user, net, mnt) in which a process is not where this one is."""
    found = []
    for name in ("pid", "user", "net", "mnt"):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"):
                found.append(name)
    return found


def pids_named(name: str) -> list[int]:
    """List the processes whose program, or name, is this: an agent may change its name, not its program."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid() and name[:_NAME_LENGTH] in _names_of(entry, full=name):
            found.append(int(entry))
    return sorted(found)


def _names_of(entry: str, *, full: str) -> set[str]:
    names = set()
    with contextlib.suppress(OSError), open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as stream:
        names.add(stream.read().rstrip("\n"))
    with contextlib.suppress(OSError):
        program = os.path.basename(os.readlink(f"/proc/{entry}/exe")).replace(" (deleted)", "")
        if program == full:
            names.add(full[:_NAME_LENGTH])
    return names


def pids_of_cgroup(path: str) -> list[int]:
    """List the processes of a control group and all below it, in whichever hierarchy systemd keeps its own."""
    for top in ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified", "/sys/fs/cgroup"):
        folder = top + path
        if not path or not os.path.isfile(os.path.join(folder, "cgroup.procs")):
            continue
        found = set()
        for below, unused_folders, unused_files in os.walk(folder):
            with contextlib.suppress(OSError), open(os.path.join(below, "cgroup.procs"), encoding="ascii") as stream:
                found |= {int(line) for line in stream if line.strip().isdigit()}
        return sorted(pid for pid in found if pid)
    return []


def last_capability() -> int:
    """Return the number of the last capability that the running kernel knows."""
    with open("/proc/sys/kernel/cap_last_cap", encoding="ascii") as stream:
        return int(stream.read())


def uid_of(user: str) -> int | None:
    """Return the uid of a user, by name or number, or None where this host knows none."""
    if user.isdigit():
        return int(user)
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        return None


def gid_of(group: str) -> int | None:
    """Return the gid of a group, by name or number, or None where this host knows none."""
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def group_names(gids: t.Iterable[int]) -> dict[int, str]:
    """Return names of groups by number, of those that have one."""
    found = {}
    for gid in gids:
        with contextlib.suppress(KeyError):
            found[gid] = grp.getgrgid(gid).gr_name
    return found


__all__ = (
    "gid_of",
    "group_names",
    "last_capability",
    "namespaces_apart",
    "open_descriptors",
    "owners_of",
    "pids_named",
    "pids_of_cgroup",
    "socket_tables",
    "thread_statuses",
    "uid_of",
)
