# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet on one machine: many installations in one inventory, a few of them with two control hosts, rotated batch by batch.

    fleet.py [--installations 50] [--pairs 5] [--serial 10,15] [--forks 10] [--work DIR]

Three runs: one that a broken installation must stop before the batch after it, one that finishes what is left, and one that has
nothing to do. Exit 0: every installation is on one new key of its own, and its own reader finds everything under it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


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
        for number in range(count):
            name = f"i{number:03d}"
            names = (f"{name}a", f"{name}b") if number < pairs else (f"{name}a",)
            self.installations[name] = make_shared(work / name, template, names)

    def hosts(self) -> dict[str, Any]:
        return {name: servos for hosts in self.installations.values() for name, servos in hosts.items()}

    def inventory(self) -> dict[str, Any]:
        from shared_installations import inventory_of_shared

        groups: dict[str, Any] = {}
        for name, hosts in self.installations.items():
            groups |= inventory_of_shared(hosts, group=name)["servos_control"]["children"]
        return {"servos_control": {"children": groups}}

    def play(self, name: str, *argv: str, forks: int) -> tuple[int, str, float]:
        from playbook_runs import environment_of

        path = self.work / "inventory.json"
        path.write_text(json.dumps(self.inventory()))
        first = next(iter(self.hosts().values()))
        began = time.monotonic()
        done = subprocess.run(
            [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(path), f"servos.ops.{name}", *argv],
            env=environment_of(first, ANSIBLE_FORKS=str(forks), ANSIBLE_PIPELINING="1"), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=3000, check=False,
        )  # fmt: skip
        (self.work / f"said-{name}").write_text(done.stdout)
        return done.returncode, done.stdout, time.monotonic() - began

    def problems(self) -> list[str]:
        """Every installation runs on one new key of its own, and the application's own reader finds everything under it."""
        found, keys = [], set()
        for name, hosts in self.installations.items():
            texts = {text for servos in hosts.values() for text in (servos.env_text(), servos.process_key_text())}
            if len(texts) != 1 or self.old_text in texts:
                found.append(f"{name} is not on one new key")
                continue
            new = texts.pop()
            keys.add(new)
            verdict = next(iter(hosts.values())).judge(str(new), self.old_text)
            if verdict["exit"]:
                found.append(f"{name}: {verdict}")
        if not found and len(keys) != len(self.installations):
            found.append("two installations have the same key")
        return found

    def rotated(self) -> int:
        return sum(servos.env_text() != self.old_text for servos in self.hosts().values())

    def tear_down(self) -> None:
        for servos in self.hosts().values():
            servos.tear_down()


def main() -> int:
    parser = argparse.ArgumentParser(description="Rotate a fleet of installations on this machine.")
    parser.add_argument("--installations", type=int, default=50)
    parser.add_argument("--pairs", type=int, default=5, help="so many of them have two control hosts")
    parser.add_argument("--serial", default="10,15", help="sizes of batches, the last one for the rest")
    parser.add_argument("--forks", type=int, default=10)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=ROOT / ".work" / "fleet")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "integration"))
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    serial = json.dumps({"servos_serial": [int(size) for size in arguments.serial.split(",")], "servos_rotation_id": "one"})
    fleet = Fleet(arguments.work, count=arguments.installations, pairs=arguments.pairs)
    problems = []
    try:
        hosts = list(fleet.hosts())
        broken = fleet.hosts()[hosts[int(arguments.serial.split(",")[0])]]  # of the second batch
        kept = broken.env_file.read_text()
        broken.env_file.write_text(re.sub(r"(_MASTER_KEY=).*", r"\1not-a-key", kept))
        code, text, first_s = fleet.play("rotate", "-e", serial, "-e", "servos_max_fail_percentage=0", forks=arguments.forks)
        broken.env_file.write_text(kept)
        stopped_after = fleet.rotated()
        if code == 0 or "servos_max_fail_percentage" not in text:
            problems.append("the broken installation did not stop the batch after it")
        code, text, second_s = fleet.play("rotate", "-e", serial, forks=arguments.forks)
        if code:
            problems.append(f"the rest was not rotated: {text[-2000:]}")
        problems += fleet.problems()
        code, text, third_s = fleet.play("rotate", "-e", serial, forks=arguments.forks)
        if code or any("changed=0" not in line for line in text.splitlines() if "unreachable=" in line):
            problems.append(f"a run with nothing to do changed something: {text[-2000:]}")
    finally:
        fleet.tear_down()
    for problem in problems:
        print(f"FAILED {problem}")
    count = len(hosts)
    print(
        f"\n# A fleet of {arguments.installations} installations, {count} control hosts\n\n"
        f"batches {arguments.serial}, forks {arguments.forks}, {os.cpu_count()} cores, all on this machine\n"
        f"stopped by one broken installation: {stopped_after} hosts rotated, {first_s:.0f} s\n"
        f"the rest: {count - stopped_after} hosts, {second_s:.0f} s\n"
        f"nothing to do: {count} hosts, {third_s:.0f} s, {third_s / count:.2f} s a host\n"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
