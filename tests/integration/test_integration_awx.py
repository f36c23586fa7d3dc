# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job templates of playbooks/awx_setup.yml as AWX runs them: with its own injectors, in runners that are thrown away."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from awx_jobs import Job, pins_of, wait_for
from installations import OLD, Servos, b64, wait_until
from ports import free_port
from sshds import Sshd


@pytest.fixture
def control(tmp_path: Path, genuine: Path) -> Iterator[Sshd]:
    """The control host's sshd."""
    with Sshd(tmp_path / "sshd", genuine, free_port()) as started:
        yield started


def is_locked(servos: Servos) -> bool:
    with (servos.state_dir / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_a_rotation_whose_runner_died_is_finished_from_an_empty_one(servos: Servos, control: Sshd, genuine: Path) -> None:
    reached, go = servos.scratch / "reached", servos.scratch / "go"
    servos.write_scripts(before_start=f"touch '{reached}'; while [ ! -e '{go}' ]; do sleep 0.05; done")
    pins = pins_of(control, genuine)
    secrets = servos.secrets()
    with Job("rotate", servos, control, pins, servos_rotation_id="one") as job:
        job.begin()
        wait_for(reached)
        secrets |= servos.secrets()
        job.die()
        assert job.found(secrets) == []
        assert servos.pid() is None
    assert not job.folder.exists()
    go.touch()
    wait_until(lambda: servos.pid() is not None and not is_locked(servos), timeout_s=60)
    with Job("rotate", servos, control, pins, servos_rotation_id="one") as job:
        done = job.run()
        assert (done.code, done.reached) == (0, 1), done.text
        assert job.found(secrets | servos.secrets()) == []
    assert servos.process_key_text() == servos.env_text() != b64(OLD)
    servos.assert_all_under(servos.env_text(), b64(OLD))


def test_a_host_with_another_key_than_the_pin_is_not_talked_to(servos: Servos, control: Sshd, impostor: Path) -> None:
    with Job("rehearse", servos, control, pins_of(control, impostor)) as job:
        done = job.run()
    assert done.code == 4, done.text
    assert "Host key verification failed" in done.text
    assert not servos.state_dir.exists()


def test_what_is_injected_is_a_file_and_its_name(servos: Servos, control: Sshd, genuine: Path) -> None:
    pins = pins_of(control, genuine)
    with Job("audit", servos, control, pins) as job:
        assert (job.environment, job.shown_environment) == ({}, {})
        (variables,) = [Path(argument[1:]) for argument in job.arguments if argument.startswith("@")]
        assert not any(key.split()[2] in variables.read_text() for key in pins.splitlines())
        (named,) = [path for path in job.folder.glob("env/*") if path.read_text() == pins]
        assert str(named) in variables.read_text()
        assert named.stat().st_mode & 0o777 == 0o600


@pytest.mark.skipif("SERVOS_AWX" not in os.environ, reason="make awx runs all job templates one after the other")
def test_every_job_template_from_the_plan_to_the_retirement(servos: Servos, control: Sshd, genuine: Path) -> None:
    secrets = servos.secrets()
    keys = [servos.env_text()]
    for name, answers in (
        ("plan", {"servos_rotation_id": "one"}), ("rehearse", {}), ("rotate", {"servos_rotation_id": "one"}),
        ("audit", {"servos_audit_fail_on": "none"}), ("roll back", {"servos_rollback_from_backup": "false"}),
        ("retire", {}), ("rotate", {"servos_rotation_id": "two", "servos_discover": "include"}),
        ("retire", {"servos_retire_backups": "expire"}),
    ):  # fmt: skip
        with Job(name, servos, control, pins_of(control, genuine), **answers) as job:
            done = job.run()
            assert (name, done.code, done.reached > 0) == (name, 0, True), done.text
            secrets |= servos.secrets()
            assert (name, job.found(secrets)) == (name, [])
        keys.append(servos.env_text())
    settled, planned, rehearsed, rotated, audited, rolled_back, cleared, again, retired = keys
    assert settled == planned == rehearsed == rolled_back == cleared == b64(OLD)
    assert rotated == audited != settled
    assert again == retired
    assert retired not in (rotated, settled)
    servos.assert_all_under(retired, b64(OLD))
    assert list(servos.state_dir.glob("*.key")) == []
