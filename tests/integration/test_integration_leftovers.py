# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Half-written files of a killed run: whoever works on the installation next clears them, and who only looks does not."""

from __future__ import annotations

from pathlib import Path

import pytest
from installations import NEW, OTHER, Servos, assert_same, b64, write

PLACES = (*(f"var/rotation/.{name}" for name in ("staged.key", "previous.key", "withdrawn.key", "record.json")), ".servos.env")


@pytest.fixture
def leftover(quiet: Servos, request: pytest.FixtureRequest) -> Path:
    """The file that a kill leaves between the write of a file and its rename."""
    quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))))
    return write(quiet.folder / f"{request.param}.servos-ops-new", b64(OTHER))


@pytest.mark.parametrize("leftover", PLACES, indirect=True, ids=lambda place: place.rpartition(".")[0].strip("./") or place)
@pytest.mark.parametrize("direction", ["forward", "back"])
def test_the_next_run_clears_what_a_killed_one_left(quiet: Servos, leftover: Path, direction: str) -> None:
    assert not quiet.rotate(direction=direction).failed
    assert not leftover.exists()


@pytest.mark.parametrize("leftover", PLACES[-1:], indirect=True)
def test_looking_and_check_mode_leave_it(quiet: Servos, leftover: Path) -> None:
    before = quiet.snapshot()
    quiet.info()
    quiet.rotate(check=True)
    assert_same(before, quiet.snapshot())
