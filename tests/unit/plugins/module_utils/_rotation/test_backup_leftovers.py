# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a killed backup leaves: the next one clears it, and no failure to clear hides what went wrong."""

from __future__ import annotations

import datetime
import os
import signal
import sqlite3

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._rotation import backups
from ansible_collections.servos.ops.plugins.module_utils._rotation.restore import restore_backup
from ansible_collections.servos.ops.plugins.module_utils._stores import sqlite_copy, sqlite_file
from ansible_collections.servos.ops.plugins.module_utils._system import files

NOW = datetime.datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=datetime.timezone.utc)
NAME = "servos-20260601T120000.123456Z.db"


@pytest.fixture
def installation(make_installation, make_database, sealed):
    database = make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c)", [("INSERT INTO t VALUES (?, ?)", (1, sealed("A", "first")))])
    return make_installation(database, key_bytes=b"\xaa" * 32)


@pytest.fixture
def place(tmp_path):
    return tmp_path / "backups"


def keep(installation, place, now=NOW):
    return backups.keep_backups(installation, backup_dir=str(place), retention_days=30, allow_empty=False, now=now, write=True)


def names(place):
    return sorted(path.name for path in place.iterdir())


def restore(installation, place, now):
    return restore_backup(
        installation, backup_dir=str(place), path=None, target=None, stop_timeout_s=1, start_timeout_s=1, retention_days=30, now=now,
        write=True,
    )


def killed_at(work, owner, name, count):
    """Do something in a process that is killed when it calls a function for the nth time."""
    calls = []

    def deadly(*arguments, **options):
        calls.append(name)
        if len(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    original = getattr(owner, name)
    pid = os.fork()
    if pid == 0:
        setattr(owner, name, deadly)
        try:
            work()
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL


MOMENTS = {
    "the copy is whole": (sqlite_file, "check_integrity", 1),
    "the note is being written": (files.os, "replace", 1),
    "the note has not its name": (files.os, "replace", 2),
    "the note has its name, the copy has not": (files.os, "replace", 3),
}


@pytest.mark.parametrize(("owner", "name", "count"), MOMENTS.values(), ids=MOMENTS)
def test_the_next_backup_clears_what_a_killed_one_left(installation, place, owner, name, count):
    killed_at(lambda: keep(installation, place), owner, name, count)
    assert NAME not in names(place)
    assert len(names(place)) > 0
    later = NOW + datetime.timedelta(days=1)
    kept = os.path.basename(keep(installation, place, now=later)["backup"]["path"])
    assert names(place) == [kept, f"{kept}.json"]


def damage(installation):
    """Spoil the database, and put a log beside it that belongs to it."""
    with open(installation.place().identity, "r+b") as stream:
        stream.write(b"\xff" * 100)
    with open(installation.place().identity + "-wal", "wb") as stream:
        stream.write(b"its log")


@pytest.mark.parametrize("count", [1, 2, 3, 4], ids=["note written", "note named", "log named", "copy named"])
def test_the_next_restore_clears_what_a_killed_one_had_half_set_aside(installation, place, count):
    keep(installation, place)
    damage(installation)
    killed_at(lambda: restore(installation, place, NOW + datetime.timedelta(days=1)), files.os, "replace", count)
    assert len(names(place)) > 2, "nothing was left"
    kept = os.path.basename(restore(installation, place, NOW + datetime.timedelta(days=2))["set_aside"])
    assert names(place) == sorted([NAME, f"{NAME}.json", kept, f"{kept}-wal", f"{kept}.json"])
    assert (place / kept).read_bytes()[:100] == b"\xff" * 100
    assert (place / f"{kept}-wal").read_bytes() == b"its log"
    assert not os.path.exists(installation.place().identity + "-wal")


def test_what_is_set_aside_never_takes_the_place_of_another_file(installation, place):
    keep(installation, place)
    damage(installation)
    there = os.path.join(str(place), NAME)
    with pytest.raises(StoreError, match="File exists"):
        sqlite_copy.copy_bytes(installation.place().identity, there)
    assert os.path.getsize(there) > 4096


def test_a_note_of_another_database_is_not_cleared(installation, place, tmp_path):
    keep(installation, place)
    foreign = place / "servos-20250101T000000.000000Z.db.json"
    foreign.write_text('{"app": "servos", "database": "/srv/elsewhere.db"}')
    keep(installation, place, now=NOW + datetime.timedelta(days=1))
    assert foreign.exists()


def test_a_copy_that_cannot_be_removed_does_not_hide_why_it_failed(tmp_path, monkeypatch):
    source = tmp_path / "source.db"
    sqlite3.connect(str(source)).execute("CREATE TABLE t (c)").connection.close()

    def refused(*arguments):
        raise FileError("cannot make it durable")

    def read_only(*arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(sqlite_copy, "fsync_file", refused)
    monkeypatch.setattr(sqlite_copy.os, "unlink", read_only)
    with pytest.raises(FileError, match="cannot make it durable"):
        sqlite_copy.copy_database(str(source), str(tmp_path / "copy.db"))


def prune(installation, place, now):
    return backups.prune_backups(installation, backup_dir=str(place), unreadable=False, now=now, write=True)


def test_a_note_whose_backup_was_removed_by_a_killed_run_is_removed_by_the_next(installation, place):
    for days in (0, 1):
        keep(installation, place, now=NOW + datetime.timedelta(days=days))
    os.unlink(str(place / NAME))  # which is where a kill may strike
    prune(installation, place, NOW)
    assert NAME + ".json" not in names(place)
    assert len(names(place)) == 2


def test_a_backup_that_cannot_be_removed_is_named(installation, place, monkeypatch):
    for days in (0, 1):
        keep(installation, place, now=NOW + datetime.timedelta(days=days))

    def read_only(*arguments):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(sqlite_copy.os, "unlink", read_only)
    with pytest.raises(FileError, match=f"cannot remove .*{NAME}: its file system is mounted read-only"):
        prune(installation, place, NOW + datetime.timedelta(days=90))
