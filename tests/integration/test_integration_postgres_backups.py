# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups of a PostgreSQL database: dumped, proven, put back, rehearsed on; judged by psycopg and by pg_restore itself."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from ansible_collections.servos.ops.plugins.module_utils._stores import postgres_programs, postgres_replace, postgres_scratch
from evidence import leaks
from installations import OLD, seal
from postgres_fixtures import cluster, make_site
from postgres_servers import programs
from postgres_site import PostgresSite
from servers import write


@pytest.fixture
def site(make_site: Callable[..., PostgresSite]) -> PostgresSite:
    return make_site()


def test_a_backup_is_a_dump_that_pg_restore_reads(site: PostgresSite) -> None:
    before = site.content()
    done = site.backup()
    assert (done.failed, done.changed) == (False, True), done.msg
    path = Path(done["backup"]["path"])
    assert (path.suffix, oct(path.stat().st_mode)) == (".dump", "0o100600")
    assert sorted(entry.name for entry in site.backup_dir.iterdir()) == [path.name, f"{path.name}.json"]
    assert list(done["backup"]["keys"].values()) == [20]
    listed = subprocess.run([programs() / "pg_restore", "--list", path], check=True, capture_output=True, text=True, timeout=30).stdout
    assert "TABLE DATA vault Odd Name" in listed
    assert "BLOB" in listed
    assert site.scratches() == []
    assert site.content() == before


def test_check_mode_makes_nothing(site: PostgresSite) -> None:
    told = site.backup(check=True)
    assert (told.failed, told.changed) == (False, True), told.msg
    assert not site.backup_dir.exists()
    assert site.scratches() == []


def changed_since(site: PostgresSite) -> None:
    """Add, change and delete a row, and lose an index."""
    site.sql("INSERT INTO accounts (name, token) VALUES ('late', %s)", seal(b"late", OLD))
    site.sql("UPDATE accounts SET token = NULL WHERE id = 10")
    site.sql("DELETE FROM events")
    site.sql("DROP INDEX by_token")
    site.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata")


def test_a_restore_brings_back_all_of_it_and_keeps_what_it_replaced(site: PostgresSite) -> None:
    before = site.content()
    site.backup()
    changed_since(site)
    site.sql("CREATE TABLE newcomer (id int PRIMARY KEY)")
    told = site.backup(state="restored", check=True)
    assert {name: told["loss"][name] for name in ("added", "changed", "deleted", "tables", "unreadable")} == {
        "added": 1, "changed": 1, "deleted": 1, "tables": ["accounts", "events"], "unreadable": "",
    }, told["loss"]  # fmt: skip
    assert site.content() != before
    done = site.backup(state="restored")
    assert (done.failed, done.changed) == (False, True), done.msg
    assert "newcomer" in done.warnings
    assert "was left as it is" in done.warnings
    assert done["loss"] == told["loss"]
    site.sql("DROP TABLE newcomer")
    assert site.content() == before
    aside = subprocess.run(
        [programs() / "pg_restore", "--data-only", "--table=accounts", "--file=-", done["set_aside"]],
        check=True, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert "\tlate\t" in aside.stdout
    assert site.scratches() == []


WITHOUT_A_KEY = {
    "none": "CREATE TABLE more (v text, n int)",
    "computed": "CREATE TABLE more (v text, n int, id int GENERATED ALWAYS AS (n + 1) STORED PRIMARY KEY)",
}


@pytest.mark.parametrize("statement", WITHOUT_A_KEY.values(), ids=WITHOUT_A_KEY)
def test_tables_without_a_key_of_their_own_are_put_back(site: PostgresSite, statement: str) -> None:
    site.sql(statement)
    site.sql("INSERT INTO more VALUES (%s, 1), ('plain', 2)", seal(b"more", OLD))
    before = site.sql("SELECT * FROM more ORDER BY n")
    assert not site.backup().failed
    site.sql("DELETE FROM more WHERE n = 1")
    done = site.backup(state="restored")
    assert not done.failed, done.msg
    assert (done["loss"]["deleted"], done["loss"]["tables"]) == (1, ["more"])
    assert site.sql("SELECT * FROM more ORDER BY n") == before


def test_what_only_a_superuser_can_make_stays_where_it_is(site: PostgresSite) -> None:
    """As an administrator has it in an application's database: nothing of the application's rests on it, so no copy needs it."""
    with site.cluster.connect(site.database) as connection:
        for name in ("pg_stat_statements", "pageinspect", "postgres_fdw"):
            connection.execute(f"CREATE EXTENSION {name}")
        connection.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    before = site.content()
    assert not site.backup().failed
    site.sql("DELETE FROM events")
    done = site.backup(state="restored")
    assert not done.failed, done.msg
    assert site.content() == before
    query = "SELECT extname::text FROM pg_extension UNION SELECT tablename::text FROM pg_publication_tables"
    found = {name for (name,) in site.sql(query)}
    assert {"pg_stat_statements", "pageinspect", "postgres_fdw", "citext", "accounts"} <= found


def test_event_triggers_are_not_rehearsed(site: PostgresSite) -> None:
    with site.cluster.connect(site.database) as connection:
        connection.execute("CREATE FUNCTION told() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        connection.execute("CREATE EVENT TRIGGER tells ON ddl_command_end EXECUTE FUNCTION told()")
    assert not site.backup().failed
    done = site.backup(state="restored", target="mine")
    assert not done.failed, done.msg
    assert len(site.scratches()) == 1


def test_an_extension_on_which_a_table_rests_is_asked_for(site: PostgresSite) -> None:
    with site.cluster.connect(site.database) as connection:
        connection.execute("CREATE EXTENSION pageinspect")
    site.sql("CREATE VIEW kinds AS SELECT page_checksum('', 0) AS found")
    refused = site.backup()
    assert refused.failed
    assert 'permission denied to create extension "pageinspect"' in refused.msg


def test_nobody_else_enters_a_scratch_database(site: PostgresSite) -> None:
    """Its functions come without their grants; one that acts as its owner would tell anybody what that may read."""
    other = f"{site.role}_other"
    with site.cluster.connect() as connection:
        connection.execute(f"CREATE ROLE {other} LOGIN PASSWORD 'other'")
    try:
        assert not site.backup().failed
        assert not site.backup(state="restored", target="mine").failed
        (scratch,) = site.scratches()
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(host="127.0.0.1", port=site.cluster.port, user=other, password="other", dbname=scratch)
        assert site.opens(OLD, database=scratch) == 20
    finally:
        with site.cluster.connect() as connection:
            connection.execute(f"DROP ROLE {other}")


def test_rehearsed_in_a_scratch_database_that_is_dropped(site: PostgresSite) -> None:
    before = site.content()
    site.backup()
    told = site.backup(state="restored", target="rehearsal", check=True)
    assert site.scratches() == []
    done = site.backup(state="restored", target="rehearsal")
    assert (done.failed, done["copy_url"]) == (False, told["copy_url"]), done.msg
    (scratch,) = site.scratches()
    assert scratch in done["copy_url"]
    assert site.content(scratch)[:8] == before[:8]
    again = site.backup(state="restored", target="rehearsal")
    assert (again.failed, site.scratches()) == (False, [scratch]), again.msg
    beside = {"database": done["copy_url"], "state_dir": str(site.folder / "scratch")}
    staged = site.run("servos_keyring", state="staged", rotation_id="rehearsal", **beside)
    assert not staged.failed, staged.msg
    rotated = site.run("servos_key_rotate", until="rewrapped", **beside)
    assert (rotated.failed, rotated["rewrapped"]) == (False, 20), rotated.msg
    assert site.opens(OLD, database=scratch) == 0
    dropped = [site.backup(state="dropped", target="rehearsal") for unused in range(2)]
    assert [(one.failed, one.changed) for one in dropped] == [(False, True), (False, False)], dropped
    assert site.scratches() == []
    assert site.content() == before


def test_the_playbook_rehearses_in_a_scratch_database(site: PostgresSite) -> None:
    before = site.content()
    played = site.play("rehearse", servos_verify_application=False)
    assert played.returncode == 0, played.stdout[-3000:]
    assert ": 20 values in" in played.stdout
    assert site.scratches() == []
    assert site.content() == before
    assert not (site.folder / "servos-ops-rehearsal").exists()


def fast_locks() -> None:
    postgres_replace.LOCK_TIMEOUT_S = 1.0


def test_a_lock_of_another_session_ends_the_restore_and_not_the_session(site: PostgresSite) -> None:
    site.backup()
    changed_since(site)
    before = site.content()
    with site.connect() as other:
        other.execute("SET application_name = 'a long report'")
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM accounts")
        refused = site.backup(state="restored", prepare=[fast_locks])
        assert refused.failed
        assert "stayed locked" in refused.msg
        assert "nothing was changed" in refused.msg
        other.execute("COMMIT")
    assert site.content() == before
    assert not site.backup(state="restored").failed


def rewritten_note(path: Path) -> None:
    """Let a note agree with what its file has become."""
    note = Path(f"{path}.json")
    note.write_text(json.dumps(dict(json.loads(note.read_text()), sha256=hashlib.sha256(path.read_bytes()).hexdigest())))


def cut(content: bytes) -> bytes:
    return content[: len(content) - 300]


def emptied(content: bytes) -> bytes:
    return b""


def scribbled(content: bytes) -> bytes:
    place = content.rindex(b"\x78\x9c")  # where a block of zlib's begins
    return content[: place + 6] + bytes(byte ^ 0xFF for byte in content[place + 6 : place + 16]) + content[place + 16 :]


@pytest.mark.parametrize("damage", [cut, emptied, scribbled])
def test_a_damaged_dump_is_refused_and_nothing_is_changed(site: PostgresSite, damage: Callable[[bytes], bytes]) -> None:
    path = Path(site.backup()["backup"]["path"])
    changed_since(site)
    before = site.content()
    path.write_bytes(damage(path.read_bytes()))
    refused = site.backup(state="restored")
    assert "SHA-256" in refused.msg
    rewritten_note(path)
    refused = site.backup(state="restored", path=str(path))
    assert refused.failed
    assert str(path) in refused.msg
    assert "nothing was changed" in refused.msg
    assert site.content() == before
    assert site.scratches() == []


def test_a_dump_of_another_database_is_refused(make_site: Callable[..., PostgresSite]) -> None:
    site, other = make_site(), make_site()
    path = other.backup()["backup"]["path"]
    before = site.content()
    refused = site.run("servos_backup", state="restored", backup_dir=str(other.backup_dir), path=path)
    assert refused.failed
    assert f"dump of the database {other.database}" in refused.msg
    assert "nothing was changed" in refused.msg
    assert site.content() == before


def test_a_role_that_may_not_make_databases_is_told_what_to_ask_for(make_site: Callable[..., PostgresSite]) -> None:
    site = make_site(role_options="NOCREATEDB")
    refused = site.backup()
    assert refused.failed
    assert f'ALTER ROLE "{site.role}" CREATEDB' in refused.msg
    assert not site.backup_dir.exists() or list(site.backup_dir.iterdir()) == []


def test_a_table_that_may_not_be_read_is_named(site: PostgresSite) -> None:
    with site.cluster.connect(site.database) as connection:
        connection.execute("CREATE TABLE closed (id int)")
    refused = site.backup()
    assert refused.failed
    assert "permission denied for table closed" in refused.msg
    assert list(site.backup_dir.glob("*")) == []


def test_what_a_killed_run_left_is_dropped_by_the_next_and_what_is_in_use_is_not(site: PostgresSite) -> None:
    left, used, young, foreign = (
        "servos_ops_scratch_1000000000_00000000", "servos_ops_scratch_1000000000_11111111",
        f"servos_ops_scratch_{int(time.time()) + 600:010}_22222222", "servos_ops_scratchpad",
    )  # fmt: skip
    with site.connect() as connection:
        for name in (left, used, young, foreign):
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
    with site.connect(used):
        assert not site.backup().failed
        assert site.scratches() == sorted([used, young, foreign])


def recording_programs(folder: Path) -> Callable[[], None]:
    """Let programs of our own note what they are given, then be the real ones."""
    for name in ("pg_dump", "pg_restore"):
        text = f'#!/bin/sh\n{{ tr "\\0" "\\n" < /proc/$$/cmdline; env; }} >> {folder / "seen"}\nexec {programs() / name} "$@"\n'
        write(folder / name, text, mode=0o755)

    def prepare() -> None:
        postgres_programs._FOLDERS = (str(folder),)

    return prepare


def test_the_password_is_in_no_argument_and_no_environment(site: PostgresSite) -> None:
    done = site.backup(prepare=[recording_programs(site.folder)])
    assert not done.failed, done.msg
    seen = (site.folder / "seen").read_text()
    assert "passfile=%2Fproc%2Fself%2Ffd%2F" in seen
    assert leaks(seen, {"password": site.password}) == []
    assert site.password.rpartition("'")[2] not in seen


def test_without_a_file_libpq_finds_the_password_by_itself(site: PostgresSite) -> None:
    passfile = write(site.folder / "pgpass", "127.0.0.1:*:*:*:" + site.password.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    url = site.cluster.url(site.database, user=site.role, query=f"passfile={passfile}")
    done = site.backup(database=url, database_password_file=None)
    assert not done.failed, done.msg


def old_programs(folder: Path) -> Callable[[], None]:
    for name in ("pg_dump", "pg_restore"):
        write(folder / name, f'#!/bin/sh\necho "{name} (PostgreSQL) 11.22 (Debian 11.22-1)"\n', mode=0o755)

    def prepare() -> None:
        postgres_programs._FOLDERS = (str(folder),)
        os.environ["PATH"] = str(folder)

    return prepare


def no_programs(folder: Path) -> Callable[[], None]:
    def prepare() -> None:
        postgres_programs._FOLDERS = (str(folder),)
        os.environ["PATH"] = str(folder)

    return prepare


@pytest.mark.parametrize(
    ("fake", "words"),
    [(old_programs, ("PostgreSQL 15", "pg_dump 11.22", "postgresql-client-15")), (no_programs, ("are not there", "postgresql-client-15"))],
    ids=["too old", "absent"],
)
def test_client_programs_that_do_not_fit_are_named(
    site: PostgresSite, fake: Callable[[Path], Callable[[], None]], words: tuple[str, ...]
) -> None:
    refused = site.backup(prepare=[fake(site.folder)])
    assert refused.failed
    assert [word for word in words if word not in refused.msg] == [], refused.msg
    assert list(site.backup_dir.glob("*")) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_fills_up_during_the_dump_leaves_nothing_behind(site: PostgresSite) -> None:
    site.sql("CREATE TABLE ballast AS SELECT n AS id, string_agg(md5(random()::text), '') AS said FROM generate_series(1, 9) n, "
             "generate_series(1, 4000) GROUP BY n")  # fmt: skip
    place = site.folder / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets us mount nothing")
    try:
        site.backup_dir = place / "backups"
        refused = site.backup()
        assert refused.failed
        assert "no space is left" in refused.msg
        assert str(place) in refused.msg
        assert list(place.rglob("*.*")) == []
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_killed_in_the_scratch_restore_and_run_again(site: PostgresSite) -> None:
    site.sql("CREATE TABLE ballast AS SELECT n AS id, md5(n::text) AS said FROM generate_series(1, 200000) n")
    run = site.begin("servos_backup", backup_dir=str(site.backup_dir))
    deadline = time.monotonic() + 30
    while not site.scratches() and time.monotonic() < deadline:
        time.sleep(0.01)
    run.kill_all()
    run.wait()
    (left,) = site.scratches()
    with site.cluster.connect() as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (left,))
    done = site.backup(prepare=[no_grace])
    assert not done.failed, done.msg
    assert site.scratches() == []
    assert len(list(site.backup_dir.glob("*"))) == 2


def no_grace() -> None:
    postgres_scratch._UNUSED_S = -5


__all__ = ("cluster", "make_site")  # fixtures that are made elsewhere
