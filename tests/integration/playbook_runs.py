# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook of the collection the way a user does, and keep all that it says."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from evidence import leaks
from installations import Servos, write


class Played(NamedTuple):
    """Exit code, every byte on both outputs, and the statistics of the one host."""

    code: int
    text: str
    stats: dict[str, int]


def inventory_of(servos: Servos, *, python: str = sys.executable, **variables: Any) -> dict[str, Any]:
    """Describe the installation in the variables that the documentation names; its modules run in that Python."""
    options = servos.options()
    probes = [
        {"name": name, "url": f"{servos.url}/api/{name}/1/reveal", "token_file": str(servos.token_file)}
        for name in ("servers", "builders", "services", "registries")
    ]
    told = {f"servos_{name}": value for name, value in options.items()} | {
        "servos_backup_dir": str(servos.backup_dir), "servos_probes": probes, "servos_health_url": f"{servos.url}/api/health",
        "servos_start_timeout": 15, "rotation_rehearse_directory": str(servos.folder / "var"),
    }  # fmt: skip
    host = {"ansible_connection": "local", "ansible_python_interpreter": python}
    return {"servos_control": {"hosts": {"control": host}, "vars": told | variables}}


def environment_of(servos: Servos, **extra: str) -> dict[str, str]:
    home = servos.scratch / "ansible"
    return os.environ | {
        "ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "remote"), "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "NO_COLOR": "1", "ANSIBLE_PIPELINING": "1", **extra,
    }  # fmt: skip


def play(servos: Servos, name: str, *argv: str, environment: dict[str, str] | None = None, **variables: Any) -> Played:
    """Run C(servos.ops.NAME); no key may stand in anything that it prints."""
    command = shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook"))
    inventory = write(servos.scratch / "inventory.json", json.dumps(inventory_of(servos, **variables)))
    secrets = servos.secrets()
    done = subprocess.run(
        [command, "-i", str(inventory), f"servos.ops.{name}", *argv], env=environment_of(servos, **(environment or {})),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert leaks(done.stdout, secrets | servos.secrets()) == []
    return Played(done.returncode, done.stdout, recap_of(done.stdout))


def recap_of(text: str) -> dict[str, int]:
    """Return the statistics of the one host."""
    recap = next((line for line in reversed(text.splitlines()) if line.startswith("control") and "ok=" in line), "")
    return {name: int(count) for name, count in (pair.split("=") for pair in recap.split() if "=" in pair)}
