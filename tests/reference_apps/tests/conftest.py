# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the reference applications' own tests: a filled database, made once and copied for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from reference_harness import ADMIN_TOKEN, NEW_KEY, OLD_KEY, OTHER_KEY, USER_TOKEN, Installation, b64, run_script


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
