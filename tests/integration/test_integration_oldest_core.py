# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on the oldest ansible-core that is supported, which reads them in its own way, and on the oldest Python for hosts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from installations import Servos
from playbook_runs import environment_of, play


@pytest.fixture(scope="module")
def path() -> str:
    folder = os.environ.get("SERVOS_OLDEST_CORE")
    assert folder, "SERVOS_OLDEST_CORE names the folder of the oldest ansible-core's programs (make integration does)"
    assert (Path(folder) / "ansible-playbook").exists()
    return f"{folder}:{os.environ['PATH']}"


def test_a_rotation_from_its_rehearsal_to_its_end(servos: Servos, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path)
    environment = {name: value for name, value in environment_of(servos).items() if name == "PATH"}
    python = os.environ.get("SERVOS_OLDEST_PYTHON") or sys.executable  # not every machine has one that old
    reports = servos.scratch / "reports"
    for name in ("rehearse", "rotate", "rollback", "retire"):
        done = play(servos, name, environment=environment, python=python, servos_rotation_id="oldest", servos_report_dir=str(reports))
        assert done.code == 0, done.text[-3000:]
        assert "DEPRECATION" not in done.text
    assert len(list(reports.glob("*.html"))) == 4
