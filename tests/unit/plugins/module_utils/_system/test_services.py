# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Services run by real little scripts: what is up, what stops, and a start that only seems to work."""

from __future__ import annotations

import os
import pathlib
import sys
import time

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServiceError
from ansible_collections.servos.ops.plugins.module_utils._system import processes
from ansible_collections.servos.ops.plugins.module_utils._system.services import CommandService, SystemdService, wait_until_settled

START = """
pid=$(cat "$1/pid" 2>/dev/null) && kill -0 "$pid" 2>/dev/null && exit 0
[ -e "$1/refuse" ] && exit 7
setsid sleep ${2:-60} >/dev/null 2>&1 </dev/null &
echo $! > "$1/pid"
"""
STOP = 'echo SECRET; kill $(cat "$1/pid"); rm -f "$1/pid"'


@pytest.fixture
def service(tmp_path, runner):
    made = []

    def make(start=START, stop=STOP, life="60", by="file", name="app"):
        directory = str(tmp_path)
        for script, text in (("start", start), ("stop", stop)):
            (tmp_path / script).write_text("#!/bin/sh\n" + text)
            (tmp_path / script).chmod(0o755)
        pid = {"pid_file": directory + "/pid", "pid_command": None}
        if by == "command":
            pid = {"pid_file": None, "pid_command": ["sh", "-c", f"cat {directory}/pid 2>/dev/null || echo 0"]}
        made.append(
            CommandService(name, runner, start=[directory + "/start", directory, life], stop=[directory + "/stop", directory], **pid)
        )
        return made[-1]

    yield make
    for each in made:
        pid = each.main_pid()
        if pid:
            os.kill(pid, 9)


@pytest.mark.parametrize("by", ["file", "command"])
def test_start_look_and_stop(service, by):
    app = service(by=by)
    assert app.main_pid() is None
    app.start(5)
    pid = app.main_pid()
    assert processes.is_running(pid)
    assert app.is_up()
    app.stop(5)
    assert app.main_pid() is None
    assert not processes.is_running(pid)
    assert not app.is_up()


@pytest.mark.parametrize("content", ["", "0", "-1", "garbage", "99999999", "1 2", "\u00b2"], ids=ascii)
def test_a_pid_file_that_names_no_process_means_stopped(service, tmp_path, content):
    (tmp_path / "pid").write_text(content)
    assert service().main_pid() is None


def test_a_pid_file_that_cannot_be_read_is_our_error(service, tmp_path):
    (tmp_path / "pid").mkdir()
    app = service()
    try:
        with pytest.raises(ServiceError):
            app.main_pid()
    finally:
        (tmp_path / "pid").rmdir()


def test_a_process_that_ended_and_is_not_waited_for_is_not_running(service, tmp_path, spawn):
    zombie = spawn("pass")
    deadline = time.monotonic() + 5
    while b") Z " not in (pathlib.Path("/proc") / str(zombie.pid) / "stat").read_bytes() and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "pid").write_text(str(zombie.pid))
    assert service().main_pid() is None


def test_a_start_that_fails_is_named_with_its_code_and_without_its_output(service):
    with pytest.raises(ServiceError, match=r"to start app .*exit code 3") as caught:
        service(start="echo SECRET >&2; echo SECRET; exit 3").start(5)
    assert "SECRET" not in str(caught.value)


def test_a_stop_that_fails_counts_only_while_the_process_runs(service):
    app = service(stop="echo SECRET; exit 3")
    app.stop(5)
    app.start(5)
    with pytest.raises(ServiceError, match=r"to stop app .*exit code 3") as caught:
        app.stop(5)
    assert "SECRET" not in str(caught.value)


def test_a_command_that_hangs_is_ended(service):
    started = time.monotonic()
    with pytest.raises(ServiceError, match=r"did not end within 0\.3 s"):
        service(start="sleep 90").start(0.3)
    assert time.monotonic() - started < 60


def test_a_missing_command_is_named(tmp_path, runner):
    app = CommandService("", runner, start=["/no/such/start-it"], stop=["x"], pid_file=str(tmp_path / "pid"), pid_command=None)
    assert app.name == "start-it"
    with pytest.raises(ServiceError, match="/no/such/start-it"):
        app.start(5)


def test_a_service_that_does_not_stop_is_an_error(service):
    app = service(stop="exit 0")
    app.start(5)
    with pytest.raises(ServiceError, match=r"did not stop within 0\.3 s"):
        app.stop(0.3)


def test_stopping_waits_for_the_process_and_not_for_the_pid_file(service, tmp_path):
    app = service(stop='pid=$(cat "$1/pid"); rm "$1/pid"; (sleep 0.4; kill $pid) >/dev/null 2>&1 &')
    app.start(5)
    pid = app.main_pid()
    app.stop(5)
    assert not processes.is_running(pid)


def test_stopping_what_is_stopped_is_fine(service):
    service(stop="exit 0").stop(1)


def test_a_service_that_lasts_is_settled(service):
    app = service()
    app.start(5)
    started = time.monotonic()
    assert wait_until_settled(app, is_ready=lambda: True, settle_s=0.3, timeout_s=5) == app.main_pid()
    assert time.monotonic() - started >= 0.3


def test_a_service_that_dies_at_once_is_not(service):
    app = service(life="0.15")
    app.start(5)
    with pytest.raises(ServiceError, match="the service app is not running"):
        wait_until_settled(app, is_ready=lambda: True, settle_s=0.5, timeout_s=0.8)


def test_a_service_that_is_started_again_and_again_is_not(service):
    app = service(
        start='(while :; do sleep 0.12 & echo $! > "$1/pid"; wait; done) >/dev/null 2>&1 & echo $! > "$1/loop"',
        stop='kill $(cat "$1/loop")',
    )
    app.start(5)
    try:
        started = time.monotonic()
        with pytest.raises(ServiceError, match="keeps being started again"):
            wait_until_settled(app, is_ready=lambda: True, settle_s=0.5, timeout_s=90)
        assert time.monotonic() - started < 60  # four times is enough to know
    finally:
        app._must("stop", app._stop_argv, 5)


def test_readiness_is_waited_for_and_held_against_the_clock(service):
    app = service()
    app.start(5)
    answers = iter([False, False, True])
    assert wait_until_settled(app, is_ready=lambda: next(answers), settle_s=0, timeout_s=5)
    with pytest.raises(ServiceError, match="is not ready"):
        wait_until_settled(app, is_ready=lambda: False, settle_s=0, timeout_s=0.2)


class Systemctl:
    """Answers as systemctl(1) does; records what it is asked."""

    def __init__(self, **shown):
        self.shown, self.asked, self.codes = shown, [], {}

    def __call__(self, argv):
        self.asked.append(argv)
        verb = next(word for word in argv[1:] if not word.startswith("-"))
        text = "".join("{}={}\n".format(*item) for item in self.shown.items())
        return self.codes.get(verb, 0), text if verb == "show" else "", "SECRET"


def test_systemd_units_are_looked_at_by_properties():
    systemctl = Systemctl(LoadState="loaded", MainPID=f"{os.getpid()}", ActiveState="active", Result="a=b")
    unit = SystemdService("servos", systemctl)
    assert (unit.main_pid(), unit.is_up()) == (os.getpid(), True)
    systemctl.shown.update(MainPID="0", ActiveState="activating")
    assert (unit.main_pid(), unit.is_up()) == (None, False)
    assert all(argv[0] == "systemctl" and argv[-2:] == ["--", "servos"] for argv in systemctl.asked)
    assert "Result=a=b" in unit.failure_note()


def test_a_unit_that_systemd_still_starts_is_not_settled():
    systemctl = Systemctl(LoadState="loaded", MainPID=f"{os.getpid()}", ActiveState="activating")
    unit = SystemdService("servos", systemctl)
    with pytest.raises(ServiceError, match=r"is not ready .*ActiveState=activating"):
        wait_until_settled(unit, is_ready=lambda: True, settle_s=0, timeout_s=0.1)
    systemctl.shown["ActiveState"] = "active"
    assert wait_until_settled(unit, is_ready=lambda: True, settle_s=0, timeout_s=0.1) == os.getpid()


@pytest.mark.parametrize("state", ["not-found", "masked", "bad-setting", ""], ids=str)
def test_a_unit_that_cannot_run_is_refused(state):
    with pytest.raises(ServiceError, match="no unit servos"):
        SystemdService("servos", Systemctl(LoadState=state))


@pytest.mark.parametrize("verb", ["stop", "start"])
def test_a_refusal_of_systemd_is_named_without_its_output(verb):
    systemctl = Systemctl(LoadState="loaded", MainPID=f"{os.getpid()}", ActiveState="active")
    unit = SystemdService("servos", systemctl)
    systemctl.codes[verb] = 5
    with pytest.raises(ServiceError, match=f"systemctl {verb} servos failed") as caught:
        getattr(unit, verb)(1)
    assert "SECRET" not in str(caught.value)


def test_variables_are_read_from_the_start_of_a_process(spawn):
    child = spawn("import sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()")
    child.stdout.readline()
    assert processes.process_variable(child.pid, "PYTHONPATH") == os.pathsep.join(p for p in sys.path if p)
    assert processes.process_variable(child.pid, "PYTHONPAT") is None
    child.kill()
    child.wait()
    with pytest.raises(ProcessLookupError):
        processes.process_variable(child.pid, "PATH")
    assert processes.is_running(child.pid) is False


def test_processes_that_have_a_file_open_are_found(spawn, tmp_path):
    (tmp_path / "x").write_text("x")
    with (tmp_path / "x").open():  # our own do not count
        assert processes.pids_with_open_file(str(tmp_path / "x")) == []
    child = spawn(
        "import sys; f = open(sys.argv[1]); sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.readline()", str(tmp_path / "x")
    )
    child.stdout.readline()
    assert processes.pids_with_open_file(str(tmp_path / "x")) == [child.pid]
    assert processes.pids_with_open_file(str(tmp_path / "missing")) == []
