# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A private PostgreSQL cluster for tests, on a port and in a folder of its own; gone afterwards."""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from ports import free_port

SUPERUSER, SUPERUSER_PASSWORD = "postgres", "admin-of-the-tests"
# What a crash of the machine would lose does not matter here.
SETTINGS = {"fsync": "off", "full_page_writes": "off", "max_connections": "60", "deadlock_timeout": "200ms", "autovacuum": "off"}


def programs() -> Path:
    """Return the folder of the newest server's programs; its absence is a failure, never a skip."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    if not found:
        raise RuntimeError("PostgreSQL is not installed: apt-get install postgresql (.ci/run does it)")
    return Path(found[-1]).parent


class Cluster:
    """One running server; everybody needs a password over TCP."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.port = folder, folder / "data", free_port()
        self._names = 0

    def run(self, program: str, *argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a program of the server's as the user that it runs as."""
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        argv = (*as_user, programs() / program, *argv)
        # A server that is started keeps what its starter had open, so no pipe is given to it.
        return subprocess.run(list(map(str, argv)), check=check, timeout=60, text=True, cwd="/", stdout=subprocess.DEVNULL)

    def make(self, **settings: str) -> None:
        """Make the cluster's files."""
        secret = self.folder / "superuser"
        secret.write_text(SUPERUSER_PASSWORD)
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            shutil.chown(secret, "postgres", "postgres")
        self.run(
            "initdb", "-D", self.data, "-U", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={secret}", "-E", "UTF8",
            "--locale=C.UTF-8", "--no-sync",
        )
        lines = [f"{name} = '{value}'" for name, value in {**SETTINGS, **settings}.items()]
        (self.data / "postgresql.auto.conf").write_text("\n".join(lines) + "\n")

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder}"
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "-l", self.folder / "log", "-o", options, "start")

    def stop(self, how: str = "immediate") -> None:
        """Stop the server."""
        self.run("pg_ctl", "-D", self.data, "-w", "-s", "-m", how, "stop", check=False)

    def url(self, database: str, *, user: str = SUPERUSER, query: str = "") -> str:
        """Return the URL of a database, without a password."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}{'?' + query if query else ''}"

    def connect(self, database: str = "postgres", **options: Any) -> psycopg.Connection[Any]:
        """Open a session of the superuser's that commits each statement."""
        return psycopg.connect(
            host="127.0.0.1", port=self.port, user=SUPERUSER, password=SUPERUSER_PASSWORD, dbname=database, autocommit=True, **options
        )

    def create(self) -> str:
        """Create an empty database and return its name."""
        self._names += 1
        name = f"servos{os.getpid()}_{self._names}"
        with self.connect() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 STRATEGY file_copy")
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever is connected to it."""
        with self.connect() as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    """Run a cluster in a folder that the user postgres may enter."""
    folder = Path(tempfile.mkdtemp(prefix="servos-postgres-", dir="/var/tmp"))
    folder.chmod(0o755)
    cluster = Cluster(folder)
    try:
        cluster.make(**settings)
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
