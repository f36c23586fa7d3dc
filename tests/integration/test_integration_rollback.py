# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Going back to a backup: only when told to, with what that loses said before and after, and with what it replaces kept."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest
from installations import NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint, seal, unseal
from playbook_runs import play


def rotated(servos: Servos) -> str:
    """Back up, rotate; return the path of the backup."""
    path = str(servos.backup()["backup"]["path"])
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    assert servos.rotate()["phase"] == "activated"
    return path


def write_something(servos: Servos) -> None:
    """Two values come, one changes, one goes; all since the backup."""
    for value in ("one", "two"):
        assert servos.call("POST", "/api/git_credentials", {"value": value, "name": "x"})[0] == 201
    servos.sql("UPDATE servers SET ssh_private_key = ? WHERE id = 1", seal(b"changed", NEW))
    servos.sql("DELETE FROM registries WHERE id = 1")


def spoil(servos: Servos) -> None:
    """A value that no key opens: nothing can be rewrapped back."""
    servos.sql("UPDATE servers SET ssh_private_key = ? WHERE id = 2", seal(b"from elsewhere", OTHER))


LOST = "2 rows added, 2 changed and 1 deleted since, in git_credentials, registries, servers"


def test_a_rewrap_is_no_loss(servos: Servos) -> None:
    rotated(servos)
    told = servos.backup(state="restored", check=True)["loss"]
    assert (told["added"], told["changed"], told["deleted"], told["unreadable"]) == (0, 0, 0, "")
    assert "nothing would be lost" in told["text"]


def test_without_a_word_nothing_is_lost_and_what_would_be_is_said(servos: Servos) -> None:
    path = rotated(servos)
    write_something(servos)
    spoil(servos)
    before = servos.snapshot()
    done = play(servos, "rollback")
    assert done.code == 2
    text = " ".join(done.text.split())
    assert ("servers.ssh_private_key of id=2" in text and "opens under no known key" in text) or "open neither" in text, done.text
    assert path in text and LOST in text and "servos_rollback_from_backup=true" in text and "No backup was put" in text, done.text
    assert_same(before, servos.snapshot())


def test_the_playbook_falls_back_when_told_to_and_keeps_what_it_replaces(servos: Servos) -> None:
    env_before = servos.env_file.read_bytes()
    path = rotated(servos)
    write_something(servos)
    spoil(servos)
    done = play(servos, "rollback", "-e", "servos_rollback_from_backup=true")
    assert done.code == 0, done.text
    assert LOST in " ".join(done.text.split())
    assert servos.env_file.read_bytes() == env_before
    assert servos.process_key_text() == b64(OLD)
    servos.assert_all_under(b64(OLD), b64(NEW))
    # What was there is kept, and can still be read with the key that was withdrawn.
    (kept,) = [Path(other) for other in map(str, servos.backup_dir.glob("*.db")) if other != path]
    connection = sqlite3.connect(f"file:{kept}?mode=ro", uri=True)
    sealed = connection.execute("SELECT ssh_private_key FROM servers WHERE id = 1").fetchone()[0]
    connection.close()
    assert unseal(sealed, NEW) == b"changed"
    listed = {row["path"]: row["opens_with"] for row in servos.info(backup_dir=str(servos.backup_dir))["backups"]}
    assert listed == {path: ["active"], str(kept): ["withdrawn"]}
    assert oct(kept.stat().st_mode & 0o777) == "0o600"
    # It is never restored by itself.
    assert servos.backup(state="restored", check=True)["backup"]["path"] == path


def test_check_mode_does_not_say_that_it_was_done(servos: Servos) -> None:
    path = rotated(servos)
    write_something(servos)
    spoil(servos)
    before = servos.snapshot()
    done = play(servos, "rollback", "-e", "servos_rollback_from_backup=true", "--check")
    text = " ".join(done.text.split())
    assert done.code == 0, done.text
    assert f"{path} would be in the place of the data" in text and LOST in text, done.text
    assert "is in the place of" not in text and "What it replaces would be kept" in text, done.text
    assert_same(before, servos.snapshot())


def damage(servos: Servos, how: str) -> None:
    if how == "gone":
        for path in servos.folder.glob("servos.db*"):
            path.unlink()
        return
    with open(servos.database, "r+b") as stream:
        if how == "header":
            stream.write(b"\xff" * 100)
        else:
            stream.seek(4096 * 2)
            stream.write(b"\xff" * 4096 * 6)


@pytest.mark.parametrize("how", ["pages", "header", "gone"])
def test_a_database_that_is_damaged_or_gone_is_replaced(servos: Servos, how: str) -> None:
    rotated(servos)
    servos.stop()
    mode = servos.database.stat().st_mode
    damage(servos, how)
    refused = play(servos, "rollback")
    assert refused.code == 2
    text = " ".join(refused.text.split())
    assert "everything written since" in text and "cannot be told" in text and "servos_rollback_from_backup=true" in text, refused.text
    done = play(servos, "rollback", "-e", "servos_rollback_from_backup=true")
    assert done.code == 0, done.text
    servos.assert_all_under(b64(OLD), b64(NEW))
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    if how != "gone":
        assert servos.database.stat().st_mode == mode
        (note,) = [json.loads(path.read_text()) for path in servos.backup_dir.glob("*.json") if "is_set_aside" in path.read_text()]
        assert Path(note["path"]).stat().st_size > 4096


def test_a_backup_does_not_help_against_a_lock(servos: Servos) -> None:
    rotated(servos)
    servos.write_scripts(before_start="exit 1")
    done = play(servos, "rollback", "-e", "servos_rollback_from_backup=true", servos_start_timeout=2)
    assert done.code == 2
    assert "would be lost" not in done.text
    assert len(list(servos.backup_dir.glob("*.db"))) == 1
    servos.write_scripts()
    assert servos.rotate(direction="back")["phase"] == "settled"


def test_a_changed_backup_is_no_way_back(servos: Servos) -> None:
    path = rotated(servos)
    spoil(servos)
    with open(path, "r+b") as stream:
        stream.seek(5000)
        stream.write(b"x")
    before = servos.snapshot()
    done = play(servos, "rollback", "-e", "servos_rollback_from_backup=true")
    assert done.code == 2
    assert "is not what it was" in done.text
    assert_same(before, servos.snapshot())
    assert_refused(servos.retire(), "open neither", fingerprint(OLD))


def test_a_service_that_is_not_well_can_be_taken_back(servos: Servos) -> None:
    """Forward, a health URL that does not answer stops a run before it begins; back, that may be the very reason."""
    rotated(servos)
    unwell = f"{servos.url}/api/nothing-here"
    done = servos.rotate(direction="back", health_url=unwell)
    assert (done.failed, done["phase"]) == (False, "settled"), done.msg
    assert unwell in done.warnings and "not waited for" in done.warnings
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    servos.retire()
    servos.stage(rotation_id="two")
    assert_refused(servos.rotate(health_url=unwell), unwell, "nothing was changed")
