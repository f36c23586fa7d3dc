# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work that outlives the one who asked for it: results and errors come back, and a kill of the asker does not stop it.

Every case runs in a program of its own: run_detached() forks, and pytest must not be what it forks.
"""

from __future__ import annotations

import json
import os
import signal
import time

import pytest

PRELUDE = """
import json, os, signal, subprocess, sys, time
from ansible_collections.servos.ops.plugins.module_utils._errors import ApiError, ServosError, UnknownOutcomeError
from ansible_collections.servos.ops.plugins.module_utils._system import detached

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup(1) hands it down ignored

def outcome(work):
    before = os.getpid()
    try:
        found = ["returned", detached.run_detached(work, expected=ServosError)]
    except BaseException as error:
        found = [type(error).__name__, str(error)]
    if os.getpid() != before:
        found = ["escaped", "the child came back into the caller's code"]
    with open(sys.argv[1], "a") as stream:
        stream.write(json.dumps(found) + "\\n")
    os._exit(0)

def fail(error):
    raise error
"""


@pytest.fixture
def run(spawn, tmp_path):
    """Run a program; return what outcome() wrote, once for each process that came through it."""

    def start(text, wait=True):
        path = str(tmp_path / "outcome")
        child = spawn(PRELUDE + text, path)
        if not wait:
            return child
        child.wait(timeout=20)
        deadline = time.monotonic() + 5
        while not os.path.exists(path) and time.monotonic() < deadline:
            time.sleep(0.01)
        with open(path) as stream:
            return [json.loads(line) for line in stream]

    return start


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        pytest.param("lambda: {'a': [1, None, 'gr\\u00fc\\u00df']}", ["returned", {"a": [1, None, "gr\u00fc\u00df"]}], id="result"),
        pytest.param("lambda: {'x': 'y' * 300000}", ["returned", {"x": "y" * 300000}], id="more-than-a-pipe-holds"),
        pytest.param("lambda: fail(ApiError('refused'))", ["ApiError", "refused"], id="our-error"),
        pytest.param("lambda: fail(UnknownOutcomeError('who knows'))", ["UnknownOutcomeError", "who knows"], id="our-error's-child"),
        pytest.param("lambda: fail(ServosError('base'))", ["ServosError", "base"], id="our-base"),
    ],
)
def test_results_and_our_errors_pass_as_themselves(run, work, expected):
    assert run(f"outcome({work})") == [expected]


@pytest.mark.parametrize("error", ["ValueError('SEC' + 'RET')", "SystemExit(3)", "KeyboardInterrupt()", "MemoryError()"])
def test_other_errors_pass_as_a_place_without_their_text(run, error):
    ((name, text),) = run(f"outcome(lambda: fail({error}))")
    assert name == "DetachedError"
    assert ", in fail" in text
    assert "SECRET" not in text
    assert error.split("(")[0] in text


def test_a_child_that_is_killed_is_no_success(run):
    ((name, text),) = run("outcome(lambda: os.kill(os.getpid(), signal.SIGKILL))")
    assert name == "DetachedError"
    assert "without a word" in text


def test_a_result_that_cannot_be_sent_does_not_let_the_child_loose(run):
    (found,) = run("outcome(lambda: {'when': object()})")
    assert found[0] == "DetachedError"


def test_the_work_runs_apart_from_terminal_session_and_hang_ups(run):
    ((unused, seen),) = run(
        "outcome(lambda: {'session': os.getsid(0) == os.getpid(), 'streams': [os.readlink('/proc/self/fd/%d' % n) for n in range(3)],"
        " 'ignored': [signal.getsignal(n) == signal.SIG_IGN for n in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE)]})"
    )
    assert seen == {"session": True, "streams": ["/dev/null"] * 3, "ignored": [True] * 3}


# Goes on when it is told to, and not before: how long a signal takes is the machine's affair.
SLOW = (
    "outcome(lambda: [open(sys.argv[1] + '.begun', 'w').close(),"
    " [time.sleep(0.01) for n in range(1000) if not os.path.exists(sys.argv[1] + '.go')],"
    " open(sys.argv[1] + '.done', 'w').close()] and {})"
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=["kill", "term", "hup"])
def test_the_work_is_finished_when_the_asker_is_killed(run, tmp_path, number):
    asker = run(SLOW, wait=False)
    deadline = time.monotonic() + 10
    while not (tmp_path / "outcome.begun").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    asker.send_signal(number)
    asker.wait()
    assert not (tmp_path / "outcome.done").exists()
    (tmp_path / "outcome.go").touch()
    while not (tmp_path / "outcome.done").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (tmp_path / "outcome.done").exists()


def test_a_service_that_the_work_leaves_behind_keeps_nobody_waiting(run):
    started = time.monotonic()
    # A fork without exec inherits the pipe, as a careless daemon would.
    found = run("outcome(lambda: {'pid': os.fork() or time.sleep(90) or os._exit(0)})")
    assert found[0][0] == "returned"
    assert time.monotonic() - started < 60
    os.kill(found[0][1]["pid"], signal.SIGKILL)
