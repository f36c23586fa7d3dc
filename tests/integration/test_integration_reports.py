# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reports of real runs: proven, dry, refused, of a host that does not answer; and a directory that takes none."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from evidence import leaks
from installations import Servos
from playbook_runs import Played, inventory_of, play


def reported(servos: Servos, folder: Path, *argv: str, name: str = "rotate", **variables: Any) -> tuple[Played, dict[str, Any]]:
    """Run a playbook that writes one report; no key may stand in it, and nobody else may read it."""
    done = play(servos, name, *argv, servos_report_dir=str(folder), **variables)
    found = sorted(folder.iterdir())
    assert [path.name.partition(".")[2] for path in found] == ["html", "json", "junit.xml"], done.text[-2000:]
    assert {stat.S_IMODE(path.stat().st_mode) for path in found} == {0o600}
    assert leaks("".join(path.read_text() for path in found), servos.secrets()) == []
    assert f"Report: {found[0]}" in done.text
    ElementTree.parse(found[2])
    return done, json.loads(found[1].read_text())


def test_a_rotation_that_is_proven(servos: Servos, tmp_path: Path) -> None:
    done, record = reported(servos, tmp_path / "reports", "-e", "servos_rotation_id=reported")
    assert done.code == 0, done.text[-2000:]
    (host,) = record["hosts"]
    assert (record["kind"], record["outcome"], host["name"]) == ("rotate", "passed", "control")
    names = [proof["name"] for proof in host["proofs"]]
    assert names[:3] == ["census", "nothing lost", "process"]
    assert len([name for name in names if name.startswith("read back")]) == 4
    assert 0 < host["window_s"] < 60
    assert host["keys"]["env_key"] == host["keys"]["process_key"] != host["keys"]["previous_key"]
    assert sum(field["before"]["active"] for field in host["fields"]) == sum(field["after"]["active"] for field in host["fields"]) > 0
    assert stat.S_IMODE((tmp_path / "reports").stat().st_mode) == 0o700


def test_a_rotation_that_is_refused(servos: Servos, tmp_path: Path) -> None:
    servos.env_file.unlink()
    done, record = reported(servos, tmp_path / "reports")
    assert done.code != 0
    assert record["outcome"] == "failed"
    assert str(servos.env_file) in record["hosts"][0]["failures"][0]["message"]


def test_a_host_that_does_not_answer(servos: Servos, tmp_path: Path) -> None:
    inventory = inventory_of(servos, servos_report_dir="{{ inventory_dir }}/reports")
    inventory["servos_control"]["hosts"] = {"away": {"ansible_host": "127.0.0.1", "ansible_port": 1, "ansible_ssh_common_args": "-F none"}}
    path = tmp_path / "inventory.json"
    path.write_text(json.dumps(inventory))
    done = subprocess.run(
        ["ansible-playbook", "-i", str(path), "servos.ops.rotate"], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    (found,) = (tmp_path / "reports").glob("*.json")
    (host,) = json.loads(found.read_text())["hosts"]
    assert (host["name"], host["reachable"], host["outcome"]) == ("away", False, "failed")


def test_a_dry_run_writes_none(servos: Servos, tmp_path: Path) -> None:
    done = play(servos, "rotate", "--check", servos_report_dir=str(tmp_path / "reports"))
    assert done.code == 0
    assert f"A report would be written to {tmp_path / 'reports'}" in done.text
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("kind", ["a file", "not understood"])
def test_a_directory_that_takes_none_ends_the_run_before_anything_is_done(servos: Servos, tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("")
    before = servos.env_file.read_bytes()
    directory = str(tmp_path / "file" / "reports") if kind == "a file" else "{{ there_is_no_such_variable }}"
    done = play(servos, "rotate", servos_report_dir=directory, servos_rotation_id="unwritten")
    assert done.code == 1, done.text[-2000:]
    assert "Nothing was done. Name a directory that you may write to" in " ".join(done.text.split())
    assert "TASK" not in done.text
    assert (servos.env_file.read_bytes(), servos.state_dir.exists()) == (before, False)


def test_without_the_variable_there_is_none(servos: Servos, tmp_path: Path) -> None:
    done = play(servos, "rotate", servos_rotation_id="silent")
    assert done.code == 0
    assert "Report:" not in done.text


def test_the_commands_of_the_guide_sign_and_check_one(tmp_path: Path) -> None:
    """As they stand there, with a key and a report of the test's."""
    guide = (Path(__file__).resolve().parents[2] / "docs" / "reports.md").read_text()
    commands = [block.partition("```")[0] for block in guide.split("```console\n")[1:] if "ssh-keygen -Y" in block.partition("```")[0]]
    assert len(commands) == 2
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / "reports").mkdir()
    report = tmp_path / "reports" / "rotate-20261123T054500Z.json"
    report.write_text("{}\n")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / ".ssh" / "id_ed25519"], check=True, timeout=30)

    def shell(command: str) -> subprocess.CompletedProcess[str]:
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        command = command.replace("~", str(tmp_path))
        return subprocess.run(
            ["bash", "-ec", command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    assert shell(commands[0]).returncode == 0
    good = shell(commands[1])
    assert (good.returncode, 'Good "servos.ops.report" signature' in good.stdout) == (0, True), good.stderr
    report.write_text("{ }\n")
    assert shell(commands[1]).returncode != 0
