# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a module of the collection in a process of its own, without the half second that a new interpreter takes."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ansible.module_utils.testing import patch_module_args

MODULES = (
    "servos_audit", "servos_backup", "servos_hostkey", "servos_key_info", "servos_key_rotate", "servos_keyring", "servos_node_login",
    "servos_pika_info", "servos_pika_key", "servos_secret_inject", "servos_secret_open", "servos_secret_request",
    "servos_setup_token",
)  # fmt: skip
_PACKAGE = "ansible_collections.servos.ops.plugins.modules"


class Outcome(NamedTuple):
    """What a module said: its result, and every byte that it printed."""

    code: int
    result: dict[str, Any]
    printed: str
    complaints: str

    @property
    def failed(self) -> bool:
        """Whether it failed, and said so in the way of Ansible."""
        return self.code != 0 and bool(self.result.get("failed"))

    @property
    def changed(self) -> bool:
        return bool(self.result.get("changed"))

    @property
    def msg(self) -> str:
        return str(self.result.get("msg", ""))

    @property
    def warnings(self) -> str:
        """What it warned of; without Ansible around it, a module prints that on standard error."""
        return " ".join([*map(str, self.result.get("warnings", ())), self.complaints])

    def __getitem__(self, name: Any) -> Any:
        return self.result[name]


class ModuleRun:
    """A module that is under way. It is a copy of the tests' process, which has imported everything already."""

    def __init__(
        self, name: str, arguments: dict[str, Any], *, check: bool = False, prepare: Sequence[Callable[[], None]] = ()
    ) -> None:
        module = importlib.import_module(f"{_PACKAGE}.{name}")
        self._streams = [tempfile.TemporaryFile() for unused in range(2)]  # noqa: SIM115 - output and errors, closed by wait
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._be_the_module(module, dict(arguments, _ansible_check_mode=check, _ansible_diff=True), prepare)

    def _be_the_module(self, module: Any, arguments: dict[str, Any], prepare: Sequence[Callable[[], None]]) -> None:
        code = 70
        try:
            os.setsid()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for number, stream in enumerate(self._streams, start=1):
                os.dup2(stream.fileno(), number)
                stream.close()
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            for step in prepare:
                step()
            with patch_module_args(arguments):
                module.main()
            code = 0
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def wait(self, timeout_s: float = 60) -> Outcome:
        """Wait for its end."""
        deadline = time.monotonic() + timeout_s
        while True:
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                self.kill_all()
                raise AssertionError("the module did not end")
            time.sleep(0.002)
        texts = []
        for stream in self._streams:
            with stream:
                stream.seek(0)
                texts.append(stream.read().decode("utf-8", "replace"))
        try:
            result = json.loads(texts[0])
        except ValueError:
            result = {}
        return Outcome(os.waitstatus_to_exitcode(status), result, texts[0] + texts[1], texts[1])

    def descendants(self) -> list[int]:
        """List the processes that it started, and theirs."""
        parents = {pid: parent_of(pid) for pid in map(int, filter(str.isdigit, os.listdir("/proc")))}
        found = [self.pid]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found[1:]

    def kill_all(self) -> None:
        """Kill it and all that it started, as a power cut would."""
        for pid in [self.pid, *self.descendants()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def parent_of(pid: int) -> int | None:
    """Return the parent of a process, or None where it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return int(stream.read().rpartition(b")")[2].split()[1])
    except OSError:
        return None


def without_override() -> None:
    """Make the permissions of files hold for root too: drop CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    if libc.capget(header, words):
        raise OSError(ctypes.get_errno(), "capget")
    for position in (0, 1):  # effective and permitted, of the first 32 capabilities
        words[position] &= ~0b110
    if libc.capset(header, words):
        raise OSError(ctypes.get_errno(), "capset")
