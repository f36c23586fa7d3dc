# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pika model as a cluster of processes (section 7 of the protocol's description)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pikas import NEW, OLD, PikaCluster

MakeCluster = Callable[..., PikaCluster]


def test_s7_a_rotation_asked_of_a_follower_is_the_leaders_and_leaves_the_follower_with_the_old_key(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    leader, (follower,) = cluster.leader, cluster.followers
    assert follower.rotate().status == 200
    assert leader.status() == {"initialized": True, "unlocked": True} and leader.is_all_under("new")
    assert follower.is_all_under("new")
    assert follower.send("GET", "/api/v1/key/status").status == 500
    assert follower.call("GET", "/api/v1/settings").status == 500
    # Unlock and lock go to the leader: the follower's own key stays what it is.
    assert follower.unlock(NEW).status == 200
    assert follower.call("POST", "/api/v1/key/lock").status == 200
    assert leader.status()["unlocked"] is False and follower.send("GET", "/api/v1/key/status").status == 500
    assert leader.unlock(NEW).status == 200
    follower.restart()
    assert follower.status() == {"initialized": True, "unlocked": False}
    cluster.wait_leader()
    assert follower.unlock(NEW).status == 200 and follower.status()["unlocked"] is False
    follower.env_file.write_text(follower.env_file.read_text() + f'PIKA_ENCRYPTION_PASSWORD="{NEW}"\n')
    follower.restart()
    assert follower.status() == {"initialized": True, "unlocked": True}


def test_s7_status_of_both_kinds_of_node(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(size=3)
    of_leader = cluster.leader.call("GET", "/api/v1/cluster/status").json
    of_follower = cluster.followers[0].call("GET", "/api/v1/cluster/status").json
    assert (of_leader["role"], of_leader["is_leader"], of_leader["peer_count"]) == ("leader", True, 2)
    assert (of_follower["role"], of_follower["is_leader"], of_follower["leader_healthy"]) == ("follower", False, True)
    assert of_leader["has_quorum"] and of_leader["enabled"] and len(of_leader["nodes"]) == 3


def test_s7_a_session_and_a_setting_reach_the_followers(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    (follower,) = cluster.followers
    cookie = cluster.leader.login()
    assert follower.send("GET", "/api/v1/settings", headers={"Cookie": cookie}).status == 200
    assert follower.call("POST", "/api/v1/settings", {"general": {"site": {"title": "x"}}}).status == 200
    assert follower.call("GET", "/api/v1/settings").json["general"] == {"site": {"title": "x"}}


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [({"leader": "none"}, 503, "cluster: no leader available, retry shortly"),
     ({"leader": "unreachable"}, 502, "cluster: leader forward failed"),
     ({"quorum": "lost"}, 503, "cluster: no leader available, retry shortly")],
    ids=["s7-no-leader", "s7-leader-unreachable", "s7-no-quorum"],
)  # fmt: skip
def test_a_follower_that_cannot_hand_on(pair: PikaCluster, fault: dict[str, str], status: int, text: str) -> None:
    (follower,) = pair.followers
    cookie = {"Cookie": pair.leader.login()}
    follower.set_faults(**fault)
    answer = follower.send("POST", "/api/v1/key/rotate", b"{}", cookie)
    follower.set_faults(**dict.fromkeys(fault))
    assert (answer.status, answer.body.decode(), answer.headers["X-Pika-Locked"]) == (status, text, None)
    assert follower.send("GET", "/api/v1/settings", headers=cookie).status == 200


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PikaCluster]:
    cluster = PikaCluster(tmp_path_factory.mktemp("pair") / "cluster")
    yield cluster.start(unlock=OLD)
    cluster.stop()


def test_s7_without_a_majority_there_is_no_leader(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    leader, (follower,) = cluster.leader, cluster.followers
    cookie = {"Cookie": leader.login()}
    leader.stop()
    follower.wait_until(lambda report: not report["has_quorum"])
    shown = follower.send("GET", "/api/v1/cluster/status", headers=cookie).json
    assert (shown["has_quorum"], shown["leader_healthy"], shown["is_leader"]) == (False, False, False)
    assert follower.send("POST", "/api/v1/key/lock", headers=cookie).status == 503


def test_s7_another_node_leads_when_the_leader_goes(make_cluster: MakeCluster) -> None:
    cluster = make_cluster(size=3)
    first = cluster.leader
    assert first.rotate().status == 200
    first.stop()
    second = cluster.leader
    assert second is not first
    # It leads with the old key in its memory: lock and unlock are its own now.
    assert second.send("GET", "/api/v1/key/status").status == 500
    assert second.call("POST", "/api/v1/key/lock").status == 200 and second.unlock(NEW).status == 200
    first.start()
    assert cluster.leader is second and first.status() == {"initialized": True, "unlocked": False}


def test_s7_the_other_order_of_gate_and_forwarding(make_cluster: MakeCluster) -> None:
    cluster = make_cluster()
    (follower,) = cluster.followers
    follower.restart()
    cluster.wait_leader()
    assert follower.rotate().headers["X-Pika-Locked"] == "true"
    follower.set_faults(forward_before_gate="on")
    assert follower.rotate(OLD, NEW).status == 200 and follower.is_all_under("new")
