# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Databases that are not there, are not what they should be, are locked, or hold what no key opens."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from installations import NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint, seal, unseal
from module_runs import without_override


def every_module(servos: Servos, **options: object) -> list:
    return [
        servos.info(**options), servos.stage(**options), servos.stage(check=True, **options), servos.backup(**options),
        servos.backup(check=True, **options), servos.rotate(**options), servos.rotate(check=True, **options),
    ]  # fmt: skip


def missing(servos: Servos) -> None:
    servos.database.unlink()


def a_directory(servos: Servos) -> None:
    servos.database.unlink()
    servos.database.mkdir()


def no_sqlite(servos: Servos) -> None:
    servos.database.write_text("-- a dump, not a database\n" * 50)


def an_empty_file(servos: Servos) -> None:
    servos.database.write_bytes(b"")


def cut_short(servos: Servos) -> None:
    content = servos.database.read_bytes()
    servos.database.write_bytes(content[: len(content) // 2])


def without_tables(servos: Servos) -> None:
    servos.database.unlink()
    servos.sql("CREATE TABLE passing_by (id)")
    servos.sql("DROP TABLE passing_by")


def without_values(servos: Servos) -> None:
    for (name,) in servos.sql("SELECT name FROM sqlite_master WHERE type = 'table'"):
        servos.sql(f"DELETE FROM {name}")


BROKEN: dict[Callable[[Servos], None], list[str]] = {
    missing: ["no database", "was not created", "database"],
    a_directory: ["is a directory"],
    no_sqlite: ["not a SQLite database"],
    an_empty_file: ["empty file", "name the right one"],
    cut_short: ["malformed"],
    without_tables: ["no value", "wrong database", "allow_empty"],
    without_values: ["no value", "wrong database", "allow_empty"],
}


@pytest.mark.parametrize(("break_it", "words"), BROKEN.items(), ids=[function.__name__ for function in BROKEN])
def test_a_broken_database_is_refused(quiet: Servos, break_it: Callable[[Servos], None], words: list[str]) -> None:
    break_it(quiet)
    names_path = "no value" not in words
    before = quiet.snapshot()
    outcomes = every_module(quiet)
    for outcome in outcomes if names_path else outcomes[1:]:
        assert_refused(outcome, *words, *([str(quiet.database)] if names_path else []))
    assert_same(before, quiet.snapshot())


def test_an_empty_database_passes_where_that_is_said(quiet: Servos) -> None:
    without_values(quiet)
    assert quiet.stage(allow_empty=True).changed
    done = quiet.rotate(allow_empty=True)
    assert not done.failed, done.msg
    assert done.result.get("steps") == ["swap"], done.printed
    assert quiet.env_text() != b64(OLD)


@pytest.mark.parametrize(
    ("url", "words"),
    [("sqlite:///relative.db", ["relative path", "four slashes"]), ("mysql://db/servos", ["mysql", "not supported"]),
     ("servos.db", ["not supported", "sqlite:////"])],
    ids=["relative", "another kind", "no URL"],
)  # fmt: skip
def test_another_url_is_refused(quiet: Servos, url: str, words: list[str]) -> None:
    before = quiet.snapshot()
    for outcome in every_module(quiet, database=url):
        assert_refused(outcome, *words)
    assert_same(before, quiet.snapshot())


def test_a_database_that_may_not_be_read_is_refused(quiet: Servos) -> None:
    quiet.database.chmod(0)
    before = quiet.snapshot()
    for outcome in every_module(quiet, prepare=[without_override]):
        assert_refused(outcome, str(quiet.database), "may not be read", "become: true")
    assert_same(before, quiet.snapshot())


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_database_that_may_not_be_written_is_refused(make_servos: Callable[..., Servos], what: str) -> None:
    quiet = make_servos(has_service=False, journal="delete")
    quiet.stage()
    (quiet.database if what == "file" else quiet.folder).chmod(0o444 if what == "file" else 0o555)
    before = quiet.snapshot()
    outcome = quiet.rotate(prepare=[without_override], until="rewrapped")
    assert_refused(outcome, str(quiet.database if what == "file" else quiet.folder), "nothing was changed")
    assert_same(before, quiet.snapshot())


HOLDER = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN " + sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def locked_by_another(servos: Servos, how: str) -> Iterator[int]:
    """Hold the database's lock in a process of its own."""
    argv = [sys.executable, "-c", HOLDER, str(servos.database), how]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "locked\n"
            yield holder.pid
        finally:
            holder.kill()


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_lock_held_by_another_process_is_named_with_the_time_waited(make_servos: Callable[..., Servos], journal: str) -> None:
    quiet = make_servos(has_service=False, journal=journal)
    quiet.stage()
    with locked_by_another(quiet, "IMMEDIATE") as pid:
        before = quiet.snapshot()
        outcome = quiet.rotate(lock_timeout=0.3)
        assert_refused(outcome, str(quiet.database), "locked for 0.3 s", str(pid), "nothing was changed", "lock_timeout")
        assert_same(before, quiet.snapshot())
    assert quiet.rotate().changed


def test_a_lock_that_even_readers_wait_for_is_named(quiet: Servos) -> None:
    quiet.stage()
    with locked_by_another(quiet, "EXCLUSIVE"):
        before = quiet.snapshot()
        outcome = quiet.rotate(lock_timeout=0.3)
        assert_refused(outcome, str(quiet.database), "locked", "lock_timeout")
        assert_same(before, quiet.snapshot())


def test_the_service_is_started_again_where_the_lock_is_held_by_a_third(servos: Servos) -> None:
    servos.stage()
    with locked_by_another(servos, "IMMEDIATE") as pid:
        outcome = servos.rotate(lock_timeout=0.3)
        assert_refused(outcome, str(servos.database), "locked for 0.3 s", str(pid), "started again", "old key")
        assert servos.process_key_text() == servos.env_text() == b64(OLD)
        servos.assert_all_under(b64(OLD))
    assert servos.rotate()["phase"] == "activated"


def test_a_short_lock_is_waited_for(quiet: Servos) -> None:
    quiet.stage()
    with locked_by_another(quiet, "IMMEDIATE"):
        run = quiet.begin("servos_key_rotate", lock_timeout=20)
    assert run.wait()["rewrapped"] == 61


FOREIGN = {
    "random bytes": b64(os.urandom(60)),
    "another key": seal(b"sealed elsewhere", OTHER),
    "a flipped bit": "",
}


@pytest.mark.parametrize("value", FOREIGN.values(), ids=FOREIGN)
def test_a_value_that_no_key_opens_is_named_and_stops_everything(servos: Servos, value: str) -> None:
    if not value:
        (good,) = servos.sql("SELECT token FROM git_credentials WHERE id = 3")[0]
        value = good[:50] + ("A" if good[50] != "A" else "B") + good[51:]
    servos.sql("UPDATE git_credentials SET token = ? WHERE id = 3", value)
    before = servos.snapshot()
    assert servos.info()["phase"] == "foreign"
    for outcome in every_module(servos)[1:]:
        assert_refused(outcome, "1 of 61", "git_credentials.token of id=3", fingerprint(OLD), "ignore")
    assert_same(before, servos.snapshot())


def test_a_foreign_value_that_comes_in_the_meantime_stops_the_run_too(servos: Servos) -> None:
    servos.stage()
    servos.write_scripts(after_stop=f"'{sys.executable}' '{servos.scratch}/meddle.py'")
    (servos.scratch / "meddle.py").write_text(
        f"import sqlite3\nc = sqlite3.connect({str(servos.database)!r})\n"
        f"c.execute('UPDATE registries SET password = ? WHERE id = 2', ({b64(os.urandom(64))!r},))\nc.commit()\n"
    )
    outcome = servos.rotate()
    assert_refused(outcome, "registries.password of id=2", "nothing was changed", "started again")
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    verdict = servos.judge(b64(OLD))
    assert (verdict["opens_new"], verdict["neither"]) == (60, 1)


def test_a_new_table_with_sealed_values_is_found_and_rotated(servos: Servos) -> None:
    servos.sql("CREATE TABLE webhooks (name TEXT PRIMARY KEY, url TEXT, signing_secret TEXT, settings TEXT) WITHOUT ROWID")
    secret, inner = seal(b"whsec_1", OLD), seal(b"inner", OLD)
    servos.sql("INSERT INTO webhooks VALUES ('a', 'https://x', ?, ?)", secret, f'{{"plain": 1, "token": "{inner}"}}')
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    assert servos.rotate()["rewrapped"] == 63
    ((secret, settings),) = servos.sql("SELECT signing_secret, settings FROM webhooks")
    assert unseal(secret, NEW) == b"whsec_1"
    assert unseal(secret, OLD) is None
    inner = sqlite3.connect(":memory:").execute("SELECT json_extract(?, '$.token')", (settings,)).fetchone()[0]
    assert unseal(inner, NEW) == b"inner"
