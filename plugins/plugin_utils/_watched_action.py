# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Run a module as ever, and print a line from time to time on how far it has come.

The module runs in the task's own thread, by the means and the connection that Ansible would use without us. Beside it a
second thread wakes up after a few seconds, asks over the same kind of connection, as the same user, and prints the answer.
Work that is over by then is not asked about. Nothing that goes wrong in asking can touch the task.
"""

from __future__ import annotations

import contextvars
import copy
import secrets
import shlex
import threading
import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.servos.ops.plugins.module_utils._system import progress
from ansible_collections.servos.ops.plugins.plugin_utils._progress_lines import line_of, seen_in

Result = t.Dict[str, t.Any]

_FIRST_S = 5.0
_AGAIN_S = 3.0  # after an answer that did not come; after each further one as much again, for a host that is busy
_MOST_UNANSWERED = 8
_LONGEST_WAIT_FOR_AN_ANSWER_S = 15.0
# Who answers must be who we are there: anybody on that host may listen under a name that he has seen.
_ASK = f"""\
import os, socket, struct
s = socket.socket(socket.AF_UNIX)
s.settimeout(5)
s.connect("\\0{{name}}")
uid = struct.unpack("3i", s.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
print(s.makefile().readline({progress.ANSWER_BYTES}).strip() if uid == os.geteuid() else "")
"""


class WatchedAction(ActionBase):
    """An action whose module tells how far it has come."""

    _supports_check_mode = True
    _supports_async = True
    _asked_as: str | None = None

    def _execute_watched(self, module_name: str, task_vars: t.Any, module_args: t.Any = None) -> Result:
        """Execute a module; print its progress unless it runs asynchronously, when Ansible has let go of it."""
        if self._task.async_val or not self._is_wanted(task_vars):
            return self._executed(module_name, task_vars, module_args)
        self._asked_as = secrets.token_hex(16)
        try:
            with _Watch(self, _label(self, task_vars), self._asked_as):
                return self._executed(module_name, task_vars, module_args)
        finally:
            self._asked_as = None

    def _executed(self, module_name: str, task_vars: t.Any, module_args: t.Any) -> Result:
        done: Result = self._execute_module(
            module_name=module_name, module_args=module_args, task_vars=task_vars, wrap_async=self._task.async_val
        )
        return done

    def _is_wanted(self, task_vars: t.Any) -> bool:
        wanted = self._templar.template((task_vars or {}).get("servos_progress", True))
        return bool(boolean(wanted, strict=False))

    def _compute_environment_string(self, raw_environment_out: t.Any = None) -> str:
        """Add the name by which we ask; an option would stand in the results."""
        given = str(super()._compute_environment_string(raw_environment_out))
        if self._asked_as is None:
            return given
        return f"{given} {self._connection._shell.env_prefix(**{progress.VARIABLE: self._asked_as})}".strip()


class _Watch:
    """Asks and prints for the length of a with block."""

    def __init__(self, action: WatchedAction, label: str, name: str) -> None:
        self._action = action
        self._label = label
        self._name = name
        self._is_over = threading.Event()
        # What Ansible keeps in context variables is not inherited by threads.
        context = contextvars.copy_context()
        self._thread = threading.Thread(target=context.run, args=(self._ask_and_print,), daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *unused: object) -> None:
        # The process ends soon, and must not while the thread holds the lock of the queue that all that is printed goes through.
        self._is_over.set()
        self._thread.join(_LONGEST_WAIT_FOR_AN_ANSWER_S)

    def _ask_and_print(self) -> None:
        wait_s, elapsed_s, unanswered = _FIRST_S, 0.0, 0
        while unanswered < _MOST_UNANSWERED and not self._is_over.wait(wait_s):
            elapsed_s += wait_s
            seen = self._asked()
            if seen is None:
                unanswered += 1
                wait_s = _AGAIN_S * unanswered
                continue
            unanswered, wait_s = 0, _pause_after(elapsed_s)
            if not self._is_over.is_set():
                # Not on standard output: a callback may write JSON there for a program to read.
                Display().display(line_of(self._label, seen), stderr=True)

    def _asked(self) -> t.Any:
        try:
            asking = _beside(self._action)
            python = shlex.quote((self._action._used_interpreter or "python3").lstrip("#!").strip())
            script = _ASK.format(name=progress.socket_name(self._name))
            answer = asking._low_level_execute_command(f"{python} -I -S -c {shlex.quote(script)}")
        except Exception:  # whatever a connection plugin makes of it: the task itself is not concerned
            return None
        return seen_in(str(answer.get("stdout", ""))) if answer.get("rc") == 0 else None


def _beside(action: WatchedAction) -> WatchedAction:
    """Copy an action so that its connection and its become plugin keep the state of what they are running."""
    copied = copy.copy(action)
    copied._connection = copy.copy(action._connection)
    if copied._connection.become is not None:
        copied._connection.set_become_plugin(copy.copy(copied._connection.become))
    return copied


def _label(action: WatchedAction, task_vars: t.Any) -> str:
    host = str((task_vars or {}).get("inventory_hostname", "host"))
    return f"{host} -> {action._task.delegate_to}" if action._task.delegate_to else host


def _pause_after(elapsed_s: float) -> float:
    """Ask more seldom as the work goes on: each line is an event on AWX, and with become an entry in the host's log."""
    if elapsed_s < 300:
        return 10.0
    return 30.0 if elapsed_s < 3600 else 60.0


__all__ = ("Result", "WatchedAction")
