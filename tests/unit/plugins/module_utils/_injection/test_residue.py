# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a delivery leaves visible, looked for in real files and processes; what could not be looked at is said."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._injection.plan import Container
from ansible_collections.servos.ops.plugins.module_utils._injection.residue import residue_of
from ansible_collections.servos.ops.plugins.module_utils._injection.wanted import Wanted

SECRET = "correct horse battery staple"
UNREADABLE = "/proc/self/mem"  # a plain file to lstat, and an input/output error to whoever reads its beginning


class Engine:
    """An engine that shows nothing, and keeps its files in given places."""

    def __init__(self, places):
        self._places = places

    def inspect(self, container_id):
        return {"Id": container_id}

    def state_paths(self, container_id):
        return self._places


@pytest.fixture
def look(tmp_path):
    """Return a function that looks for the secret in an engine's places and in a process."""
    params = {"name": "app", "delivery": "env_file", "state": "absent", "timeout": 1, "pull_timeout": 1, "settle": 0, "secrets_dir": "/s"}
    wanted = Wanted(params, {"A": SECRET}, {})

    def of(*places, pid=0):
        container = Container("c1", "app", "running", "image", {}, pid, 0, 0)
        return residue_of(Engine(places), container, wanted, env_file=None, secrets_dir=str(tmp_path), mounted=None)

    return of


@pytest.fixture
def state(tmp_path):
    """A directory of an engine's files, one of which holds the secret."""
    (tmp_path / "state" / "below").mkdir(parents=True)
    (tmp_path / "state" / "below" / "config.json").write_text('{"Env": ["A=' + SECRET + '"]}')
    (tmp_path / "state" / "other").write_text("nothing")
    return tmp_path / "state"


def test_files_that_hold_a_value_are_named_with_its_variable(look, state):
    found = look(str(state), str(state / "gone"))
    assert found["engine_state"] == {str(state / "below" / "config.json"): ["A"]}
    assert found["unread"] == []


@pytest.mark.parametrize("place", [UNREADABLE, "/" + "long" * 100], ids=["a file", "a directory"])
def test_a_place_that_cannot_be_read_is_named_and_the_rest_is_looked_at(look, state, place):
    found = look(place, str(state))
    assert found["engine_state"] == {str(state / "below" / "config.json"): ["A"]}
    assert found["unread"] == [place]


def test_where_none_of_the_files_is_here_it_says_so(look, tmp_path):
    places = [str(tmp_path / "one"), str(tmp_path / "two")]
    found = look(*places)
    assert (found["engine_state"], found["unread"]) == ({}, places)


def test_a_process_has_the_variables_that_it_was_started_with(look, state, spawn, monkeypatch):
    monkeypatch.setenv("A", SECRET)
    child = spawn("print('up', flush=True); input()")
    child.stdout.readline()
    ended = spawn("print('up', flush=True)")
    ended.wait()
    assert look(str(state), pid=child.pid)["process_environment"] == ["A"]
    gone = look(str(state), pid=ended.pid)
    assert (gone["process_environment"], gone["unread"]) == ([], [])
