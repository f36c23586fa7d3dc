# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P3, P8: our transaction on PostgreSQL against the same update without cryptography, and the loops that everybody writes first.

The server is one of this machine's own, made for the measurement, with fsync as any installation has it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t
from pathlib import Path

import data
import growth
from borrowed import borrow
from measure import MB, Cost, Report, Rounds, median, strategy

_MOST_SLOW = 10_000
_PANEL = "PostgreSQL, client and server"
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_AS_SERVED = {"fsync": "on", "full_page_writes": "on", "autovacuum": "off", "max_wal_size": "8GB"}
_WHAT = {
    "pg_floor": "floor: one UPDATE in the server, no cryptography",
    "pg_batched": "the same batches without cryptography",
    "rewrap": "our rewrap, read-back included",
    "pg_in_memory": "naive: all in memory, then executemany",
    "pg_rows": "naive: row by row, one transaction",
}


def run(report: Report, work: Path, *, sizes: t.Sequence[int], repeat: int) -> None:
    """Measure every size."""
    servers = borrow("integration/postgres_servers.py")
    keys = data.make_keys(work)
    password = work / "password"
    with os.fdopen(os.open(password, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
        stream.write(servers.SUPERUSER_PASSWORD)
    with servers.running_cluster(**_AS_SERVED) as cluster:
        taken = {n: _one_size(report, cluster, keys, str(password), n=n, repeat=repeat, is_largest=n == max(sizes)) for n in sizes}
        with _source(cluster, keys, growth.FEW) as source:
            few = [_on_copy(cluster, source, keys, str(password), "rewrap") for unused in range(growth.FEW_REPEATS)]
    growth.hold(report, "rewrap, PostgreSQL, client", taken, median(few).cpu_s)


@contextlib.contextmanager
def _source(cluster: t.Any, keys: data.Keys, n: int) -> t.Iterator[str]:
    """A database with so many values, which runs are copied from."""
    source = cluster.create()
    try:
        with cluster.connect(source) as connection:
            data.servos_rows_in_postgres(connection, n, keys)
        yield source
    finally:
        cluster.drop("run")
        cluster.drop(source)


def _on_copy(cluster: t.Any, source: str, keys: data.Keys, password: str, name: str) -> Cost:
    with cluster.connect() as connection:
        connection.execute("DROP DATABASE IF EXISTS run WITH (FORCE)")
        connection.execute(f"CREATE DATABASE run TEMPLATE {source} STRATEGY file_copy")
        connection.execute("CHECKPOINT")
    before = _server_cpu_s(cluster)
    cost = strategy(name, cluster.url("run"), *keys, BENCH_PASSWORD_FILE=password)
    return cost._replace(server_s=_server_cpu_s(cluster) - before, written_mb=None)


def _one_size(report: Report, cluster: t.Any, keys: data.Keys, password: str, *, n: int, repeat: int, is_largest: bool) -> float:
    names = [name for name in _WHAT if name in ("pg_floor", "pg_batched", "rewrap") or n <= _MOST_SLOW * (1 if name == "pg_rows" else 10)]
    with _source(cluster, keys, n) as source:
        with cluster.connect(source) as connection:
            (size_bytes,) = connection.execute("SELECT pg_table_size('service_env_vars')").fetchone()
        seen = Rounds({name: functools.partial(_on_copy, cluster, source, keys, password, name) for name in names}, repeat=repeat)
    for name in names:
        what = _WHAT[name]
        report.figure("P3", f"PostgreSQL, {size_bytes / MB:.1f} MB: {what}", n, seen.cost(name), line=(_PANEL, what))
    # At a thousand values the fixed costs are all there is.
    floor_goal, batched_goal = (2.6, 1.35) if is_largest and n >= 100_000 else (None, None)
    report.held("P3", "PostgreSQL: wall of our rewrap / floor", n, seen.ratio("rewrap", "pg_floor", of="wall_s"), at_most=floor_goal)
    ratio = seen.ratio("rewrap", "pg_batched", of="wall_s")
    report.held("P3", "PostgreSQL: wall of our rewrap / the same batches without cryptography", n, ratio, at_most=batched_goal)
    report.held("P3", "PostgreSQL: memory growth of the client, MB", n, seen.cost("rewrap").memory_mb or 0, at_most=15)
    return seen.cost("rewrap").cpu_s


def _server_cpu_s(cluster: t.Any) -> float:
    """Return the CPU seconds of the server, its sessions that are over (its waited-for children) and those that are not."""
    postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own, waited_for = int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14])
        if int(path.parent.name) == postmaster:
            ticks += own + waited_for
        elif int(fields[1]) == postmaster:
            ticks += own
    return ticks / _TICKS_A_SECOND
