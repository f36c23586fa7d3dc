# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One audited run: a test host, a controller, a watch over processes, and the search through all that they leave."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controller import Controller, Played
from memory import end_as_a_fault_would, holders, open_to_others
from node import BELONGS, HERE, Node
from search import Finding, Item, Searched, Secret, search

# Every place that a search must have found something to read in.
PLACES = frozenset({
    "argv", "environments",
    "output", "log file", "JSON artifacts", "JUnit artifacts", "tree artifacts", "fact cache", "controller temp", "controller home",
    "remote temp", "async jobs", "state directory", "backups", "system log", "core dumps", "temporary directories",
    "runtime directory", "other files",
})  # fmt: skip
_SERVICE = "/opt/servos-reference/server.py"


def new_key() -> str:
    """Make a key whose Base64 has both of the characters in which alphabets and URLs differ."""
    while True:
        text = base64.b64encode(os.urandom(32)).decode()
        if "+" in text[:42] and "/" in text[:42]:
            return text


class Audit:
    """A run under audit. Use it as a context: what it started is gone at the end."""

    def __init__(self, name: str, work: Path, *, programs: Path, collections: str, pipelining: bool) -> None:
        self.name, self._work = name, work
        shutil.rmtree(work, ignore_errors=True)
        for folder in ("node", "controller"):
            (work / folder).mkdir(parents=True, mode=0o700)
        self._options = {"programs": programs, "collections": collections, "pipelining": pipelining}
        self._secrets: dict[tuple[str, str], Secret] = {}
        self.held: list[int] = []  # processes that held a key when they were killed
        self.open: list[int] = []  # those of them that another process could have looked into
        self.watched: dict[str, Any] = {}
        self.began = time.monotonic()

    def __enter__(self) -> Audit:
        self.node = Node(f"servos-ops-leaks-{self.name}", self._work / "node")
        try:
            self.controller = Controller(node=self.node, work=self._work / "controller", **self._options)
            watch = [sys.executable, HERE / "processes.py", self._work / "processes", self.controller.mark, self.node.pid_namespace()]
            self._watch = subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            if self._watch.stdout is None or self._watch.stdout.readline() != b"watching\n":
                raise RuntimeError("the watch over processes did not begin")
        except BaseException:
            self.node.stop()
            raise
        self.add(Secret("vault password", self.node.vault_password.read_text(), "token"))
        self.escrow = self.controller.escrow
        self.learn()
        return self

    def __exit__(self, *unused: object) -> None:
        self._end_watch()
        self.node.stop()
        for name in ("processes", "corpus"):
            (self._work / name).unlink(missing_ok=True)

    def _end_watch(self) -> None:
        if self._watch.poll() is None:
            self._watch.communicate(timeout=30)

    # What is looked for

    def learn(self) -> None:
        """Remember every secret that is on the host now: keys that are made come and go."""
        for secret in self.node.secrets():
            self._secrets.setdefault((secret.kind, secret.text), secret)

    def add(self, secret: Secret) -> None:
        self._secrets[(secret.kind, secret.text)] = secret

    def secrets(self, kind: str) -> list[Secret]:
        return [secret for secret in self._secrets.values() if secret.kind == kind]

    # What is done

    def play(self, playbook: str, *argv: str, fails: bool = False, **variables: Any) -> Played:
        """Run a playbook, which must end as it should, and remember the secrets that there are then."""
        played = self.controller.play(playbook, *argv, **variables)
        if (played.code != 0) is not fails:
            raise AssertionError(f"{playbook} {variables} ended with {played.code}: {played.text[-4000:]}")
        self.learn()
        return played

    def be_killed(self, interpreter: str) -> None:
        """Run a module that holds keys until it stands still, look into memories, and kill all that hold one."""
        ended: list[Played] = []
        runner = threading.Thread(
            target=lambda: ended.append(self.controller.play("cores", leaks_interpreter=f"/usr/local/bin/{interpreter}"))
        )
        runner.start()
        try:
            while not self.node.run(["sh", "-c", "[ ! -e /root/judge/held ] || echo it stands still"]):
                if not runner.is_alive():
                    raise AssertionError(f"the module ended before it held both keys: {ended[0].text[-3000:] if ended else ''}")
                time.sleep(0.2)
            self.learn()
            staged = next(secret for secret in self.secrets("key") if secret.name.endswith("staged.key"))
            self.held = holders(self.node, staged)
            self.open = open_to_others(self.node, self.held)
            end_as_a_fault_would(self.held)
        finally:
            self.node.run(["touch", "/root/judge/go"])
            runner.join(timeout=300)
        # A core that there should not be keeps its name; the next one does not take its place.
        script = "rm /root/judge/held /root/judge/go; cd /var/tmp/cores; for name in *; do [ ! -e $name ] || mv $name killed.$name; done"
        self.node.run(["sh", "-c", script])
        if not ended or ended[0].code == 0:
            raise AssertionError("a module that was killed is said to have succeeded")

    # What is found

    def _processes(self) -> Iterator[Item]:
        self._end_watch()
        self.watched = json.loads((self._work / "processes").read_text())
        for where, line, environ in self.watched.pop("seen"):
            words = line.replace("\0", " ").strip()
            name = f"{where}: {' '.join(words.split()[:2])[:60]}"
            yield Item("argv", name, line.encode("latin-1"))
            # The service itself runs with its key in its environment; that is the application's design.
            if not (where == "node" and _SERVICE in line and "server.py" in line):
                yield Item("environments", name, environ.encode("latin-1"))

    def search(self) -> Searched:
        """Search everything; what lies where it belongs by name is not a finding."""
        self.node.keep()

        def items() -> Iterator[Item]:
            yield from self._processes()
            yield from self.controller.items()
            yield from self.node.items()

        found = search(items(), list(self._secrets.values()), corpus=self._work / "corpus", must_hold=PLACES)
        return found._replace(findings=[finding for finding in found.findings if not _belongs(finding)])


def _belongs(finding: Finding) -> bool:
    return finding.name in BELONGS.get(finding.kind, ())
