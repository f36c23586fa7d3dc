# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engines' command lines: how each call is bounded, what of an answer is believed, and what of a failure is passed on."""

from __future__ import annotations

import errno
import json
import os
import re

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EngineError, InjectionError
from ansible_collections.servos.ops.plugins.module_utils._injection import engine as engines
from ansible_collections.servos.ops.plugins.module_utils._injection import plan

SHOWN = {
    "Id": "c1", "Name": "/app", "Image": "sha256:abc", "RestartCount": 2,
    "State": {"Status": "exited", "Pid": 0, "ExitCode": 3, "Error": "no hunter2hunter2 here"},
    "Config": {"Labels": {"servos.ops.injection": "app", "servos.ops.mount": "m1"}},
}
DOCKER_SAYS = "Error response from daemon: Conflict. The container name is in use.\nSee 'docker create --help'.\n"
PODMAN_SAYS = 'time="2026-01-01T00:00:00Z" level=warning msg="x"\nError: no such thing: hunter2hunter2\n'


class Runner:
    """Answers by the first words that match, and keeps what it was asked."""

    def __init__(self, **answers):
        self.answers = answers
        self.asked = []
        self.environments = []

    def __call__(self, argv, environment):
        self.asked.append(argv)
        self.environments.append(dict(environment))
        answer = self.answers.get("_".join(argv[5:7]), self.answers.get(argv[5], (0, "", "")))
        if isinstance(answer, Exception):
            raise answer
        return answer


def engine(kind="docker", **answers):
    runner = Runner(**answers)
    made = engines.ENGINES[kind](runner, name="app", timeout_s=7, pull_timeout_s=70, secrets=["hunter2hunter2"])
    return made, runner


both = pytest.mark.parametrize("kind", ["docker", "podman"])


@both
def test_every_call_is_bounded_and_marked(kind):
    made, runner = engine(kind)
    made.rename("c1", "app")
    made.pull("box:1")
    assert [asked[:5] for asked in runner.asked] == [["timeout", "-k", "5", "7", kind], ["timeout", "-k", "5", "70", kind]]
    assert runner.environments == [{"SERVOS_OPS_CONTAINER": f"{kind}/app"}] * 2


@both
def test_a_value_goes_by_the_environment_and_its_name_by_the_words(kind):
    made, runner = engine(kind, create=(0, "c1\n", ""))
    assert made.create("app", ["--user=1"], "box:1", ["sh"], networks=["n1"], environment={"A": "ü\nhunter2hunter2"}) == "c1"
    (words,) = runner.asked
    assert words[5:] == ["create", "--name=app", "--pull=never", "--network=n1", "--user=1", "--env=A", "box:1", "sh"]
    assert os.fsencode(runner.environments[0]["A"]) == "ü\nhunter2hunter2".encode()


def test_docker_joins_further_networks_by_itself_and_podman_at_once():
    docker, asked = engine("docker", create=(0, "c1\n", ""))
    docker.create("app", [], "box:1", [], networks=["n1", "n2"], environment={})
    docker.join("c1", ["n1", "n2"])
    assert asked.asked[-1][5:] == ["network", "connect", "n2", "c1"]
    podman, asked = engine("podman", create=(0, "c1\n", ""))
    podman.create("app", [], "box:1", [], networks=["n1", "n2"], environment={})
    podman.join("c1", ["n1", "n2"])
    assert len(asked.asked) == 1
    assert {"--network=n1", "--network=n2"} <= set(asked.asked[0])


@both
def test_a_container_as_it_is_shown(kind):
    made, unused = engine(kind, container_inspect=(0, json.dumps([SHOWN]), ""))
    seen = made.look("c1")
    assert (seen.name, seen.status, seen.image_id, seen.exit_code, seen.restarts, seen.mount_path) == ("app", "exited", "abc", 3, 2, "m1")
    assert seen.fault == "no *** here"


@both
def test_only_the_exact_name_counts(kind):
    listed = "c1 app\nc2 app2\nc3 other,app\nc4 my-app\n"
    made, runner = engine(kind, ps=(0, listed, ""), container_inspect=(0, json.dumps([SHOWN]), ""))
    assert set(made.find(["app"])) == {"app"}
    assert [asked[-1] for asked in runner.asked if asked[5] == "container"] == ["c1", "c3"]


@pytest.mark.parametrize("said", ["Error: No such container: c1", 'Error: inspecting object: no such container "c1"'])
def test_a_container_that_is_gone(said):
    made, unused = engine(container_inspect=(1, "[]", said))
    assert made.look("c1") is None


def test_directories_are_needed_as_long_as_it_is_not_known_that_they_are_not():
    made, unused = engine(ps=(0, "c1\n", ""), container_inspect=(1, "", "Cannot connect to the Docker daemon"))
    with pytest.raises(EngineError):
        made.mount_paths()
    made, unused = engine(ps=(0, "c1\n", ""), container_inspect=(0, json.dumps([SHOWN]), ""))
    assert made.mount_paths() == {"m1"}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (DOCKER_SAYS, "Conflict. The container name is in use"),
        (PODMAN_SAYS, "no such thing: ***"),
        ("Error response from daemon: no network\nError: failed to start containers: x\n", "no network"),
        ("", "it did not say why"),
        ("x" * 600, "x" * 500),
    ],
    ids=["docker", "podman", "docker start", "nothing", "long"],
)
def test_the_reason_is_the_engines_own_last_line_without_secrets(said, wanted):
    made, unused = engine(rename=(125, "", said))
    text = f"docker did not rename a container to app: {wanted}; see to that, then run again"
    with pytest.raises(EngineError, match=re.escape(text) + "$"):
        made.rename("c1", "app")


@pytest.mark.parametrize("code", [124, 137])
def test_a_call_that_does_not_end(code):
    made, unused = engine(stop=(code, "", ""))
    with pytest.raises(EngineError, match="docker stop did not end within 12 s"):
        made.stop(plan.Container("c1", "app", "running", "abc", {}, 1, 0, 0, stop_timeout_s=5))


def test_too_much_for_linux_is_said_so():
    made, unused = engine(create=OSError(errno.E2BIG, "x"))
    with pytest.raises(InjectionError, match="longer than Linux takes"):
        made.create("app", [], "box:1", [], networks=[], environment={})


@pytest.mark.parametrize(
    ("said", "is_absent"),
    [("Error: No such image: box:9", True), ("Error: box:9: image not known", True), ("Cannot connect to the Docker daemon", False)],
)
def test_an_image_that_is_not_here_is_told_from_an_engine_that_is_not(said, is_absent):
    made, unused = engine(image_inspect=(1, "", said))
    if is_absent:
        assert made.image_id("box:9") is None
    else:
        with pytest.raises(EngineError, match="cannot look for the image"):
            made.image_id("box:9")


@both
def test_an_engine_that_answers_nothing_does_not_run(kind, monkeypatch):
    monkeypatch.setattr(engines.shutil, "which", lambda name: name)
    made, unused = engine(kind, info=(0, "\n", "ERROR: Cannot connect"))
    with pytest.raises(EngineError, match="does not answer"):
        made.require()
