# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook hostkeys over real ssh: whom it pins, what it sees of them, and what it refuses."""

from __future__ import annotations

import os

import pytest
from evidence import differences, snapshot_of
from hostkey_sites import NODES, Site, files_of_pins, keys_of
from sshds import fingerprints, public_keys


def test_the_first_run_pins_and_connects_by_the_pins_and_the_second_changes_nothing(site: Site) -> None:
    with site.start(site.genuine, "genuine"):
        first = site.play()
        assert first.code == 0, first.text
        assert first.answered_by == ["genuine", "genuine"]
        names = {f"[{address}]:{site.port}" for address in NODES.values()}
        for_each = [(keys_of(path), {line.split()[0] for line in path.read_text().splitlines()}) for path in (site.pins, site.control_pins)]
        assert for_each == [(set(public_keys(site.genuine).values()), names)] * 2
        before = snapshot_of(site.pins.parent, site.control_pins.parent)
        second = site.play(plays=[])
        assert second.code == 0, second.text
        assert {name: (row["changed"], row["failed"]) for name, row in second.stats.items()} == dict.fromkeys(
            ("one", "two", "control"), (0, 0)
        )
        changed = differences(before, snapshot_of(site.pins.parent, site.control_pins.parent))
        assert [line for line in changed if "inventory.json" not in line] == []


def test_check_mode_writes_nothing_and_asks_for_no_pin(site: Site) -> None:
    with site.start(site.genuine, "genuine"):
        site.inventory()
        before = snapshot_of(site.pins.parent, site.control_pins.parent)
        done = site.play("--check")
        assert done.code == 0, done.text
        assert done.answered_by == ["genuine", "genuine"]
        changed = differences(before, snapshot_of(site.pins.parent, site.control_pins.parent))
        assert [line for line in changed if "inventory.json" not in line] == []
        assert done.stats["control"]["changed"] == 1


@pytest.mark.parametrize("has_control", [False, True], ids=["nodes alone", "control host"])
def test_an_impostor_is_refused_and_the_others_go_on(site: Site, has_control: bool) -> None:
    """A control host that sees an impostor among its nodes does nothing else; other nodes are as they were."""
    site.has_control = has_control
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    content = site.pins.read_bytes()
    with site.start(site.genuine, "genuine", "two"), site.start(site.impostor, "impostor", "one"):
        done = site.play()
        assert done.code != 0
        assert done.answered_by == ([] if has_control else ["genuine"])
        assert {name: row["failed"] for name, row in done.stats.items() if name != "control" or row["failed"]} == (
            {"one": 1, "two": 0, "control": 1} if has_control else {"one": 1, "two": 0}
        )
        marks, others = fingerprints(site.genuine), fingerprints(site.impostor)
        assert marks["ed25519"] in done.text and others["ed25519"] in done.text and "HAS CHANGED" in done.text
        assert site.pins.read_bytes() == content


def test_a_legitimate_new_key_passes_after_a_reset_with_the_expected_fingerprint_only(site: Site) -> None:
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    content = site.pins.read_bytes()
    reset = ("-e", "servos_hostkey_state=reset", "-e", "servos_hostkey_hosts=one")
    with site.start(site.genuine, "genuine", "two"), site.start(site.impostor, "rebuilt", "one"):
        old, new = fingerprints(site.genuine)["ed25519"], fingerprints(site.impostor)["ed25519"]
        wrong = site.play(*reset, "-e", f"servos_host_fingerprint={old}")
        assert wrong.code != 0
        assert wrong.answered_by == []
        assert site.pins.read_bytes() == content
        right = site.play(*reset, "-e", f"servos_host_fingerprint={new}")
        assert right.code == 0, right.text
        assert right.answered_by == ["genuine", "rebuilt"]
        again = site.play()
        assert again.code == 0, again.text
        assert again.answered_by == ["genuine", "rebuilt"]
        assert public_keys(site.impostor)["rsa"] not in site.pins.read_text() + site.control_pins.read_text()
    with site.start(site.genuine, "genuine"):
        assert site.play().stats["one"]["failed"] == 1


@pytest.mark.parametrize("expected", ["ed25519", "none of them"])
def test_each_side_pins_what_it_sees_and_what_is_expected_only(site: Site, expected: str) -> None:
    marks = fingerprints(site.genuine if expected == "ed25519" else site.impostor)
    site.variables = {"servos_node_host": "127.0.22.3", "servos_host_fingerprint": [marks["ed25519"]]}
    with site.start(site.genuine, "genuine", "one", "two", "127.0.22.3"):
        done = site.play()
    if expected == "ed25519":
        assert done.code == 0, done.text
        assert done.answered_by == ["genuine", "genuine"]
        assert keys_of(site.pins) == keys_of(site.control_pins) == {public_keys(site.genuine)["ed25519"]}
        assert {line.split()[0] for line in site.control_pins.read_text().splitlines()} == {f"[127.0.22.3]:{site.port}"}
    else:
        assert (done.stats["one"]["failed"], done.stats["two"]["failed"]) == (1, 1)
        assert done.answered_by == []
        assert not site.pins.exists() and not site.control_pins.exists()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (("-e", "servos_hostkey_hosts=one,tow"), "servos_hostkey_hosts names tow, which is in neither"),
        (("-e", "servos_hostkey_hosts="), "servos_hostkey_hosts names no host"),
        (("-e", "servos_hostkey_hosts=control"), "names control, which is not reached by ssh"),
        (("-e", "servos_hostkey_hosts=one", "--limit", "two"), "names one, which is left out by --limit"),
        (("-e", "servos_known_hosts=pins/known_hosts"), "servos_known_hosts is pins/known_hosts"),
    ],
    ids=["misspelt", "empty", "local", "beyond the limit", "relative"],
)  # fmt: skip
def test_what_is_not_clear_is_refused_before_anybody_is_asked(site: Site, argv: tuple[str, ...], text: str) -> None:
    with site.start(site.genuine, "genuine"):
        done = site.play(*argv, plays=[])
    assert done.code != 0
    assert text in done.text
    assert files_of_pins(site) == []


def test_the_scan_on_the_controller_does_not_become_another_user(site: Site) -> None:
    site.has_control = False
    site.everybody = {"ansible_become": True, "ansible_become_method": "su", "ansible_become_user": "nobody"}
    with site.start(site.genuine, "genuine"):
        done = site.play(plays=[])
    assert done.code == 0, done.text
    assert site.pins.stat().st_uid == os.getuid()


@pytest.mark.parametrize("way", ["variable", "-c"])
def test_nodes_that_are_not_reached_by_ssh_are_not_asked_by_anybody(site: Site, way: str) -> None:
    site.variables = {"ansible_connection": "local"} if way == "variable" else {}
    done = site.play(*(("-c", "local") if way == "-c" else ()), plays=[])
    assert done.code == 0, done.text
    assert files_of_pins(site) == []


@pytest.mark.parametrize("way", ["ansible_ssh_port", "remote_port", "ansible_ssh_host"])
def test_a_host_is_asked_where_ansible_reaches_it(site: Site, way: str) -> None:
    site.variables = {
        "ansible_ssh_port": {"ansible_port": None, "ansible_ssh_port": site.port},
        "remote_port": {"ansible_port": None},
        "ansible_ssh_host": {"ansible_ssh_host": "127.0.22.3"},
    }[way]
    if way == "remote_port":
        config = site.folder / "ansible.cfg"
        config.write_text(config.read_text().replace("[defaults]", f"[defaults]\nremote_port = {site.port}"))
    with site.start(site.genuine, "genuine", "one", "two", "127.0.22.3"):
        done = site.play()
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]
    wanted = ["127.0.22.3"] if way == "ansible_ssh_host" else list(NODES.values())
    for_each = [{line.split()[0] for line in path.read_text().splitlines()} for path in (site.pins, site.control_pins)]
    assert for_each == [{f"[{address}]:{site.port}" for address in wanted}] * 2
