# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotations of data on a PostgreSQL server, and all that such a server says no with; judged by psycopg and PyCryptodome."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from installations import OLD, OTHER, assert_refused, b64, seal, unseal
from module_runs import Outcome
from ports import free_port
from postgres_fixtures import assert_rotated, assert_untouched, cluster, make_site, new_key, rotate, site
from postgres_relay import Relay
from postgres_servers import SUPERUSER, SUPERUSER_PASSWORD, Cluster, running_cluster
from postgres_servos import make_on_postgres
from postgres_site import PostgresSite
from servers import write


def test_all_of_it_is_brought_over_and_nothing_else_is_touched(site: PostgresSite) -> None:
    before = site.content()
    dry = rotate(site, check=True)
    assert (dry["rewrapped"], site.content()) == (20, before)
    done = rotate(site)
    assert (done.failed, done["rewrapped"], done["phase"]) == (False, 20, "activated"), done.msg
    assert_rotated(site)
    after = site.content()
    assert [[row[:2] + row[3:] for row in after[0]], after[2:]] == [[row[:2] + row[3:] for row in before[0]], before[2:]]
    assert [(row[0], row[1], row[3]) for row in after[1]] == [(row[0], row[1], row[3]) for row in before[1]]
    assert "physical copies" in done.warnings
    again = rotate(site)
    assert (again.failed, again.changed) == (False, False)
    back = rotate(site, direction="back")
    assert (back.failed, site.opens(OLD)) == (False, 20), back.msg


KINDS = {
    "text": ("text", lambda sealed: sealed, "SELECT v FROM kinds"),
    "varchar": ("varchar(90)", lambda sealed: sealed, "SELECT v FROM kinds"),
    "bytea": ("bytea", lambda sealed: sealed.encode(), "SELECT convert_from(v, 'UTF8') FROM kinds"),
    "json": ("json", lambda sealed: f'{{"b": 1.50,  "a": "{sealed}"}}', "SELECT v->>'a' FROM kinds"),
    "jsonb": ("jsonb", lambda sealed: f'{{"a": ["{sealed}"]}}', "SELECT v->'a'->>0 FROM kinds"),
    "array": ("text[]", lambda sealed: ["plain", None, sealed], "SELECT v[3] FROM kinds"),
    "domain": ("sealed_text", lambda sealed: sealed, "SELECT v FROM kinds"),
}


@pytest.mark.parametrize(("kind", "written", "read"), KINDS.values(), ids=KINDS)
def test_each_type_that_holds_text_keeps_it(site: PostgresSite, kind: str, written: Callable[[str], Any], read: str) -> None:
    site.sql("CREATE DOMAIN sealed_text AS text CHECK (length(VALUE) > 3)")
    site.sql(f'CREATE TABLE kinds (v {kind}, "a %%s column" int GENERATED ALWAYS AS (1) STORED)')
    for number in range(3):
        site.sql("INSERT INTO kinds VALUES (%s)", written(seal(b"kind %d" % number, OLD)))
    site.sql("INSERT INTO kinds VALUES (NULL)")
    done = rotate(site)
    assert (done.failed, done["rewrapped"]) == (False, 23), done.msg
    found = [text for (text,) in site.sql(read)]
    assert sorted(unseal(text, new_key(site)) for text in found if text) == [b"kind 0", b"kind 1", b"kind 2"]  # type: ignore[type-var]
    assert found.count(None) == 1
    if kind == "json":
        assert "1.50,  " in site.sql("SELECT v::text FROM kinds WHERE v IS NOT NULL LIMIT 1")[0][0]
    if kind == "text[]":
        assert site.sql("SELECT v[1:2] FROM kinds WHERE v IS NOT NULL LIMIT 1") == [(["plain", None],)]


def test_partitions_and_heirs_and_tables_without_a_key(site: PostgresSite) -> None:
    for statement in (
        "CREATE TABLE parts (n int, v text) PARTITION BY RANGE (n)", "CREATE TABLE part0 PARTITION OF parts FOR VALUES FROM (0) TO (5)",
        'CREATE TABLE "part.1" PARTITION OF parts DEFAULT', "CREATE TABLE parent (v text)",
        "CREATE TABLE heir (more text) INHERITS (parent)",
    ):
        site.sql(statement)
    for number in range(10):
        site.sql("INSERT INTO parts VALUES (%s, %s)", number, seal(b"part", OLD))
        site.sql(f"INSERT INTO {'heir' if number % 2 else 'parent'} (v) VALUES (%s)", seal(b"heir", OLD))
    done = rotate(site)
    assert (done.failed, done["rewrapped"]) == (False, 40), done.msg
    texts = site.sql("SELECT v FROM parts UNION ALL SELECT v FROM parent")
    assert {unseal(text, new_key(site)) for (text,) in texts} == {b"part", b"heir"}


def test_large_values_pass_through_a_small_window(site: PostgresSite) -> None:
    site.sql("CREATE TABLE large (id serial PRIMARY KEY, v text)")
    plain = [bytes([number]) * (3_000_000 if number % 4 == 0 else 10) for number in range(12)]
    for one in plain:
        site.sql("INSERT INTO large (v) VALUES (%s)", seal(one, OLD))
    assert rotate(site)["rewrapped"] == 32
    assert [unseal(text, new_key(site)) for (text,) in site.sql("SELECT v FROM large ORDER BY id")] == plain


def test_a_value_that_nothing_opens_is_named_by_its_row(site: PostgresSite) -> None:
    site.sql("UPDATE accounts SET token = %s WHERE id = 7", seal(b"of another key", OTHER))
    outcome = rotate(site)
    assert_refused(outcome, "accounts.token", "id=7", "nothing was changed")
    assert site.opens(OLD) == 19


def test_a_trigger_that_writes_old_values_elsewhere_ends_the_run(site: PostgresSite) -> None:
    site.sql("CREATE TABLE history (token text)")
    site.sql(
        "CREATE FUNCTION kept() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO history VALUES (OLD.token); RETURN NEW; END $$"
    )
    site.sql("CREATE TRIGGER keep AFTER UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION kept()")
    dry = rotate(site, check=True)
    assert "keep" in dry.warnings
    assert_untouched(site, rotate(site), "history", "trigger")


def test_a_trigger_that_refuses_the_update_ends_the_run(site: PostgresSite) -> None:
    site.sql("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$")
    site.sql("CREATE TRIGGER refuse BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION no()")
    assert_untouched(site, rotate(site), "trigger")


def test_rows_that_a_policy_hides_are_not_passed_over(site: PostgresSite) -> None:
    site.sql("ALTER TABLE accounts ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    site.sql("CREATE POLICY half ON accounts USING (id > 5)")
    outcome = rotate(site)
    assert_refused(outcome, "row-level security", "nothing was changed")


@pytest.mark.parametrize("right", ["SELECT", "UPDATE"])
def test_a_right_that_is_missing_is_named(site: PostgresSite, right: str) -> None:
    with site.cluster.connect(site.database) as connection:
        connection.execute(f"CREATE TABLE others (v text); ALTER TABLE others OWNER TO {SUPERUSER}")
        connection.execute("INSERT INTO others VALUES (%s)", (seal(b"theirs", OLD),))
        if right == "UPDATE":
            connection.execute(f"GRANT SELECT ON others TO {site.role}")
    assert_untouched(site, rotate(site), "others", "grant")


def test_a_wrong_password(site: PostgresSite) -> None:
    write(site.password_file, "wrong\n")
    outcome = rotate(site)
    assert_refused(outcome, "password authentication failed", "database_password_file", "nothing was changed")


@pytest.mark.parametrize(("text", "words"), [("", "holds no password"), ("two\nlines\n", "holds no password"), (None, "no file")])
def test_a_password_file_that_holds_none(site: PostgresSite, text: str | None, words: str) -> None:
    site.password_file.unlink()
    if text is not None:
        write(site.password_file, text)
    assert_refused(rotate(site), words if text is not None else "database_password_file", "nothing was changed")


def test_a_server_that_is_not_there(site: PostgresSite) -> None:
    assert_untouched(site, rotate(site, database=f"postgresql://{site.role}@127.0.0.1:{free_port()}/x"), "connect")


def test_a_database_that_is_not_there_and_one_without_tables(site: PostgresSite, cluster: Cluster) -> None:
    url = cluster.url(site.database, user=site.role)
    assert_untouched(site, rotate(site, database=url.replace(site.database + "?", "?") + "_not"), "does not exist")
    empty = cluster.create()
    assert_refused(rotate(site, database=cluster.url(empty, user=site.role)), "nothing was changed")
    cluster.drop(empty)


@pytest.mark.parametrize("mode", ["require", "verify-full"])
def test_tls_that_the_server_does_not_offer(site: PostgresSite, cluster: Cluster, mode: str) -> None:
    assert_untouched(site, rotate(site, database=cluster.url(site.database, user=site.role, query=f"sslmode={mode}")), "SSL")


def test_a_database_that_is_read_only_for_the_role(site: PostgresSite) -> None:
    site.sql(f"ALTER ROLE {site.role} SET default_transaction_read_only = on")
    assert_untouched(site, rotate(site), "read-only")


def test_a_table_that_stays_locked(site: PostgresSite) -> None:
    with site.connect() as other:
        other.autocommit = False
        other.execute("UPDATE accounts SET token = token WHERE id = 3")
        assert_untouched(site, rotate(site, lock_timeout=0.5), "locked")
    done = rotate(site)
    assert not done.failed, done.msg
    assert_rotated(site)


def test_another_run_on_the_same_database_is_named(site: PostgresSite) -> None:
    with site.connect() as other:
        other.execute("SELECT pg_advisory_lock(%s, %s)", (0x5365724F, 0x4F707331))
        assert_untouched(site, rotate(site, lock_timeout=0.5), "another rotation", str(other.info.backend_pid))


def test_a_row_that_is_edited_during_the_run_is_not_lost(site: PostgresSite) -> None:
    """Somebody's edit is committed while ours waits for it: the server refuses ours, and the edit is there."""
    edited = seal(b"edited", OLD)
    with site.connect() as other:
        other.autocommit = False
        other.execute("UPDATE accounts SET token = %s WHERE id = 3", (edited,))
        run = site.begin("servos_key_rotate", until="swapped", lock_timeout=20.0)
        _wait_for_lock(site)
        other.commit()
    assert_untouched(site, run.wait(), "changed by somebody else")
    assert site.sql("SELECT token FROM accounts WHERE id = 3") == [(edited,)]
    assert not rotate(site).failed
    assert_rotated(site)


def test_a_deadlock_with_the_application(site: PostgresSite) -> None:
    """It holds what we want, and wants what we have written: one of us is refused, and nothing is lost."""
    other = site.connect()
    other.autocommit = False
    other.execute("SELECT 1 FROM vault.\"Odd Name\" WHERE \"the id\" = 'k9' FOR UPDATE")
    run = site.begin("servos_key_rotate", until="swapped", lock_timeout=20.0)
    _wait_for_lock(site)
    refused = threading.Event()

    def want() -> None:
        try:
            other.execute("UPDATE accounts SET name = name WHERE id = 1")
            other.commit()
        except psycopg.Error:
            refused.set()
            other.rollback()

    thread = threading.Thread(target=want)
    thread.start()
    thread.join(20)
    other.close()
    outcome = run.wait()
    if outcome.failed:
        assert_untouched(site, outcome, "deadlock")
        outcome = rotate(site)
    else:
        assert refused.is_set()
    assert not outcome.failed, outcome.msg
    assert_rotated(site)


def _wait_for_lock(site: PostgresSite) -> None:
    deadline = time.monotonic() + 20
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock' AND application_name = 'servos.ops'"
    while site.sql(query, site.database) == [(0,)]:
        assert time.monotonic() < deadline, "the run never waited for the lock"
        time.sleep(0.02)


def test_a_replica_is_refused(cluster: Cluster, site: PostgresSite) -> None:
    folder = cluster.folder.parent / f"{cluster.folder.name}-replica"
    replica = Cluster(folder)
    folder.mkdir(mode=0o755)
    try:
        (folder / "pass").write_text(f"*:*:*:*:{SUPERUSER_PASSWORD}\n")
        for path, mode in ((folder, 0o755), (folder / "pass", 0o600)):
            path.chmod(mode)
            shutil.chown(path, "postgres", "postgres")
        target = f"host=127.0.0.1 port={cluster.port} user={SUPERUSER} passfile={folder / 'pass'}"
        replica.run("pg_basebackup", "-d", target, "-D", replica.data, "-R", "-X", "stream", "-c", "fast")
        replica.start()
        assert_untouched(site, rotate(site, database=replica.url(site.database, user=site.role)), "read-only replica", "primary")
    finally:
        replica.stop()
        shutil.rmtree(folder, ignore_errors=True)


def test_certificates(template: Path, tmp_path: Path) -> None:
    """The server's certificate is of a private authority: trusted where that is named, refused elsewhere, and clear text is refused."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=pg",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem"],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    with running_cluster() as cluster:
        for source, name in (("cert.pem", "server.crt"), ("key.pem", "server.key")):
            shutil.copy(tmp_path / source, cluster.data / name)
            (cluster.data / name).chmod(0o600)
            shutil.chown(cluster.data / name, "postgres", "postgres")
        (cluster.data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
        with (cluster.data / "postgresql.auto.conf").open("a") as settings:
            settings.write("ssl = on\n")
        cluster.stop()
        cluster.start()
        site = PostgresSite(tmp_path / "site", cluster)
        assert not site.run("servos_keyring", state="staged", rotation_id="t", database=cluster.url(site.database, user=site.role)).failed
        authority = f"sslmode=verify-full&sslrootcert={tmp_path / 'cert.pem'}"

        def by(query: str) -> Outcome:
            return rotate(site, database=cluster.url(site.database, user=site.role, query=query))

        assert_untouched(site, by("sslmode=disable"), "pg_hba.conf")
        assert_untouched(site, by("sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt"), "certificate")
        done = by(authority)
        assert not done.failed, done.msg
        assert_rotated(site)


@pytest.fixture
def relay(cluster: Cluster) -> Iterator[Relay]:
    made = Relay(cluster.port)
    yield made
    made.close()


def through(relay: Relay, site: PostgresSite) -> Outcome:
    return rotate(site, database=f"postgresql://{site.role}@127.0.0.1:{relay.port}/{site.database}")


PIECES = 142  # of a whole rotation; the test below holds it to what is really sent
STEP = 1 if os.environ.get("SERVOS_CAMPAIGNS") else 17


@pytest.mark.campaign
@pytest.mark.parametrize("is_after", [False, True], ids=["unsent", "unanswered"])
@pytest.mark.parametrize("number", range(1, PIECES + 1, STEP))
def test_a_connection_that_breaks_at_any_statement(site: PostgresSite, relay: Relay, number: int, is_after: bool) -> None:
    relay.cut_at, relay.is_after = number, is_after
    done = through(relay, site)
    assert relay.was_cut
    if done.failed:
        assert "traceback" not in done.printed.lower()
        assert site.opens(OLD) in (0, 20)  # all or nothing
        done = rotate(site)
    assert not done.failed, done.msg
    assert_rotated(site)


def test_all_statements_of_a_rotation_are_broken_above(site: PostgresSite, relay: Relay) -> None:
    assert not through(relay, site).failed
    assert abs(len(relay.statements) - PIECES) <= 12, len(relay.statements)


@pytest.mark.parametrize(("is_after", "stays_down"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_commit_whose_answer_is_lost(site: PostgresSite, relay: Relay, is_after: bool, stays_down: bool) -> None:
    """The server knows what became of it; where it cannot be asked, nobody pretends to."""
    relay.cut_text, relay.is_after, relay.stays_down = b"COMMIT", is_after, stays_down
    done = through(relay, site)
    assert relay.was_cut
    if stays_down:
        assert_refused(done, "cannot be seen now", "run the same command again")
    elif is_after:
        assert not done.failed, done.msg
    else:
        assert_refused(done, "did not happen", "nothing was changed")
    assert site.opens(OLD) == (0 if is_after else 20)
    assert not rotate(site).failed
    assert_rotated(site)


def test_a_server_that_is_lost_again_before_it_has_told(site: PostgresSite, relay: Relay) -> None:
    relay.cut_text, relay.is_after, relay.down_text = b"COMMIT", True, b"txid_status"
    done = through(relay, site)
    assert_refused(done, "cannot be seen now", "either all values", "run the same command again")
    assert "nothing was changed" not in done.msg
    assert site.opens(OLD) == 0
    assert not rotate(site).failed
    assert_rotated(site)


def test_a_service_does_not_start_on_a_key_that_nobody_knows_to_be_right(
    template: Path, cluster: Cluster, relay: Relay, tmp_path: Path
) -> None:
    """The commit happened, its answer is lost, and the server stays away: the old key would not open anything."""
    servos = make_on_postgres(tmp_path / "hosts", template, cluster, b64(OLD), names=("web1",))["web1"]
    try:
        assert not servos.stage().failed
        relay.cut_text, relay.is_after, relay.stays_down = b"COMMIT", True, True
        done = servos.rotate(database=servos.server_url.replace(f":{cluster.port}/", f":{relay.port}/"))
        assert relay.was_cut
        assert_refused(done, "cannot be seen now", "nothing is lost", "run again")
        assert "started again on its old key" not in done.msg
        assert servos.pid() is None
        assert not servos.rotate().failed
        assert servos.process_key_text() == servos.env_text() != b64(OLD)
        servos.assert_all_under(servos.env_text(), b64(OLD))
    finally:
        servos.tear_down()


__all__ = ("cluster", "make_site", "site")  # fixtures that are made elsewhere
