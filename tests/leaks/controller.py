# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks as talkatively as Ansible can, and keep all that the controller leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from node import HERE, Node
from search import Item

MARK = "SERVOS_LEAKS_RUN"
_ARTIFACTS = {"tree": "tree artifacts", "junit": "JUnit artifacts", "json": "JSON artifacts", "facts": "fact cache", "log": "log file"}


class Played(NamedTuple):
    """Exit code and both outputs of one ansible-playbook."""

    code: int
    text: str


class Catcher(threading.Thread):
    """Keeps a second name of every file that comes and goes in some directories."""

    def __init__(self, sources: list[Path], into: Path) -> None:
        super().__init__(daemon=True)
        self._sources, self._into = sources, into
        self._over = threading.Event()

    def run(self) -> None:
        caught: set[int] = set()
        while not self._over.wait(0.01):
            for source in self._sources:
                for folder, unused_folders, names in os.walk(source):
                    for name in names:
                        with contextlib.suppress(OSError):
                            found = os.stat(os.path.join(folder, name), follow_symlinks=False)
                            if stat.S_ISREG(found.st_mode) and found.st_ino not in caught:
                                os.link(os.path.join(folder, name), self._into / f"{len(caught)}-{name}")
                                caught.add(found.st_ino)

    def finish(self) -> None:
        self._over.set()
        self.join()


class Controller:
    """One ansible-core and a home of its own; /var/tmp, /dev/shm and, where it can be, /tmp are its own as well."""

    def __init__(self, programs: Path, collections: str, node: Node, work: Path, *, pipelining: bool) -> None:
        self._programs, self._collections, self._node, self._work = programs, collections, node, work
        self._pipelining = pipelining
        self.mark = f"{MARK}={node.name}"
        self._played = 0
        for name in ("home", "tmp", "var-tmp", "shm", *_ARTIFACTS):
            (work / name).mkdir()
        (work / "shm" / "cp").mkdir(mode=0o700)
        for name in ("output", "caught", "home/escrow"):
            (work / name).mkdir()
        self.escrow = f"{work}/home/escrow/"

    def _environment(self) -> dict[str, str]:
        work = self._work
        kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TERM") if name in os.environ}
        name, unused, value = self.mark.partition("=")
        return kept | {
            name: value, "PATH": f"{self._programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": str(work / "home"),
            "TMPDIR": str(work / "tmp"), "NO_COLOR": "1", "PYTHONDONTWRITEBYTECODE": "",
            "ANSIBLE_COLLECTIONS_PATH": self._collections, "ANSIBLE_HOME": str(work / "home" / ".ansible"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": "/dev/shm/cp", "ANSIBLE_PIPELINING": str(int(self._pipelining)),
            # Files that are kept do away with pipelining.
            "ANSIBLE_KEEP_REMOTE_FILES": str(int(not self._pipelining)),
            "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "1", "ANSIBLE_INJECT_FACT_VARS": "1",
            "ANSIBLE_INJECT_INVOCATION": "1", "ANSIBLE_DISPLAY_TRACEBACK": "always",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback_plugins"), "ANSIBLE_LIBRARY": str(HERE / "planted" / "library"),
            "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.tree,ansible.builtin.junit,leaks_json",
            "ANSIBLE_CALLBACK_TREE_DIR": str(work / "tree"), "JUNIT_OUTPUT_DIR": str(work / "junit"), "LEAKS_JSON_DIR": str(work / "json"),
            "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile", "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(work / "facts"),
            "ANSIBLE_LOG_PATH": str(work / "log" / "ansible.log"), "ANSIBLE_LOG_VERBOSITY": "4",
            "ANSIBLE_VAULT_PASSWORD_FILE": str(self._node.vault_password),
            "ANSIBLE_RETRY_FILES_ENABLED": "1", "ANSIBLE_RETRY_FILES_SAVE_PATH": str(work / "home" / "retry"),
        }  # fmt: skip

    def _inventory(self) -> dict[str, Any]:
        host = {
            "ansible_host": "127.0.0.1", "ansible_port": self._node.port, "ansible_user": "deployer", "ansible_become": True,
            "ansible_ssh_private_key_file": str(self._node.identity), "ansible_python_interpreter": "/usr/bin/python3",
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self._node.known_hosts} -o IdentitiesOnly=yes",
        }  # fmt: skip
        probes = [
            {"name": name, "url": f"http://127.0.0.1:8080/api/{name}/1/reveal", "token_file": "/etc/servos/admin_token"}
            for name in ("servers", "builders", "services", "registries")
        ]
        variables = {
            "servos_probes": probes, "servos_health_url": "http://127.0.0.1:8080/api/health", "servos_start_timeout": 15,
            "servos_backup_dir": "/var/lib/servos/backups",
        }  # fmt: skip
        return {"servos_control": {"hosts": {"control": host}, "vars": variables}}

    def play(self, playbook: str, *argv: str, **variables: Any) -> Played:
        """Run a playbook of this folder's; C(variables) go on the command line, where a user puts them."""
        self._played += 1
        inventory = self._work / "inventory.json"
        inventory.write_text(json.dumps(self._inventory()))
        command = [
            str(self._programs / "ansible-playbook"), "-i", str(inventory), "-vvvv", "--diff", str(HERE / "playbooks" / f"{playbook}.yml"),
            *argv, "-e", json.dumps(variables),
        ]  # fmt: skip
        mounts = [(self._work / "var-tmp", "/var/tmp"), (self._work / "shm", "/dev/shm")]
        if not str(HERE).startswith("/tmp/"):
            mounts.append((self._work / "tmp", "/tmp"))
        script = "".join(f"mount --bind {shlex.quote(str(source))} {target} && " for source, target in mounts) + 'exec "$@"'
        # With the first process of the namespace all others end, kept connections too.
        isolated = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child", "sh", "-c", script, "sh", *command]
        catcher = Catcher([self._work / "home" / ".ansible" / "tmp", self._work / "tmp", self._work / "var-tmp"], self._work / "caught")
        catcher.start()
        done = subprocess.run(
            isolated, env=self._environment(), cwd=self._work / "home", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, timeout=900, check=False,
        )  # fmt: skip
        catcher.finish()
        (self._work / "output" / f"{self._played}-{playbook}").write_bytes(done.stdout)
        return Played(done.returncode, done.stdout.decode("utf-8", "replace"))

    def items(self) -> Iterator[Item]:
        """Give all that the runs have left on the controller."""
        places = dict(_ARTIFACTS, output="output", home="controller home")
        places |= dict.fromkeys(("caught", "tmp", "var-tmp", "shm"), "controller temp")
        for folder, place in places.items():
            for path in sorted((self._work / folder).rglob("*")):
                if path.is_file() and not path.is_symlink():
                    yield Item(place, str(path.relative_to(self._work)), path.read_bytes())
