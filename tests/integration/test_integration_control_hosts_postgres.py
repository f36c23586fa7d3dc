# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two control hosts on one PostgreSQL database: rotated, taken back, rotated again and retired."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installations import OLD, OTHER, assert_refused, b64, seal
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


def rotated(hosts: Hosts, **variables: object) -> str:
    done = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one", **variables)
    assert done.code == 0, done.text
    assert_all_on(hosts, hosts["web1"].env_text(), b64(OLD))
    return hosts["web1"].env_text()


def databases(cluster: Cluster) -> list[str]:
    with cluster.connect() as connection:
        return [name for (name,) in connection.execute("SELECT datname FROM pg_database ORDER BY 1").fetchall()]


def back_to_a_backup(hosts: Hosts, cluster: Cluster) -> None:
    new = rotated(hosts)
    (kept,) = [servos for servos in hosts.values() if list(servos.backup_dir.glob("*.json"))]
    assert kept.call("POST", "/api/git_credentials", {"value": "since", "name": "x"})[0] == 201
    kept.sql("UPDATE servers SET ssh_private_key = ? WHERE id = 2", seal(b"from elsewhere", OTHER))
    refused = play_shared(hosts, "rollback")
    text = " ".join(refused.text.split())
    assert refused.code == 2 and "1 rows added" in text and "servos_rollback_from_backup=true" in text, refused.text
    assert {name: (servos.env_text(), servos.process_key_text()) for name, servos in hosts.items()} == dict.fromkeys(hosts, (new, new))
    done = play_shared(hosts, "rollback", "-e", "servos_rollback_from_backup=true")
    assert done.code == 0, done.text
    assert_all_on(hosts, b64(OLD), new)
    assert [servos.call("GET", "/api/servers/2/reveal")[0] for servos in hosts.values()] == [200, 200]


def back_by_rewrapping(hosts: Hosts, cluster: Cluster) -> None:
    new = rotated(hosts, servos_backup_before_rotation=False)
    done = play_shared(hosts, "rollback")
    assert done.code == 0, done.text
    assert_all_on(hosts, b64(OLD), new)


def a_rehearsal(hosts: Hosts, cluster: Cluster) -> None:
    before = {name: (servos.env_text(), servos.pid()) for name, servos in hosts.items()}
    rows, names = hosts["web1"].sql("SELECT id, ssh_private_key FROM servers ORDER BY id"), databases(cluster)
    done = play_shared(hosts, "rehearse")
    assert done.code == 0, done.text
    assert done.text.count("61 values in") == 1
    assert {name: (servos.env_text(), servos.pid()) for name, servos in hosts.items()} == before
    assert (hosts["web1"].sql("SELECT id, ssh_private_key FROM servers ORDER BY id"), databases(cluster)) == (rows, names)
    assert [servos.state_dir.exists() and list(servos.state_dir.glob("*.key")) for servos in hosts.values()] in ([False] * 2, [[], []])


_CASES: tuple[Callable[[Hosts, Cluster], None], ...] = (a_rehearsal, back_by_rewrapping, back_to_a_backup)


@pytest.mark.campaign
@pytest.mark.parametrize("case", _CASES, ids=[case.__name__ for case in _CASES])
def test_two_hosts_on_one_server(hosts: Hosts, cluster: Cluster, case: Callable[[Hosts, Cluster], None]) -> None:
    case(hosts, cluster)
