# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stop a rotation everywhere, in every way, and show that nothing is lost and that the same command finishes it.

    faults.py [--quick] [--only NAME ...] [--faults NAME ...] [--at N.CALL.N] [--then finish|back] [--jobs N] [--work DIR] [--plant DEFECT]

A first pass traces a whole run: each call at which state crosses a border is a boundary, none is listed by hand. A second
pass repeats the run for each boundary and fault, recovers once, and lets the reference application's reader judge.
Exit 0: all held. 1: something did not, each with the command that repeats it.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_MARK = "SERVOS_FAULTS_LOADED"


def main() -> int:
    parser = argparse.ArgumentParser(description="Inject faults into rotations and judge what is left.")
    parser.add_argument("--quick", action="store_true", help="one combination at every kind of boundary, and a sample of the rest")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="such as servos-api-wal or servos-api-wal/rotate")
    parser.add_argument("--faults", nargs="+", default=[], metavar="NAME", help="these faults only")
    parser.add_argument("--at", nargs="+", default=[], metavar="N.CALL.N", help="these boundaries only, such as 2.fsync.3; see --list")
    parser.add_argument("--kind", nargs="+", default=[], metavar="KIND", help="these kinds only, such as 'rename staged.key'")
    parser.add_argument("--then", choices=["finish", "back"], help="recover this way only")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="a trial waits more than it works")
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=ROOT / ".work" / "faults")
    parser.add_argument("--plant", default="", metavar="DEFECT", help="plant a defect in the collection, to prove the harness")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="every Nth trial only")
    parser.add_argument("--minutes", type=float, default=0, metavar="M", help="try what fits, in a mixed order; the report says how much")
    parser.add_argument("--stop-after", type=int, default=0, metavar="N", help="end after so many failures")
    parser.add_argument("--list", action="store_true", help="show the boundaries and the faults that are tried there, and end")
    arguments = parser.parse_args()
    if _MARK not in os.environ:
        _load_shim(arguments.work)
    os.environ.pop("LD_PRELOAD", None)  # no program that a module runs is to have it
    for place in (HERE.parent / "integration", os.environ["ANSIBLE_COLLECTIONS_PATH"]):
        sys.path.insert(0, str(place))
    return int(importlib.import_module("campaign").campaign(arguments))


def _load_shim(work: Path) -> None:
    """Become the same program with the shim in front of libc, and with room for the environment of servers."""
    from nursery import PADDING
    from shim import build

    environment = os.environ | PADDING | {_MARK: "yes", "LD_PRELOAD": str(build(work)["shim"])}
    os.execve(sys.executable, [sys.executable, str(HERE / "faults.py"), *sys.argv[1:]], environment)


if __name__ == "__main__":
    sys.exit(main())
