# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller that is as careless as can be, and nodes behind sshd processes that come and go while Ansible runs."""

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
from pathlib import Path
from typing import Any, NamedTuple

from ports import free_port
from sshds import Sshd

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
        """Who said so, in the order of the alphabet. A login shell may say more before: what its own files of start-up complain of."""
        return sorted(re.findall(r'"stdout": "(?:[^"\\]|\\.)*?here=(\w+)', self.text))


class Site:
    """A controller with a careless configuration, two nodes behind one genuine sshd, and perhaps a local control host."""

    def __init__(self, folder: Path, genuine: Path, impostor: Path) -> None:
        self.folder, self.genuine, self.impostor = folder, genuine, impostor
        self.port = free_port(NODES["one"])
        self.pins, self.control_pins = folder / "controller" / "known_hosts", folder / "control" / "known_hosts"
        self.pins.parent.mkdir()
        self.control_pins.parent.mkdir()
        (folder / "ansible.cfg").write_text(CONFIG)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "id")], check=True, timeout=20)
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
        for name in ("id", "id.pub"):
            shutil.copy(self.folder / name, folder / name)
        return Sshd(folder, keys, self.port, addresses, f"SetEnv WHO={who}\n")

    def inventory(self) -> None:
        connection = {
            "ansible_port": self.port, "ansible_user": self.user, "ansible_python_interpreter": sys.executable,
            "ansible_ssh_private_key_file": str(self.folder / "id"), **self.variables,
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
        for path in filter(Path.is_socket, self.sockets.rglob("*")):
            with contextlib.suppress(subprocess.TimeoutExpired):
                argv = ["ssh", "-F", "/dev/null", "-o", f"ControlPath={path}", "-O", "exit", "x"]
                subprocess.run(argv, capture_output=True, timeout=10, check=False)
        shutil.rmtree(self.sockets, ignore_errors=True)


def swap_here(site: Site) -> dict[str, Any]:
    """Make a play that waits until other servers have taken the place of the first."""
    return {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [
        {"ansible.builtin.copy": {"content": "", "dest": str(site.folder / "ready")}},
        {"ansible.builtin.wait_for": {"path": str(site.folder / "swapped"), "timeout": 60}},
    ]}  # fmt: skip


def play_with_swap(site: Site, first: Sshd, *then: Sshd, **plays: list[dict[str, Any]]) -> Played:
    """Run with the first server until the play that waits, and with the others from then on; sessions live on."""
    ready, swapped = site.folder / "ready", site.folder / "swapped"
    with contextlib.ExitStack() as servers:
        servers.enter_context(first)

        def swap() -> None:
            deadline = time.monotonic() + 120
            while not ready.exists() and time.monotonic() < deadline:
                time.sleep(0.02)
            first.__exit__()
            for server in then:
                servers.enter_context(server)
            swapped.touch()

        thread = threading.Thread(target=swap)
        thread.start()
        try:
            return site.play(**plays)
        finally:
            ready.touch()  # where the run ended before it came to that
            thread.join(130)


def keys_of(path: Path) -> set[str]:
    return {" ".join(line.split()[1:3]) for line in path.read_text().splitlines()}


def files_of_pins(site: Site) -> list[str]:
    return sorted(str(path.relative_to(site.folder)) for path in site.folder.rglob("*known_hosts") if path.is_file())
