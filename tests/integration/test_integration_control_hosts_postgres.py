# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two control hosts on one PostgreSQL database: rotated, taken back, rotated again and retired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from installations import OLD, assert_refused, b64
from postgres_servers import Cluster, running_cluster
from postgres_servos import make_on_postgres
from shared_installations import Hosts, assert_all_on, play_shared, recap


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture
def hosts(cluster: Cluster, tmp_path: Path, template: Path) -> Iterator[Hosts]:
    made = make_on_postgres(tmp_path / "shop", template, cluster, b64(OLD))
    try:
        yield made
    finally:
        for servos in made.values():
            servos.tear_down()


def test_two_hosts_get_one_key_and_lose_the_last(hosts: Hosts) -> None:
    before = {name: servos.snapshot(directory_times=True) for name, servos in hosts.items()}
    dry = play_shared(hosts, "rotate", "--check", "-e", "servos_rotation_id=one", servos_backup_before_rotation=False)
    assert dry.code == 0, dry.text
    assert [recap(dry, name)["changed"] > 0 for name in hosts] == [True, True]
    assert {name: servos.snapshot(directory_times=True) for name, servos in hosts.items()} == before
    rotated = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one", servos_backup_before_rotation=False)
    assert rotated.code == 0, rotated.text
    new = hosts["web1"].env_text()
    assert new != b64(OLD)
    assert_all_on(hosts, new, b64(OLD))
    hosts["web2"].stop()
    refused = play_shared(hosts, "retire")
    assert refused.code == 2, refused.text
    assert all((servos.state_dir / "previous.key").exists() for servos in hosts.values())
    hosts["web2"].start()
    retired = play_shared(hosts, "retire")
    assert retired.code == 0, retired.text
    assert [list(servos.state_dir.glob("*.key")) for servos in hosts.values()] == [[], []]


def test_the_database_is_known_however_its_url_is_written(hosts: Hosts, cluster: Cluster) -> None:
    first, second = hosts.values()
    seen = first.run("servos_key_share", state="ready")
    other_url = second.options()["database"].replace("127.0.0.1", "localhost")
    assert second.run("servos_key_share", state="ready", database=other_url)["database_id"] == seen["database_id"]
    elsewhere = f"postgresql://postgres@127.0.0.1:{cluster.port}/postgres"
    assert second.run("servos_key_share", state="ready", database=elsewhere)["database_id"] != seen["database_id"]


def test_a_database_that_another_host_rewraps_is_waited_for(hosts: Hosts) -> None:
    follower = hosts["web2"]
    asked = follower.run("servos_key_share", state="ready")
    follower.run("servos_key_share", state="quiesced", request_id=asked["request_id"], stop_timeout=10)
    with hosts["web1"]._reading() as connection:
        connection.execute("SELECT pg_advisory_lock(%s, %s)", (0x5365724F, 0x4F707331))
        refused = follower.run("servos_key_share", state="following", request_id=asked["request_id"], lock_timeout=0.3)
    assert_refused(refused, "another rotation works on the database")
    assert follower.pid() is None
