# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P1, P2, P8: our transaction against what SQLite and the cipher cost in any case, and the module call against our transaction."""

from __future__ import annotations

import functools
import json
import shutil
import sys
import typing as t
from pathlib import Path

import data
import growth
from measure import MB, Cost, Report, Rounds, median, process, strategy

_MOST_COMMITS = 10_000
_MODULE = "ansible_collections.servos.ops.plugins.modules.servos_key_rotate"


def run(report: Report, work: Path, *, sizes: t.Sequence[int], repeat: int) -> None:
    """Measure every size in both journal modes."""
    keys = data.make_keys(work)
    taken: dict[str, dict[int, float]] = {"wal": {}, "delete": {}}
    for n in sizes:
        for journal in ("wal", "delete"):
            source = work / f"source-{n}-{journal}.db"
            data.servos_database(source, n, keys, journal=journal)
            try:
                rewrap = _one_size(report, source, work / "run.db", keys, n=n, journal=journal, repeat=_repeats(n, repeat),
                                   is_largest=n == max(sizes))
            finally:
                data.remove(source)
                data.remove(work / "run.db")
            taken[journal][n] = rewrap.cpu_s
    for journal, cpu_s in taken.items():
        growth.hold(report, f"rewrap, {journal}", cpu_s, _few(work, keys, journal=journal))


def _few(work: Path, keys: data.Keys, *, journal: str) -> float:
    """Return the CPU seconds of a rewrap of hardly any values."""
    source, copy = work / "few.db", work / "run.db"
    data.servos_database(source, growth.FEW, keys, journal=journal)
    try:
        return median([strategy("rewrap", str(data.fresh_copy(source, copy)), *keys) for unused in range(growth.FEW_REPEATS)]).cpu_s
    finally:
        data.remove(source)
        data.remove(copy)


def _repeats(n: int, repeat: int) -> int:
    return repeat * 3 if n <= 1000 else repeat


def _one_size(
    report: Report, source: Path, run_path: Path, keys: data.Keys, *, n: int, journal: str, repeat: int, is_largest: bool
) -> Cost:
    size_mb = source.stat().st_size / MB

    def on_copy(name: str) -> Cost:
        return strategy(name, str(data.fresh_copy(source, run_path)), *keys)

    names = {
        "floor": "floor: UPDATE in ranges, no cryptography", "floor_in_sql": "the same without a Python function (information)",
        "crypto_pass": "crypto pass: read, open, seal, no write", "rewrap": "our rewrap, read-back included",
        "rewrap_unread": "our rewrap without its read-back, for the goal only", "in_memory": "naive: all in memory, then executemany",
        "executemany": "naive: pages and executemany, one transaction", "rows": "naive: row by row, one transaction",
        "census": "our census", "scrub": "our scrub",
    }
    runs: dict[str, t.Callable[[], Cost]] = {name: functools.partial(on_copy, name) for name in names}
    runs["module"] = lambda: module_call(data.fresh_copy(source, run_path), keys)
    seen = Rounds(runs, repeat=repeat)
    for name, what in names.items():
        line = None if name in ("census", "scrub", "rewrap_unread", "floor_in_sql") else (f"SQLite, {journal.upper()}", what)
        goal = "P2" if name in ("census", "scrub") else "P1"
        report.figure(goal, f"{journal}, {size_mb:.1f} MB: {what}", n, seen.cost(name), line=line)
    if n <= _MOST_COMMITS and journal == "wal":  # once: it takes longer than all others together
        what = "naive: row by row, a commit each"
        line = (f"SQLite, {journal.upper()}", what)
        report.figure("P1", f"{journal}, {size_mb:.1f} MB: {what}", n, on_copy("rows_commit_each"), line=line)
    report.figure("P2", f"{journal}: whole module call until=rewrapped, as a process", n, seen.cost("module"))
    rewrap = seen.cost("rewrap")
    # The goals are for large data; at a thousand values the fixed costs are all there is.
    cpu_goal, unread_goal, bytes_goal = (1.25, 1.15, 2.1) if n >= 10_000 else (None, None, None)
    module_goal = 3 if is_largest and n >= 100_000 else None
    cpu, written = seen.ratio("rewrap", "floor", "crypto_pass"), (rewrap.written_mb or 0) / size_mb
    report.held("P1", f"{journal}: CPU of our rewrap / (floor + crypto pass)", n, cpu, at_most=cpu_goal)
    unread = seen.ratio("rewrap_unread", "floor", "crypto_pass")
    report.held("P1", f"{journal}: the same without read-back", n, unread, at_most=unread_goal)
    report.held("P1", f"{journal}: bytes written by our rewrap / database", n, written, at_most=bytes_goal)
    report.held("P1", f"{journal}: memory growth of our rewrap, MB", n, rewrap.memory_mb or 0, at_most=25)
    report.held("P2", f"{journal}: memory growth of our census, MB", n, seen.cost("census").memory_mb or 0, at_most=25)
    report.held("P2", f"{journal}: CPU of the module call / our rewrap", n, seen.ratio("module", "rewrap"), at_most=module_goal)
    return rewrap


def module_call(database: Path, keys: data.Keys, *, app: str = "servos") -> Cost:
    """Run M(servos.ops.servos_key_rotate) as Ansible would on the host: a Python process with its arguments in a file."""
    state_dir = Path(str(database) + ".state")
    shutil.rmtree(state_dir, ignore_errors=True)
    arguments = Path(str(database) + ".json")
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {
        "app": app, "database": f"sqlite:///{database}", "state_dir": str(state_dir), "service_manager": "none", "until": "rewrapped",
        "old_key_file": keys.old, "new_key_file": keys.new, "_ansible_remote_tmp": str(database.parent),
    }}))
    try:
        cost, said = process([sys.executable, "-m", _MODULE, str(arguments)])
    finally:
        arguments.unlink()
        shutil.rmtree(state_dir, ignore_errors=True)
    result = json.loads(said)
    if not result["rewrapped"] or result["rewrapped"] != result["sealed_values"]:
        raise SystemExit(f"the module call did not do its work: {said[:500]}")
    return cost
