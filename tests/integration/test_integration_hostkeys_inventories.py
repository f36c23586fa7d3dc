# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook hostkeys: where the file of pins lies, by how the inventory was named."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hostkey_sites import NODES, Site, files_of_pins


def inventory_of(site: Site, name: str, path: Path) -> Path:
    """Write an inventory of one node."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = {
        "ansible_host": NODES[name], "ansible_port": site.port, "ansible_user": site.user,
        "ansible_python_interpreter": sys.executable, "ansible_ssh_private_key_file": str(site.folder / "id"),
    }  # fmt: skip
    path.write_text(json.dumps({"servos_nodes": {"hosts": {name: connection}}}))
    return path


def test_a_directory_of_inventories_does_not_take_the_pins_for_hosts(site: Site) -> None:
    site.inventory_source = site.pins.parent
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
        done = site.play()
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]
    assert "WARNING" not in done.text
    assert sorted(path.name for path in site.pins.parent.iterdir()) == ["..known_hosts.lock", ".known_hosts", "inventory.json"]


def test_an_inventory_directory_has_one_file_of_pins_that_is_never_read_as_hosts(site: Site) -> None:
    folder = site.folder / "inventories"
    inventory_of(site, "one", folder / "hosts.json")
    inventory_of(site, "two", folder / "sub" / "hosts.json")
    site.inventory_source = folder
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
        again = site.play()
    assert again.answered_by == ["genuine", "genuine"]
    assert "Unable to parse" not in again.text
    assert set(again.stats) == {"one", "two"}
    assert files_of_pins(site) == ["inventories/.known_hosts"]


def test_a_file_named_alone_uses_the_pins_of_its_directory(site: Site) -> None:
    folder = site.folder / "inventories"
    path = inventory_of(site, "one", folder / "hosts.json")
    with site.start(site.genuine, "genuine"):
        site.inventory_source = folder
        assert site.play(plays=[]).code == 0
        site.inventory_source = path
        assert site.play(plays=[]).code == 0
        assert files_of_pins(site) == ["inventories/.known_hosts"]
        (folder / "known_hosts").touch()
        both = site.play()
    assert both.code != 0 and both.answered_by == []
    assert "both exist" in both.text and "servos_known_hosts" in both.text


def test_pins_in_the_way_of_an_inventory_directory_are_not_forgotten(site: Site) -> None:
    folder = site.folder / "inventories"
    site.inventory_source = inventory_of(site, "one", folder / "hosts.json")
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    site.inventory_source = folder
    with site.start(site.impostor, "impostor"):
        done = site.play()
    assert done.code != 0 and done.answered_by == []
    assert f"move it to {folder}/.known_hosts" in done.text
    assert files_of_pins(site) == ["inventories/known_hosts"]


def test_several_inventories_need_a_file_that_is_named(site: Site) -> None:
    other = inventory_of(site, "two", site.folder / "other" / "hosts.json")
    site.inventory_source = inventory_of(site, "one", site.folder / "inventories" / "hosts.json")
    with site.start(site.genuine, "genuine"):
        done = site.play("-i", str(other), plays=[])
        assert done.code != 0
        assert "several inventories" in done.text and "servos_known_hosts" in done.text
        assert files_of_pins(site) == []
        named = site.play("-i", str(other), "-e", f"servos_known_hosts={site.folder}/pins/known_hosts")
    assert named.answered_by == ["genuine", "genuine"]
    assert files_of_pins(site) == ["pins/known_hosts"]


@pytest.mark.parametrize("is_part_first", [True, False], ids=["the part first", "the whole first"])
def test_a_part_of_an_inventory_directory_has_no_pins_of_its_own(site: Site, is_part_first: bool) -> None:
    whole = site.folder / "inventories"
    inventory_of(site, "one", whole / "hosts.json")
    part = inventory_of(site, "two", whole / "sub" / "hosts.json")
    site.inventory_source = part if is_part_first else whole
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    files = files_of_pins(site)
    site.inventory_source = whole if is_part_first else part
    with site.start(site.impostor, "impostor"):
        done = site.play()
    assert done.code != 0 and done.answered_by == []
    assert f"{site.folder}/{files[0]} holds pins too" in done.text and "servos_known_hosts" in done.text
    assert files_of_pins(site) == files
