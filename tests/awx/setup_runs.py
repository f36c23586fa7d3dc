# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run playbooks/awx_setup.yml against the stand-in of AWX, by an Ansible that has awx.awx."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from awx_api import Awx

TOKEN = "stand-in-oauth-token-5f6e7d8c"
PINS = "control.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJp5xXW0T8ZJ1Jp0lS6Fv0mB0l8c5y4aBdXq1gV7m6rE\n"
ROOT = Path(__file__).resolve().parent.parent.parent
WITH_AWX = Path(os.environ.get("SERVOS_AWX", ROOT / ".work" / "awx")) / "bin" / "ansible-playbook"


class Played(NamedTuple):
    """Exit code, what was printed, and the counts of the recap."""

    code: int
    text: str
    stats: dict[str, int]


def set_up(awx: Awx, folder: Path, *argv: str, program: Path = WITH_AWX, **variables: Any) -> Played:
    """Run the playbook as docs/awx.md says; None takes a variable out."""
    folder.mkdir(exist_ok=True)
    (folder / "known_hosts").write_text(PINS)
    told = {
        "servos_awx_inventory": "platform", "servos_awx_machine_credential": "servos login",
        "servos_awx_image": "registry.example.org/servos-ee:0.1.0", "servos_awx_known_hosts": str(folder / "known_hosts"),
    } | variables  # fmt: skip
    (folder / "awx.json").write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    environment = os.environ | {
        "CONTROLLER_HOST": awx.url, "CONTROLLER_OAUTH_TOKEN": TOKEN, "ANSIBLE_HOME": str(folder / "ansible"), "HOME": str(folder),
        "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_INVENTORY_UNPARSED_WARNING": "0", "NO_COLOR": "1",
    }  # fmt: skip
    command = [str(program), "-i", "localhost,", "servos.ops.awx_setup", "-e", f"@{folder / 'awx.json'}", *argv]
    done = subprocess.run(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert TOKEN not in done.stdout
    recap = re.search(r"^localhost\s+: (.*)$", done.stdout, re.M)
    stats = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", recap[1])} if recap else {}
    return Played(done.returncode, done.stdout, stats)
