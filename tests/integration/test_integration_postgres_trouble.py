# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL server that crashes, has no room left, sets limits, or is not the one that answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from installations import OLD, seal, unseal
from postgres_fixtures import assert_rotated, assert_untouched, cluster, make_site, new_key, rotate, site
from postgres_relay import Relay
from postgres_servers import SUPERUSER, SUPERUSER_PASSWORD, Cluster
from postgres_site import PostgresSite

TABLESPACE_BYTES = 12 * 1024 * 1024


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def waits_for_a_lock(site: PostgresSite) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s AND wait_event_type = 'Lock' AND application_name = 'servos.ops'"
    return site.sql(query, site.database) == [(1,)]


def test_a_server_that_crashes_in_the_middle(site: PostgresSite, cluster: Cluster) -> None:
    """It stops at once while half of the rows are written: after its recovery none of that is there, and a rerun finishes."""
    other = site.connect()
    other.autocommit = False
    other.execute("SELECT 1 FROM vault.\"Odd Name\" WHERE \"the id\" = 'k9' FOR UPDATE")
    run = site.begin("servos_key_rotate", until="swapped", lock_timeout=30.0)
    wait_until(lambda: waits_for_a_lock(site))
    cluster.stop("immediate")
    outcome = run.wait()
    other.close()
    cluster.start()
    assert_untouched(site, outcome, "connection", "run the same command again")
    done = rotate(site)
    assert not done.failed, done.msg
    assert_rotated(site)


def test_dead_rows_that_a_crashed_server_has_forgotten_are_vacuumed(site: PostgresSite, cluster: Cluster) -> None:
    assert not rotate(site, scrub=False).failed
    cluster.stop("immediate")  # which loses what it has counted
    cluster.start()
    done = rotate(site)
    assert (done.failed, done["scrub"]["vacuumed"]) == (False, True), done.msg
    with cluster.connect(site.database) as connection:
        connection.execute("CREATE EXTENSION pgstattuple")
        assert connection.execute("SELECT dead_tuple_count FROM pgstattuple('accounts')").fetchone() == (0,)


def test_both_ends_learn_in_minutes_that_the_other_vanished(site: PostgresSite) -> None:
    """As the kernel's own timers of their sockets tell. Source: proc(5), /proc/net/tcp: timer 02 is keepalive, then when, in ticks."""
    other = site.connect()
    other.autocommit = False
    other.execute("LOCK TABLE accounts")
    run = site.begin("servos_key_rotate", until="swapped", lock_timeout=30.0)
    wait_until(lambda: waits_for_a_lock(site))
    query = "SELECT client_port FROM pg_stat_activity WHERE datname = %s AND application_name = 'servos.ops'"
    ends = {f"{port:04X}" for (port,) in site.sql(query, site.database)}

    def timers() -> list[float]:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        ours = [row[5].split(":") for row in rows if ends & {row[1].rpartition(":")[2], row[2].rpartition(":")[2]} and row[3] == "01"]
        return [int(when, 16) / os.sysconf("SC_CLK_TCK") for kind, when in ours if kind == "02"]

    wait_until(lambda: len(timers()) == 2 * len(ends))  # what was sent last has been acknowledged
    found = timers()
    other.rollback()
    other.close()
    assert not run.wait().failed
    assert max(found) <= 60


def test_a_server_that_crashes_between_two_batches(site: PostgresSite, cluster: Cluster) -> None:
    site.sql("CREATE TABLE many (id serial PRIMARY KEY, v text)")
    with site.connect() as connection, connection.cursor().copy("COPY many (v) FROM STDIN") as copy:
        for number in range(600):
            copy.write_row((seal(b"many %d" % number * 20, OLD),))
    run = site.begin("servos_key_rotate", until="swapped", batch_size=40, batch_pause=0.3)
    # What the first rows are under tells when the first part is committed.
    first = site.sql("SELECT v FROM many WHERE id = 1")[0][0]
    wait_until(lambda: site.sql("SELECT v FROM many WHERE id = 1")[0][0] != first)
    cluster.stop("immediate")
    outcome = run.wait()
    cluster.start()
    assert outcome.failed
    assert "stay so; both keys are kept" in outcome.msg, outcome.msg
    texts = [text for (text,) in site.sql("SELECT v FROM many")]
    opened = [(unseal(text, OLD) is not None, unseal(text, new_key(site)) is not None) for text in texts]
    assert sorted(set(opened)) == [(False, True), (True, False)]
    done = rotate(site, batch_size=40)
    assert not done.failed, done.msg
    assert {unseal(text, new_key(site)) for (text,) in site.sql("SELECT v FROM many")} == {b"many %d" % n * 20 for n in range(600)}
    assert_rotated(site)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of the server's with hardly any room."""
    folder = Path(tempfile.mkdtemp(prefix="servos-full-", dir="/var/tmp"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={TABLESPACE_BYTES}", "tmpfs", folder], check=True, timeout=20)
    try:
        (folder / "space").mkdir(mode=0o700)
        for path in (folder, folder / "space"):
            shutil.chown(path, "postgres", "postgres")
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True, timeout=20)
        folder.rmdir()


def test_a_server_whose_disk_is_full(site: PostgresSite, cluster: Cluster, small_disk: Path) -> None:
    with cluster.connect() as connection:
        connection.execute(f"CREATE TABLESPACE small OWNER {site.role} LOCATION '{small_disk / 'space'}'")
    try:
        site.sql("CREATE TABLE many (id serial PRIMARY KEY, v text) TABLESPACE small")
        for number in range(200):
            site.sql("INSERT INTO many (v) VALUES (%s)", seal(bytes([number]) * 1500, OLD))
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(shutil.disk_usage(small_disk).free))
        outcome = rotate(site)
        assert_untouched(site, outcome, "no room left", "make room there and run again")
        ballast.unlink()
        done = rotate(site)
        assert (done.failed, done["rewrapped"]) == (False, 220), done.msg
        assert {unseal(text, new_key(site)) for (text,) in site.sql("SELECT v FROM many")} == {bytes([n]) * 1500 for n in range(200)}
    finally:
        site.sql("DROP TABLE IF EXISTS many")
        with cluster.connect() as connection:
            connection.execute("DROP TABLESPACE small")


def test_limits_of_the_role_do_not_end_a_run(site: PostgresSite) -> None:
    """Each of these would end a session that is slower than a tenth of a second."""
    for name in ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout"):
        site.sql(f"ALTER ROLE {site.role} SET {name} = '100ms'")
    site.sql("CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.03); RETURN NEW; END $$")
    site.sql("CREATE TRIGGER slow BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION slow()")
    done = rotate(site, batch_size=5, batch_pause=0.3)
    assert not done.failed, done.msg
    assert_rotated(site)


def test_a_pooler_is_refused(site: PostgresSite, cluster: Cluster) -> None:
    relay = Relay(cluster.port)
    relay.is_pooler = True
    try:
        outcome = rotate(site, database=f"postgresql://{site.role}@127.0.0.1:{relay.port}/{site.database}")
        assert_untouched(site, outcome, "pooler", "name the server itself")
        relay.is_pooler = False
        assert not rotate(site, database=f"postgresql://{site.role}@127.0.0.1:{relay.port}/{site.database}").failed
    finally:
        relay.close()
    assert_rotated(site)


def test_a_server_that_admits_nobody_else(make_site: Callable[..., PostgresSite]) -> None:
    limited = make_site(role_options="CREATEDB CONNECTION LIMIT 1")
    assert not limited.run("servos_keyring", state="staged", rotation_id="t").failed
    with limited.connect() as held:
        assert held.execute("SELECT 1").fetchone() == (1,)
        outcome = rotate(limited)
    assert_untouched(limited, outcome, "too many connections", "wait, or raise")


def test_a_session_that_an_administrator_ends(site: PostgresSite, cluster: Cluster) -> None:
    with site.connect() as other:
        other.autocommit = False
        other.execute("SELECT 1 FROM accounts WHERE id = 3 FOR UPDATE")
        run = site.begin("servos_key_rotate", until="swapped", lock_timeout=30.0)
        wait_until(lambda: waits_for_a_lock(site))
        with psycopg.connect(cluster.url(site.database, user=SUPERUSER), password=SUPERUSER_PASSWORD, autocommit=True) as admin:
            admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'servos.ops'")
        outcome = run.wait()
    assert_untouched(site, outcome, "was lost", "run the same command again")
    assert not rotate(site).failed
    assert_rotated(site)


__all__ = ("cluster", "make_site", "site")  # fixtures that are made elsewhere
