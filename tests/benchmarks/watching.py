# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What it costs a census and a rewrap that somebody asks how far they have come: the same work, watched and unwatched, in turns.

One or two in a hundred are less than a busy machine adds to any single run, so there are many short ones, each in a fork of its own, by
twos, and what counts is the median of the ratios of the two.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import sys
import time
import typing as t
from pathlib import Path

import data
from measure import Report, process

_VALUES = 4_000
_TURNS = 40
_GOAL = 1.02


def run(report: Report, work: Path) -> None:
    """Measure, and hold the ratio to its goal."""
    source = work / "watching.db"
    keys = data.make_keys(work)
    data.servos_database(source, _VALUES, keys, journal="wal")
    try:
        unused, said = process([sys.executable, __file__, str(source), *keys])
    finally:
        data.remove(source)
        data.remove(work / "watching-run.db")
    ratio: float = json.loads(said)
    report.held("P1", "CPU of census and rewrap that are watched / that are not", _VALUES, ratio, at_most=_GOAL)


def main(source: Path, old_path: str, new_path: str) -> None:
    """Print the median ratio of the CPU of a watched turn to that of an unwatched one beside it."""
    ratios = []
    for unused_turn in range(_TURNS):
        seconds: dict[bool, float] = {}
        for is_watched in random.sample([True, False], 2):
            read_end, write_end = os.pipe()
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    cost_s = _turn(source, old_path, new_path, is_watched=is_watched)
                    os.write(write_end, repr(cost_s).encode())
                    code = 0
                finally:
                    os._exit(code)
            os.close(write_end)
            with os.fdopen(read_end, "rb") as stream:
                seconds[is_watched] = float(stream.read())
            os.waitpid(child, 0)
        ratios.append(seconds[True] / seconds[False])
    print(json.dumps(statistics.median(ratios)))


def _turn(source: Path, old_path: str, new_path: str, *, is_watched: bool) -> float:
    from ansible_collections.servos.ops.plugins.module_utils._rotation import census, profile, rewrap
    from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import Cipher
    from ansible_collections.servos.ops.plugins.module_utils._stores.sqlite import SqliteDatabase
    from ansible_collections.servos.ops.plugins.module_utils._system import progress as watching

    old, new = (Cipher(bytes.fromhex(Path(path).read_text())) for path in (old_path, new_path))
    database = SqliteDatabase(str(data.fresh_copy(source, source.with_name("watching-run.db"))))
    watching._QUIET_S = 0
    progress = watching.Progress(os.urandom(16).hex() if is_watched else None)
    progress.begin("census")
    described, sources, tally = profile.build_profile("servos", None), {"old": old}, rewrap.Tally()
    time.sleep(0.02)  # by then it listens
    started = time.process_time()
    seen = database.read(lambda reader: census.take_census(reader, described, sources, progress=progress))
    rewrapper = rewrap.Rewrapper(target=new, sources=sources, nonce_of=os.urandom, tally=tally)
    with database.writing(lock_timeout_s=5) as writer:
        plan: t.Any = [(table, [counted.field for counted in seen.fields], False) for table in writer.tables()]
        rewrap.rewrap_tables(writer, plan, rewrapper, tally, progress=progress, rows=seen.rows)
    cost_s = time.process_time() - started
    if tally.total != _VALUES:
        raise SystemExit(f"{tally.total} values of {_VALUES} were rewrapped")
    return cost_s


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
