# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Docker is one for the whole machine, so the processes of tests that use it agree on who starts it and who takes it back."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

LAB = Path(__file__).resolve().parents[1] / "lab"


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _make(command: str, made: Path, *, is_there: bool, down: list[str]) -> None:
    """Make what is wanted of the lab; if it was not there, write down how it is taken back."""
    subprocess.run(command.split(), cwd=LAB, check=True, capture_output=True, timeout=600)
    if not is_there:
        with made.open("a") as stream:
            stream.write(json.dumps(down) + "\n")


@contextlib.contextmanager
def docker_for_tests(image: str) -> Iterator[None]:
    """Have Docker and the image. Of all the processes of tests on this machine, the last takes back what one of them made."""
    place = Path(tempfile.gettempdir()) / f"servos-ops-tests-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    made = place / "made"
    with (place / "users").open("w") as users:
        with _held(place / "lock"):
            fcntl.flock(users, fcntl.LOCK_SH)
            _make("./engine-up", made, is_there=_answers("docker", "version"), down=[str(LAB / "engine-down")])
            has_image = _answers("docker", "image", "inspect", image)
            _make("./box-image docker", made, is_there=has_image, down=[str(LAB / "box-image"), "docker", "down"])
        try:
            yield
        finally:
            with _held(place / "lock"):
                _take_back(users, made)


def _take_back(users: IO[str], made: Path) -> None:
    fcntl.flock(users, fcntl.LOCK_UN)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # others are at work
    for line in reversed(made.read_text().splitlines() if made.exists() else []):
        subprocess.run(json.loads(line), check=True, capture_output=True, timeout=120)
    made.unlink(missing_ok=True)


def _answers(*argv: str) -> bool:
    return shutil.which(argv[0]) is not None and subprocess.run(argv, capture_output=True, timeout=120, check=False).returncode == 0
