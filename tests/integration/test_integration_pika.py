# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server key of the Pika model: initialized, unlocked, locked, rotated, with the model's own judge to say what it is under."""

from __future__ import annotations

import json
import stat
from typing import Any

import pytest
from evidence import differences, snapshot_of
from pika_sites import LOGIN, LOGOUT, ROTATE, UNLOCK, Make, PikaSite, asked, mark
from pikas import MANAGER, NEW, OLD, OTHER, write

# -- unlocked, locked, initialized


def test_a_locked_server_is_unlocked_and_the_second_run_does_not_even_log_in(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="")
    first = site.run("unlocked")
    assert (first.changed, first["server"], first["unlocked_with"]) == (True, "unlocked", mark(OLD))
    assert site.pika.status() == {"initialized": True, "unlocked": True}
    assert asked(site)[-3:] == [LOGOUT, "GET /api/v1/key/status", "GET /api/v1/key/status"]
    site.pika.forget_requests()
    second = site.run("unlocked")
    assert (second.changed, second["steps"]) == (False, [])
    assert set(asked(site)) == {"GET /api/v1/key/status"}


def test_check_mode_unlocks_nothing(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="")
    before = snapshot_of(site.folder, directory_times=True)
    outcome = site.run("unlocked", check=True)
    assert outcome.changed
    assert not site.pika.status()["unlocked"]
    assert UNLOCK not in asked(site)
    assert asked(site)[-1] == "GET /api/v1/key/status"
    assert differences(before, snapshot_of(site.folder, directory_times=True)) == []


def test_a_wrong_key_is_tried_once_and_the_session_is_ended(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", key=OTHER)
    outcome = site.run("unlocked")
    assert outcome.failed
    assert mark(OTHER) in outcome.msg
    assert outcome["pika_answer"] == "wrong_key"
    assert (asked(site).count(UNLOCK), asked(site).count(LOGIN), asked(site)[-1]) == (1, 1, LOGOUT)
    assert not site.pika.status()["unlocked"]


@pytest.mark.parametrize("role", ["staged", "previous"])
def test_a_key_of_the_keyring_is_tried_second_and_announced(make_pika_site: Make, role: str) -> None:
    site = make_pika_site(unlock="", key=NEW)
    site.state_dir.mkdir(mode=0o700)
    write(site.state_dir / f"{role}.key", OLD)
    outcome = site.run("unlocked")
    assert outcome["unlocked_with"] == mark(OLD)
    assert f"the {role} key {mark(OLD)}" in outcome.warnings
    assert asked(site).count(UNLOCK) == 2


def test_no_third_key_is_tried(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", key=NEW, env_key=OTHER)
    site.state_dir.mkdir(mode=0o700)
    write(site.state_dir / "previous.key", OLD)
    assert site.run("unlocked").failed
    assert asked(site).count(UNLOCK) == 2


def test_a_server_is_locked_once_and_unlocked_again(pika_site: PikaSite) -> None:
    site = pika_site
    first, second = site.run("locked"), site.run("locked")
    assert (first.changed, second.changed) == (True, False)
    assert "503" in first.warnings
    assert site.pika.status() == {"initialized": True, "unlocked": False}
    assert site.run("unlocked").changed
    assert site.pika.is_all_under("old")


def test_locking_in_check_mode_locks_nothing(pika_site: PikaSite) -> None:
    site = pika_site
    assert site.run("locked", check=True).changed
    assert site.pika.status()["unlocked"]


def test_encryption_is_turned_on_with_a_key_that_is_made(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", initialized=False)
    site.key_file.unlink()
    assert site.run("initialized", check=True).changed
    assert not site.key_file.exists()
    first, second = site.run("initialized"), site.run("initialized")
    assert (first.changed, second.changed) == (True, False)
    assert site.pika.status() == {"initialized": True, "unlocked": True}
    assert stat.S_IMODE(site.key_file.stat().st_mode) == 0o600
    assert first["key_file_key"] == mark(site.key_text())
    site.pika.restart()
    assert site.run("unlocked")["unlocked_with"] == mark(site.key_text())


def test_encryption_is_turned_on_with_the_key_that_is_there(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", initialized=False, key="  an old phrase ")
    outcome = site.run("initialized")
    assert "white space at an edge" in outcome.warnings
    assert site.pika.unlock("  an old phrase ").status == 200
    assert site.pika.unlock("an old phrase").status == 403


def test_a_new_key_is_not_passed_over_in_silence(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", initialized=False)
    site.key_file.unlink()
    outcome = site.run("initialized", new_key_file=str(site.new_key_file))
    assert outcome.failed
    assert "has no use for new_key_file" in outcome.msg
    assert not site.key_file.exists()
    assert not site.pika.status()["initialized"]


@pytest.mark.parametrize("check", [True, False])
def test_a_key_that_could_not_be_kept_is_not_made(make_pika_site: Make, check: bool) -> None:
    site = make_pika_site(unlock="", initialized=False)
    outcome = site.run("initialized", check=check, key_file=str(site.folder / "nowhere" / "server.key"))
    assert outcome.failed
    assert "nothing was changed" in outcome.msg
    assert not site.pika.status()["initialized"]


def test_another_key_at_the_servers_start_keeps_encryption_from_being_turned_on(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="", initialized=False, env_key=OTHER)
    outcome = site.run("initialized")
    assert outcome.failed
    assert "PIKA_ENCRYPTION_PASSWORD" in outcome.msg
    assert not site.pika.status()["initialized"]


def test_a_key_file_that_could_not_be_made_stops_a_rotation_before_it_is_asked_for(make_pika_site: Make) -> None:
    site = make_pika_site(env_key=OLD)
    outcome = site.rotate(rotation_id="1", key_file=str(site.folder / "nowhere" / "server.key"))
    assert outcome.failed
    assert "nothing was changed" in outcome.msg
    assert (site.keyring(), site.pika.is_all_under("old")) == ({}, True)


def test_a_server_with_another_key_is_not_called_initialized(pika_site: PikaSite) -> None:
    site = pika_site
    write(site.key_file, f"{OTHER}\n")
    outcome = site.run("initialized")
    assert outcome.failed
    assert mark(OTHER) in outcome.msg
    assert site.pika.is_all_under("old")


# -- rotated


def test_a_rotation_from_end_to_end_and_the_second_run_changes_nothing(make_pika_site: Make) -> None:
    site = make_pika_site(env_key=OLD)
    assert site.env_file is not None
    key = "a-plain.new_key=of+letters"
    write(site.new_key_file, f"{key}\n")
    site.pika.folder.joinpath("new.key").write_text(key)
    first = site.rotate()
    assert not first.failed, first.msg
    assert first["steps"] == [
        "stage", "back up", "rotate", f"put in force in {site.env_file}", f"put in force in {site.key_file}"
    ]
    assert (first["old_key"], first["new_key"], first["phase"], first["server"]) == (mark(OLD), mark(key), "settled", "unlocked")
    assert site.pika.is_all_under("new")
    assert site.key_file.read_text() == f"{key}\n"
    assert site.env_file.read_text() == f'# settings\nexport PIKA_ENCRYPTION_PASSWORD="{key}"\nOTHER=1\n'
    assert site.keyring() == {"previous": OLD}
    (backup,) = site.backups()
    assert site.pika.judge(backup=backup)["verifier"] == "old"
    assert site.pika.judge(backup=backup)["ok"]
    assert (stat.S_IMODE(backup.stat().st_mode), stat.S_IMODE(site.backup_dir.stat().st_mode)) == (0o600, 0o700)
    note = json.loads(backup.with_name(f"{backup.name}.json").read_text())
    assert (note["opens_with"], note["size_bytes"]) == (mark(OLD), backup.stat().st_size)
    assert (asked(site).count(ROTATE), asked(site).count(LOGOUT), asked(site)[-1]) == (1, 1, LOGOUT)
    report = site.pika.report()
    assert (report["secrets_in_urls"], report["secrets_astray"]) == ([], [])
    before = snapshot_of(site.folder, site.pika.state / "settings")
    second = site.rotate()
    assert (second.changed, second["reason"]) == (False, "the given key is in force")
    assert [line for line in differences(before, snapshot_of(site.folder, site.pika.state / "settings")) if "lock" not in line] == []


def test_a_key_is_made_here_and_a_rotation_id_is_done_once(pika_site: PikaSite) -> None:
    site = pika_site
    first, second = site.rotate(rotation_id="2026"), site.rotate(rotation_id="2026")
    assert (first.changed, second.changed) == (True, False)
    assert second["reason"] == "rotation 2026 was done before"
    made = site.key_text()
    assert len(made) == 44
    assert first["new_key"] == mark(made)
    third = site.rotate(rotation_id="2027")
    assert third["old_key"] == mark(made)
    assert third["kept_keys"] == [mark(OLD)]
    assert sorted(site.keyring()) == [f"kept-{mark(OLD)[3:]}", "previous"]
    assert len(site.backups()) == 2


def test_exactly_one_wrong_key_is_counted_by_a_rotation(pika_site: PikaSite) -> None:
    site = pika_site
    site.rotate()
    tries = [line for line in asked(site) if line == UNLOCK]
    assert len(tries) == 3  # OLD as it was, NEW, and OLD, which has to be refused
    assert site.pika.report()["slept_s"] == 0


def test_a_key_of_unknown_age_starts_its_clock_and_is_not_rotated(pika_site: PikaSite) -> None:
    site = pika_site
    first, second = site.rotate(max_age_days=365), site.rotate(max_age_days=365)
    assert (first.changed, first["rotated"], second.changed) == (True, False, False)
    assert site.pika.is_all_under("old")


def test_check_mode_says_what_would_be_and_writes_nothing(pika_site: PikaSite) -> None:
    site = pika_site
    before = snapshot_of(site.folder, site.pika.state / "settings", directory_times=True)
    outcome = site.rotate(check=True)
    assert (outcome.changed, outcome["new_key"], outcome["backup"]) == (True, mark(NEW), None)
    assert differences(before, snapshot_of(site.folder, site.pika.state / "settings", directory_times=True)) == []
    assert ROTATE not in asked(site)
    assert "GET /api/v1/backup/info" in asked(site)
    assert "GET /api/v1/backup" not in asked(site)


def test_check_mode_does_not_try_keys_on_a_locked_server(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="")
    assert site.rotate(check=True, unlock_first=True).changed
    assert UNLOCK not in asked(site)


@pytest.mark.parametrize(("unlock_first", "fails"), [(False, True), (True, False)], ids=["not-told", "told"])
def test_a_locked_server_is_unlocked_for_a_rotation_only_if_that_is_meant(make_pika_site: Make, unlock_first: bool, fails: bool) -> None:
    site = make_pika_site(unlock="")
    outcome = site.rotate(unlock_first=unlock_first)
    assert outcome.failed is fails
    assert site.pika.is_all_under("old" if fails else "new")


def test_a_server_that_is_under_the_new_key_already_only_has_its_files_brought_up_to_date(pika_site: PikaSite) -> None:
    site = pika_site
    site.pika.rotate()
    site.pika.forget_requests()
    outcome = site.rotate()
    assert outcome["steps"] == ["stage", f"put in force in {site.key_file}"]
    assert ROTATE not in asked(site)
    assert site.key_text() == NEW


@pytest.mark.parametrize("options", [{"tls": True}, {"base_path": "/pika"}, {"version": "A"}, {"version": "B"}], ids=str)
def test_a_rotation_of_every_kind_of_server(make_pika_site: Make, options: dict[str, Any]) -> None:
    site = make_pika_site(**options)
    assert not site.rotate().failed
    assert site.pika.is_all_under("new")


def test_a_manager_who_is_no_superadmin_is_enough(pika_site: PikaSite) -> None:
    site = pika_site
    outcome = site.rotate(username=MANAGER, password_file=str(site.pika.folder / f"{MANAGER}.password"))
    assert not outcome.failed, outcome.msg
    assert site.pika.is_all_under("new")


def test_info_shows_what_there_is_and_no_secret(make_pika_site: Make) -> None:
    site = make_pika_site(env_key=OLD)
    site.rotate(rotation_id="1")
    seen = site.info()
    assert (seen["server"], seen["may_manage"], seen["phase"], seen["env_key"]) == ("unlocked", True, "settled", mark(site.key_text()))
    assert seen["secrets"] == {"set": 8, "unset": 0}
    assert (seen["cluster"]["role"], seen["previous_key"], len(seen["backups"])) == ("single", mark(OLD), 1)
    assert not seen.changed


def test_info_without_a_login(make_pika_site: Make) -> None:
    site = make_pika_site(unlock="")
    seen = site.info(username=None, password_file=None)
    assert (seen["server"], seen["info"]["name"], seen["cluster"]) == ("locked", "pika", None)
    assert LOGIN not in asked(site)
