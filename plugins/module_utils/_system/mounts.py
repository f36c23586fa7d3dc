# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What lies where: the kernel's own list of mounts, and of swap. Source: proc_pid_mountinfo(5), proc_swaps(5)."""

from __future__ import annotations

import os
import re

IN_MEMORY = ("ramfs", "tmpfs")


def file_system_of(path: str) -> str:
    """Return the type of the file system that a path, or its nearest existing parent, lies on; C(unknown) if it is not listed."""
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    path = os.path.realpath(path)
    best, kind = -1, "unknown"
    for point, found in _mounts():
        if len(point) >= best and (path == point or path.startswith(point.rstrip("/") + "/")):
            best, kind = len(point), found  # of two on one point, the later one is what is seen
    return kind


def is_mounted(path: str) -> bool:
    """Tell whether a file or directory is mounted by itself, also from its own file system, which C(os.path.ismount) does not see."""
    try:
        return os.path.realpath(path) in [point for point, unused_kind in _mounts()]
    except OSError:
        return os.path.ismount(path)


def has_swap() -> bool:
    """Tell whether memory may be written to a disk."""
    try:
        with open("/proc/swaps", encoding="utf-8") as stream:
            return len(stream.read().splitlines()) > 1
    except OSError:
        return False


def _mounts() -> list[tuple[str, str]]:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        lines = stream.read().splitlines()
    found = []
    for line in lines:
        front, unused, rear = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match.group(1), 8)), front.split(" ")[4])
        found.append((point, rear.split(" ")[0]))
    return found


__all__ = ("IN_MEMORY", "file_system_of", "has_swap", "is_mounted")
