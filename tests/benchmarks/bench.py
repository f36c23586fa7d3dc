# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Figures against their floors in the same run: one table (.work/bench/result.md and .json), and one plot (plot.svg).

CPU time is what counts, since others use the machine; where wall time is asked for, it is shown. The goals are those of
docs/performance.md; one that is missed is said in the table and by exit code 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sqlite3
import sys
import time
from pathlib import Path

import cryptography
import nodes
import peers
import playbook
import plot
import postgres_limits
import sqlite_limits
import tools
import watching
import windows
from measure import HERE, FailedError, Report

_SECTIONS = ("limits", "watching", "postgres", "peers", "tools", "windows", "playbook", "nodes")
_QUICK = [1_000, 10_000, 100_000]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--values", type=int, nargs="+", default=_QUICK, help="sizes for the limits")
    parser.add_argument("--full", action="store_true", help="up to a million values; wants 2 GB of disk and half an hour")
    parser.add_argument("--repeat", type=int, default=3, help="runs of which the median is taken")
    parser.add_argument("--only", choices=_SECTIONS, nargs="+", default=list(_SECTIONS))
    parser.add_argument("--local", action="store_true", help="the playbook without ssh")
    parser.add_argument("--work", type=Path, default=HERE.parent.parent / ".work" / "bench")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers it started are stopped
    work: Path = arguments.work.resolve()
    work.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.umask(0o077)
    sizes = [*_QUICK, 1_000_000] if arguments.full else sorted(arguments.values)
    machine = (
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, cryptography {cryptography.__version__}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; medians of {arguments.repeat} interleaved runs"
    )
    print(machine)
    report = Report()
    sections = {
        "limits": lambda: sqlite_limits.run(report, work, sizes=sizes, repeat=arguments.repeat),
        "watching": lambda: watching.run(report, work),
        "postgres": lambda: postgres_limits.run(report, work, sizes=sizes, repeat=arguments.repeat),
        "peers": lambda: peers.run(report, work, repeat=arguments.repeat),
        "tools": lambda: tools.run(report, work, repeat=arguments.repeat),
        "windows": lambda: windows.run(report, work, values=10_000, repeat=arguments.repeat),
        "playbook": lambda: playbook.run(report, work, repeat=arguments.repeat, by_ssh=not arguments.local),
        "nodes": lambda: nodes.run(report, work, endpoints=200, starts=50, repeat=arguments.repeat),
    }
    started, failed = time.monotonic(), []
    for name in arguments.only:
        try:
            sections[name]()
        except FailedError as error:
            failed.append(name)
            report.note("-", f"{name} broke off: {error}")
    (work / "result.json").write_text(json.dumps({"sizes": sizes, "repeat": arguments.repeat, "rows": report.rows}, indent=1) + "\n")
    machine = f"{machine}; load {os.getloadavg()[0]:.1f} at the end"
    (work / "result.md").write_text(f"{machine}\n\n{report.markdown()}")
    (work / "plot.svg").write_text(plot.drawn(report.rows, machine))
    missed = report.missed()
    print(f"\n{len(missed)} goals missed" + (":" if missed else "") + f" ({time.monotonic() - started:.0f} s)")
    for row in missed:
        print(f"  {row['goal']} {row['what']} (n {row['n']}): {row['ratio']:.2f}, goal {row['limit']}")
    return 1 if missed or failed else 0


if __name__ == "__main__":
    sys.exit(main())
