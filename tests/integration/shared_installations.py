# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several control hosts of one installation on this machine: each has its env file, state directory and service, all have one database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence import leaks
from installations import Servos
from playbook_runs import Played, environment_of, inventory_of
from servers import write

GROUP = "shop"
Hosts = dict[str, Servos]


def inventory_of_shared(
    hosts: Hosts, *, group: str = GROUP, of_host: dict[str, dict[str, Any]] | None = None, **variables: Any
) -> dict[str, Any]:
    """Describe them in the variables that the documentation names; C(of_host) are variables of one of them."""
    told: dict[str, Any] = {}
    for name, servos in hosts.items():
        described = inventory_of(servos)["servos_control"]
        own = {"servos_secrets_dir": str(servos.folder / "var" / "secrets")}
        told[name] = described["hosts"]["control"] | described["vars"] | own | (of_host or {}).get(name, {})
    return {
        "servos_control": {"children": {group: {"hosts": told, "vars": {"servos_installation": group}}}, "vars": variables},
    }


def secrets_of(hosts: Hosts) -> dict[str, str]:
    return {f"{name} {what}": text for name, servos in hosts.items() for what, text in servos.secrets().items()}


def play_shared(hosts: Hosts, name: str, *argv: str, inventory: dict[str, Any] | None = None, **variables: Any) -> Played:
    """Run C(servos.ops.NAME) over all of them; no key may stand in anything that it prints."""
    first = next(iter(hosts.values()))
    content = json.dumps(inventory if inventory is not None else inventory_of_shared(hosts, **variables))
    path = write(first.scratch / "shared.json", content)
    before = secrets_of(hosts)
    done = subprocess.run(
        [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(path), f"servos.ops.{name}", *argv],
        env=environment_of(first), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180,
        check=False,
    )  # fmt: skip
    assert leaks(done.stdout, before | secrets_of(hosts)) == []
    return Played(done.returncode, done.stdout, {})


def recap(played: Played, name: str) -> dict[str, int]:
    """Return the statistics of one host."""
    line = next(line for line in reversed(played.text.splitlines()) if line.startswith(name) and "ok=" in line)
    return {what: int(count) for what, count in (pair.split("=") for pair in line.split() if "=" in pair)}


def assert_all_on(hosts: Hosts, new_text: str, old_text: str) -> None:
    """Every host has the key in its env file and its process, and the application's reader finds all values under it."""
    found = {name: (servos.env_text(), servos.process_key_text()) for name, servos in hosts.items()}
    assert found == dict.fromkeys(hosts, (new_text, new_text))
    next(iter(hosts.values())).assert_all_under(new_text, old_text)


def make_shared(
    folder: Path, template: Path, names: tuple[str, ...] = ("web1", "web2"), of: Callable[..., Servos] = Servos, **options: Any
) -> Hosts:
    """Make them, one database in a folder of its own, and start their services."""
    database_dir = folder / "database"
    database_dir.mkdir(parents=True)
    hosts = {name: of(folder / name, template, database_dir=database_dir, **options) for name in names}
    for servos in hosts.values():
        servos.start()
    return hosts
