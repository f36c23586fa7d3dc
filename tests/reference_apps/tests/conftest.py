# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the reference applications' own tests: a filled database, made once and copied for each test."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from reference_harness import ADMIN_TOKEN, NEW_KEY, OLD_KEY, OTHER_KEY, USER_TOKEN, Installation, b64, run_script

# The launcher of the integration tests starts Pika here too.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "integration"))

from pikas import OLD, Pika, PikaCluster


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with database, manifest, token file and three key files, one of them hex."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "old.key").write_text(b64(OLD_KEY) + "\n")
    (folder / "new.key").write_text(NEW_KEY.hex() + "\n")
    (folder / "other.key").write_text(b64(OTHER_KEY))
    (folder / "tokens").write_text(f"{ADMIN_TOKEN}\n{USER_TOKEN}\n")
    common = ("--database", folder / "servos.db", "--key-file", folder / "old.key")
    run_script("servos/schema.py", "init", *common, "--journal-mode", "wal", check=True)
    run_script("servos/schema.py", "fill", *common, "--values", 60, "--manifest", folder / "manifest.json", check=True)
    return folder


@pytest.fixture
def installation(template: Path, tmp_path: Path) -> Iterator[Installation]:
    """A copy of the template; its server, if the test started one, is stopped."""
    installation = Installation(tmp_path / "installation", template)
    yield installation
    installation.stop()


@pytest.fixture
def make_pika(tmp_path: Path) -> Iterator[Callable[..., Pika]]:
    """Return a function that sets up a server, not yet started; whatever runs is stopped afterwards."""
    made: list[Pika] = []

    def make(**options: Any) -> Pika:
        made.append(Pika(tmp_path / f"pika{len(made)}", **options))
        return made[-1]

    yield make
    for pika in made:
        pika.stop()


@pytest.fixture
def pika(make_pika: Callable[..., Pika]) -> Pika:
    """A server that runs unlocked under OLD, in the newest version."""
    return make_pika().start(unlock=OLD)


@pytest.fixture(scope="module")
def patient_pika(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pika]:
    """A server under OLD for tests whose requests are refused or only read; it does not count failures."""
    pika = Pika(tmp_path_factory.mktemp("patient") / "pika", limiter_window_s=0).start(unlock=OLD)
    yield pika
    pika.stop()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., PikaCluster]]:
    """Return a function that starts a cluster whose nodes are all unlocked under OLD."""
    made: list[PikaCluster] = []

    def make(**options: Any) -> PikaCluster:
        made.append(PikaCluster(tmp_path / f"cluster{len(made)}", **options))
        return made[-1].start(unlock=OLD)

    yield make
    for cluster in made:
        cluster.stop()
