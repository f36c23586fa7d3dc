# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several control hosts that share one database: one rewraps, the others get the key sealed to themselves, all end on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from installations import OLD, b64
from shared_installations import Hosts, assert_all_on, make_shared, play_shared, recap


@pytest.fixture
def hosts(tmp_path: Path, template: Path) -> Iterator[Hosts]:
    made = make_shared(tmp_path / "shop", template)
    try:
        yield made
    finally:
        for servos in made.values():
            servos.tear_down()


def test_all_get_one_new_key_and_lose_it_again(hosts: Hosts) -> None:
    dry = play_shared(hosts, "rotate", "--check", "-e", "servos_rotation_id=one")
    assert dry.code == 0, dry.text
    rotated = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one")
    assert rotated.code == 0, rotated.text
    new = hosts["web1"].env_text()
    assert new != b64(OLD)
    assert_all_on(hosts, new, b64(OLD))
    again = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one")
    assert [again.code, *(recap(again, name)["changed"] for name in hosts)] == [0, 0, 0], again.text
    back = play_shared(hosts, "rollback")
    assert back.code == 0, back.text
    assert_all_on(hosts, b64(OLD), new)


def test_rehearsed_retired_and_refused(hosts: Hosts) -> None:
    rehearsed = play_shared(hosts, "rehearse")
    assert rehearsed.code == 0, rehearsed.text
    assert rehearsed.text.count("61 values in") == 1
    rotated = play_shared(hosts, "rotate", "-e", "servos_rotation_id=one")
    assert rotated.code == 0, rotated.text
    hosts["web2"].stop()
    refused = play_shared(hosts, "retire")
    assert refused.code == 2, refused.text
    assert all((servos.state_dir / "previous.key").exists() for servos in hosts.values())
    hosts["web2"].start()
    retired = play_shared(hosts, "retire")
    assert retired.code == 0, retired.text
    assert [list(servos.state_dir.glob("*.key")) for servos in hosts.values()] == [[], []]
