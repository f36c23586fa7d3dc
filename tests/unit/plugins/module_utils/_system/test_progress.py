# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far long work has come: told through a socket without a file, to nobody else, and only where somebody has said that he will ask."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import time

import pytest
from ansible_collections.servos.ops.plugins.module_utils._system import progress as subject
from ansible_collections.servos.ops.plugins.module_utils._system.progress import Progress, watched_progress

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="needs Linux")


@pytest.fixture
def name(monkeypatch):
    monkeypatch.setattr(subject, "_QUIET_S", 0)
    return secrets.token_hex(16)


def listed(name):
    """The sockets of the kernel's own list that carry the name."""
    with open("/proc/net/unix") as stream:
        return [line.split()[-1] for line in stream if name in line]


def ask(name):
    """Connect as anybody would, without the code under test; b"" from one who does not answer."""
    deadline = time.monotonic() + 20
    while not listed(name) and time.monotonic() < deadline:
        time.sleep(0.01)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(20)
        asking.connect("\0servos-ops-progress-" + name)
        return asking.makefile("rb").readline()


@pytest.fixture
def at_work(name):
    """Run steps on a progress in a process of its own that lives until the test's end, as a module's does."""
    started = []

    def start(*steps):
        read_end, write_end = os.pipe()
        came_to_it, done = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(write_end)
                progress = Progress(name)
                for step in steps:
                    step(progress)
                os.write(done, b".")
                os.read(read_end, 1)
            finally:
                os._exit(0)
        os.close(read_end)
        os.close(done)
        os.read(came_to_it, 1)
        os.close(came_to_it)
        started.append((child, write_end))
        return child

    yield start
    for child, write_end in started:
        os.close(write_end)
        os.waitpid(child, 0)


def census_of_40(progress):
    progress.begin("census", 40)
    progress.advance(15)
    progress.advance(5)


def scrub(progress):
    progress.begin("scrub")


@pytest.mark.parametrize(
    ("steps", "told"),
    [([census_of_40], ("census", 20, 40)), ([census_of_40, scrub], ("scrub", 0, None))],
    ids=["counted", "the next phase"],
)
def test_who_asks_is_told_of_the_phase_that_it_is_in(name, at_work, steps, told):
    at_work(*steps)
    answer = json.loads(ask(name).decode())
    assert (answer.pop("phase"), answer.pop("done"), answer.pop("total")) == told
    assert list(answer) == ["seconds"]
    assert ask(name)  # and again


def test_the_name_is_in_no_file_system_and_gone_with_the_process(name, at_work):
    child = at_work(scrub)
    ask(name)
    assert set(listed(name)) == {"@servos-ops-progress-" + name}
    os.kill(child, signal.SIGKILL)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert listed(name) == []


def test_work_that_is_not_watched_has_neither_thread_nor_socket(monkeypatch):
    monkeypatch.setattr(subject.threading, "Thread", lambda **unused: pytest.fail("a thread"))
    progress = Progress()
    progress.begin("rewrap", 10)
    progress.advance(3)
    assert not progress.is_watched
    assert json.loads(progress.as_answer().decode())["done"] == 3


class _AwakeError(Exception):
    pass


def test_in_the_first_seconds_there_is_no_socket(monkeypatch):
    slept, name = [], secrets.token_hex(16)

    def sleep(seconds):
        slept.append((seconds, listed(name)))
        raise _AwakeError

    monkeypatch.setattr(subject.time, "sleep", sleep)
    monkeypatch.setattr(subject.socket, "socket", lambda *unused: pytest.fail("a socket"))
    with pytest.raises(_AwakeError):
        Progress(name)._answer_all(name)
    assert slept == [(2.0, [])]


def test_another_who_has_the_name_already_costs_the_work_nothing(name):
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("\0servos-ops-progress-" + name)
        Progress(name)._answer_all(name)


def test_a_fork_that_does_the_work_answers_for_itself(name, at_work, monkeypatch):
    monkeypatch.setattr(subject.threading.Thread, "start", lambda unused: None)
    before = Progress(name)
    before.begin("census")
    monkeypatch.undo()
    monkeypatch.setattr(subject, "_QUIET_S", 0)
    at_work(lambda unused: before.begin("rewrap", 9))
    assert json.loads(ask(name).decode())["phase"] == "rewrap"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_another_user_is_not_told(name, at_work):
    at_work(scrub)
    assert ask(name)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            os.write(write_end, b"told " + ask(name))
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as stream:
        assert stream.read() == b"told "
    os.waitpid(child, 0)


def test_the_variable_is_taken_out_of_the_environment(monkeypatch):
    monkeypatch.setenv("SERVOS_OPS_PROGRESS", "0f" * 16)
    assert watched_progress().is_watched
    assert "SERVOS_OPS_PROGRESS" not in os.environ
    assert not watched_progress().is_watched


@pytest.mark.parametrize("text", ["", "0f", "0F" * 16, "0f" * 17, "../" + "0" * 29, "0f" * 15 + "g0"])
def test_what_is_no_name_of_ours_is_not_used(monkeypatch, text):
    monkeypatch.setenv("SERVOS_OPS_PROGRESS", text)
    assert not watched_progress().is_watched


def test_a_timeline_says_what_began_when_and_ends_where_the_next_step_begins():
    progress = Progress()
    for phase in ("census", "census", "stop", "rewrap"):
        progress.begin(phase)
    told = progress.timeline()
    assert [step["what"] for step in told] == ["census", "stop", "rewrap"]
    assert sorted(step["at"] for step in told) == [step["at"] for step in told]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", step["at"]) and step["seconds"] >= 0 for step in told)
