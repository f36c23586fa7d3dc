# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provara's gateway in a container of Docker Compose, by both generations of it: the container is made anew for a new key."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import BOX
from installations import assert_refused, wait_until, write
from provara_gateway import NEW, OLD, ServedProvara, begin_of_hash
from servers import REFERENCE
from shared_docker import LAB, docker_for_tests

PLAINTEXTS = {"OPENAI_API_KEY": "sk-first", "MISTRAL_API_KEY": "second", "repository": "ghp_connector"}


@pytest.fixture(scope="session", params=["1", "2"])
def generation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Docker, the image, and this generation of Compose as the only one that `docker compose` or `docker-compose` is."""
    config = tmp_path_factory.mktemp("docker")
    with docker_for_tests(BOX), pytest.MonkeyPatch.context() as patch:
        if request.param == "2":
            subprocess.run([LAB / "compose-v2", config], check=True, capture_output=True, timeout=300)
        assert request.param == "2" or shutil.which("docker-compose"), "install docker-compose"
        patch.setenv("DOCKER_CONFIG", str(config))
        yield request.param


class Composed(ServedProvara):
    """The gateway as the one service of a project; the image has the whole file system of this machine under /host."""

    def __init__(self, folder: Path, **environ: str) -> None:
        super().__init__(folder, **environ)
        # The folder's name alone would make it the project of every test of this name.
        self.project = f"servos-ops-{uuid.uuid4().hex[:10]}"
        self.project_dir = folder / self.project
        self.project_dir.mkdir()
        command = ["/bin/busybox", "chroot", "/host", sys.executable, str(REFERENCE / "provara/server.py")]
        write(self.project_dir / "docker-compose.yml", textwrap.dedent(f"""\
            version: "3"
            services:
              gateway:
                image: {BOX}
                command: {json.dumps(command)}
                network_mode: host
                env_file: {self.env_file}
                volumes: ["/:/host"]
                depends_on: [other]
              other:
                image: {BOX}
                network_mode: none
            """))

    def compose(self, *words: str) -> str:
        command = ["docker", "compose"] if (Path(os.environ["DOCKER_CONFIG"]) / "cli-plugins").exists() else ["docker-compose"]
        done = subprocess.run([*command, *words], cwd=self.project_dir, check=True, capture_output=True, text=True, timeout=120)
        return done.stdout

    def container(self) -> dict[str, Any]:
        """Return what the engine says of the gateway's container, by its labels and not by Compose."""
        labels = [f"--filter=label=com.docker.compose.{name}" for name in (f"project={self.project}", "service=gateway")]
        names = subprocess.run(["docker", "ps", "-a", "-q", *labels], check=True, capture_output=True, text=True, timeout=60).stdout.split()
        if not names:
            return {"Id": None, "State": {"Pid": 0}}
        assert len(names) == 1, names
        shown = subprocess.run(["docker", "inspect", names[0]], check=True, capture_output=True, text=True, timeout=60).stdout
        found: dict[str, Any] = json.loads(shown)[0]
        return found

    def pid(self) -> int | None:
        return self.container()["State"]["Pid"] or None

    def up(self) -> None:
        self.compose("up", "-d")
        wait_until(self.is_answering)

    def is_answering(self) -> bool:
        try:
            return self.call("GET", "/health")[0] == 200
        except OSError:
            return False

    def options(self, **overrides: Any) -> dict[str, Any]:
        compose = {"service": "gateway", "service_manager": "compose", "service_compose": {"project_directory": str(self.project_dir)}}
        return super().options(**({"service_commands": None} | compose | overrides))

    def turn(self, **overrides: Any) -> Any:
        return super().turn(**({"health_url": f"{self.url}/health"} | overrides))

    def tear_down(self) -> None:
        self.compose("down", "-t", "1")


@pytest.fixture
def make_composed(generation: str, template: Path, tmp_path: Path) -> Iterator[Callable[..., Composed]]:
    made: list[Composed] = []

    def make(*, is_up: bool = True, **options: Any) -> Composed:
        made.append(Composed(tmp_path / f"provara{len(made)}", **options))
        if not is_up:
            return made[-1]
        made[-1].up()
        assert made[-1].container()["Config"]["Labels"]["com.docker.compose.version"].startswith(generation)
        return made[-1]

    yield make
    for each in made:
        each.tear_down()


def test_the_container_is_made_anew_with_the_new_key_and_again_on_the_way_back(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    first = composed.container()
    seen = composed.info()
    assert (seen["phase"], seen["process_key"], seen["listing"]["ok"]) == ("settled", seen["env_key"], True)

    done = composed.turn()
    assert not done.failed, done.msg
    second = composed.container()
    assert (done["phase"], done["process_key"]) == ("activated", done["env_key"])
    assert second["Id"] != first["Id"]
    assert composed.process_key_text() == composed.env_text() == NEW
    assert f"PROVARA_MASTER_KEY={NEW}" in second["Config"]["Env"]
    assert composed.plaintexts(NEW) == PLAINTEXTS
    assert composed.info()["listing"]["ok"]

    back = composed.turn(direction="back", new_key_file=None)
    assert not back.failed, back.msg
    third = composed.container()
    assert third["Id"] != second["Id"]
    assert composed.process_key_text() == composed.env_text() == OLD
    assert composed.plaintexts(OLD) == PLAINTEXTS
    assert composed.info()["listing"]["ok"]


def test_a_run_that_has_nothing_to_do_leaves_the_container(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    assert composed.turn().changed
    before = composed.container()["Id"]
    assert not composed.turn(new_key_file=None).changed
    assert composed.container()["Id"] == before


def test_a_gateway_that_does_not_start_on_the_new_key_is_made_anew_on_the_old_one(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed(faults=f"not_on_key={begin_of_hash(NEW)}")
    first = composed.container()["Id"]
    outcome = composed.turn(start_timeout=4)
    assert_refused(outcome, "gateway", "status=exited", "exit code=1", "rewrapped back", "the env file was put back")
    assert composed.container()["Id"] != first
    assert composed.process_key_text() == composed.env_text() == OLD
    assert composed.plaintexts(OLD) == PLAINTEXTS
    assert composed.info()["listing"]["ok"]


def test_a_stopped_gateway_is_rotated_and_started(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    composed.compose("stop", "gateway")
    assert composed.info(listing=None)["process_key"] is None
    assert composed.turn()["phase"] == "activated"
    assert composed.process_key_text() == NEW


def test_other_services_are_left_alone(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    label = f"--filter=label=com.docker.compose.project={composed.project}"
    other = ["docker", "ps", "-q", label, "--filter=label=com.docker.compose.service=other"]
    before = subprocess.run(other, check=True, capture_output=True, timeout=60).stdout
    assert before.strip()
    assert not composed.turn().failed
    assert subprocess.run(other, check=True, capture_output=True, timeout=60).stdout == before


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "unknown service": ({"service": "nonesuch"}, ["no service nonesuch", "gateway, other"]),
    "no service named": ({"service": None}, ["knows no service"]),
    "no project": ({"service_compose": {"project_directory": "/var/empty-of-compose"}}, ["no directory", "service_compose"]),
    "a directory without one": ({"service_compose": {"project_directory": "/"}}, ["config in /", "exit code", "service_compose"]),
    "nothing said": ({"service_compose": {}}, ["project_directory", "files"]),
    "a command that is not there": (
        {"service_compose": {"project_directory": "/", "command": ["/nonexistent/compose"]}}, ["/nonexistent/compose", "exit code 127"],
    ),
}


@pytest.mark.campaign
@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused_and_nothing_is_changed(
    make_composed: Callable[..., Composed], options: dict[str, Any], words: list[str]
) -> None:
    composed = make_composed(is_up=False)
    before = composed.snapshot()
    assert_refused(composed.turn(**options), *words)
    assert composed.snapshot() == before


def test_two_containers_of_the_service_are_refused(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    text = (composed.project_dir / "docker-compose.yml").read_text()
    write(composed.project_dir / "docker-compose.yml", text.replace("network_mode: host", "network_mode: none"))
    composed.compose("up", "-d", "--scale", "gateway=2")
    assert_refused(composed.turn(health_url=None), "2 running containers", "scale")
    assert composed.env_text() == OLD
    assert composed.plaintexts(OLD) == PLAINTEXTS


def test_a_file_by_its_path_is_enough(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    outcome = composed.turn(service_compose={"files": [str(composed.project_dir / "docker-compose.yml")]})
    assert not outcome.failed, outcome.msg
    assert composed.process_key_text() == NEW


def test_the_playbooks_know_compose(make_composed: Callable[..., Composed]) -> None:
    composed = make_composed()
    done = composed.play("rotate", "-e", "servos_rotation_id=1")
    assert done.code == 0, done.text
    assert composed.process_key_text() == NEW
    back = composed.play("rollback")
    assert back.code == 0, back.text
    assert composed.process_key_text() == OLD
    assert composed.info()["listing"]["ok"]
