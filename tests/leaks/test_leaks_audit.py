# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No secret outside its place in the most talkative runs that Ansible can do; and each leak that is made on purpose is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import DECOYS, Result
from planted import HERE, PLANTED

CORES_LIE_WHERE_A_PROGRAM_DIES = "/" not in Path("/proc/sys/kernel/core_pattern").read_text()


def test_no_secret_left_its_place(run: Result) -> None:
    assert [str(finding) for finding in run.searched.findings if finding.kind != "decoy"] == []


def test_what_was_searched_for_is_all_that_there_was(run: Result) -> None:
    kinds = [secret.kind for secret in run.secrets]
    # The old one, one that was made and brought back or kept, one that was made by a job, and the one that was not brought yet.
    assert kinds.count("key") >= 4
    assert kinds.count("plaintext") == 60  # one of the 61 is there twice
    assert kinds.count("token") == 2  # the API's, and the vault's password
    assert run.verdict["ok"] and run.verdict["opens_new"] == 61


def test_the_search_was_not_blind_where_a_good_run_leaves_nothing(run: Result) -> None:
    decoys = {finding.place: "/" + finding.name for finding in run.searched.findings if finding.kind == "decoy"}
    assert decoys == DECOYS


def test_a_module_that_is_killed_while_it_holds_a_key_leaves_no_core(run: Result) -> None:
    assert run.held >= 2, "the module and the process that does its work hold keys when they are killed"
    assert run.searched.counts["core dumps"][0] == 1, "there is a core beside the decoy"


def test_no_other_process_can_look_into_one_that_holds_a_key(run: Result) -> None:
    """Holds wherever the kernel puts its cores."""
    assert run.open == 0


def test_without_our_protection_another_can(planted_run: Result) -> None:
    assert planted_run.open == planted_run.held >= 2


@pytest.mark.skipif(not CORES_LIE_WHERE_A_PROGRAM_DIES, reason="this kernel hands cores to a program, or puts them elsewhere")
def test_without_our_protection_its_core_holds_the_key(planted_run: Result) -> None:
    """Shows that cores are written there, and are searched; the interpreter's own prctl was taken away."""
    real = [finding for finding in planted_run.searched.findings if not finding.secret.startswith(("planted ", "decoy"))]
    assert {finding.place for finding in real} == {"core dumps"}
    assert {finding.kind for finding in real} >= {"key"}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_leak_is_caught(planted_run: Result, name: str) -> None:
    if name == "core_dump" and not CORES_LIE_WHERE_A_PROGRAM_DIES:
        pytest.skip("this kernel hands cores to a program, or puts them elsewhere")
    if name == "short_argv" and not planted_run.watched["events"]:
        pytest.skip("this kernel does not tell of processes")
    found = {(finding.place, finding.form) for finding in planted_run.searched.findings if finding.secret == f"planted {name}"}
    assert set(PLANTED[name]) <= found


def test_every_planted_leak_has_its_line() -> None:
    assert {path.stem for path in HERE.glob("*.yml")} == set(PLANTED)
    assert len(PLANTED) > 20
