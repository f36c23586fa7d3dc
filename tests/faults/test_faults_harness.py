# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness itself: each planted defect is caught, by what it does and not by chance, and without one nothing is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent

# Where to look, so that a trial or two are enough; and what the harness has to say there.
CAUGHT = {
    "env-before-data": ("servos-database-wal/rotate", ["eio"], "before any data was written"),
    "no-scrub": ("servos-database-delete/rotate", ["eio"], "REMAINS: servos.db still holds"),
    "loses-previous-key": ("provara-database-delete/rotate", ["eio"], "before the previous key was durable"),
    "no-fsync": ("servos-database-wal/rotate", ["eio"], "before the staged key was durable"),
    "swallows-full-disk": ("provara-database-delete/rotate", ["enospc"], "FAILED provara"),
    "writes-in-place": ("provara-database-delete/rotate", ["torn"], "LOST:"),
    "not-detached": ("servos-database-delete/rotate", ["hangup"], "the work did not go on"),
    "no-lock": ("servos-database-wal/rotate", ["second"], "was not refused while the first held the lock"),
    "leaves-the-copy": ("provara-database-delete/rotate", ["kill"], "LEFTOVER: var/backups/"),
    "unforeseen-error": ("servos-database-delete/rotate", ["enospc"], "failed without a clear message"),
}


def faults(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "faults.py"), "--work", str(work), "--jobs", "2", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("place", "names", "words"), CAUGHT.values(), ids=CAUGHT)
def test_a_planted_defect_is_caught(tmp_path: Path, request: pytest.FixtureRequest, place: str, names: list[str], words: str) -> None:
    defect = request.node.callspec.id
    done = faults(tmp_path, "--only", place, "--faults", *names, "--plant", defect, "--stop-after", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout, done.stdout + done.stderr


def test_without_a_defect_all_holds(tmp_path: Path) -> None:
    done = faults(tmp_path, "--only", "provara-database-delete/rotate", "--faults", "torn")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 did not hold" in done.stdout
