# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run servos_hostkey on one file of pins, and ask ssh-keygen what it finds there."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from module_runs import ModuleRun, Outcome
from ports import free_port
from sshds import Sshd


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A place for the file of pins in a directory that holds nothing else."""
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store" / "known_hosts"


@pytest.fixture
def sshd(tmp_path: Path, genuine: Path) -> Iterator[Sshd]:
    """The genuine server, on two names for one machine."""
    with Sshd(tmp_path / "sshd", genuine, free_port("127.0.20.1"), ["127.0.20.1", "::1"]) as started:
        yield started


def run(store: Path, *hosts: Any, check: bool = False, prepare: Any = (), **options: Any) -> Outcome:
    return ModuleRun("servos_hostkey", {"hosts": list(hosts), "path": str(store), **options}, check=check, prepare=prepare).wait(180)


def found_by_ssh_keygen(store: Path, name: str) -> set[str]:
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", str(store)], capture_output=True, text=True, timeout=20, check=False)
    return {" ".join(line.split()[1:3]) for line in done.stdout.splitlines() if line and not line.startswith("#")}
