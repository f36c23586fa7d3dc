# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook servos.ops.pika over one server and over a cluster of two, whose nodes are restarted by a command."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from evidence import leaks
from pikas import ADMIN, OLD, PIKA, SECRETS, Pika, PikaCluster, write


class Played(NamedTuple):
    code: int
    text: str

    def stats(self, host: str) -> dict[str, int]:
        """Return the recap of a host."""
        line = next(line for line in reversed(self.text.splitlines()) if line.startswith(host) and "ok=" in line)
        return {name: int(count) for name, count in (pair.split("=") for pair in line.split() if "=" in pair)}


class Fleet:
    """An inventory around servers: every node a host of its own, all on this machine."""

    def __init__(self, folder: Path, nodes: list[Pika], *, with_env: bool) -> None:
        folder.mkdir()
        self.folder, self.nodes, self._with_env = folder, dict(zip(("n1", "n2", "n3"), nodes, strict=False)), with_env
        for name, node in list(self.nodes.items()):
            self.add(name, node, key=OLD)

    def add(self, name: str, node: Pika, *, key: str) -> None:
        self.nodes[name] = node
        (self.folder / name).mkdir()
        write(self.folder / name / "server.key", f"{key}\n")
        self.write_restart(name)

    def write_restart(self, name: str) -> None:
        node, pid_file = self.nodes[name], self.folder / name / "pid"
        assert node.process is not None
        write(pid_file, str(node.process.pid))
        variables = " ".join(f"{key}={shlex.quote(value)}" for key, value in node.environment.items())
        script = write(self.folder / name / "restart", (
            # A child of this process stays as a zombie when it has ended.
            f"#!/bin/sh\nkill $(cat {pid_file})\n"
            f"while grep -qs '^State:.[^Z]' /proc/$(cat {pid_file})/status; do sleep 0.05; done\n"
            f"echo x >> {self.folder / name / 'restarts'}\nset -a; . {node.env_file}; set +a\n"
            f"env {variables} setsid {sys.executable} {PIKA / 'server.py'} < /dev/null >> {node.log} 2>&1 &\necho $! > {pid_file}\n"
        ))  # fmt: skip
        script.chmod(0o700)

    def key(self, name: str) -> str:
        return (self.folder / name / "server.key").read_text().removesuffix("\n")

    def env_key(self, name: str) -> str:
        return self.nodes[name].read_env_file()["PIKA_ENCRYPTION_PASSWORD"]

    def restarts(self, name: str) -> int:
        path = self.folder / name / "restarts"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def inventory(self, **variables: Any) -> dict[str, Any]:
        hosts = {}
        for name, node in self.nodes.items():
            home = self.folder / name
            hosts[name] = {
                "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "servos_pika_url": node.url,
                "servos_pika_username": ADMIN, "servos_pika_password_file": str(node.folder / f"{ADMIN}.password"),
                "servos_pika_key_file": str(home / "server.key"), "servos_pika_state_dir": str(home / "state"),
                "servos_pika_backup_dir": str(home / "backups"), "servos_pika_secrets_dir": str(home / "secrets"),
                "servos_pika_restart_command": [str(home / "restart")],
                **({"servos_pika_config_env_file": str(node.env_file)} if self._with_env else {}),
            }  # fmt: skip
        return {"servos_pika": {"hosts": hosts, "vars": variables}}

    def play(self, *argv: str, **variables: Any) -> Played:
        command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        inventory = write(self.folder / "inventory.json", json.dumps(self.inventory(**variables)))
        home = self.folder / "ansible"
        environment = os.environ | {
            "ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "remote"), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_PIPELINING": "1", "NO_COLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0",
        }  # fmt: skip
        done = subprocess.run(
            [command, "-i", str(inventory), "servos.ops.pika", "-vv", "--diff", *argv], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=120, check=False,
        )  # fmt: skip
        keys = {self.key(name) for name in self.nodes}
        assert leaks(done.stdout, {text: text for text in {*SECRETS, *keys}}) == []
        return Played(done.returncode, done.stdout)

    def tear_down(self) -> None:
        for name in self.nodes:
            with contextlib.suppress(OSError, ValueError):
                os.kill(int((self.folder / name / "pid").read_text()), signal.SIGKILL)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[PikaCluster, Fleet]]:
    """Two nodes under OLD, which each was started with."""
    yield from a_cluster(tmp_path, 2)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[tuple[PikaCluster, Fleet]]:
    """Three nodes, so that the cluster has a quorum without one of them."""
    yield from a_cluster(tmp_path, 3)


def a_cluster(tmp_path: Path, size: int) -> Iterator[tuple[PikaCluster, Fleet]]:
    made = PikaCluster(tmp_path / "cluster", size=size, config_password=OLD)
    fleet = None
    try:
        made.start()
        fleet = Fleet(tmp_path / "fleet", made.nodes, with_env=True)
        yield made, fleet
    finally:
        if fleet is not None:
            fleet.tear_down()
        made.stop()


@pytest.fixture
def single(tmp_path: Path) -> Iterator[Fleet]:
    """One server, locked, as after a restart."""
    pika = Pika(tmp_path / "pika")
    fleet = None
    try:
        pika.start()
        fleet = Fleet(tmp_path / "fleet", [pika], with_env=False)
        yield fleet
    finally:
        if fleet is not None:
            fleet.tear_down()
        pika.stop()


def test_a_cluster_is_rotated_and_its_follower_restarted(cluster: tuple[PikaCluster, Fleet]) -> None:
    made, fleet = cluster
    checked = fleet.play("--check", servos_pika_rotation_id="1")
    assert checked.code == 0, checked.text
    assert made.nodes[0].is_all_under("old")
    first = fleet.play(servos_pika_rotation_id="1")
    assert first.code == 0, first.text
    key = fleet.key("n1")
    assert key != OLD
    assert [fleet.key("n2"), fleet.env_key("n1"), fleet.env_key("n2")] == [key] * 3
    assert [fleet.restarts("n1"), fleet.restarts("n2")] == [0, 1]
    assert [node.status()["unlocked"] for node in made.nodes] == [True, True]
    assert [node.send("GET", "/api/v1/key/status").status for node in made.nodes] == [200, 200]
    second = fleet.play(servos_pika_rotation_id="1")
    assert (second.code, second.stats("n1")["changed"], second.stats("n2")["changed"]) == (0, 0, 0), second.text
    assert [fleet.restarts("n1"), fleet.restarts("n2")] == [0, 1]
    for node in made.nodes:
        write(node.folder / "new.key", key)
    assert made.nodes[0].is_all_under("new")
    assert made.nodes[1].is_all_under("new")


def test_a_follower_that_was_not_restarted_is_found_by_the_next_run(cluster: tuple[PikaCluster, Fleet]) -> None:
    made, fleet = cluster
    restart = fleet.folder / "n2" / "restart"
    script = restart.read_text()
    restart.write_text("#!/bin/sh\nexit 1\n")
    failed = fleet.play(servos_pika_rotation_id="1")
    assert failed.code != 0
    assert made.nodes[1].send("GET", "/api/v1/key/status").status == 500
    restart.write_text(script)
    again = fleet.play(servos_pika_rotation_id="1")
    assert again.code == 0, again.text
    assert (fleet.restarts("n2"), again.stats("n1")["changed"]) == (1, 0)
    assert made.nodes[1].status()["unlocked"]


def test_nothing_is_rotated_while_a_node_does_not_answer(three: tuple[PikaCluster, Fleet]) -> None:
    made, fleet = three
    made.nodes[2].stop()
    refused = fleet.play(servos_pika_rotation_id="1")
    assert refused.code != 0
    assert re.search(r"n3\s+did\s+not\s+answer", refused.text)
    assert fleet.key("n1") == OLD
    assert made.nodes[0].is_all_under("old")


def test_a_follower_that_started_locked_with_the_key_of_before_is_given_the_new_one(three: tuple[PikaCluster, Fleet]) -> None:
    made, fleet = three
    node = made.nodes[2]
    node.stop()
    assert fleet.play(servos_pika_rotation_id="1", servos_pika_allow_missing=True).code != 0
    assert fleet.key("n1") == fleet.env_key("n2") != OLD == fleet.env_key("n3")
    node.start()
    node.wait_until(lambda report: report["leader"] is not None)
    wait_for_status(node, 500)  # it has the leader's data now, and the key of before in its memory
    node.restart()
    made.wait_leader()
    fleet.write_restart("n3")
    assert node.status() == {"initialized": True, "unlocked": False}
    again = fleet.play(servos_pika_rotation_id="1")
    assert again.code == 0, again.text
    assert (fleet.restarts("n3"), again.stats("n1")["changed"], again.stats("n2")["changed"]) == (1, 0, 0)
    assert fleet.env_key("n3") == fleet.key("n3") == fleet.key("n1")
    assert node.status()["unlocked"]


def test_a_locked_server_of_its_own_beside_a_cluster_is_not_given_its_key(cluster: tuple[PikaCluster, Fleet], tmp_path: Path) -> None:
    unused_cluster, fleet = cluster
    alone = Pika(tmp_path / "alone", config_password="a key of its own")
    try:
        alone.start()
        fleet.add("n3", alone, key="a key of its own")
        refused = fleet.play(servos_pika_rotation_id="1")
        assert refused.code != 0
        assert re.search(r"n3\s+does\s+not\s+say\s+whether\s+it\s+leads", refused.text)
        assert (fleet.key("n3"), fleet.env_key("n3"), fleet.key("n1")) == ("a key of its own", "a key of its own", OLD)
    finally:
        alone.stop()


def wait_for_status(node: Pika, status: int) -> None:
    for unused in range(400):
        if node.send("GET", "/api/v1/key/status").status == status:
            return
        time.sleep(0.02)
    raise AssertionError(f"it did not answer {status}")


def test_one_server_is_unlocked_by_the_playbook_and_rotated_by_it(single: Fleet) -> None:
    (pika,) = single.nodes.values()
    first = single.play(servos_pika_state="unlocked")
    assert pika.count("POST /login/pass/local") == 1
    second = single.play(servos_pika_state="unlocked")
    assert pika.count("POST /login/pass/local") == 1
    assert (first.code, first.stats("n1")["changed"], second.code, second.stats("n1")["changed"]) == (0, 1, 0, 0), first.text
    rotated, again = single.play(servos_pika_rotation_id="1"), single.play(servos_pika_rotation_id="1")
    assert (rotated.code, rotated.stats("n1")["changed"], again.stats("n1")["changed"]) == (0, 1, 0), rotated.text
    write(pika.folder / "new.key", single.key("n1"))
    assert pika.is_all_under("new")
