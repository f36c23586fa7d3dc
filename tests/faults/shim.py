# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shim from Python's side: built, loaded, told what to do, and read."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent

# In the order of shim.c.
CALLS = (
    "open", "write", "truncate", "fsync", "rename", "unlink", "mkdir", "rmdir", "mode", "connect", "send", "recv", "exec", "ended", "lock",
)  # fmt: skip
MODES = {
    name: number
    for number, name in enumerate(("none", "kill", "torn", "hangup", "enospc", "erofs", "eio", "clock", "reset", "pause"))
}
_PATH_BYTES, _MAX_PIDS, _MAX_ENTRIES = 232, 64, 16384


class Crossing(NamedTuple):
    """One call at which state crossed a border, in the order in which they happened; C(number) starts at 1."""

    number: int
    call: str
    module: int
    is_front: bool
    size: int
    path: str
    other: str


class Aim(NamedTuple):
    """One crossing: the nth of a call in a module of the run, from 1. So it means the same one in each run."""

    module: int
    call: str
    nth: int

    def __str__(self) -> str:
        return f"{self.module}.{self.call}.{self.nth}"

    @classmethod
    def parse(cls, text: str) -> Aim:
        module, call, nth = text.split(".")
        return cls(int(module), call, int(nth))


class _Entry(ctypes.Structure):
    _fields_ = [
        ("call", ctypes.c_int), ("module", ctypes.c_int), ("is_front", ctypes.c_int), ("state", ctypes.c_uint),
        ("size", ctypes.c_long), ("path", ctypes.c_char * _PATH_BYTES), ("other", ctypes.c_char * _PATH_BYTES),
    ]  # fmt: skip


class _Shared(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int) for name in ("counter", "target", "fault", "fired", "aimed_module", "aimed_call", "aimed_nth")),
        ("counts", ctypes.c_int * len(CALLS)), *((name, ctypes.c_int) for name in ("paused", "resume", "module", "n_pids")),
        ("clock_offset_s", ctypes.c_long), ("pids", ctypes.c_int * _MAX_PIDS), ("root", ctypes.c_char * _PATH_BYTES),
        ("entries", _Entry * _MAX_ENTRIES),
    ]  # fmt: skip


def build(work: Path) -> dict[str, Path]:
    """Compile what is older than its source; return where it lies."""
    work.mkdir(parents=True, exist_ok=True)
    made = {"shim": work / "shim.so", "knock": work / "knock"}
    for name, target in made.items():
        source = HERE / f"{name}.c"
        if target.exists() and target.stat().st_mtime > source.stat().st_mtime:
            continue
        fresh = target.with_name(f"{target.name}.{os.getpid()}")
        how = ["-shared", "-fPIC"] if name == "shim" else []
        subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", *how, "-o", fresh, source, "-lpthread"], check=True)
        fresh.replace(target)
    return made


class Shim:
    """The counter that all module runs of this process's trials share."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._region = mmap.mmap(-1, ctypes.sizeof(_Shared))
        self._shared = _Shared.from_buffer(self._region)
        self._library.faults_use(ctypes.byref(self._shared))

    def plan(self, root: Path, *, aim: Aim | None = None, mode: str = "none", clock_offset_s: int = 0) -> None:
        """Begin to count anew, and let what is aimed at go wrong."""
        shared, used = self._shared, min(self._shared.counter, _MAX_ENTRIES)
        ctypes.memset(shared.entries, 0, used * ctypes.sizeof(_Entry))
        for name in ("counter", "target", "fired", "paused", "resume"):
            setattr(shared, name, 0)
        self.next_module(0)
        shared.root = f"{root}/".encode()
        shared.fault, shared.clock_offset_s = (MODES[mode] if aim is not None else 0), clock_offset_s
        if aim is not None:
            shared.aimed_module, shared.aimed_call, shared.aimed_nth = aim.module, CALLS.index(aim.call), aim.nth

    def next_module(self, number: int) -> None:
        """Forget the processes of the module before: their numbers may be somebody else's by now."""
        self._shared.module, self._shared.n_pids = number, 0
        ctypes.memset(self._shared.pids, 0, ctypes.sizeof(self._shared.pids))
        ctypes.memset(self._shared.counts, 0, ctypes.sizeof(self._shared.counts))

    def arm(self) -> None:
        """Begin to count in this process and in those that it forks; for the copy that becomes a module."""
        self._library.faults_arm()

    @property
    def fired(self) -> int:
        """The crossing at which it went wrong, or 0."""
        return int(self._shared.fired)

    @property
    def module(self) -> int:
        """Which module of the run is at work, from 0."""
        return int(self._shared.module)

    @property
    def is_paused(self) -> bool:
        return bool(self._shared.paused)

    def resume(self) -> None:
        self._shared.resume = 1

    def pids(self) -> list[int]:
        """The processes of the module that ran last, its front first."""
        return [pid for pid in self._shared.pids[: min(self._shared.n_pids, _MAX_PIDS)] if pid]

    def crossings(self) -> list[Crossing]:
        """Everything that was counted since C(plan)."""
        count = min(self._shared.counter, _MAX_ENTRIES)
        return [
            Crossing(
                number, CALLS[entry.call], entry.module, bool(entry.is_front), entry.size,
                entry.path.decode("utf-8", "replace"), entry.other.decode("utf-8", "replace"),
            )
            for number, entry in enumerate(self._shared.entries[:count], start=1)
        ]  # fmt: skip
