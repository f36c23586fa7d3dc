# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Keep what a process holds in its memory out of core dumps and away from debuggers. Source: prctl(2), core(5)."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import typing as t

_PR_SET_DUMPABLE = 4


def keep_out_of_core_dumps() -> bool:
    """Make this process undumpable; return whether the kernel agreed.

    A kernel that does not know how is no reason to stop: it is then as it is for every other program.

    Effects: no core file and nothing for a core_pattern program, whatever ended us; other processes of the same user cannot
    attach or read C(/proc/PID/mem) and C(/proc/PID/environ), which now belong to root. A fork inherits it, an exec
    ends it: a service that we start is as dumpable as it always was.
    """
    try:
        return int(ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)) == 0
    except (AttributeError, OSError):
        return False


@contextlib.contextmanager
def children_without_core_files() -> t.Iterator[None]:
    """Let the programs that are started meanwhile write no core file: what they are given on their standard input is secret.

    A core_pattern program is called all the same, and asked by the same limit not to keep what it gets.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, (soft, hard))


__all__ = ("children_without_core_files", "keep_out_of_core_dumps")
