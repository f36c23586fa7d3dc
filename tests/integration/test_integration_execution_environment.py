# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an execution environment with this collection would install, as ansible-builder sees it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILDER = str(Path(sys.executable).with_name("ansible-builder"))


def built(*argv: str, cwd: Path) -> str:
    done = subprocess.run([BUILDER, *argv], cwd=cwd, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_collection_asks_for_two_packages_and_ssh(tmp_path: Path) -> None:
    collections = os.environ["ANSIBLE_COLLECTIONS_PATH"].split(":")[0]
    found = yaml.safe_load(built("introspect", collections, cwd=tmp_path))
    ours = "  # from collection servos.ops"
    asked = {kind: [line[: -len(ours)] for line in lines if line.endswith(ours)] for kind, lines in found.items()}
    assert asked == {
        "python": ["cryptography>=3.3", "paramiko>=2.12"],
        "system": ["openssh-clients [platform:rpm]", "openssh-client [platform:dpkg]"],
    }


def test_the_example_makes_a_context_that_installs_the_collection_and_what_runs_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "examples" / "awx" / "execution-environment.yml", tmp_path)
    built("create", "-f", "execution-environment.yml", "-c", "context", "--output-filename", "Containerfile", cwd=tmp_path)
    context = tmp_path / "context"
    assert yaml.safe_load((context / "_build" / "requirements.yml").read_text()) == {"collections": [{"name": "servos.ops"}]}
    steps = (context / "Containerfile").read_text()
    assert 'ARG ANSIBLE_INSTALL_REFS="ansible-core>=2.18 ansible-runner"' in steps
    assert re.search(r"^RUN .*introspect\.py introspect", steps, re.M)
    assert re.search(r"^RUN .*ansible-galaxy collection install .*-r requirements\.yml", steps, re.M)


def test_no_other_collection_is_used_but_awx_awx_by_the_playbook_that_asks_for_it() -> None:
    used: dict[str, set[str]] = {}
    for path in [*ROOT.glob("roles/*/*/*.yml"), *ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("plugins/**/*.py")]:
        for name in re.findall(r"^\s*(?:- )?([a-z_]+\.[a-z_]+)\.[a-z_]+:(?:\s|$)", path.read_text(), re.M):
            used.setdefault(name, set()).add(path.relative_to(ROOT).as_posix())
    assert set(used) == {"ansible.builtin", "servos.ops", "awx.awx"}
    assert used["awx.awx"] == {"playbooks/tasks/awx_setup.yml"}
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text())["dependencies"] == {}
