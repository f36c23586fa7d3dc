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

SERVOS, PROVARA = "servos-database-wal/rotate", "provara-database-delete/rotate"
# Where to look, so that a trial or two are enough; and what the harness has to say there.
CAUGHT = {
    "env-before-data": (SERVOS, "kill", "rename staged.key", "before any data was written"),
    "no-scrub": (PROVARA, "kill", "rename staged.key", "REMAINS: provara.db still holds"),
    "loses-previous-key": (PROVARA, "kill", "rename .env", "before the previous key was durable"),
    "no-fsync": (PROVARA, "kill", "rename staged.key", "before the staged key was durable"),
    "swallows-write-error": (PROVARA, "eio", "fsync previous.key (new)", "although another key is in force"),
    "writes-in-place": (PROVARA, "torn", "write .env", "it was changed by hand"),
    "not-detached": (PROVARA, "kill", "rename staged.key", "by the process that dies with its connection"),
    "no-lock": (PROVARA, "second", "write staged.key (new)", "was not refused while the first held the lock"),
    "leaves-the-copy": (PROVARA, "kill", "write backup copy", "LEFTOVER: var/backups/"),
    "unforeseen-error": (PROVARA, "enospc", "write database-journal", "failed without a clear message"),
}


def faults(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(HERE / "faults.py"), "--work", str(work), "--jobs", "1", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize(("place", "fault", "kind", "words"), CAUGHT.values(), ids=CAUGHT)
def test_a_planted_defect_is_caught(tmp_path: Path, request: pytest.FixtureRequest, place: str, fault: str, kind: str, words: str) -> None:
    defect = request.node.callspec.id
    done = faults(tmp_path, "--only", place, "--faults", fault, "--kind", kind, "--plant", defect, "--stop-after", "1")
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout, done.stdout + done.stderr


def test_without_a_defect_all_holds(tmp_path: Path) -> None:
    kinds = [f"write {name} (new)" for name in ("staged.key", "previous.key", ".env")]
    done = faults(tmp_path, "--only", PROVARA, "--faults", "torn", "--kind", *kinds)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 did not hold" in done.stdout
