# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation of the Pika model that fails, loses its answer or is killed: what it says, what it leaves, and that it can be finished."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps import pika_session
from ansible_collections.servos.ops.plugins.module_utils._keys.keyring import Keyring
from ansible_collections.servos.ops.plugins.module_utils._rotation import pika_rotation
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_custody import PikaCustody
from ansible_collections.servos.ops.plugins.module_utils._system import files
from module_runs import ModuleRun
from pika_sites import LOCK, LOGOUT, ROTATE, UNLOCK, Make, PikaSite, asked, mark
from pikas import NEW, OLD


def is_finished(site: PikaSite) -> None:
    """The server, this host and the record agree on NEW."""
    assert site.pika.is_all_under("new")
    assert site.pika.status() == {"initialized": True, "unlocked": True}
    assert site.key_text() == NEW
    assert site.keyring() == {"previous": OLD}
    assert site.info()["phase"] == "settled"


# -- the four rows of the failure table


@pytest.mark.parametrize("step", ["1", "2"])
def test_before_the_swap_nothing_was_done(make_pika_site: Make, step: str) -> None:
    site = make_pika_site(faults=f"fail_step={step}*1")
    failed = site.rotate()
    assert failed.failed
    assert "nothing was rotated" in failed.msg
    assert site.pika.is_all_under("old")
    assert asked(site).count(ROTATE) == 1
    assert not site.rotate().failed
    is_finished(site)


@pytest.mark.parametrize("version", ["A", "B", "C"])
def test_a_settings_row_that_could_not_be_written_leaves_the_old_key_in_force(make_pika_site: Make, version: str) -> None:
    site = make_pika_site(faults="fail_step=4*1", version=version)
    failed = site.rotate()
    assert failed.failed
    assert f"its disk is still under {mark(OLD)}" in failed.msg
    assert failed["pika_answer"] == "not_resealed"
    assert site.pika.status() == {"initialized": True, "unlocked": True}
    assert site.pika.call("GET", "/api/v1/settings").status == 200
    assert site.pika.is_all_under("old")
    assert site.key_text() == OLD
    assert (asked(site).count(ROTATE), asked(site).count(LOCK)) == (1, 1)
    assert failed["steps"] == ["stage", "back up"]
    assert "locked for a moment" in failed.warnings
    assert not site.rotate().failed
    is_finished(site)


def test_a_vault_that_was_left_behind_stops_everything_until_the_backup_is_restored(make_pika_site: Make) -> None:
    site = make_pika_site(faults="fail_step=5*1")
    first, again = site.rotate(), site.rotate()
    (backup,) = site.backups()
    assert (first.failed, again.failed) == (True, True)
    assert (first["pika_answer"], again["pika_answer"]) == ("vaults_not_resealed", "vaults_not_resealed")
    assert str(backup) in first.msg
    assert asked(site).count(ROTATE) == 1
    assert site.keyring() == {"previous": OLD, "staged": NEW}
    # The runbook: restore, lock, unlock with the key of the backup's time, run again.
    restored = site.pika.send(
        "POST", "/api/v1/backup", backup.read_bytes(),
        {"Cookie": site.pika.cookie or site.pika.login(), "X-Pika-Wipe": "true", "Content-Type": "application/octet-stream"},
    )  # fmt: skip
    assert restored.status == 200
    site.pika.cookie = ""
    assert site.pika.call("POST", "/api/v1/key/lock").status == 200
    assert site.pika.unlock(OLD).status == 200
    assert not site.rotate().failed
    is_finished(site)


@pytest.mark.parametrize(("drop", "finished"), [("before", False), ("after", True)])
def test_a_lost_answer_is_asked_of_the_disk_and_not_of_another_rotation(make_pika_site: Make, drop: str, finished: bool) -> None:
    site = make_pika_site(faults=f"drop={drop}*1")
    outcome = site.rotate()
    assert outcome.failed is not finished
    assert asked(site).count(ROTATE) == 1
    assert asked(site)[-1] == LOGOUT
    if finished:
        assert "open a vault" in outcome.warnings
    else:
        assert site.pika.is_all_under("old")
        assert not site.rotate().failed
    is_finished(site)


@pytest.mark.campaign
@pytest.mark.parametrize("reply", ["html", "empty", "text", "other_message", "not_json", "array", "500", "502", "503"])
def test_an_answer_that_is_none_is_no_answer(make_pika_site: Make, reply: str) -> None:
    site = make_pika_site(faults=f"rotate_reply={reply}*1")
    outcome = site.rotate()
    assert not outcome.failed, outcome.msg
    assert asked(site).count(ROTATE) == 1
    is_finished(site)


# -- beyond the table


def test_a_server_that_cannot_be_locked_is_to_be_restarted(make_pika_site: Make) -> None:
    site = make_pika_site(faults="fail_step=4*1,lock_fails=500")
    failed = site.rotate()
    assert failed.failed
    assert "restart the server" in failed.msg
    assert site.keyring() == {"previous": OLD, "staged": NEW}
    site.pika.restart()
    assert not site.rotate().failed
    is_finished(site)


@pytest.mark.campaign
@pytest.mark.parametrize("step", ["before", "2", "3", "4", "after"])
def test_a_server_that_dies_is_restarted_and_the_rotation_finished(make_pika_site: Make, step: str) -> None:
    site = make_pika_site(faults=f"die_step={step}*1", vaults=0)
    failed = site.rotate()
    assert failed.failed
    assert "could not be asked" in failed.msg
    site.pika.wait_ended()
    site.pika.start()
    assert not site.pika.status()["unlocked"]
    outcome = site.rotate()
    assert not outcome.failed, outcome.msg
    is_finished(site)


def test_secrets_that_a_rotation_lost_are_named_and_their_keys_kept(make_pika_site: Make) -> None:
    site = make_pika_site(faults="lose_oauth2_only=on", only_oauth2=True, vaults=0)
    failed, again = site.rotate(), site.rotate()
    assert (failed.failed, again.failed) == (True, True)
    assert failed["lost_secrets"]
    assert failed["lost_secrets"] == again["lost_secrets"]
    assert site.keyring() == {"previous": OLD, "staged": NEW}
    assert site.key_text() == NEW  # the next start has to unlock it all the same


def test_a_vault_that_does_not_open_is_told_before_anything_is_changed(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="")
    site.pika.stop()
    site.pika.damage("vault")
    site.pika.start(unlock=OLD)
    failed = site.rotate()
    assert failed.failed
    assert failed["pika_answer"] == "vaults_unreadable"
    assert site.pika.judge()["verifier"] == "old"


@pytest.mark.parametrize("cut", [0, 7, 24, 25, 600])
def test_a_backup_that_is_not_whole_stops_it_before_the_server_is_asked(make_pika_site: Make, cut: int) -> None:
    site = make_pika_site(faults=f"backup_truncate={cut}")
    failed = site.rotate()
    assert failed.failed
    assert ROTATE not in asked(site)
    assert failed["steps"] == []
    assert list(site.backup_dir.iterdir()) == []
    assert site.keyring() == {}
    assert site.pika.is_all_under("old")


# -- killed


def dying(target: Any, name: str, *, before: bool, at: int = 1) -> Callable[[], None]:
    """Return what makes the process die before, or after, the nth call of a function."""

    def prepare() -> None:
        real, calls = getattr(target, name), 0

        def dead(*arguments: Any, **options: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == at and before:
                os.kill(os.getpid(), signal.SIGKILL)
            done = real(*arguments, **options)
            if calls == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(target, name, dead)

    return prepare


KILLS = {
    "before-the-key-is-staged": (Keyring, "write", True, 1),
    "key-staged": (Keyring, "write", False, 1),
    "staging-noted": (Keyring, "remember", False, 1),
    "logged-in": (pika_session.Pika, "require_manager", False, 1),
    "disk-asked": (pika_rotation, "key_on_disk", False, 1),
    "backup-made": (pika_rotation, "keep_backup", False, 1),
    "previous-kept": (PikaCustody, "keep_previous", False, 1),
    "before-the-request": (pika_rotation, "rotate", True, 1),
    "after-the-request": (pika_rotation, "rotate", False, 1),
    "before-the-env-file": (files, "replace_file_content", True, 1),
    "env-file-swapped": (files, "replace_file_content", False, 1),
    "key-file-swapped": (files, "replace_file_content", False, 2),
    "proven": (pika_rotation, "prove", False, 1),
    "end-noted": (pika_rotation, "_finish", True, 1),
    "before-the-staged-copy-goes": (Keyring, "destroy", True, 1),
    "staged-copy-gone": (Keyring, "destroy", False, 1),
}


@pytest.mark.campaign
@pytest.mark.parametrize(("target", "name", "before", "at"), KILLS.values(), ids=KILLS)
def test_a_rotation_that_is_killed_is_finished_by_the_same_command(
    make_pika_site: Make, target: Any, name: str, before: bool, at: int
) -> None:
    site = make_pika_site(env_key=OLD, vaults=0)
    site.new_key_file.write_text("a-key=for/env+files\n")
    site.pika.folder.joinpath("new.key").write_text("a-key=for/env+files")
    options = site.options(state="rotated", new_key_file=str(site.new_key_file))
    killed = ModuleRun("servos_pika_key", options, prepare=[dying(target, name, before=before, at=at)]).wait()
    assert killed.failed, "it was not killed"
    outcome = site.rotate()
    assert not outcome.failed, outcome.msg
    assert site.pika.is_all_under("new")
    assert site.key_text() == "a-key=for/env+files"
    assert site.env_file is not None
    assert 'PIKA_ENCRYPTION_PASSWORD="a-key=for/env+files"' in site.env_file.read_text()
    assert site.info()["phase"] == "settled"
    assert asked(site).count(ROTATE) == 1
    third = site.rotate()
    assert (third.failed, third.changed) == (False, False)


def test_a_run_that_is_killed_between_lock_and_unlock_leaves_nothing_that_the_next_one_cannot_mend(make_pika_site: Make) -> None:
    from ansible_collections.servos.ops.plugins.module_utils._rotation import pika_run

    site = make_pika_site(faults="fail_step=4*1")
    options = site.options(state="rotated", new_key_file=str(site.new_key_file))
    killed = ModuleRun("servos_pika_key", options, prepare=[dying(pika_run, "lock", before=False)]).wait()
    assert killed.failed
    assert not site.pika.status()["unlocked"]
    assert not site.rotate().failed
    is_finished(site)


def test_a_killed_run_whose_server_cannot_read_itself_is_finished(make_pika_site: Make) -> None:
    site = make_pika_site(faults="fail_step=4*1")
    options = site.options(state="rotated", new_key_file=str(site.new_key_file))
    killed = ModuleRun("servos_pika_key", options, prepare=[dying(pika_rotation, "resolve", before=True)]).wait()
    assert killed.failed
    assert site.pika.send("GET", "/api/v1/key/status").status == 500
    outcome = site.rotate()
    assert not outcome.failed, outcome.msg
    assert "locked for a moment" in outcome.warnings
    is_finished(site)


def test_what_a_killed_run_made_is_used_and_nothing_else_is_made(make_pika_site: Make) -> None:
    site = make_pika_site()
    options = site.options(state="rotated", rotation_id="2026")
    ModuleRun("servos_pika_key", options, prepare=[dying(pika_rotation, "rotate", before=False)]).wait()
    staged = site.keyring()["staged"]
    outcome = site.rotate(rotation_id="2026")
    assert outcome["new_key"] == mark(staged)
    assert site.key_text() == staged
    assert "ended before the server's answer" in outcome.warnings
    record = json.loads((site.state_dir / "record.json").read_text())
    assert (record["rotation_id"], record["finished_key"]) == ("2026", mark(staged))
    assert not site.rotate(rotation_id="2026").changed


def test_another_key_is_refused_while_a_rotation_is_under_way(make_pika_site: Make) -> None:
    site = make_pika_site(faults="fail_step=4*1")
    site.rotate()
    site.pika.forget_requests()
    site.new_key_file.write_text("quite another key\n")
    failed = site.rotate()
    assert failed.failed
    assert f"{mark(NEW)} is staged already" in failed.msg
    assert UNLOCK not in asked(site)
