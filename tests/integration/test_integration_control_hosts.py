# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several control hosts that share one database: one rewraps, the others get the key sealed to themselves, all end on it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence import leaks
from installations import NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint, seal
from shared_installations import Hosts, assert_all_on, inventory_of_shared, make_shared, play_shared


@pytest.fixture
def hosts(tmp_path: Path, template: Path) -> Iterator[Hosts]:
    made = make_shared(tmp_path / "shop", template)
    try:
        yield made
    finally:
        for servos in made.values():
            servos.tear_down()


def share(servos: Servos, state: str, **options: object):
    defaults = {"settle_time": 0.15, "stop_timeout": 10, "start_timeout": 10, "lock_timeout": 0.3} if state == "following" else {}
    return servos.run("servos_key_share", state=state, **(defaults | options))


def handed_over(leader: Servos, follower: Servos) -> tuple[str, str]:
    """Stage on the one host, and let the other take the key and be quiet; return the request, and the fingerprint."""
    asked = share(follower, "ready")
    request = {name: asked[name] for name in ("request_id", "recipient")}
    staged = leader.stage(seal_for=[request])
    (sealed,) = staged["sealed"]
    assert sealed["request_id"] == request["request_id"]
    assert leaks(str(sealed), leader.secrets()) == []
    quiet = share(follower, "quiesced", request_id=request["request_id"], ciphertext=sealed["ciphertext"], rotation_id="one")
    assert (quiet["staged"], quiet["stopped"], follower.pid()) == (True, True, None)
    assert (follower.state_dir / "staged.key").read_text() == (leader.state_dir / "staged.key").read_text()
    return request["request_id"], staged["staged_key"]


def test_a_host_follows_and_forgets_its_request(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    request_id, new_mark = handed_over(leader, follower)
    assert leader.rotate().result["env_key"] == new_mark
    done = share(follower, "following", request_id=request_id, followed_key=new_mark)
    assert (done["steps"], done["phase"], done["process_key"]) == (["swap", "restart"], "activated", new_mark)
    assert_all_on(hosts, leader.env_text(), b64(OLD))
    assert sorted(path.name for path in follower.state_dir.iterdir()) == ["lock", "previous.key", "record.json", "staged.key"]
    # Either host knows that this rotation was done.
    assert follower.stage(rotation_id="one")["rotation_pending"] is False


def test_where_nothing_was_rewrapped_a_host_comes_up_as_it_was(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    request_id, unused = handed_over(leader, follower)
    done = share(follower, "following", request_id=request_id)
    assert (done["steps"], done["phase"], done["process_key"]) == (["restart"], "staged", fingerprint(OLD))
    assert follower.env_text() == b64(OLD)


def test_a_value_that_no_key_opens_keeps_nobody_down(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    request_id, new_mark = handed_over(leader, follower)
    leader.sql("UPDATE servers SET ssh_private_key = ? WHERE id = 2", seal(b"from elsewhere", OTHER))
    assert_refused(share(follower, "following", request_id=request_id, followed_key=new_mark), "servers.ssh_private_key of id=2")
    assert follower.pid() is None
    done = share(follower, "following", request_id=request_id)
    assert (done["steps"], done["process_key"]) == (["restart"], fingerprint(OLD))


def test_a_host_whose_database_is_written_to_stays_as_it_is(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    request_id, unused = handed_over(leader, follower)
    connection = sqlite3.connect(leader.database, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        assert_refused(share(follower, "following", request_id=request_id), "locked")
    finally:
        connection.close()
    assert follower.pid() is None


def test_a_later_run_takes_the_place_of_an_earlier_one(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    request_id, new_mark = handed_over(leader, follower)
    share(follower, "ready")
    before = follower.snapshot()
    assert_refused(share(follower, "following", request_id=request_id, followed_key=new_mark), "another run has begun")
    assert_refused(share(follower, "quiesced", request_id=request_id), "another run has begun")
    assert_same(before, follower.snapshot())


def test_a_key_that_was_sealed_to_somebody_else_is_not_taken(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    elsewhere = share(leader, "ready")
    (sealed,) = leader.stage(seal_for=[{name: elsewhere[name] for name in ("request_id", "recipient")}])["sealed"]
    mine = share(follower, "ready")
    before = follower.snapshot()
    assert_refused(share(follower, "quiesced", request_id=mine["request_id"], ciphertext=sealed["ciphertext"]), "sealed to another request")
    assert_same(before, follower.snapshot())


def test_another_database_is_found_out_and_its_service_left_alone(hosts: Hosts, tmp_path: Path, template: Path) -> None:
    leader = hosts["web1"]
    stranger = make_shared(tmp_path / "elsewhere", template, ("web3",))["web3"]
    try:
        asked = share(stranger, "ready")
        request = {name: asked[name] for name in ("request_id", "recipient")}
        (sealed,) = leader.stage(seal_for=[request])["sealed"]
        share(stranger, "quiesced", request_id=request["request_id"], ciphertext=sealed["ciphertext"])
        new_mark = leader.rotate().result["env_key"]
        refused = share(stranger, "following", request_id=request["request_id"], followed_key=new_mark)
        assert_refused(refused, "this is another database", "61 of 61 values")
        assert stranger.env_text() == b64(OLD)
        # Without the word of the other host it comes up on the key that its data is under.
        assert share(stranger, "following", request_id=request["request_id"])["process_key"] == fingerprint(OLD)
    finally:
        stranger.tear_down()


def test_a_service_that_does_not_come_up_takes_nothing_back(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    request_id, new_mark = handed_over(leader, follower)
    leader.rotate()
    follower.write_scripts(before_start="exit 1")
    refused = share(follower, "following", request_id=request_id, followed_key=new_mark)
    assert_refused(refused, "nothing was taken back", new_mark)
    assert follower.env_text() == leader.env_text() == leader.process_key_text()
    leader.assert_all_under(leader.env_text(), b64(OLD))
    follower.write_scripts()
    assert share(follower, "following", request_id=request_id, followed_key=new_mark)["steps"] == ["restart"]
    assert_all_on(hosts, leader.env_text(), b64(OLD))


def test_a_key_of_its_own_gives_way_while_no_value_is_under_it(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    follower.stage(new_key=b64(OTHER), rotation_id="its own")
    handed_over(leader, follower)


def test_a_key_of_its_own_stays_where_values_are_under_it(hosts: Hosts) -> None:
    leader, follower = hosts.values()
    asked = share(follower, "ready")
    (sealed,) = leader.stage(seal_for=[{name: asked[name] for name in ("request_id", "recipient")}])["sealed"]
    follower.run("servos_key_rotate", new_key=b64(NEW), until="rewrapped", stop_timeout=10)
    refused = share(follower, "quiesced", request_id=asked["request_id"], ciphertext=sealed["ciphertext"])
    assert_refused(refused, "61 values are under", fingerprint(NEW), "nothing was changed")
    assert (follower.state_dir / "staged.key").read_text() == b64(NEW)


def test_check_mode_asks_for_nothing(hosts: Hosts) -> None:
    follower = hosts["web2"]
    before = follower.snapshot(directory_times=True)
    seen = share(follower, "ready", check=True)
    assert (seen["request_id"], seen["recipient"], seen["env_key"]) == (None, None, fingerprint(OLD))
    assert share(follower, "quiesced", check=True)["stopped"] is True
    assert share(follower, "following", check=True, expect_staged=True)["steps"] == ["swap", "restart"]
    assert_same(before, follower.snapshot(directory_times=True))


def refused_at_once(hosts: Hosts, inventory: dict[str, Any], *words: str, argv: tuple[str, ...] = ()) -> None:
    before = {name: servos.snapshot() for name, servos in hosts.items()}
    done = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one", *argv, inventory=inventory)
    assert done.code == 2, done.text
    said = " ".join(done.text.split())
    assert [word for word in (*words, "Nothing was changed") if word not in said] == []
    for name, servos in hosts.items():
        assert_same(before[name], servos.snapshot())


def test_a_group_that_is_misspelt_is_refused(hosts: Hosts) -> None:
    inventory = inventory_of_shared(hosts)
    inventory["servos_control"]["children"]["shop"]["vars"]["servos_installation"] = "shpo"
    refused_at_once(hosts, inventory, "is shpo, which is neither a group")


def test_a_host_that_is_left_out_is_missed(hosts: Hosts) -> None:
    refused_at_once(hosts, inventory_of_shared(hosts), "web2 of shop is not in this run", argv=("--limit", "web1"))


def test_a_shared_server_that_nobody_said_is_shared_is_found(hosts: Hosts) -> None:
    inventory = inventory_of_shared(hosts, of_host={name: {"servos_installation": name} for name in hosts})
    told = inventory["servos_control"]["children"]["shop"]["hosts"]
    for name in hosts:
        told[name]["servos_database"] = "libsql://db.example.com"
    refused_at_once(hosts, inventory, "web2 and web1 have the same servos_database", "web1 and web2 have the same servos_database")


def test_all_get_one_new_key_and_lose_it_again(hosts: Hosts) -> None:
    rehearsed = play_shared(hosts, "rehearse")
    assert rehearsed.code == 0, rehearsed.text
    assert rehearsed.text.count("61 values in") == 1
    rotated = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one")
    assert rotated.code == 0, rotated.text
    new = hosts["web1"].env_text()
    assert new != b64(OLD)
    assert_all_on(hosts, new, b64(OLD))
    back = play_shared(hosts, "rollback")
    assert back.code == 0, back.text
    assert_all_on(hosts, b64(OLD), new)
