# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes before and after a rotation: when one is due, going back, retiring, backups and their restoration."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable

import pytest
from evidence import leaks
from installations import CANARY, NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint, seal


def rotated(servos: Servos, key: bytes = NEW, rotation_id: str = "one") -> None:
    servos.stage(new_key_file=str(servos.key_file(rotation_id, b64(key))), rotation_id=rotation_id)
    assert servos.rotate()["phase"] == "activated"


def add_value(servos: Servos, value: str = "written since") -> int:
    status, body = servos.call("POST", "/api/git_credentials", {"value": value, "name": "x"})
    assert status == 201
    return int(json.loads(body)["id"])


# Going back


def test_a_rollback_brings_back_what_was_written_since_too(servos: Servos) -> None:
    env_before = servos.env_file.read_bytes()
    rotated(servos)
    row = add_value(servos)
    told = servos.rotate(direction="back", check=True)
    back = servos.rotate(direction="back")
    assert (told["steps"], told["rewrapped"]) == (back["steps"], back["rewrapped"]) == (["rewrap", "swap", "restart", "withdraw"], 62)
    assert back["phase"] == "settled"
    assert (back["env_key"], back["withdrawn_key"], back["staged_key"]) == (fingerprint(OLD), fingerprint(NEW), None)
    assert servos.env_file.read_bytes() == env_before
    assert servos.process_key_text() == b64(OLD)
    assert json.loads(servos.call("GET", f"/api/git_credentials/{row}/reveal")[1]) == {"value": "written since"}
    verdict = servos.judge(b64(OLD), b64(NEW))
    assert (verdict["opens_new"], verdict["opens_old"], verdict["extra_rows"]) == (62, 0, 1)

    before = servos.snapshot()
    assert not servos.rotate(direction="back").changed
    assert_same(before, servos.snapshot())


@pytest.mark.parametrize("until", ["rewrapped", "swapped"])
def test_a_rollback_is_possible_from_every_phase(servos: Servos, until: str) -> None:
    servos.stage()
    servos.rotate(until=until)
    assert servos.rotate(direction="back")["phase"] == "settled"
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    servos.assert_all_under(b64(OLD))


def test_a_rollback_before_anything_was_rewrapped_only_withdraws_the_key(servos: Servos) -> None:
    servos.stage()
    pid = servos.pid()
    back = servos.rotate(direction="back")
    assert back["steps"] == ["withdraw"]
    assert (servos.pid(), servos.env_text()) == (pid, b64(OLD))
    assert not (servos.state_dir / "staged.key").exists()
    servos.assert_all_under(b64(OLD))


def test_there_is_nothing_to_go_back_to_without_a_rotation_or_after_it_was_retired(servos: Servos) -> None:
    before = servos.snapshot()
    assert_refused(servos.rotate(direction="back"), "previous key was retired", "nothing to go back to")
    assert_same(before, servos.snapshot())
    rotated(servos)
    assert servos.retire().changed
    before = servos.snapshot()
    assert_refused(servos.rotate(direction="back"), "previous key was retired", "nothing to go back to")
    assert_same(before, servos.snapshot())


def test_after_a_rollback_the_same_id_rotates_again(servos: Servos) -> None:
    rotated(servos)
    servos.rotate(direction="back")
    assert_refused(servos.stage(rotation_id="one"), "withdrawn", fingerprint(NEW), "retire it first")
    assert servos.retire()["retired"] == [fingerprint(NEW)]
    assert servos.stage(rotation_id="one")["rotation_pending"]
    assert servos.rotate()["phase"] == "activated"


# Retiring


def test_retiring_destroys_the_previous_key_and_the_next_rotation_can_come(servos: Servos) -> None:
    rotated(servos)
    assert_refused(servos.stage(rotation_id="two"), "previous", fingerprint(OLD), "retire it first")
    told = servos.retire(check=True)
    done = servos.retire()
    assert told["retired"] == done["retired"] == [fingerprint(OLD)]
    assert done["phase"] == "settled"
    assert list(servos.state_dir.glob("*.key")) == []
    assert not servos.retire().changed
    assert servos.rotate()["phase"] == "settled"
    rotated(servos, OTHER, "two")
    servos.assert_all_under(b64(OTHER), b64(NEW))


@pytest.mark.parametrize("column", ["git_credentials", "webhooks"])
def test_retiring_is_refused_while_a_value_needs_the_previous_key(servos: Servos, column: str) -> None:
    rotated(servos)
    if column == "webhooks":
        servos.sql("CREATE TABLE webhooks (id INTEGER PRIMARY KEY, token TEXT)")
    servos.sql(f"UPDATE {column} SET token = ? WHERE id = 1", seal(b"late", OLD))
    servos.sql(f"INSERT OR IGNORE INTO {column} (id, token{', provider, created_at, updated_at' if column != 'webhooks' else ''}) "
               f"VALUES (1, ?{', 1, 1, 1' if column != 'webhooks' else ''})", seal(b"late", OLD))  # fmt: skip
    before = servos.snapshot()
    assert servos.info()["phase"] == "mixed"
    assert_refused(servos.retire(), "1 under the previous key", fingerprint(OLD), "nothing was destroyed", "rotate again")
    assert_same(before, servos.snapshot())
    assert servos.rotate()["rewrapped"] == 1
    assert servos.retire()["retired"] == [fingerprint(OLD)]


def test_retiring_is_refused_while_the_service_runs_on_the_previous_key_or_not_at_all(servos: Servos) -> None:
    servos.stage()
    servos.rotate(until="swapped")
    before = servos.snapshot()
    assert_refused(servos.retire(), "stopped", "nothing was destroyed", "restart it")
    assert_same(before, servos.snapshot())


@pytest.mark.parametrize("until", ["", "rewrapped"], ids=["staged", "rewrapped"])
def test_retiring_is_refused_in_the_middle_of_a_rotation(servos: Servos, until: str) -> None:
    servos.stage()
    if until:
        servos.rotate(until=until)
    before = servos.snapshot()
    assert_refused(servos.retire(), "under way", "finish it or roll it back", "nothing was destroyed")
    assert_same(before, servos.snapshot())


# When a rotation is due


def test_an_id_that_was_done_is_not_done_again(quiet: Servos) -> None:
    rotated(quiet)
    quiet.retire()
    again = quiet.stage(rotation_id="one")
    assert (again.changed, again["rotation_pending"]) == (False, False)
    assert "one was done before" in again["reason"]
    assert quiet.stage(rotation_id="two", check=True)["rotation_pending"]


def test_an_unknown_age_is_adopted_and_an_old_key_is_due(quiet: Servos) -> None:
    record = quiet.state_dir / "record.json"
    first, second = quiet.stage(max_age_days=365), quiet.stage(max_age_days=365)
    assert (first.changed, first["rotation_pending"], first["key_age_days"]) == (True, False, None)
    assert "unknown" in first["reason"]
    assert (second.changed, second["rotation_pending"], second["key_age_days"]) == (False, False, 0.0)

    found = json.loads(record.read_text())
    long_ago = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 400 * 86400))
    record.write_text(json.dumps(found | {"in_force_since": {fingerprint(OLD): long_ago}}))
    assert not quiet.stage(max_age_days=401)["rotation_pending"]
    due = quiet.stage(max_age_days=365)
    assert (due["rotation_pending"], due["key_age_days"]) == (True, 400.0)
    assert quiet.rotate()["phase"] == "activated"
    quiet.retire()
    assert not quiet.stage(max_age_days=365)["rotation_pending"]


def test_a_rotation_that_is_under_way_goes_on_whatever_the_id(quiet: Servos) -> None:
    quiet.stage(rotation_id="one")
    staged = (quiet.state_dir / "staged.key").read_text()
    later = quiet.stage(rotation_id="two")
    assert (later.changed, later["rotation_pending"]) == (False, True)
    assert (quiet.state_dir / "staged.key").read_text() == staged


def test_two_runs_at_a_time_are_refused(servos: Servos) -> None:
    servos.stage()
    busy = servos.folder / "busy"
    busy.touch()
    servos.write_scripts(after_stop=f"for unused in $(seq 300); do [ -e '{busy}' ] || break; sleep 0.1; done")
    first = servos.begin("servos_key_rotate", settle_time=0.1)
    time.sleep(0.4)
    since = f"on {socket.gethostname()} since {time.gmtime().tm_year}-"
    words = ("another run is at work", "servos_key_rotate (rotation one)", since, "wait for it to end")
    assert_refused(servos.rotate(), *words)
    assert_refused(servos.retire(), *words)
    assert_refused(servos.backup(), *words)
    busy.unlink()
    assert first.wait()["phase"] == "activated"


# Backups


def test_a_backup_is_whole_private_and_tells_which_key_opens_it(servos: Servos) -> None:
    backup = servos.backup()["backup"]
    assert backup["keys"] == {fingerprint(OLD): 61}
    path = backup["path"]
    assert {oct(os.stat(place).st_mode & 0o777) for place in (path, path + ".json")} == {"0o600"}
    assert oct(servos.backup_dir.stat().st_mode & 0o777) == "0o700"
    for file in servos.backup_dir.iterdir():
        assert leaks(file.read_bytes(), servos.secrets() | {"canary": CANARY}) == []


def test_a_restored_backup_from_before_the_rotation_is_brought_over(servos: Servos) -> None:
    servos.backup()
    rotated(servos)
    restored = servos.backup(state="restored")
    assert restored["started"] is False
    assert "under another key" in restored.warnings
    assert servos.rotate()["phase"] == "activated"
    assert servos.process_key_text() == b64(NEW)
    servos.assert_all_under(b64(NEW), b64(OLD))


def test_a_backup_under_the_active_key_is_restored_and_served(servos: Servos) -> None:
    servos.backup()
    servos.sql("DELETE FROM servers")
    assert servos.backup(state="restored")["started"] is True
    servos.assert_all_under(b64(OLD))
    assert servos.call("GET", "/api/servers/1/reveal")[0] == 200


def damage(servos: Servos) -> None:
    path = servos.backup()["backup"]["path"]
    with open(path, "r+b") as stream:
        stream.seek(5000)
        stream.write(b"damage")


def rotated_and_retired(servos: Servos) -> None:
    servos.backup()
    rotated(servos)
    servos.retire()


BAD_BACKUPS: dict[str, tuple[Callable[[Servos], object], list[str]]] = {
    "none": (lambda servos: None, ["no backup", "servos_backup state=present"]),
    "changed": (damage, ["SHA-256 differs", "nothing was changed"]),
    "no known key": (rotated_and_retired, [fingerprint(OLD), fingerprint(NEW), "password manager or escrow"]),
}


@pytest.mark.parametrize(("prepare", "words"), BAD_BACKUPS.values(), ids=BAD_BACKUPS)
def test_a_backup_that_is_no_good_is_not_restored(servos: Servos, prepare: Callable[[Servos], object], words: list[str]) -> None:
    prepare(servos)
    before = servos.snapshot()
    assert_refused(servos.backup(state="restored"), str(servos.backup_dir), *words)
    assert_same(before, servos.snapshot())


def test_backups_past_their_time_go_but_never_the_newest(servos: Servos) -> None:
    old = servos.backup(retention_days=0)["backup"]["path"]
    time.sleep(1.1)  # times are noted in whole seconds
    assert not servos.backup(state="pruned").changed
    newest = servos.backup(retention_days=0)
    assert old in newest["removed"] + servos.backup(state="pruned")["removed"]
    assert not os.path.exists(old)
    rotated(servos)
    servos.retire()
    assert servos.backup(state="pruned", unreadable=True)["removed"] == [newest["backup"]["path"]]
    assert list(servos.backup_dir.iterdir()) == []
