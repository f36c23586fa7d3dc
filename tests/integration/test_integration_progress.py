# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long task says how far it has come while it runs: on a terminal, over ssh, in what AWX shows; and changes nothing by it."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.servos.ops.plugins.module_utils._stores.urls import place_of
from installations import NEW, OLD, Servos, assert_same, b64, wait_until, write
from ports import free_port
from postgres_servers import SUPERUSER_PASSWORD, running_cluster
from sshds import Sshd, make_keys
from watched_plays import Play, inventory_file, is_listed, locked, play_of, sockets_of

LINE = "control: waiting for the database's lock: "
# What differs between any two runs.
_OF_THE_RUN = {"duration_s", "values_per_s", "window_s", "timeline", "invocation"}


def to_new(servos: Servos) -> dict[str, Any]:
    return {"new_key_file": str(servos.key_file("new", b64(NEW))), "lock_timeout": 120}


@pytest.fixture
def by_ssh(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """An sshd, and what an inventory says of a host behind it."""
    with Sshd(tmp_path / "sshd", make_keys(tmp_path / "host_keys", ("ed25519",)), free_port()) as sshd:
        yield {
            "ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": sshd.port, "ansible_user": sshd.user,
            "ansible_ssh_private_key_file": str(sshd.identity),
            "ansible_ssh_common_args": "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null",
        }  # fmt: skip


def test_the_result_and_what_lies_about_are_those_of_a_silent_run(quiet: Servos, make_servos: Any) -> None:
    with locked(quiet) as obstacle:
        play = Play(quiet, "servos_key_rotate", **to_new(quiet))
        play.wait_for(LINE)
        obstacle.clear()
        watched = play.wait()
    assert [line for line in play.output if "lock" in line] == []  # a callback may write for a program there

    other = make_servos(has_service=False, journal="delete")
    silent = Play(other, "servos_key_rotate", "-e", "servos_progress=false", **to_new(other)).wait()
    known = {name: value for name, value in watched.items() if name not in _OF_THE_RUN}
    assert known == {name: value for name, value in silent.items() if name not in _OF_THE_RUN}
    assert [step["what"] for step in watched["timeline"]] == [step["what"] for step in silent["timeline"]]
    assert sorted(path.relative_to(quiet.folder) for path in quiet.folder.rglob("*")) == sorted(
        path.relative_to(other.folder) for path in other.folder.rglob("*")
    )
    quiet.assert_all_under(b64(NEW), b64(OLD))


@pytest.mark.parametrize(
    "environment",
    [{"ANSIBLE_PIPELINING": "1"}, {"ANSIBLE_PIPELINING": "0", "ANSIBLE_SSH_ARGS": "-o ControlMaster=no"}],
    ids=["pipelined over a shared connection", "neither"],
)
def test_over_ssh(quiet: Servos, by_ssh: dict[str, Any], environment: dict[str, str]) -> None:
    with locked(quiet) as obstacle:
        play = Play(quiet, "servos_key_rotate", environment=environment, host=by_ssh, **to_new(quiet))
        assert play.wait_for(LINE).endswith(" s so far")
        obstacle.clear()
        assert play.wait()["phase"] == "activated"
    assert len([line for line in play.errors if line.startswith("control: ")]) == 1
    assert list((quiet.scratch / "ansible" / "remote").glob("*")) == []
    quiet.assert_all_under(b64(NEW), b64(OLD))


def test_in_check_mode_nothing_is_written_for_it(servos: Servos) -> None:
    """The dry run is held up after its census, where it looks at the service once more."""
    gate, first = write(servos.scratch / "gate", ""), servos.scratch / "first"
    write(servos.scratch / "pid", f"""#!/bin/sh
        [ -e '{first}' ] && while [ -e '{gate}' ]; do sleep 0.05; done
        touch '{first}'; cat '{servos.pid_file}'
        """, 0o700)  # fmt: skip
    commands = {"start": ["/bin/false"], "stop": ["/bin/false"], "pid": [str(servos.scratch / "pid")]}
    options = {**to_new(servos), "service_commands": commands, "health_url": f"{servos.url}/api/health"}
    before = servos.snapshot(directory_times=True)
    play = Play(servos, "servos_key_rotate", "--check", **options)
    try:
        line = play.wait_for("control: census: ")
        assert_same(before, servos.snapshot(directory_times=True))
    finally:
        gate.unlink()
    assert play.wait()["rewrapped"] == 61
    assert line.endswith(", finishing") or " rows, " in line, line
    assert_same(before, servos.snapshot(directory_times=True))


def test_the_work_goes_on_without_a_controller_and_leaves_nothing_of_it(quiet: Servos) -> None:
    with locked(quiet) as obstacle:
        play = Play(quiet, "servos_key_rotate", **to_new(quiet))
        play.wait_for(LINE)
        (name,) = sockets_of(quiet)
        assert name.startswith("@servos-ops-progress-")
        play.kill()
        assert is_listed(name)
        obstacle.clear()
        wait_until(lambda: quiet.env_text() == b64(NEW))
    wait_until(lambda: not is_listed(name))
    assert {path.name for path in quiet.state_dir.iterdir()} == {"lock", "previous.key", "record.json", "staged.key"}
    quiet.assert_all_under(b64(NEW), b64(OLD))


def test_awx_shows_it_as_an_event_of_the_task(quiet: Servos, tmp_path: Path) -> None:
    import ansible_runner  # it starts to watch this process's environment when it is imported

    project = tmp_path / "runner"
    for name in ("project", "inventory"):
        (project / name).mkdir(parents=True)
    shutil.copy(inventory_file(quiet), project / "inventory" / "hosts.json")
    shutil.copy(play_of(quiet, "servos_key_rotate", **to_new(quiet)), project / "project" / "play.yml")
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    events: list[dict[str, Any]] = []
    with locked(quiet) as obstacle:

        def on_event(event: dict[str, Any]) -> bool:
            if LINE in event["stdout"]:
                events.append(event)
                obstacle.clear()
            return True

        done = ansible_runner.run(
            private_data_dir=str(project), playbook="play.yml", event_handler=on_event, envvars=dict(os.environ, PATH=path), quiet=True,
            settings={"job_timeout": 90},
        )  # fmt: skip
    assert (done.status, len(events)) == ("successful", 1)
    assert (events[0]["event"], events[0]["event_data"]["task"]) == ("verbose", "servos.ops.servos_key_rotate")
    with done.stdout as stream:
        assert LINE in stream.read()


def test_what_postgresql_says_of_the_number_of_rows_before_and_after_it_has_looked(tmp_path: Path) -> None:
    with running_cluster() as cluster:
        name = cluster.create()
        with cluster.connect(name) as connection:
            for table, rows in (("big", 20_000), ("empty", 0), ("small", 50)):
                connection.execute(f"CREATE TABLE {table} AS SELECT i, repeat('x', 100) v FROM generate_series(1, {rows}) i")
            connection.execute("CREATE TABLE parted (i int) PARTITION BY RANGE (i)")
            connection.execute("CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (100)")
            connection.execute("CREATE TABLE high PARTITION OF parted FOR VALUES FROM (100) TO (1000)")
            connection.execute("INSERT INTO parted SELECT generate_series(1, 500)")
            password = write(tmp_path / "password", SUPERUSER_PASSWORD)
            database = place_of(cluster.url(name), password_path=str(password)).open()

            def told() -> dict[str, int | None]:
                return database.read(lambda reader: {table.name: reader.rows_about(table) for table in reader.tables()})

            before = told()
            assert (before.pop("big"), before.pop("empty")) == (None, 0)
            assert all(before.values()), before  # guesses, but numbers
            connection.execute("ANALYZE")
            assert told() == {"big": 20_000, "empty": 0, "parted": 500, "small": 50}
