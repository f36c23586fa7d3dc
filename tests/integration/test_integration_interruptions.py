# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Power cuts, killed modules and vanished controllers: what is left is finished by the same call."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable

import pytest
from installations import NEW, OLD, Servos, assert_same, b64, fingerprint, wait_until
from module_runs import ModuleRun, Outcome

NAP = "sleep 20"


def assert_finishes(servos: Servos, done: Outcome | None = None) -> None:
    servos.write_scripts()
    done = done or servos.rotate()
    assert not done.failed, done.msg
    assert done["phase"] == "activated"
    assert servos.env_text() == b64(NEW)
    servos.assert_all_under(b64(NEW), b64(OLD))
    if servos.has_service:
        assert servos.process_key_text() == b64(NEW)
    assert not servos.rotate().changed
    assert servos.retire().changed
    leftovers = [path.name for path in servos.folder.rglob("*") if path.name.endswith((".servos-ops-new", "-journal", ".partial"))]
    assert leftovers == []


def begin(servos: Servos, **options: object) -> ModuleRun:
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    return servos.begin("servos_key_rotate", **({"settle_time": 0.1, "start_timeout": 30} | options))


MOMENTS = {
    "the service is stopped, no data is written": ("after_stop", b64(OLD), b64(OLD)),
    "data and env file are new, the service is stopped": ("before_start", b64(NEW), b64(NEW)),
}


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize(("where", "data", "env"), MOMENTS.values(), ids=MOMENTS)
def test_a_power_cut_in_the_window_is_mended_by_the_same_call(
    make_servos: Callable[..., Servos], journal: str, where: str, data: str, env: str
) -> None:
    servos = make_servos(journal=journal)
    servos.start()
    mark = servos.scratch / "mark"
    servos.write_scripts(**{where: f"touch '{mark}'; {NAP}"})
    run = begin(servos)
    wait_until(mark.exists)
    run.kill_all()
    run.wait()
    servos.tear_down()

    servos.assert_all_under(data)
    assert (servos.env_text(), servos.pid()) == (env, None)
    assert servos.info()["phase"] == ("staged" if data == b64(OLD) else "swapped")
    servos.write_scripts()
    done = servos.rotate()
    killed = f"servos_key_rotate (rotation {fingerprint(NEW)}) by"
    assert killed in done.warnings and "was killed before it ended" in done.warnings, done.warnings
    assert_finishes(servos, done)


@pytest.mark.parametrize("way", ["finish", "back"])
@pytest.mark.parametrize("until", ["rewrapped", "swapped"])
def test_a_rotation_left_between_two_steps_can_be_finished_or_taken_back(servos: Servos, until: str, way: str) -> None:
    begin(servos, until=until).wait()
    if way == "finish":
        assert_finishes(servos)
        return
    assert servos.rotate(direction="back")["phase"] == "settled"
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    servos.assert_all_under(b64(OLD), b64(NEW))


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_kill_at_any_moment_leaves_what_the_same_call_finishes(make_servos: Callable[..., Servos], journal: str) -> None:
    quiet = make_servos(has_service=False, journal=journal)
    whole = quiet.scratch / "whole"
    shutil.copytree(quiet.folder, whole)
    started = time.monotonic()
    assert begin(quiet).wait().changed
    length = time.monotonic() - started
    phases = set()
    for part in range(8):
        shutil.rmtree(quiet.folder)
        shutil.copytree(whole, quiet.folder)
        run = begin(quiet)
        time.sleep(length * part / 8)
        run.kill_all()
        run.wait()
        found = quiet.judge(b64(NEW), b64(OLD))
        assert 61 in (found["opens_new"], found["opens_old"]), found
        phases.add(quiet.info()["phase"])
        assert quiet.rotate()["phase"] == "activated"
        quiet.assert_all_under(b64(NEW), b64(OLD))
        assert quiet.env_text() == b64(NEW)
    assert "staged" in phases, phases


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("where", ["after_stop", "before_start"])
def test_the_work_goes_on_when_the_module_or_its_connection_dies(servos: Servos, number: signal.Signals, where: str) -> None:
    mark = servos.scratch / "mark"
    servos.write_scripts(**{where: f"touch '{mark}'; sleep 0.5"})
    run = begin(servos)
    wait_until(mark.exists)
    os.killpg(run.pid, number)  # what sshd and a closing terminal reach
    run.wait()

    wait_until(lambda: servos.pid() and servos.env_text() == b64(NEW) and servos.process_key_text() == b64(NEW))
    wait_until(lambda: not servos.rotate().failed)  # the lock is let go of
    servos.assert_all_under(b64(NEW), b64(OLD))
    assert servos.info()["phase"] == "activated"


def test_a_hot_journal_is_not_touched_by_looking(make_servos: Callable[..., Servos]) -> None:
    """A crash inside the transaction leaves a journal; looking recovers a copy, rotating recovers the database."""
    quiet = make_servos(has_service=False, journal="delete")
    journal = quiet.folder / "servos.db-journal"
    pid = os.fork()
    if pid == 0:
        connection = sqlite3.connect(quiet.database, isolation_level=None)
        connection.execute("PRAGMA cache_size=1")
        connection.execute("PRAGMA cache_spill=1")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE servers SET name = name || hex(randomblob(4000)), ssh_private_key = 'x'")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert journal.stat().st_size > 512
    before = quiet.snapshot(directory_times=True)
    assert quiet.info()["phase"] == "settled"
    assert quiet.stage(check=True).changed
    assert_same(before, quiet.snapshot(directory_times=True))
    assert_finishes(quiet, begin(quiet).wait())
