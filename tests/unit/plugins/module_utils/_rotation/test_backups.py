# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Backups on a real disk: private, proven, kept as long as they should be, and put back without changing the file they go into."""

from __future__ import annotations

import datetime
import hashlib
import json
import os
import sqlite3
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation import backups
from ansible_collections.servos.ops.plugins.module_utils._rotation.restore import restore_backup
from ansible_collections.servos.ops.plugins.module_utils._stores import sqlite_file

KEYS = {"A": b"\xaa" * 32, "S": b"\x5e" * 32, "X": b"\x66" * 32}
NOW = datetime.datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)
SCRIPT = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
INSERT = "INSERT INTO t VALUES (?, ?)"


@pytest.fixture
def database(make_database, sealed):
    return make_database(SCRIPT, [(INSERT, (1, sealed("A", "first"))), (INSERT, (2, sealed("A", "second")))])


@pytest.fixture
def place(make_installation, database, tmp_path):
    installation = make_installation(database, key_bytes=KEYS["A"])
    return installation, str(tmp_path / "backups")


def keep(place, now=NOW, write=True, days=30.0, allow_empty=False):
    return backups.keep_backups(place[0], backup_dir=place[1], retention_days=days, allow_empty=allow_empty, now=now, write=write)


def restore(place, path=None, target=None, write=True):
    return restore_backup(
        place[0], backup_dir=place[1], path=path, target=target, stop_timeout_s=1, start_timeout_s=1, retention_days=30,
        now=datetime.datetime.now(datetime.timezone.utc), write=write,
    )


def rows(path):
    connection = sqlite3.connect("file:" + path + "?mode=ro&immutable=1", uri=True)
    found = connection.execute("SELECT c FROM t ORDER BY id").fetchall()
    connection.close()
    return [row[0] for row in found]


def later(**span):
    return NOW + datetime.timedelta(**span)


def test_a_backup_is_private_whole_and_has_its_note(place, database, mark):
    result = keep(place)
    note = result["backup"]
    assert sorted(os.listdir(place[1])) == ["servos-20260601T120000.123456Z.db", "servos-20260601T120000.123456Z.db.json"]
    assert stat.S_IMODE(os.stat(place[1]).st_mode) == 0o700
    assert {stat.S_IMODE(os.stat(os.path.join(place[1], name)).st_mode) for name in os.listdir(place[1])} == {0o600}
    assert rows(note["path"]) == rows(database)
    with open(note["path"], "rb") as stream:
        assert note["sha256"] == hashlib.sha256(stream.read()).hexdigest()
    assert (note["created_at"], note["expires_at"]) == ("2026-06-01T12:00:00Z", "2026-07-01T12:00:00Z")
    assert note["keys"] == {mark("A"): 2}
    with open(note["path"] + ".json") as stream:
        assert json.load(stream) == note


def test_no_note_holds_a_key(place):
    with open(keep(place)["backup"]["path"] + ".json") as stream:
        text = stream.read()
    assert not [form for form in parse_key(KEYS["A"].hex(), derivation="raw32", where="x").forms() if form in text]


def test_check_mode_makes_nothing_and_still_refuses(place, database, sealed):
    assert keep(place, write=False)["changed"] is True
    assert not os.path.exists(place[1])
    connection = sqlite3.connect(database)
    connection.execute(INSERT, (3, sealed("X", "lost")))
    connection.commit()
    connection.close()
    with pytest.raises(ForeignValueError, match="id=3"):
        keep(place, write=False)


@pytest.mark.parametrize("write", [True, False], ids=["run", "check"])
def test_a_database_that_no_key_opens_is_no_backup(make_installation, make_database, sealed, tmp_path, write):
    made = make_installation(make_database(SCRIPT, [(INSERT, (1, "plain"))], name="e.db"), key_bytes=KEYS["A"])
    place = made, str(tmp_path / "backups")
    with pytest.raises(StoreError, match="allow_empty"):
        keep(place, write=write)
    assert not os.path.exists(place[1]) or os.listdir(place[1]) == []
    assert keep(place, write=write, allow_empty=True)["changed"]


def test_without_room_nothing_is_left(place, monkeypatch):
    from ansible_collections.servos.ops.plugins.module_utils._stores import sqlite_copy

    monkeypatch.setattr(sqlite_copy, "free_bytes", lambda path: 100)
    with pytest.raises(StoreError, match="no room"):
        keep(place)
    assert not os.path.exists(place[1])  # nor a directory where there was none


def test_a_copy_that_turns_out_damaged_is_not_kept(place, monkeypatch):
    def damaged(path):
        raise StoreError(path + " is damaged")

    monkeypatch.setattr(sqlite_file, "check_integrity", damaged)
    with pytest.raises(StoreError, match="damaged"):
        keep(place)
    assert not os.path.exists(place[1])
    os.mkdir(place[1], 0o700)
    with pytest.raises(StoreError, match="damaged"):
        keep(place)
    assert not os.path.exists(place[1]) or os.listdir(place[1]) == []


def test_a_backup_with_half_its_parts_is_none(place):
    path = keep(place)["backup"]["path"]
    newer = keep(place, later(hours=1))["backup"]["path"]
    os.unlink(newer)  # a kill between note and rename
    with open(os.path.join(place[1], "servos-99999999T000000.000000Z.db"), "wb"):
        pass  # a copy without a note
    with open(os.path.join(place[1], "servos-1.db.json"), "w") as stream:
        stream.write("{")
    with open(os.path.join(place[1], "act-1.db.json"), "w") as stream:
        json.dump({"app": "act"}, stream)
    assert [note["path"] for note in backups.list_backups(place[1], app="servos")] == [path]


def test_those_past_their_time_go_and_the_newest_never(place):
    paths = [keep(place, later(days=n), days=10)["backup"]["path"] for n in range(3)]
    assert backups.prune_backups(place[0], backup_dir=place[1], unreadable=False, now=later(days=10), write=True)["removed"] == []
    found = backups.prune_backups(place[0], backup_dir=place[1], unreadable=False, now=later(days=11, hours=1), write=False)
    assert (found["changed"], sorted(found["removed"])) == (True, paths[:2])
    assert len(os.listdir(place[1])) == 6
    backups.prune_backups(place[0], backup_dir=place[1], unreadable=False, now=later(days=5000), write=True)
    assert sorted(os.listdir(place[1])) == [os.path.basename(paths[2]), os.path.basename(paths[2]) + ".json"]
    assert backups.prune_backups(place[0], backup_dir=place[1], unreadable=False, now=later(days=9000), write=True)["changed"] is False


def test_a_new_backup_removes_the_old_ones_only_once_it_is_there(place, monkeypatch):
    old = keep(place, days=1)["backup"]["path"]
    older_first = keep(place, later(hours=1), days=1)["backup"]["path"]

    def damaged(path):
        raise StoreError("damaged")

    monkeypatch.setattr(sqlite_file, "check_integrity", damaged)
    with pytest.raises(StoreError):
        keep(place, later(days=9))
    monkeypatch.undo()
    assert os.path.exists(old)
    result = keep(place, later(days=9))
    assert old in result["removed"]
    assert os.path.exists(older_first) or older_first in result["removed"]
    assert os.path.exists(result["backup"]["path"])


def test_those_that_no_key_opens_any_more_go_if_asked(place, tmp_path):
    path = keep(place)["backup"]["path"]
    assert backups.prune_backups(place[0], backup_dir=place[1], unreadable=True, now=NOW, write=True)["removed"] == []
    (tmp_path / "app.env").write_text("SERVOS_MASTER_KEY=" + KEYS["S"].hex() + "\n")
    assert backups.prune_backups(place[0], backup_dir=place[1], unreadable=False, now=NOW, write=True)["removed"] == []
    assert backups.prune_backups(place[0], backup_dir=place[1], unreadable=True, now=NOW, write=True)["removed"] == [path]
    assert os.listdir(place[1]) == []


def change(database, mode="DELETE"):
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA journal_mode=" + mode)
    connection.execute("DELETE FROM t")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_a_restore_brings_the_rows_back_into_the_same_file(place, database, mode):
    change_first = sqlite3.connect(database)
    change_first.execute("PRAGMA journal_mode=" + mode)
    change_first.close()
    before = rows(database)
    keep(place)
    change(database, mode)
    os.chmod(database, 0o640)
    if os.geteuid() == 0:
        os.chown(database, 1234, 2345)
    stats = os.stat(database)
    result = restore(place)
    assert (result["changed"], result["started"]) == (True, False)
    after = os.stat(database)
    assert (stats.st_ino, stats.st_mode, stats.st_uid, stats.st_gid) == (after.st_ino, after.st_mode, after.st_uid, after.st_gid)
    connection = sqlite3.connect(database)
    assert [row[0] for row in connection.execute("SELECT c FROM t ORDER BY id")] == before
    connection.close()
    assert restore(place)["changed"] is True  # reading a backup does not change it


def test_the_newest_is_taken_or_the_one_that_is_named(place, database):
    first = keep(place)["backup"]["path"]
    change(database)
    second = keep(place, later(hours=1), allow_empty=True)["backup"]["path"]
    assert restore(place, write=False)["backup"]["path"] == second
    assert restore(place, path=first)["backup"]["path"] == first
    assert len(rows(database)) == 2
    with pytest.raises(StoreError, match="there is no"):
        restore(place, path="/no/such.db")


def test_a_restore_in_check_mode_changes_nothing(place, database):
    keep(place)
    change(database)
    assert restore(place, write=False)["changed"] is True
    assert rows(database) == []


@pytest.mark.parametrize("offset", [0, 30, 5000])
def test_a_backup_that_changed_is_refused(place, database, offset):
    path = keep(place)["backup"]["path"]
    with open(path, "r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte[0] ^ 1]))
    before = rows(database)
    for write in (True, False):
        with pytest.raises(StoreError, match="SHA-256"):
            restore(place, write=write)
    assert rows(database) == before


def test_a_backup_whose_key_is_gone_is_refused_by_fingerprint(place, database, tmp_path, mark):
    keep(place)
    (tmp_path / "app.env").write_text("SERVOS_MASTER_KEY=" + KEYS["S"].hex() + "\n")
    with pytest.raises(ForeignValueError, match=mark("A")):
        restore(place)
    # In the keyring it is known again; the data then needs a rotation, and that is said.
    place[0].keyring.write("previous", parse_key(KEYS["A"].hex(), derivation="raw32", where="x"))
    assert "another key than the env file" in restore(place)["_warnings"][0]


def test_a_restore_into_a_copy_leaves_the_database(place, database, tmp_path):
    keep(place)
    change(database)
    target = tmp_path / "scratch" / "copy.db"
    for unused_time in range(2):  # an earlier copy is replaced
        restore(place, target=str(target))
        assert len(rows(str(target))) == 2
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        assert stat.S_IMODE(target.parent.stat().st_mode) == 0o700
    assert rows(database) == []


def test_what_was_set_aside_does_not_stand_in_for_the_newest_backup(place):
    whole = keep(place, days=1)["backup"]["path"]
    aside = restore(place)["set_aside"]
    done = backups.prune_backups(place[0], backup_dir=place[1], unreadable=False, now=later(days=20000), write=True)
    assert done["removed"] == [aside]
    assert restore(place, write=False)["backup"]["path"] == whole
