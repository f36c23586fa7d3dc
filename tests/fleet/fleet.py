# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet on one machine: many installations in one inventory, a few of them with two control hosts, rotated batch by batch.

    fleet.py [--installations 50] [--pairs 5] [--serial 10,15] [--forks 10] [--work DIR]

One installation of the second batch is broken. Four runs: one whose limit allows no failure, which has to leave the batches after that
one untouched; one whose limit allows this failure, which has to rotate all the others; one that finishes the mended installation; and
one that has nothing to do. After each of them every key is read from env files and processes, and what is sealed by the application's
own reader. Exit 0: each run did that and no more, and every installation was rotated once, to a key of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_LIMIT_S = 3000


class Run(NamedTuple):
    """What a playbook said, and how long each of its batches took."""

    code: int
    text: str
    batches_s: list[float]

    def wall_s(self) -> float:
        return sum(self.batches_s)

    def failed(self) -> set[str]:
        """Name the hosts of which the recap counts a failure."""
        return {found[1] for found in re.finditer(r"^(\S+)\s+: ok=.*failed=[1-9]", self.text, re.M)}

    def changed(self) -> set[str]:
        return {found[1] for found in re.finditer(r"^(\S+)\s+: ok=.*changed=[1-9]", self.text, re.M)}


class Fleet:
    """Installations by name, each with its hosts."""

    def __init__(self, work: Path, *, count: int, pairs: int) -> None:
        from installations import OLD, b64, reference
        from shared_installations import make_shared

        self.work = work
        template = work / "template"
        template.mkdir(parents=True)
        (template / "old.key").write_text(b64(OLD))
        common = ("--database", template / "servos.db", "--key-file", template / "old.key")
        reference("servos/schema.py", "init", *common)
        reference("servos/schema.py", "fill", *common, "--values", 60, "--manifest", template / "manifest.json")
        self.old_text = b64(OLD)
        self.installations: dict[str, dict[str, Any]] = {}
        try:
            for number in range(count):
                name = f"i{number:03d}"
                names = (f"{name}a", f"{name}b") if number < pairs else (f"{name}a",)
                self.installations[name] = make_shared(work / name, template, names)
        except BaseException:
            self.tear_down()
            raise

    def hosts(self) -> dict[str, Any]:
        return {name: servos for hosts in self.installations.values() for name, servos in hosts.items()}

    def inventory(self) -> dict[str, Any]:
        from shared_installations import inventory_of_shared

        groups: dict[str, Any] = {}
        for name, hosts in self.installations.items():
            groups |= inventory_of_shared(hosts, group=name)["servos_control"]["children"]
        return {"servos_control": {"children": groups}}

    def play(self, name: str, *argv: str, forks: int) -> Run:
        from playbook_runs import environment_of

        path = self.work / "inventory.json"
        path.write_text(json.dumps(self.inventory()))
        started = subprocess.Popen(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(path), "servos.ops.rotate", *argv],
            env=environment_of(next(iter(self.hosts().values())), ANSIBLE_FORKS=str(forks), ANSIBLE_PIPELINING="1"),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        stop = threading.Timer(_LIMIT_S, started.kill)
        stop.start()
        lines, begun = [], []
        try:
            for line in started.stdout or ():
                lines.append(line)
                if line.startswith(("PLAY [Rotate", "PLAY RECAP")):
                    begun.append(time.monotonic())
            code = started.wait()
        finally:
            stop.cancel()
            started.kill()
            started.wait()
        (self.work / f"said-{name}").write_text("".join(lines))
        return Run(code, "".join(lines), [end - begin for begin, end in zip(begun, begun[1:], strict=False)])

    def keys(self) -> dict[str, tuple[str, str | None]]:
        """Return of each host the key in its env file, and that of its process."""
        return {name: (servos.env_text(), servos.process_key_text() if servos.pid() else None) for name, servos in self.hosts().items()}

    def sealed(self, names: Sequence[str]) -> list[str]:
        """Say of these installations what the application's own reader does not find under the one key that their hosts have."""
        found, keys = [], self.keys()
        for name in names:
            texts = {text for host in self.installations[name] for text in keys[host]}
            text = texts.pop()
            if texts or text is None:
                found.append(f"{name} is not on one key")
                continue
            earlier = None if text == self.old_text else self.old_text
            verdict = next(iter(self.installations[name].values())).judge(text, earlier)
            if verdict["exit"]:
                found.append(f"{name}: {verdict}")
        return found

    def of(self, hosts: Sequence[str]) -> list[str]:
        return [name for name, own in self.installations.items() if set(own) & set(hosts)]

    def tear_down(self) -> None:
        for servos in self.hosts().values():
            servos.tear_down()


class Trial:
    """The four runs, and what each of them should have done."""

    def __init__(self, fleet: Fleet, sizes: Sequence[int], forks: int) -> None:
        self.fleet, self.forks = fleet, forks
        self.problems: list[str] = []
        self.hosts = list(fleet.hosts())
        self.begun = self.hosts[: sum(sizes[:2])]
        self.broken = self.hosts[sizes[0]]
        self.refused = self.hosts[len(self.begun) : len(self.begun) + (sizes[2] if len(sizes) > 2 else sizes[-1])]
        self._serial = json.dumps({"servos_serial": list(sizes), "servos_rotation_id": "one"})

    def play(self, name: str, rotated: Sequence[str], *, failed: Sequence[str] = (), limit: int = 100, argv: Sequence[str] = ()) -> Run:
        """Run it, and compare: these are rotated from one key to another, no other one has another key than before."""
        before = self.fleet.keys()
        run = self.fleet.play(name, "-e", self._serial, "-e", f"servos_max_fail_percentage={limit}", *argv, forks=self.forks)
        after = self.fleet.keys()
        moved = {host for host in self.hosts if after[host] != before[host]}
        self._expect(name, "rotated", moved, set(rotated))
        self._expect(name, "failed", run.failed(), set(failed))
        self._expect(name, "changed", run.changed() - set(failed), set(rotated))
        again = [host for host in rotated if before[host][0] != self.fleet.old_text]
        if again:
            self.problems.append(f"{name}: {again} were rotated a second time")
        if bool(run.code) != bool(failed):
            self.problems.append(f"{name}: exit {run.code}: {run.text[-2000:]}")
        well = self.fleet.of([host for host in self.hosts if host != self.broken])
        self.problems += [f"{name}: {one}" for one in self.fleet.sealed(well)]
        return run

    def _expect(self, name: str, what: str, found: set[str], wanted: set[str]) -> None:
        if found != wanted:
            self.problems.append(f"{name}: {what} too many {sorted(found - wanted)}, too few {sorted(wanted - found)}")

    def runs(self) -> dict[str, Run]:
        servos = self.fleet.hosts()[self.broken]
        kept = servos.env_file.read_text()
        servos.env_file.write_text(re.sub(r"(_MASTER_KEY=).*", r"\1not-a-key", kept))
        well = [host for host in self.hosts if host != self.broken]
        first = [host for host in self.begun if host != self.broken]
        late = [host for host in self.hosts if host not in self.begun]
        # All hosts of the third batch refuse, so that Ansible does not begin a fourth one.
        done = {"no failure allowed": self.play("1", first, failed=[self.broken, *self.refused], limit=0)}
        told = re.findall(r"^fatal: \[(\S+?)\].*servos_max_fail_percentage=0 allows", done["no failure allowed"].text, re.M)
        self._expect("1", "told of the limit", set(told), set(self.refused))
        done["one failure allowed"] = self.play("2", late, failed=[self.broken], limit=-(-100 // len(self.hosts)))
        servos.env_file.write_text(kept)
        done["the mended one, by its name"] = self.play("3", [self.broken], argv=("--limit", self.broken))
        done["nothing to do"] = self.play("4", [])
        keys = self.fleet.keys()
        if len({keys[host][0] for host in well}) != len(self.fleet.of(well)):
            self.problems.append("two installations have the same key")
        self.problems += self.fleet.sealed(list(self.fleet.installations))
        return done


def main() -> int:
    parser = argparse.ArgumentParser(description="Rotate a fleet of installations on this machine.")
    parser.add_argument("--installations", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=5, help="so many of them, the first ones, have two control hosts")
    parser.add_argument("--serial", default="10,15", help="sizes of batches; the last one is that of all the rest as well")
    parser.add_argument("--forks", type=int, default=10)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=ROOT / ".work" / "fleet")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.serial.split(",")]
    if len(sizes) < 2 or sizes[0] < 2 * arguments.pairs or arguments.installations + arguments.pairs <= sum(sizes[:2]):
        parser.error("two batches at least, of which the first holds all pairs, and hosts left for a third one")
    sys.path.insert(0, str(HERE.parent / "integration"))
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    fleet = Fleet(arguments.work, count=arguments.installations, pairs=arguments.pairs)
    try:
        trial = Trial(fleet, sizes, arguments.forks)
        done = trial.runs()
    finally:
        fleet.tear_down()
    for problem in trial.problems:
        print(f"FAILED {problem}")
    print(
        f"\n# A fleet of {arguments.installations} installations, {len(trial.hosts)} control hosts\n\n"
        f"batches of {arguments.serial}, forks {arguments.forks}, {os.cpu_count()} cores, all on this machine; {len(trial.problems)} "
        f"problems\n\n| run | wall, s | of its batches, s |\n| --- | ---: | --- |"
    )
    for name, run in done.items():
        print(f"| {name} | {run.wall_s():.0f} | {', '.join(f'{one:.0f}' for one in run.batches_s)} |")
    return 1 if trial.problems else 0


if __name__ == "__main__":
    sys.exit(main())
