# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ServOS model on a PostgreSQL database: as many control hosts as are wanted, each with its env file, keyring and service."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from installations import Servos, reference
from postgres_servers import SUPERUSER_PASSWORD, Cluster
from servers import write
from shared_installations import Hosts


class PostgresServos(Servos):
    """One control host. Its service is given the password in its env file, the modules in a file of their own."""

    def __init__(self, folder: Path, template: Path, *, cluster: Cluster, name: str, **options: Any) -> None:
        self.server_url = cluster.url(name)
        self._reading = functools.partial(cluster.connect, name)
        super().__init__(folder, template, **options)
        self.manifest = template / f"{name}.json"
        self.password_file = write(folder / "password", f"{SUPERUSER_PASSWORD}\n")
        self.edit_env(r"_DATABASE=.*$", f"_DATABASE={self.server_url.replace('@', f':{SUPERUSER_PASSWORD}@')}")

    def options(self, **overrides: Any) -> dict[str, Any]:
        told = {"database": self.server_url, "database_password_file": str(self.password_file)}
        return super().options(**(told | overrides))

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if statement.startswith("PRAGMA"):
            return []
        with self._reading() as connection:
            cursor = connection.execute(statement.replace("?", "%s"), values)
            return cursor.fetchall() if cursor.description else []

    def _recovered(self) -> Path:
        return self.server_url.replace("@", f":{SUPERUSER_PASSWORD}@")  # type: ignore[return-value]

    def secrets(self) -> dict[str, str]:
        return super().secrets() | {"database password": SUPERUSER_PASSWORD}


def make_on_postgres(folder: Path, template: Path, cluster: Cluster, key_text: str, names: tuple[str, ...] = ("web1", "web2")) -> Hosts:
    """Fill a database of the cluster, describe the hosts, and start their services."""
    name = cluster.create()
    url = cluster.url(name).replace("@", f":{SUPERUSER_PASSWORD}@")
    common = ("--database", url, "--key-file", write(template / "pg.key", key_text))
    reference("servos/schema.py", "init", *common)
    reference("servos/schema.py", "fill", *common, "--values", 60, "--manifest", template / f"{name}.json")
    hosts: Hosts = {
        each: PostgresServos(folder / each, template, cluster=cluster, name=name, journal="delete", old_text=key_text) for each in names
    }
    for servos in hosts.values():
        servos.start()
    return hosts
