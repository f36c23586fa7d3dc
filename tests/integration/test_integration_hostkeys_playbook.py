# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook hostkeys over real ssh: Ansible itself connects by the pins, whatever its configuration says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from evidence import differences, snapshot_of
from sshds import NoSshd, Sshd, find, fingerprints, free_port, make_keys, public_keys

try:
    find()
except NoSshd as reason:
    pytest.skip(str(reason), allow_module_level=True)

NODES = {"one": "127.0.22.1", "two": "127.0.22.2"}
# As careless as can be: everything that the playbook has to overrule.
CONFIG = """\
[defaults]
host_key_checking = False
[ssh_connection]
ssh_args = -C -o ControlMaster=auto -o ControlPersist=20s
ssh_common_args = -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o UpdateHostKeys=yes -o VerifyHostKeyDNS=yes
ssh_extra_args = -o StrictHostKeyChecking=no
"""
AFTERWARDS = {"hosts": "servos_nodes", "gather_facts": False, "tasks": [{"ansible.builtin.raw": "echo here=$WHO", "check_mode": False}]}


class Played(NamedTuple):
    code: int
    text: str
    stats: dict[str, dict[str, int]]

    @property
    def answered_by(self) -> list[str]:
        return sorted(re.findall(r'"stdout": "here=(\w+)', self.text))


class Site:
    """A controller with a careless configuration, two nodes behind one genuine sshd, and perhaps a local control host."""

    def __init__(self, folder: Path, genuine: Path, impostor: Path) -> None:
        self.folder, self.genuine, self.impostor = folder, genuine, impostor
        self.port = free_port(NODES["one"])
        self.pins, self.control_pins = folder / "controller" / "known_hosts", folder / "control" / "known_hosts"
        self.pins.parent.mkdir()
        self.control_pins.parent.mkdir()
        (folder / "ansible.cfg").write_text(CONFIG)
        self.sockets = Path(tempfile.mkdtemp(prefix="cp", dir="/tmp"))  # a socket's path may not be long
        self.user = self.start(genuine, "genuine").user
        self.variables: dict[str, Any] = {}
        self.everybody: dict[str, Any] = {}
        self.control_path_dir = self.sockets
        self.has_control = True
        self.inventory_source = self.pins.parent / "inventory.json"

    def start(self, keys: Path, who: str, *nodes: str) -> Sshd:
        """Make an sshd with these keys; all of them let the same identity in, and say who they are."""
        addresses = [NODES.get(node, node) for node in nodes or NODES]
        folder = self.folder / who
        folder.mkdir(exist_ok=True)
        made = Sshd(folder, keys, self.port, addresses, f"SetEnv WHO={who}\nAuthorizedKeysFile {self.folder}/genuine/id.pub\n")
        if who != "genuine":
            for name in ("id", "id.pub"):
                shutil.copy(self.folder / "genuine" / name, folder / name)
        return made

    def inventory(self) -> None:
        connection = {
            "ansible_port": self.port, "ansible_user": self.user, "ansible_python_interpreter": sys.executable,
            "ansible_ssh_private_key_file": str(self.folder / "genuine" / "id"), **self.variables,
        }  # fmt: skip
        connection = {name: value for name, value in connection.items() if value is not None}
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        groups: dict[str, Any] = {
            "servos_nodes": {"hosts": {name: {"ansible_host": address} for name, address in NODES.items()}, "vars": connection},
            "servos_control": {"hosts": {"control": local} if self.has_control else {}, "vars": {
                "servos_control_known_hosts": str(self.control_pins)}},
            "all": {"vars": self.everybody},
        }  # fmt: skip
        (self.pins.parent / "inventory.json").write_text(json.dumps(groups))

    def play(self, *argv: str, plays: list[dict[str, Any]] | None = None, before: list[dict[str, Any]] | None = None) -> Played:
        """Run hostkeys, with plays before and after it in the same run."""
        self.inventory()
        hostkeys = {"ansible.builtin.import_playbook": "servos.ops.hostkeys"}
        book = self.folder / "site.json"
        book.write_text(json.dumps([*(before or []), hostkeys, *([AFTERWARDS] if plays is None else plays)]))
        command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
        environment = os.environ | {
            "ANSIBLE_CONFIG": str(self.folder / "ansible.cfg"), "ANSIBLE_HOME": str(self.folder / "ansible"), "NO_COLOR": "1",
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self.control_path_dir), "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        }  # fmt: skip
        done = subprocess.run(
            [command, "-v", "-i", str(self.inventory_source), str(book), *argv], env=environment, cwd=self.folder, text=True, timeout=180,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        stats = {}
        for line in done.stdout.splitlines():
            if " : ok=" in line:
                host, unused_colon, counts = line.partition(":")
                stats[host.strip()] = {name: int(count) for name, count in (pair.split("=") for pair in counts.split())}
        return Played(done.returncode, done.stdout, stats)

    def tear_down(self) -> None:
        for path in self.sockets.iterdir():
            with contextlib.suppress(subprocess.TimeoutExpired):
                argv = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={path}", "-O", "exit", "x"]
                subprocess.run(argv, capture_output=True, timeout=10, check=False)
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("genuine") / "keys")


@pytest.fixture(scope="module")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("impostor") / "keys")


@pytest.fixture
def site(tmp_path: Path, genuine: Path, impostor: Path) -> Iterator[Site]:
    made = Site(tmp_path, genuine, impostor)
    yield made
    made.tear_down()


def keys_of(path: Path) -> set[str]:
    return {" ".join(line.split()[1:3]) for line in path.read_text().splitlines()}


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


def test_an_impostor_that_comes_after_the_pins_is_refused_by_the_next_connection(site: Site) -> None:
    """It takes the address between two plays of one run, so that only Ansible's own connection can notice."""
    ready, swapped = site.folder / "ready", site.folder / "swapped"
    wait = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
        {"ansible.builtin.copy": {"content": "", "dest": str(ready)}},
        {"ansible.builtin.wait_for": {"path": str(swapped), "timeout": 60}},
    ]}  # fmt: skip
    with contextlib.ExitStack() as servers:
        true = servers.enter_context(site.start(site.genuine, "genuine"))

        def swap() -> None:
            deadline = time.monotonic() + 120
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            true.__exit__()
            servers.enter_context(site.start(site.impostor, "impostor", "one"))
            servers.enter_context(site.start(site.genuine, "genuine", "two"))
            swapped.touch()

        thread = threading.Thread(target=swap)
        thread.start()
        done = site.play(plays=[wait, AFTERWARDS])
        thread.join(130)
        assert swapped.exists()
        assert done.answered_by == ["genuine"]
        assert (done.stats["one"]["unreachable"], done.stats["two"]["unreachable"]) == (1, 0)
        assert "Host key verification failed" in done.text


def test_a_connection_that_was_opened_without_the_pins_is_not_used_any_more(site: Site) -> None:
    """An impostor is talked to before the pins are looked at, and goes away; what it left open leads to it still."""
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    ready, swapped = site.folder / "ready", site.folder / "swapped"
    wait = [
        {"hosts": "servos_nodes", "gather_facts": False, "tasks": [{"ansible.builtin.raw": "echo here=$WHO"}]},
        {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
            {"ansible.builtin.copy": {"content": "", "dest": str(ready)}},
            {"ansible.builtin.wait_for": {"path": str(swapped), "timeout": 60}},
        ]},
    ]  # fmt: skip
    with contextlib.ExitStack() as servers:
        false = servers.enter_context(site.start(site.impostor, "impostor"))

        def swap() -> None:
            deadline = time.monotonic() + 120
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            false.__exit__()  # its sessions live on
            servers.enter_context(site.start(site.genuine, "genuine"))
            swapped.touch()

        thread = threading.Thread(target=swap)
        thread.start()
        done = site.play(before=wait)
        thread.join(130)
        assert done.code == 0, done.text
        assert done.answered_by == ["genuine", "genuine", "impostor", "impostor"]


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


def test_without_control_hosts_and_with_arguments_of_its_own(site: Site) -> None:
    site.has_control = False
    site.variables = {"ansible_ssh_args": "-o LogLevel=ERROR -o ControlMaster=no", "servos_known_hosts": str(site.folder / "own pins/kh")}
    with site.start(site.genuine, "genuine"):
        done = site.play(plays=[AFTERWARDS, {"hosts": "servos_nodes", "gather_facts": False, "tasks": [
            {"ansible.builtin.debug": {"var": "ansible_ssh_args"}}]}])  # fmt: skip
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]
    assert "ControlMaster=no" in done.text
    assert keys_of(site.folder / "own pins" / "kh") == set(public_keys(site.genuine).values())
    assert not site.control_pins.exists()


def test_arguments_on_the_command_line_that_overrule_the_pins_are_refused(site: Site) -> None:
    with site.start(site.genuine, "genuine"):
        done = site.play("-e", "ansible_ssh_args=-C")
    assert done.code != 0
    assert done.answered_by == []
    assert "overrules the pins" in done.text


def test_a_directory_of_inventories_does_not_take_the_pins_for_hosts(site: Site) -> None:
    site.inventory_source = site.pins.parent
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
        done = site.play()
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]
    assert "WARNING" not in done.text
    assert sorted(path.name for path in site.pins.parent.iterdir()) == ["..known_hosts.lock", ".known_hosts", "inventory.json"]


def refused(site: Site, *argv: str) -> Played:
    """Pin both, then let an impostor stand in for the first one."""
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    with site.start(site.genuine, "genuine", "two"), site.start(site.impostor, "impostor", "one"):
        return site.play(*argv, plays=LATER)


LATER = [
    {"hosts": "two", "gather_facts": False, "tasks": [{"ansible.builtin.raw": "echo here=$WHO", "delegate_to": "one", "check_mode": False,
                                                       "ignore_unreachable": True}]},
    {"hosts": "servos_nodes", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "clear_host_errors"}]},
    AFTERWARDS,
]  # fmt: skip


@pytest.mark.parametrize("argv", [(), ("--check",)], ids=["run", "check mode"])
def test_a_refused_host_is_held_to_its_pin_by_whoever_still_talks_to_it(site: Site, argv: tuple[str, ...]) -> None:
    """A task of another host that is delegated to it, and a play that clears its error."""
    site.has_control = False
    done = refused(site, *argv)
    assert done.stats["one"]["failed"] == 1
    assert done.answered_by == ["genuine"]
    assert done.text.count("Host key verification failed") >= 2
    assert f"127.0.22.1 port {site.port}: " in done.text


def swap_here(site: Site) -> dict[str, Any]:
    """Make a play that waits until other servers have taken the place of the first."""
    return {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
        {"ansible.builtin.copy": {"content": "", "dest": str(site.folder / "ready")}},
        {"ansible.builtin.wait_for": {"path": str(site.folder / "swapped"), "timeout": 60}},
    ]}  # fmt: skip


def play_with_swap(site: Site, first: Sshd, then: Sshd, **plays: list[dict[str, Any]]) -> Played:
    """Run with the first server until the play that waits, and with the other one from then on; sessions live on."""
    ready, swapped = site.folder / "ready", site.folder / "swapped"
    with contextlib.ExitStack() as servers:
        servers.enter_context(first)

        def swap() -> None:
            deadline = time.monotonic() + 120
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            first.__exit__()
            servers.enter_context(then)
            swapped.touch()

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            return site.play(**plays)
        finally:
            ready.touch()  # where the run ended before it came to that
            thread.join(130)


@pytest.mark.parametrize("option", ["KnownHostsCommand={} %H", "NoHostAuthenticationForLocalhost=yes"], ids=["command", "localhost"])
def test_no_option_of_ssh_takes_the_pins_out(site: Site, option: str) -> None:
    site.has_control = False
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    helper = site.folder / "helper"
    helper.write_text("#!/bin/sh\n" + "".join(f'echo "$1 {key}"\n' for key in public_keys(site.impostor).values()))
    helper.chmod(0o755)
    (site.folder / "ansible.cfg").write_text(f'[ssh_connection]\nssh_args = -C\nssh_common_args = -o "{option.format(helper)}"\n')
    genuine, impostor = site.start(site.genuine, "genuine"), site.start(site.impostor, "impostor")
    done = play_with_swap(site, genuine, impostor, plays=[swap_here(site), AFTERWARDS])
    assert done.answered_by == []
    assert done.text.count("Host key verification failed") >= 2


def test_an_ssh_that_does_not_know_that_command_connects(site: Site) -> None:
    """As OpenSSH before 8.5 answers it."""
    site.has_control = False
    older = site.folder / "bin" / "ssh"
    older.parent.mkdir()
    real = shutil.which("ssh")
    older.write_text(
        '#!/bin/sh\ncase "$*" in *KnownHostsCommand*)\n'
        'echo "command-line: line 0: Bad configuration option: knownhostscommand" >&2; exit 255;;\n'
        f'esac\nexec {real} "$@"\n'
    )
    older.chmod(0o755)
    with (site.folder / "ansible.cfg").open("a") as config:
        config.write(f"ssh_executable = {older}\n")
    with site.start(site.genuine, "genuine"):
        done = site.play()
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine"]


KEPT = "-o ControlMaster=auto -o ControlPersist=20s"


@pytest.mark.parametrize("way", ["another user", "ssh's own configuration", "ControlPath", "long directory"])
def test_a_connection_that_was_kept_open_in_any_way_is_not_used_any_more(site: Site, way: str) -> None:
    """An impostor is talked to before, and goes away; what it left open would lead to it still."""
    site.has_control = False
    with site.start(site.genuine, "genuine"):
        assert site.play(plays=[]).code == 0
    own = site.folder / "ssh_config"
    own.write_text(f"Host *\n ControlMaster auto\n ControlPath {site.sockets}/own-%C\n ControlPersist 20\n StrictHostKeyChecking no\n")
    arguments = {
        "another user": f"-C {KEPT}",
        "long directory": f"-C {KEPT}",
        "ssh's own configuration": f"-C -F {own}",
        "ControlPath": f"-C {KEPT} -o ControlPath={site.sockets}/own-%C",
    }[way]
    (site.folder / "ansible.cfg").write_text(f"[defaults]\nhost_key_checking = False\n[ssh_connection]\nssh_args = {arguments}\n")
    if way == "long directory":
        site.control_path_dir = site.sockets / ("d" * 50)
    talk = AFTERWARDS | {"vars": {"ansible_user": site.user}}
    site.user = "nobody"
    genuine, impostor = site.start(site.genuine, "genuine"), site.start(site.impostor, "impostor")
    done = play_with_swap(site, impostor, genuine, before=[talk, swap_here(site)], plays=[talk])
    assert done.code == 0, done.text
    assert done.answered_by == ["genuine", "genuine", "impostor", "impostor"]


@pytest.mark.parametrize("is_pinned", [True, False], ids=["pinned", "never pinned"])
def test_a_host_that_is_left_out_by_limit_is_held_to_its_pin(site: Site, is_pinned: bool) -> None:
    site.has_control = False
    if is_pinned:
        with site.start(site.genuine, "genuine"):
            assert site.play(plays=[]).code == 0
    with site.start(site.genuine, "genuine", "two"), site.start(site.impostor, "impostor", "one"):
        done = site.play("--limit", "two", plays=[LATER[0], AFTERWARDS])
    assert done.answered_by == ["genuine"]
    assert "Host key verification failed" in done.text
    assert "127.0.22.1" in site.pins.read_text() if is_pinned else "127.0.22.1" not in site.pins.read_text()


def inventory_of(site: Site, name: str, path: Path) -> Path:
    """Write an inventory of one node."""
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = {
        "ansible_host": NODES[name], "ansible_port": site.port, "ansible_user": site.user,
        "ansible_python_interpreter": sys.executable, "ansible_ssh_private_key_file": str(site.folder / "genuine" / "id"),
    }  # fmt: skip
    path.write_text(json.dumps({"servos_nodes": {"hosts": {name: connection}}}))
    return path


def files_of_pins(site: Site) -> list[str]:
    return sorted(str(path.relative_to(site.folder)) for path in site.folder.rglob("*known_hosts") if path.is_file())


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


def test_connections_are_kept_open_under_names_of_the_run_and_a_second_import_adds_nothing(site: Site) -> None:
    site.has_control = False
    shown = {"hosts": "one", "gather_facts": False, "tasks": [{"ansible.builtin.debug": {"var": "ansible_ssh_args"}}]}
    with site.start(site.genuine, "genuine"):
        done = site.play(plays=[AFTERWARDS, {"ansible.builtin.import_playbook": "servos.ops.hostkeys"}, AFTERWARDS, shown])
        assert done.code == 0, done.text
        assert sorted(len(path.name) for path in site.sockets.iterdir()) == [8 + 1 + 40] * 4
        assert len({path.name.split("-")[0] for path in site.sockets.iterdir()}) == 2
    told = next(line for line in done.text.splitlines() if '"ansible_ssh_args"' in line and "ansible_facts" not in line)
    assert (told.count("UserKnownHostsFile"), told.count("ControlPath="), told.count("ControlMaster")) == (1, 1, 1)
