# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Compose service by the command lines that it runs, each recorded and answered as the real ones answer."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServiceError
from ansible_collections.servos.ops.plugins.module_utils._system.compose import ComposeService

FIRST, SECOND = "a" * 64, "b" * 64


class Engine:
    """Answers what Compose and the engine are asked; C(pids) by container, 0 for a stopped one."""

    def __init__(self):
        self.asked, self.pids, self.codes, self.missing = [], {FIRST: os.getpid()}, {}, set()
        self.services, self.shows_stopped = "gateway\nweb\n", True

    def __call__(self, argv):
        words = list(argv)
        if words[0] == "timeout":
            words = words[4:]
        if words[0] == "sh":
            words = words[4:]
        self.asked.append(words)
        if words[0] in self.missing:
            raise FileNotFoundError(words[0])
        code = next((code for part, code in self.codes.items() if part in words), 0)
        return code, "SECRET\n" if code else self._answer(words), "SECRET"

    def _answer(self, words):
        if "config" in words:
            return self.services
        if "ps" in words:
            return "".join(name + "\n" for name, pid in self.pids.items() if pid or self.shows_stopped)
        if "inspect" in words:
            pid = self.pids.get(words[-1], 0)
            state = "running" if pid else "exited"
            form = words[words.index("--format") + 1]
            return form.replace("{{.State.Pid}}", str(pid)).replace("{{.State.Status}}", state) + "\n"
        return "SECRET\n"


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
def make(engine, tmp_path):
    def made(name="gateway", **options):
        told = {"directory": str(tmp_path), "files": [], "project_name": None, "command": None}
        service = ComposeService(name, engine, **{**told, **options})
        engine.asked.clear()
        return service

    return made


def test_a_start_makes_the_container_anew_and_touches_nothing_else(make, engine):
    make().start(20)
    assert engine.asked == [["docker", "compose", "up", "-d", "--no-deps", "--no-build", "--force-recreate", "gateway"]]


def test_a_stop_is_of_one_service(make, engine):
    engine.pids[FIRST] = 0
    make().stop(20)
    assert ["docker", "compose", "stop", "gateway"] in engine.asked


def test_files_and_project_are_named_in_every_command(make, engine):
    make(files=["one.yml", "/two.yml"], project_name="lab").start(20)
    assert engine.asked[0][:8] == ["docker", "compose", "-f", "one.yml", "-f", "/two.yml", "-p", "lab"]


def test_commands_run_in_the_directory_and_end(tmp_path):
    seen = []

    def run(argv):
        seen.append(argv)
        return 0, "gateway", ""

    ComposeService("gateway", run, directory=str(tmp_path), files=[], project_name=None, command=["x"])
    assert seen == [["timeout", "-k", "5", "60", "sh", "-c", 'cd "$0" && exec "$@"', str(tmp_path), "x", "config", "--services"]]


def test_what_runs_is_seen_by_its_process(make, engine):
    service = make()
    assert service.main_pid() == os.getpid()
    assert service.is_up()
    assert engine.asked[0] == ["docker", "compose", "ps", "-q", "gateway"]
    assert engine.asked[1] == ["docker", "inspect", "--format", "{{.State.Pid}}", FIRST]


def test_a_container_that_runs_is_not_looked_for_again(make, engine):
    service = make()
    service.main_pid()
    engine.asked.clear()
    assert service.main_pid() == os.getpid()
    assert [words[:2] for words in engine.asked] == [["docker", "inspect"]]


@pytest.mark.parametrize("shows_stopped", [True, False], ids=["listed while stopped", "not listed"])
def test_a_stopped_one_has_no_process(make, engine, shows_stopped):
    service = make()
    service.main_pid()
    engine.pids[FIRST], engine.shows_stopped = 0, shows_stopped
    assert service.main_pid() is None
    assert not service.is_up()


def test_a_container_made_anew_is_found(make, engine):
    service = make()
    service.main_pid()
    engine.pids = {SECOND: os.getppid()}
    assert service.main_pid() == os.getppid()


def test_several_containers_are_refused(make, engine):
    engine.pids[SECOND] = os.getppid()
    with pytest.raises(ServiceError, match=r"gateway has 2 running containers.*--scale gateway=1"):
        make().main_pid()


def test_the_note_of_a_failure_has_numbers_and_no_output(make, engine):
    engine.pids[FIRST] = 0
    note = make().failure_note()
    assert note.startswith("status=exited, exit code=")
    engine.codes = {"ps": 3}
    assert make().failure_note() == ""


FOUND = {
    "plug-in": ((), {}, None, ["docker", "compose"]),
    "no plug-in": ((), {"compose": 1}, None, ["docker-compose"]),
    "no docker": (("docker",), {}, None, ["docker-compose"]),
    "named": ((), {}, ["podman", "compose"], ["podman", "compose"]),
}


@pytest.mark.parametrize(("missing", "codes", "command", "wanted"), FOUND.values(), ids=FOUND)
def test_the_command_that_is_there_is_taken(make, engine, missing, codes, command, wanted):
    engine.missing, engine.codes = set(missing), codes
    make(command=command).start(20)
    assert engine.asked[0][: len(wanted)] == wanted


ENGINES = {"docker compose": "docker", "docker-compose": "docker", "podman-compose": "podman", "/opt/docker compose": "/opt/docker"}


@pytest.mark.parametrize(("command", "wanted"), ENGINES.items(), ids=ENGINES)
def test_containers_are_inspected_by_the_engine_of_the_command(make, engine, wanted, command):
    make(command=command.split()).main_pid()
    assert engine.asked[-1][:2] == [wanted, "inspect"]


def test_no_compose_at_all_is_said(make, engine):
    engine.missing = {"docker", "docker-compose"}
    with pytest.raises(ServiceError, match="neither docker compose nor docker-compose works on this host"):
        make()


def test_an_unknown_service_is_named_with_those_that_are_there(make):
    with pytest.raises(ServiceError, match=r"no service database \(services there: gateway, web\)"):
        make("database")


def test_a_directory_that_is_not_there_is_named(make, tmp_path):
    with pytest.raises(ServiceError, match=r"no directory .*/none of a Compose project"):
        make(directory=str(tmp_path / "none"))


@pytest.mark.parametrize(("word", "act"), [("up", lambda s: s.start(2)), ("stop", lambda s: s.stop(0.1)), ("ps", lambda s: s.main_pid())])
def test_a_command_that_fails_is_named_with_its_code_and_without_its_output(make, engine, word, act):
    service = make()
    engine.codes = {word: 17}
    with pytest.raises(ServiceError, match=rf"docker compose {word} in .* failed with exit code 17") as caught:
        act(service)
    assert "SECRET" not in str(caught.value)


def test_a_command_that_does_not_end_is_named(make, engine):
    service = make()
    engine.codes = {"up": 124}
    with pytest.raises(ServiceError, match=r"docker compose up in .* did not end within 2 s"):
        service.start(2)
