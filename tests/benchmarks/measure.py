# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure on a machine that others use: CPU time of one process a figure, medians of interleaved runs, ratios in one run."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

HERE = Path(__file__).resolve().parent
MB = 1e6
_LONGEST_S = 1800


class Cost(t.NamedTuple):
    """What one piece of work took: seconds of CPU (user and system), seconds of wall, megabytes; None where not looked at.

    C(server_s) is the CPU of a database server meanwhile, which C(cpu_s) is without.
    """

    cpu_s: float
    wall_s: float
    memory_mb: float | None = None
    written_mb: float | None = None
    server_s: float | None = None


class Meter:
    """Measures a block of this process; the peak of the memory is counted from the block's start."""

    def __enter__(self) -> Meter:
        os.sync()
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, proc(5)
        self._memory, self._written = _status_kib("VmRSS"), _written_bytes()
        self._wall, self._cpu = time.monotonic(), time.process_time()
        return self

    def __exit__(self, *_: object) -> None:
        cpu_s, wall_s = time.process_time() - self._cpu, time.monotonic() - self._wall
        memory_mb = (_status_kib("VmHWM") - self._memory) * 1024 / MB
        self.cost = Cost(cpu_s, wall_s, memory_mb, (_written_bytes() - self._written) / MB)


def _status_kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))


def _written_bytes() -> int:
    """Bytes handed to write(2) and the like; what goes to the disk (write_bytes) depends on how busy its cache is."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar:"))


class FailedError(Exception):
    """A measured process failed; the text holds what it said."""


def environment(**more: str) -> dict[str, str]:
    """The environment of a measured process: the collection under test first."""
    collections = os.environ.get("ANSIBLE_COLLECTIONS_PATH", "").split(":")[0]
    if not Path(collections, "ansible_collections", "servos", "ops").is_dir():
        raise SystemExit("ANSIBLE_COLLECTIONS_PATH names no folder with servos.ops; run make bench")
    without = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return dict(without, PYTHONPATH=collections, LC_ALL="C.UTF-8", **more)


def process(argv: t.Sequence[str], **more: str) -> tuple[Cost, str]:
    """Run a process to its end; return its cost, with that of the children it waited for, and its standard output."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.monotonic()
        child = subprocess.Popen(list(argv), stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=environment(**more))
        try:
            unused, status, used = os.wait4(child.pid, 0)
        except BaseException:
            child.kill()
            child.wait()
            raise
        wall_s = time.monotonic() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        said = output.read()
        if child.returncode:
            raise FailedError(f"{' '.join(argv)} ended with {child.returncode}: {said[-2000:]}{errors.read()[-2000:]}")
    return Cost(used.ru_utime + used.ru_stime, wall_s), said


def strategy(name: str, *arguments: str, **more: str) -> Cost:
    """Run one strategy of strategies.py in a process of its own; the cost is that of its work, without its start."""
    unused, said = process([sys.executable, str(HERE / "strategies.py"), name, *arguments], **more)
    return Cost(*json.loads(said))


class Rounds:
    """What each of several runs cost in each round; in a round they run one after the other, and the first has no fixed place."""

    def __init__(self, runs: t.Mapping[str, t.Callable[[], Cost]], *, repeat: int) -> None:
        self._seen: dict[str, list[Cost]] = {name: [] for name in runs}
        names = list(runs)
        for turn in range(repeat):
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                self._seen[name].append(runs[name]())

    def cost(self, name: str) -> Cost:
        """Return the median cost of one."""
        return median(self._seen[name])

    def ratio(self, above: str, *below: str, of: str = "cpu_s") -> float:
        """Return the median of the rounds' own ratios: what makes the machine slow for a while is in both parts of them."""
        rounds = zip(self._seen[above], *(self._seen[name] for name in below))
        return statistics.median(getattr(top, of) / sum(getattr(cost, of) for cost in rest) for top, *rest in rounds)


def median(costs: t.Sequence[Cost]) -> Cost:
    """Take the median of each figure for itself; of the memory, the largest."""
    memory = [cost.memory_mb for cost in costs if cost.memory_mb is not None]
    written = [cost.written_mb for cost in costs if cost.written_mb is not None]
    server = [cost.server_s for cost in costs if cost.server_s is not None]
    return Cost(
        statistics.median(cost.cpu_s for cost in costs),
        statistics.median(cost.wall_s for cost in costs),
        max(memory) if memory else None,
        statistics.median(written) if written else None,
        statistics.median(server) if server else None,
    )


class Report:
    """The one table: printed row by row as it grows, and kept as JSON."""

    def __init__(self) -> None:
        self.rows: list[dict[str, t.Any]] = []
        names = f"{'CPU s':>9} {'server s':>9} {'wall s':>9} {'mem MB':>7} {'wrote MB':>9} {'figure':>8} {'goal':>9}  ok"
        print(f"{'':3} {'what':78} {'n':>8} {names}", flush=True)

    def figure(self, goal_id: str, what: str, n: int, cost: Cost, *, line: tuple[str, str] | None = None) -> None:
        """Add what something took; C(line) is the panel of the plot, and the line there, that it is a point of."""
        self._add(goal=goal_id, what=what, n=n, line=line, **cost._asdict())

    def held(self, goal_id: str, what: str, n: int, ratio: float, *, at_most: float | None = None, at_least: float | None = None) -> None:
        """Add a figure that is held to a goal, or only shown where it has none."""
        ok, limit = None, None
        if at_most is not None:
            ok, limit = ratio <= at_most, f"<= {at_most:g}"
        elif at_least is not None:
            ok, limit = ratio >= at_least, f">= {at_least:g}"
        self._add(goal=goal_id, what=what, n=n, ratio=ratio, limit=limit, ok=ok)

    def note(self, goal_id: str, text: str) -> None:
        """Add a sentence."""
        self._add(goal=goal_id, what=text)

    def _add(self, **row: t.Any) -> None:
        self.rows.append(row)
        ok = {True: "yes", False: "NO", None: ""}[row.get("ok")]
        print(
            f"{row['goal']:3} {row['what']:78} {row.get('n', ''):>8} {_shown(row.get('cpu_s'), 3):>9} {_shown(row.get('server_s'), 3):>9} "
            f"{_shown(row.get('wall_s'), 3):>9} "
            f"{_shown(row.get('memory_mb'), 1):>7} {_shown(row.get('written_mb'), 1):>9} {_shown(row.get('ratio'), 2):>8} "
            f"{row.get('limit') or '':>9}  {ok}".rstrip(),
            flush=True,
        )

    def missed(self) -> list[dict[str, t.Any]]:
        """Return the rows whose goal does not hold."""
        return [row for row in self.rows if row.get("ok") is False]

    def held_rows(self) -> list[dict[str, t.Any]]:
        """Return the rows that have a goal."""
        return [row for row in self.rows if row.get("ok") is not None]

    def markdown(self) -> str:
        """Return the table as Markdown: first what is held to a goal, then all that was measured."""
        goals = ["| goal | what | values | measured | asked | met |", "| --- | --- | --- | --- | --- | --- |"]
        goals += [
            f"| {row['goal']} | {row['what']} | {row['n']} | {row['ratio']:.2f} | {row['limit']} | {'yes' if row['ok'] else '**no**'} |"
            for row in sorted(self.held_rows(), key=lambda row: row["goal"])
        ]
        names = "| | what | values | CPU s | server CPU s | wall s | memory MB | written MB | ratio |"
        figures = [names, "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"]
        columns = (("cpu_s", 3), ("server_s", 3), ("wall_s", 3), ("memory_mb", 1), ("written_mb", 1), ("ratio", 2))
        for row in (row for row in self.rows if row.get("ok") is None):
            cells = " | ".join(_shown(row.get(name), digits) for name, digits in columns)
            figures.append(f"| {row['goal']} | {row['what']} | {row.get('n', '')} | {cells} |")
        return "\n".join([*goals, "", *figures]) + "\n"


def _shown(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
