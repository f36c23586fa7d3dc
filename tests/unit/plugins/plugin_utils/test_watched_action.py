# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asking beside the task: what is run on the host really asks, and nothing that goes wrong there reaches the task."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest
from ansible_collections.servos.ops.plugins.plugin_utils import _watched_action
from ansible_collections.servos.ops.plugins.plugin_utils._watched_action import WatchedAction, _pause_after, _Watch

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="needs Linux")
ANSWER = b'{"phase": "rewrap", "done": 50, "total": 100, "seconds": 5}\n'
SERVER = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
if sys.argv[3]:
    os.setuid(int(sys.argv[3]))
s.bind("\\0servos-ops-progress-" + sys.argv[1])
s.listen(4)
sys.stdout.write("ready\\n"); sys.stdout.flush()
while True:
    c = s.accept()[0]
    c.sendall(sys.argv[2].encode())
    c.close()
"""


class Printed:
    """Stands for Ansible's display."""

    def __init__(self):
        self.lines = []
        self.something = threading.Event()

    def __call__(self):
        return self

    def display(self, line, stderr):
        self.lines.append((line, stderr))
        self.something.set()


@pytest.fixture
def printed(monkeypatch):
    monkeypatch.setattr(_watched_action, "_FIRST_S", 0.01)
    monkeypatch.setattr(_watched_action, "_AGAIN_S", 0.01)
    monkeypatch.setattr(_watched_action, "_pause_after", lambda unused: 0.01)
    shown = Printed()
    monkeypatch.setattr(_watched_action, "Display", shown)
    return shown


@pytest.fixture
def host():
    """A process that answers as a module would, by another hand; returns the name that it is asked by."""
    started = []

    def start(answer=ANSWER, uid=""):
        name = secrets.token_hex(16)
        server = subprocess.Popen([sys.executable, "-c", SERVER, name, answer.decode(), str(uid)], stdout=subprocess.PIPE)
        started.append(server)
        assert server.stdout.readline() == b"ready\n"
        return name

    yield start
    for server in started:
        server.kill()
        server.wait()
        server.stdout.close()


class Action(WatchedAction):
    """An action whose commands run in a shell of this machine."""

    def __init__(self):
        self._connection = SimpleNamespace(become=None)
        self._used_interpreter = "#!" + sys.executable
        self.commands = []

    def run(self, tmp=None, task_vars=None):
        raise NotImplementedError

    def _low_level_execute_command(self, command):
        self.commands.append(command)
        done = subprocess.run(
            ["/bin/sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60, check=False
        )
        return {"rc": done.returncode, "stdout": done.stdout.decode()}


def test_a_line_is_printed_while_the_task_runs_and_none_afterwards(printed, host):
    action = Action()
    watch = _Watch(action, "control1", host())
    with watch:
        assert printed.something.wait(60)
    assert not watch._thread.is_alive()
    assert set(printed.lines) == {("control1: rewrap: 50 of 100 values, 10/s, 5 s left", True)}


def test_a_task_that_is_over_soon_is_not_asked_about(monkeypatch, printed, host):
    monkeypatch.setattr(_watched_action, "_FIRST_S", 600)
    action = Action()
    with _Watch(action, "control1", host()):
        pass
    assert (action.commands, printed.lines) == ([], [])


def test_who_does_not_answer_is_asked_eight_times(printed):
    action = Action()
    watch = _Watch(action, "control1", secrets.token_hex(16))
    watch._ask_and_print()
    assert (len(action.commands), printed.lines) == (8, [])


def test_a_connection_that_breaks_is_not_the_tasks_concern(printed):
    action = Action()
    asked = []

    def broken(command):
        asked.append(command)
        raise RuntimeError("the host is gone")

    action._low_level_execute_command = broken
    _Watch(action, "control1", secrets.token_hex(16))._ask_and_print()
    assert (len(asked), printed.lines) == (8, [])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_who_listens_under_the_name_is_not_believed(printed, host):
    action = Action()
    watch = _Watch(action, "control1", host(uid=65534))
    printed.something = watch._is_over  # a line would be the end of it
    watch._ask_and_print()
    assert (len(action.commands), printed.lines) == (8, [])


def test_what_runs_keeps_its_connection_and_its_become_to_itself(printed, host):
    class Connection:
        def __init__(self):
            self.become = SimpleNamespace(prompt="of the task")

        def set_become_plugin(self, plugin):
            self.become = plugin

    action = Action()
    action._connection = connection = Connection()
    seen = _watched_action._beside(action)
    seen._connection.become.prompt = seen._connection.state = "of the question"
    assert (connection.become.prompt, hasattr(connection, "state")) == ("of the task", False)
    assert action._connection is connection


@pytest.mark.parametrize(("elapsed_s", "pause_s"), [(5, 10), (299, 10), (300, 30), (3599, 30), (3600, 60), (90000, 60)])
def test_long_work_is_asked_about_more_seldom(elapsed_s, pause_s):
    assert _pause_after(elapsed_s) == pause_s


def shell_of(**variables):
    return " ".join("%s=%s" % pair for pair in variables.items())  # noqa: UP031


@pytest.mark.parametrize(
    ("async_val", "variables", "is_asked"),
    [(0, {}, True), (0, {"servos_progress": "{{ no }}"}, False), (0, {"servos_progress": True}, True), (60, {}, False)],
    ids=["as a rule", "switched off", "switched on", "asynchronous"],
)
def test_the_module_is_told_by_which_name_it_will_be_asked(async_val, variables, is_asked):
    action = Action()
    action._connection._shell = SimpleNamespace(env_prefix=shell_of)
    action._task = SimpleNamespace(async_val=async_val, environment=[{"HTTP_PROXY": "p"}], delegate_to=None)
    action._templar = SimpleNamespace(template=lambda value: False if value == "{{ no }}" else value)
    seen = []

    def execute(**arguments):
        seen.append((arguments, action._compute_environment_string()))
        return {"changed": False}

    action._execute_module = execute
    assert action._execute_watched("servos.ops.x", dict(variables, inventory_hostname="control1")) == {"changed": False}
    ((arguments, environment),) = seen
    assert arguments["wrap_async"] == async_val
    given, unused_space, name = environment.partition(" SERVOS_OPS_PROGRESS=")
    assert given == "HTTP_PROXY=p"
    assert (len(name) == 32) == is_asked
    assert action._compute_environment_string() == "HTTP_PROXY=p"


@pytest.mark.parametrize(("delegate_to", "label"), [(None, "control1"), ("backup1", "control1 -> backup1")], ids=["here", "delegated"])
def test_lines_name_the_host_and_where_its_task_runs(delegate_to, label):
    action = SimpleNamespace(_task=SimpleNamespace(delegate_to=delegate_to))
    assert _watched_action._label(action, {"inventory_hostname": "control1"}) == label
