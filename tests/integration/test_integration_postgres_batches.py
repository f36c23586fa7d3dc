# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation that commits batch by batch: stopped between two of them, edited meanwhile, refused where it cannot be."""

from __future__ import annotations

import base64
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from installations import OLD, OTHER, Servos, assert_refused, b64, seal, unseal
from postgres_servers import SUPERUSER_PASSWORD, Cluster, running_cluster
from postgres_servos import make_on_postgres
from postgres_site import PostgresSite

ROWS = 1800


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture
def site(template: Path, cluster: Cluster, tmp_path: Path) -> Iterator[PostgresSite]:
    made = PostgresSite(tmp_path / "site", cluster)
    made.sql("CREATE TABLE many (id serial PRIMARY KEY, v text)")
    with made.connect() as connection, connection.cursor().copy("COPY many (v) FROM STDIN") as copy:
        for number in range(ROWS):
            copy.write_row((seal(b"many %d" % number * 20, OLD),))
    assert not made.run("servos_keyring", state="staged", rotation_id="t").failed
    yield made
    made.tear_down()


def options(**others: Any) -> dict[str, Any]:
    return {"until": "swapped", "lock_timeout": 5.0, "batch_size": 40, **others}


def new_key(site: PostgresSite) -> bytes:
    return base64.b64decode((site.state_dir / "staged.key").read_text().strip())


def under(site: PostgresSite, key_bytes: bytes) -> int:
    return sum(unseal(text, key_bytes) is not None for (text,) in site.sql("SELECT v FROM many"))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


@pytest.mark.parametrize("workers", [1, 3])
def test_all_batches_come_to_what_one_transaction_would(site: PostgresSite, workers: int) -> None:
    first = site.sql("SELECT xmin::text FROM many WHERE id = 1")
    done = site.run("servos_key_rotate", **options(batch_workers=workers))
    assert (done.failed, done["rewrapped"]) == (False, ROWS + 20), done.msg
    assert (under(site, OLD), under(site, new_key(site)), site.opens(OLD)) == (0, ROWS, 0)
    transactions = {number for (number,) in site.sql("SELECT DISTINCT xmin::text FROM many")}
    assert len(transactions) > 4
    assert first[0][0] not in transactions
    plain = sorted(unseal(text, new_key(site)) for (text,) in site.sql("SELECT v FROM many"))  # type: ignore[type-var]
    assert plain == sorted(b"many %d" % number * 20 for number in range(ROWS))
    assert not site.run("servos_key_rotate", **options()).changed


@pytest.mark.parametrize("workers", [1, 3])
def test_killed_between_two_batches_and_run_again(site: PostgresSite, workers: int) -> None:
    run = site.begin("servos_key_rotate", **options(batch_pause=0.4, batch_size=20, batch_workers=workers))
    wait_until(lambda: under(site, OLD) < ROWS)
    pids = site.workers()
    assert len(pids) == (1 if workers == 1 else workers + 1)
    os.kill(min(pids), signal.SIGKILL)  # the one that holds the lock; its workers notice
    run.wait()
    wait_until(lambda: site.workers() == [])
    left = under(site, OLD)
    assert 0 < left < ROWS
    assert under(site, new_key(site)) == ROWS - left
    dry = site.run("servos_key_rotate", check=True, **options())
    assert dry["phase"] == "mixed"
    done = site.run("servos_key_rotate", **options())
    assert not done.failed, done.msg
    assert (under(site, OLD), under(site, new_key(site)), site.opens(OLD)) == (0, ROWS, 0)


def test_from_the_middle_it_goes_back_as_well(site: PostgresSite) -> None:
    run = site.begin("servos_key_rotate", **options(batch_pause=0.3))
    wait_until(lambda: under(site, OLD) < ROWS)
    for pid in site.workers():
        os.kill(pid, signal.SIGKILL)
    run.wait()
    done = site.run("servos_key_rotate", **options(direction="back"))
    assert not done.failed, done.msg
    assert (under(site, OLD), site.opens(OLD)) == (ROWS, 20)


def test_what_is_edited_meanwhile_is_not_lost(site: PostgresSite) -> None:
    """The application writes under the old key while batches are committed; each of its edits is there in the end, under the new one."""
    edits: dict[int, bytes] = {}
    stop = threading.Event()

    def edit() -> None:
        with site.connect() as connection:
            number = 0
            while not stop.is_set():
                number = number % ROWS + 1
                text = b"edit %d %d" % (number, len(edits))
                connection.execute("UPDATE many SET v = %s WHERE id = %s", (seal(text, OLD), number))
                edits[number] = text

    writer = threading.Thread(target=edit)
    writer.start()
    try:
        outcome = site.run("servos_key_rotate", **options(until="rewrapped", batch_size=20))
    finally:
        stop.set()
        writer.join(20)
    assert edits
    if outcome.failed:  # whoever writes under the old key all the time cannot be caught up with; it says so
        assert "nothing was changed" not in outcome.msg
    done = site.run("servos_key_rotate", **options())
    assert not done.failed, done.msg
    key = new_key(site)
    found = {number: unseal(text, key) for number, text in site.sql("SELECT id, v FROM many")}
    assert {number: found[number] for number in edits} == edits
    assert None not in found.values()


def test_a_value_that_nothing_opens_stops_it_before_the_first(site: PostgresSite) -> None:
    site.sql("UPDATE many SET v = %s WHERE id = %s", seal(b"x", OTHER), ROWS - 1)
    assert_refused(site.run("servos_key_rotate", **options()), f"id={ROWS - 1}", "nothing was changed")
    assert under(site, OLD) == ROWS - 1


@pytest.mark.parametrize("workers", [1, 3])
def test_a_table_that_stays_locked_is_said_with_what_stays(site: PostgresSite, workers: int) -> None:
    with site.connect() as other:
        other.autocommit = False
        other.execute("SELECT 1 FROM many WHERE id = %s FOR UPDATE", (ROWS - 1,))
        outcome = site.run("servos_key_rotate", **options(lock_timeout=0.1, batch_workers=workers))
    assert site.workers() == []
    assert_refused(outcome, "locked", "committed before", "both keys are kept")
    assert 0 < under(site, OLD) < ROWS
    assert not site.run("servos_key_rotate", **options()).failed
    assert under(site, new_key(site)) == ROWS


def test_a_second_run_is_refused_and_the_service_runs_on(template: Path, cluster: Cluster, tmp_path: Path) -> None:
    """Nothing was committed yet, so the service is started again on its old key."""
    hosts = make_on_postgres(tmp_path / "hosts", template, cluster, b64(OLD), names=("web1",))
    servos = hosts["web1"]
    try:
        assert not servos.run("servos_keyring", state="staged", rotation_id="t").failed
        with psycopg.connect(servos.server_url, password=SUPERUSER_PASSWORD, autocommit=True) as other:
            other.execute("SELECT pg_advisory_lock(%s, %s)", (0x5365724F, 0x4F707331))
            refused = servos.run("servos_key_rotate", batch_size=40, lock_timeout=0.5)
        assert_refused(refused, "another rotation", "nothing was changed", "was started again on its old key")
        assert servos.process_key_text() == b64(OLD)
        assert not servos.run("servos_key_rotate", batch_size=40).failed
    finally:
        servos.tear_down()


@pytest.mark.parametrize("asked", [{"batch_size": -1}, {"batch_pause": -1.0}, {"batch_pause": float("nan")}, {"batch_workers": 0}], ids=str)
def test_a_pace_that_is_none(site: PostgresSite, asked: dict[str, Any]) -> None:
    assert_refused(site.run("servos_key_rotate", **options(**asked)), "out of range", "nothing was changed")
    assert under(site, OLD) == ROWS


def test_a_file_has_no_batches(quiet: Servos) -> None:
    assert not quiet.run("servos_keyring", state="staged", rotation_id="t").failed
    assert_refused(quiet.run("servos_key_rotate", until="swapped", batch_size=10), "batch_size is for PostgreSQL", "nothing was changed")
