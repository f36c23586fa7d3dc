# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P4: ours beside other ways to do the same work: Provara's own (by its stand-in) and a MultiFernet loop."""

from __future__ import annotations

import sys
from pathlib import Path

import data
from measure import Cost, Report, Rounds, process, strategy
from sqlite_limits import module_call

_STAND_IN = Path(__file__).resolve().parent.parent / "reference_apps" / "provara" / "official_loop.py"
_FERNET_VALUES = 20_000


def run(report: Report, work: Path, *, repeat: int) -> None:
    """Measure both peers."""
    keys = data.make_keys(work)
    report.note("P4", "tests/reference_apps/provara/official_loop.py is a STAND-IN in Python for Provara's tool (Node); the goals are for")
    report.note("P4", "the real one, which took 7.7 s at 2,000 rows and 56 s at 20,000 on another day on such a machine")
    for n, goal in ((2_000, 25), (20_000, 50)):
        _provara(report, work, keys, n=n, goal=goal, repeat=repeat)
    _multifernet(report, work, keys, repeat=repeat)


def _provara(report: Report, work: Path, keys: data.Keys, *, n: int, goal: int, repeat: int) -> None:
    source, run_path = work / f"provara-{n}.db", work / "run.db"
    data.provara_database(source, n, keys)

    def stand_in() -> Cost:
        database = data.fresh_copy(source, run_path)
        key_files = ["--old-key-file", keys.old, "--new-key-file", keys.new]
        return process([sys.executable, str(_STAND_IN), "--database", str(database), *key_files])[0]

    try:
        seen = Rounds({
            "stand-in": stand_in,
            "rewrap": lambda: strategy("rewrap", str(data.fresh_copy(source, run_path)), *keys, "provara"),
            "module": lambda: module_call(data.fresh_copy(source, run_path), keys, app="provara"),
        }, repeat=repeat)
    finally:
        data.remove(source)
        data.remove(run_path)
    report.figure("P4", "Provara's table: stand-in of its tool, whole process", n, seen.cost("stand-in"))
    report.figure("P4", "Provara's table: our rewrap", n, seen.cost("rewrap"))
    report.figure("P4", "Provara's table: our whole module call (two censuses, scrub), as a process", n, seen.cost("module"))
    for what in ("rewrap", "module"):
        least = goal if what == "rewrap" else None
        report.held("P4", f"stand-in / our {what}, CPU", n, seen.ratio("stand-in", what), at_least=least)
        report.held("P4", f"stand-in / our {what}, wall", n, seen.ratio("stand-in", what, of="wall_s"), at_least=least)


def _multifernet(report: Report, work: Path, keys: data.Keys, *, repeat: int) -> None:
    ours, theirs, run_path, n = work / "ours.db", work / "fernet.db", work / "run.db", _FERNET_VALUES
    data.servos_database(ours, n, keys, journal="delete")
    data.fernet_database(theirs, n, keys)
    try:
        seen = Rounds({
            "rows": lambda: strategy("multifernet_rows", str(data.fresh_copy(theirs, run_path)), *keys),
            "transaction": lambda: strategy("multifernet_transaction", str(data.fresh_copy(theirs, run_path)), *keys),
            "ours": lambda: strategy("rewrap", str(data.fresh_copy(ours, run_path)), *keys),
        }, repeat=repeat)
    finally:
        for path in (ours, theirs, run_path):
            data.remove(path)
    report.figure("P4", "MultiFernet in a loop, a commit a row", n, seen.cost("rows"))
    report.figure("P4", "MultiFernet in a loop, one transaction", n, seen.cost("transaction"))
    report.figure("P4", "our rewrap of the same plaintexts, read-back included", n, seen.cost("ours"))
    report.held("P4", "MultiFernet, a commit a row / ours, CPU", n, seen.ratio("rows", "ours"), at_least=5)
    report.held("P4", "MultiFernet, one transaction / ours, CPU", n, seen.ratio("transaction", "ours"), at_least=5)
