# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Are the tests as strict as they look? mutmut plants one small defect after the other; the share that some test notices is the score.

    mutation.py --work DIR [--sample _sealing=150 _keys=100 _rotation=150] [--minutes 60] [--seed 1]

A defect is tried on the unit tests of the three rooms and on tests/states, on those tests alone that reach the function it is in. There
are many thousands, so each room has a sample, drawn anew when the seed is another. It is drawn from what these tests reach: the rest, of
which the files are named, is for tests/integration, whose modules are processes of their own. What mutmut does not change (what has a
decorator of its own, such as a property, and what stands outside of functions) is not in the figures. Those that nothing noticed are
listed in DIR/survivors.diff: some do the same, some change a word of a message, the others are a test to write.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
COLLECTION = Path("ansible_collections", "servos", "ops")
ROOMS = {"_sealing": 150, "_keys": 100, "_rotation": 150}
# A few that are quickly tried, to have the defects made and the tests listed by what they reach; and to see that all that works.
FIRST = "*._sealing.hpke.*__mutmut_1"
NOTICED = {"killed", "timeout", "segfault"}
TRIED = {*NOTICED, "survived", "suspicious"}


def lay_out(work: Path) -> None:
    """Lay the collection where Python finds it under its full name, with its tests beside it."""
    shutil.rmtree(work, ignore_errors=True)
    leftovers = shutil.ignore_patterns("__pycache__")
    for name in ("plugins", "meta"):
        shutil.copytree(ROOT / name, work / COLLECTION / name, ignore=leftovers)
    shutil.copy(ROOT / "galaxy.yml", work / COLLECTION)
    for name in ("unit", "states", "reference_apps"):
        shutil.copytree(ROOT / "tests" / name, work / "tests" / name, ignore=leftovers)
    for path in (ROOT / "pyproject.toml", HERE / "setup.cfg", HERE / "cheapest_first.py"):
        shutil.copy(path, work)


class Mutmut:
    """The tool, in the folder that it works in."""

    def __init__(self, work: Path) -> None:
        self._work = work
        self._program = str(Path(sys.executable).with_name("mutmut"))
        self._environ = dict(os.environ, ANSIBLE_COLLECTIONS_PATH=str(work / "mutants"), NO_COLOR="1")

    def _say(self, *arguments: str) -> str:
        done = subprocess.run(
            [self._program, *arguments],
            cwd=self._work, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"mutation: mutmut {arguments[0]} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout

    def try_out(self, names: list[str], *, limit_s: float) -> None:
        """Try these defects until the time is over; what was not tried by then is left out of the figures."""
        with open(self._work / "mutmut.log", "ab") as log:
            running = subprocess.Popen(
                [self._program, "run", "--max-children", "1", *names],
                cwd=self._work, env=self._environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
            try:
                code = running.wait(limit_s)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGINT)
                code = running.wait(120) and 0
                print("mutation: the time is over before all of the sample was tried; the quick ones were tried first")
        if code:
            sys.exit(f"mutation: mutmut run ended with {code}; see {log.name}")

    def outcomes(self) -> dict[str, str]:
        """What became of each defect, by its name."""
        pairs = (line.strip().rpartition(": ") for line in self._say("results", "--all", "true").splitlines())
        return {name: outcome for name, unused_colon, outcome in pairs if name}

    def reached(self) -> set[str]:
        """The functions that some test reaches, each by the beginning of its defects' names."""
        listed = json.loads((self._work / "mutants" / "mutmut-stats.json").read_text(encoding="utf-8"))
        return {function for function, tests in listed["tests_by_mangled_function_name"].items() if tests}

    def shown(self, name: str) -> str:
        return self._say("show", name)


def place_of(name: str) -> list[str]:
    """Return the room and the file of a defect."""
    return name.partition(".module_utils.")[2].split(".")[:2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--sample", nargs="*", default=[], metavar="ROOM=NUMBER")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    wanted = {**ROOMS, **{room: int(number) for room, number in (word.split("=") for word in options.sample)}}

    work = options.work.resolve()
    lay_out(work)
    mutmut = Mutmut(work)
    mutmut.try_out([FIRST], limit_s=1800)
    reached = mutmut.reached()
    within: dict[str, list[str]] = {room: [] for room in ROOMS}
    beyond: dict[str, collections.Counter[str]] = {room: collections.Counter() for room in ROOMS}
    for name in sorted(mutmut.outcomes()):
        room, file = place_of(name)
        if name.partition("__mutmut_")[0] in reached:
            within[room].append(name)
        else:
            beyond[room][file] += 1
    drawn = random.Random(options.seed)
    sample = {room: drawn.sample(within[room], min(wanted[room], len(within[room]))) for room in ROOMS}
    for room in ROOMS:
        print(f"mutation: {room}: {len(sample[room])} of {len(within[room])} defects are tried")
        if beyond[room]:
            print(f"mutation: {room}: not reached by these tests:", ", ".join(f"{file} ({n})" for file, n in beyond[room].most_common()))
    sys.stdout.flush()
    mutmut.try_out([name for room in ROOMS for name in sample[room]], limit_s=options.minutes * 60)

    outcomes = mutmut.outcomes()
    unnoticed = []
    for room in ROOMS:
        counted = collections.Counter(outcomes[name] for name in sample[room] if outcomes[name] in TRIED)
        noticed, tried = sum(counted[outcome] for outcome in NOTICED), sum(counted.values())
        unnoticed += [name for name in sample[room] if outcomes[name] in TRIED - NOTICED]
        details = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counted.items()))
        print(f"mutation: {room}: {noticed} of {tried} noticed, {100 * noticed / max(tried, 1):.1f} % ({details})")
    (work / "survivors.diff").write_text("\n".join(mutmut.shown(name) for name in unnoticed), encoding="utf-8")
    print("mutation: what nothing noticed:", work / "survivors.diff")


if __name__ == "__main__":
    main()
