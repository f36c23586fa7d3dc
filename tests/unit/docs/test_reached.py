# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No playbook ends well that reached nobody: each begins with the play that refuses it, which asks for the hosts of the plays behind it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml

PLAYBOOKS = sorted((Path(__file__).resolve().parents[3] / "playbooks").glob("*.yml"))
GUARD = "plays/reached.yml"
# Beside others: these look at what there is of several groups, so one of them is enough.
OF_SEVERAL = {
    "audit": "{{ [servos_hosts | default('servos_control'), servos_audit_nodes | default('servos_nodes')] }}",
}


def plays_of(path: Path) -> t.List[t.Dict[str, t.Any]]:
    """Return the plays of a playbook, and what it imports."""
    plays: t.List[t.Dict[str, t.Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return plays


@pytest.mark.parametrize("path", PLAYBOOKS, ids=lambda path: str(path.stem))
def test_a_playbook_begins_by_seeing_that_its_hosts_are_reached(path: Path) -> None:
    first, *later = plays_of(path)
    imported = first["ansible.builtin.import_playbook"]
    if imported == GUARD:
        assert first["vars"] == {"reached_pattern": OF_SEVERAL.get(path.stem, later[0]["hosts"])}
    else:
        assert path.with_name(imported) in PLAYBOOKS  # and that one begins with it
