# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A migrated metadata database, copied for each test."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow_site import VENV, Airflow


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of a new Airflow: its airflow.cfg, and its database as `airflow db migrate` makes it."""
    home = tmp_path_factory.mktemp("airflow") / "home"
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    environment |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    subprocess.run([VENV / "bin" / "airflow", "db", "migrate"], env=environment, check=True, timeout=300, capture_output=True)
    return home


@pytest.fixture
def make_airflow(migrated: Path, tmp_path: Path) -> Iterator[Callable[..., Airflow]]:
    """Return a function that sets up an Airflow; whatever runs of it is stopped afterwards."""
    made: list[Airflow] = []

    def make(keys: str, **options: Any) -> Airflow:
        made.append(Airflow(tmp_path / f"site{len(made)}", migrated, keys, **options))
        return made[-1]

    yield make
    for site in made:
        site.tear_down()
