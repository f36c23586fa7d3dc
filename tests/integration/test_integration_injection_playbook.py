# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook inject: from the control host's database into a container, with nothing in between that could be read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engines import Injecting
from evidence import leaks, snapshot_of
from installations import NEW, OLD, Servos, b64, reference
from playbook_runs import Played, environment_of
from servers import write

STORED = {"DATABASE_URL": "postgres://app:from-the-database-0f1e@db/app", "PEM": "-----BEGIN\nfrom-the-database-2d3c\n-----END"}
GIVEN = {"SMTP_PASSWORD": "from-the-playbook-4b5a"}
SECRETS = STORED | GIVEN | {"a part": "from-the-database", "another": "from-the-playbook"}
WEB = {"table": "services", "column": "env_vars", "row": {"name": "web"}, "all": True}

# One engine is enough here: what differs between them is tested with the module.
pytestmark = pytest.mark.parametrize("engine", ["docker"], indirect=True)


class Node:
    """A node and a control host on this machine, and the playbook over them."""

    def __init__(self, servos: Servos, injecting: Injecting) -> None:
        self.servos, self.injecting, self.has_control_host = servos, injecting, True
        self.container = dict(injecting.options, env=dict(GIVEN), from_service=[WEB], public_env={"LEVEL": "info"})
        self.container.pop("secrets_dir")
        self.store(STORED)

    def store(self, variables: dict[str, str]) -> None:
        """Put a service with these variables into the database, by the application's own means."""
        self.servos.sql("DELETE FROM services WHERE name = 'web'")
        file, key_file = self.servos.scratch / "variables.json", self.servos.key_file("store", self.servos.env_text())
        file.write_text(json.dumps(variables))
        common = ("--database", self.servos.database, "--key-file", key_file, "--name=web")
        reference("servos/schema.py", "put-service", *common, "--variables-file", file)
        file.unlink()

    def inventory(self) -> dict[str, Any]:
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        told = {f"servos_{name}": value for name, value in self.servos.options().items()}
        on_node = {
            "servos_containers": [self.container], "servos_secrets_dir": str(self.injecting.secrets_dir),
            "secret_inject_boot_cleanup": False,
        }  # fmt: skip
        nodes = {"servos_nodes": {"hosts": {"node": host}, "vars": on_node}}
        return nodes | ({"servos_control": {"hosts": {"control": host}, "vars": told}} if self.has_control_host else {})

    def play(self, *argv: str, environment: dict[str, str] | None = None) -> Played:
        """Run the playbook; no secret may stand in anything that it prints."""
        command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        inventory = write(self.servos.scratch / "inventory.json", json.dumps(self.inventory()))
        done = subprocess.run(
            [command, "-i", str(inventory), "servos.ops.inject", *argv], env=environment_of(self.servos, **(environment or {})),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
        )  # fmt: skip
        inventory.unlink()
        assert leaks(done.stdout, SECRETS | self.servos.secrets()) == []
        recap = next((line for line in reversed(done.stdout.splitlines()) if line.startswith("node") and "ok=" in line), "")
        stats = {name: int(count) for name, count in (pair.split("=") for pair in recap.split() if "=" in pair)}
        return Played(done.returncode, done.stdout, stats)

    def arrived(self) -> dict[str, str]:
        found = self.injecting.engine.environment(self.injecting.name)
        return {name: found[name] for name in [*STORED, *GIVEN, "LEVEL"] if name in found}


@pytest.fixture
def node(quiet: Servos, injecting: Injecting) -> Node:
    return Node(quiet, injecting)


def test_it_arrives_and_the_same_again_changes_nothing(node: Node) -> None:
    first = node.play()
    assert (first.code, first.stats["changed"]) == (0, 1), first.text[-3000:]
    assert node.arrived() == STORED | GIVEN | {"LEVEL": "info"}
    began = node.injecting.engine.inspect(node.injecting.name)["State"]["StartedAt"]
    second = node.play()
    assert (second.code, second.stats["changed"]) == (0, 0), second.text[-3000:]
    assert node.injecting.engine.inspect(node.injecting.name)["State"]["StartedAt"] == began
    assert [path.name for path in node.injecting.files() if path.suffix in (".env", ".request")] == []


def test_what_changed_in_the_database_arrives(node: Node) -> None:
    node.play()
    node.store(STORED | {"DATABASE_URL": "from-the-database-changed"})
    told = node.play("--diff")
    assert (told.code, told.stats["changed"]) == (0, 1), told.text[-3000:]
    assert node.arrived()["DATABASE_URL"] == "from-the-database-changed"
    assert "DATABASE_URL" in told.text  # the diff names what changed


def test_a_rotation_of_the_master_key_changes_no_secret(node: Node) -> None:
    node.play()
    assert node.servos.rotate(new_key_file=str(node.servos.key_file("new", b64(NEW))), until="swapped").changed
    assert node.servos.env_text() != b64(OLD)
    again = node.play()
    assert (again.code, again.stats["changed"]) == (0, 0), again.text[-3000:]


@pytest.mark.parametrize("state", ["nothing yet", "the same", "changed"])
def test_check_mode_foretells_and_writes_nothing(node: Node, state: str) -> None:
    if state != "nothing yet":
        node.play()
    if state == "changed":
        node.store(STORED | {"DATABASE_URL": "from-the-database-changed"})
    before, there = snapshot_of(node.servos.folder), node.injecting.names()
    secrets_before = snapshot_of(node.injecting.secrets_dir, directory_times=True) if there else {}
    told = node.play("--check", "--diff")
    assert (told.code, told.stats["changed"]) == (0, int(state != "the same")), told.text[-3000:]
    assert snapshot_of(node.servos.folder) == before
    assert node.injecting.names() == there
    assert (snapshot_of(node.injecting.secrets_dir, directory_times=True) if there else {}) == secrets_before


def test_nothing_is_left_in_the_most_talkative_run(node: Node) -> None:
    loud = {
        "ANSIBLE_KEEP_REMOTE_FILES": "0", "ANSIBLE_PIPELINING": "1", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
        "ANSIBLE_LOG_PATH": str(node.servos.scratch / "ansible.log"),
    }  # fmt: skip
    told = node.play("-vvv", "--diff", environment=loud)
    assert told.code == 0, told.text[-3000:]
    roots = [node.servos.folder, node.servos.scratch, node.injecting.secrets_dir]
    found = [
        f"{path}: {leak}"
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".key"
        for leak in leaks(path.read_bytes(), SECRETS)
    ]
    assert found == []


def no_row(node: Node) -> None:
    node.container["from_service"] = [dict(WEB, row={"name": "nobody"})]


def no_control_host(node: Node) -> None:
    node.has_control_host = False


def wrong_key(node: Node) -> None:
    node.servos.edit_env(r"_MASTER_KEY=.*$", f'_MASTER_KEY="{b64(NEW)}"')


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (no_row, ("0 rows of services",)),
        (no_control_host, ("no control host is known", "servos_control")),
        (wrong_key, ("opens under no known key",)),
    ],
    ids=["no such row", "no control host", "the wrong key"],
)
def test_what_cannot_be_fetched_starts_nothing(node: Node, spoil: Callable[[Node], None], words: tuple[str, ...]) -> None:
    spoil(node)
    told = node.play()
    assert told.code != 0
    said = " ".join(told.text.split())
    assert [word for word in words if word not in said] == []
    assert node.injecting.names() == []
    assert node.injecting.env_files() == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"readonly": True, "privileged_typo": 1}, ("has readonly, which is no option", "has privileged_typo")),
        ({"secrets_dir": "/x"}, ("has secrets_dir, which is no option", "servos_secrets_dir")),
        ({"name": ""}, ("entry 1 is not a dictionary with a name",)),
    ],
    ids=["misspelt", "of the host", "no name"],
)
def test_what_is_not_understood_is_refused(node: Node, change: dict[str, Any], words: tuple[str, ...]) -> None:
    node.container.update(change)
    told = node.play("-vvv")
    assert told.code != 0
    said = " ".join(told.text.split())
    assert [word for word in words if word not in said] == []
    assert node.injecting.names() == []


def test_one_that_is_to_go_needs_no_row(node: Node) -> None:
    node.play()
    node.servos.sql("DELETE FROM services WHERE name = 'web'")
    node.container["state"] = "absent"
    told = node.play()
    assert (told.code, told.stats["changed"]) == (0, 1), told.text[-3000:]
    assert node.injecting.names() == []


def test_a_variable_that_comes_twice_is_refused(node: Node) -> None:
    node.container["env"]["DATABASE_URL"] = "from-the-playbook-too"
    told = node.play()
    assert told.code != 0
    assert "DATABASE_URL comes sealed as well" in " ".join(told.text.split())
    assert node.injecting.names() == []
