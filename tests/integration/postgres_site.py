# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation without a service whose data lies on a PostgreSQL server, and what psycopg sees of that."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psycopg
from evidence import leaks
from installations import OLD, b64, seal, unseal
from module_runs import ModuleRun, Outcome
from postgres_servers import Cluster
from servers import write

# A role and two schemas as an application has them; an extension and a large object of somebody else's making.
_SCHEMA = """
CREATE TABLE accounts (id serial PRIMARY KEY, name citext NOT NULL UNIQUE, token text, updated_at timestamptz DEFAULT now());
CREATE SCHEMA vault;
CREATE TABLE vault."Odd Name" ("the id" text PRIMARY KEY, account int REFERENCES accounts (id), doc jsonb, raw bytea);
CREATE INDEX by_token ON accounts (md5(token));
CREATE VIEW tokens AS SELECT name, token FROM accounts;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE UPDATE OF name ON accounts FOR EACH ROW EXECUTE FUNCTION touched();
CREATE TABLE events (at date NOT NULL, said text, PRIMARY KEY (at)) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO events VALUES ('2026-02-03', 'began');
SELECT lo_from_bytea(0, 'a large object');
"""


class PostgresSite:
    """One database with 20 values under OLD, owned by a role of its own."""

    def __init__(self, folder: Path, cluster: Cluster, *, role_options: str = "CREATEDB") -> None:
        self.folder, self.cluster = folder, cluster
        folder.mkdir(parents=True)
        self.database = cluster.create()
        self.role = f"{self.database}_app"
        # What a password file and a URL would both take for their own.
        self.password = f"pa:ss\\w ord'{secrets.token_hex(6)}"
        self.password_file = write(folder / "database.password", f"{self.password}\n")
        self.env_file = write(folder / "servos.env", f"SERVOS_MASTER_KEY={b64(OLD)}\n")
        self.state_dir, self.backup_dir = folder / "rotation", folder / "backups"
        with cluster.connect() as connection:
            connection.execute(f"CREATE ROLE {self.role} LOGIN {role_options} PASSWORD '{self.password.replace(chr(39), chr(39) * 2)}'")
            connection.execute(f"ALTER DATABASE {self.database} OWNER TO {self.role}")
        with cluster.connect(self.database) as connection:
            connection.execute("CREATE EXTENSION citext")
        with self.connect() as connection:
            connection.execute(_SCHEMA)
            for number in range(10):
                connection.execute("INSERT INTO accounts (name, token) VALUES (%s, %s)", (f"N{number}", seal(b"t%d" % number, OLD)))
                connection.execute(
                    'INSERT INTO vault."Odd Name" VALUES (%s, %s, %s, %s)',
                    (f"k{number}", number + 1, psycopg.types.json.Jsonb({"token": seal(b"j%d" % number, OLD)}), b"\0raw"),
                )

    def connect(self, database: str | None = None) -> psycopg.Connection[Any]:
        """Open a session of the application's."""
        return psycopg.connect(
            host="127.0.0.1", port=self.cluster.port, user=self.role, password=self.password, dbname=database or self.database,
            autocommit=True,
        )

    def sql(self, query: str, *values: Any, database: str | None = None) -> list[tuple[Any, ...]]:
        with self.connect(database) as connection:
            cursor = connection.execute(query, values)
            return cursor.fetchall() if cursor.description else []

    def content(self, database: str | None = None) -> list[list[tuple[Any, ...]]]:
        """Return all rows, and what of the schema a restore could lose."""
        queries = (
            "SELECT id, name::text, token, updated_at FROM accounts ORDER BY id",
            'SELECT * FROM vault."Odd Name" ORDER BY 1',
            "SELECT * FROM events ORDER BY 1",
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname IN ('public', 'vault') ORDER BY 1",
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace::regnamespace::text IN ('public', 'vault') "
            "ORDER BY 1",
            "SELECT viewname, definition FROM pg_views WHERE schemaname = 'public' ORDER BY 1",
            "SELECT last_value FROM accounts_id_seq",
            "SELECT lo_get(oid) FROM pg_largeobject_metadata ORDER BY oid",
            "SELECT c.relname, c.relowner::regrole::text, c.relacl::text FROM pg_class c WHERE c.relnamespace::regnamespace::text IN "
            "('public', 'vault') AND c.relkind IN ('r', 'v', 'S', 'p') ORDER BY 1",
        )  # fmt: skip
        return [self.sql(query, database=database) for query in queries]

    def scratches(self) -> list[str]:
        """List the databases of the server that the collection has made."""
        with self.cluster.connect() as connection:
            rows = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'servos_ops%%' ORDER BY 1").fetchall()
        return [name for (name,) in rows]

    def opens(self, key_bytes: bytes, *, database: str | None = None) -> int:
        """Count the values that a key opens."""
        texts = self.sql("SELECT token FROM accounts", database=database)
        texts += self.sql("SELECT doc->>'token' FROM vault.\"Odd Name\"", database=database)
        return sum(unseal(text, key_bytes) is not None for (text,) in texts)

    def begin(self, module: str, *, check: bool = False, prepare: Sequence[Callable[[], None]] = (), **options: Any) -> ModuleRun:
        defaults = {
            "app": "servos", "database": self.cluster.url(self.database, user=self.role), "env_file": str(self.env_file),
            "database_password_file": str(self.password_file), "state_dir": str(self.state_dir), "service_manager": "none",
        }  # fmt: skip
        given = {name: value for name, value in {**defaults, **options}.items() if value is not None}
        return ModuleRun(module, given, check=check, prepare=prepare)

    def run(self, module: str, **options: Any) -> Outcome:
        """Run a module to its end; neither key nor password may stand in anything that it prints."""
        outcome = self.begin(module, **options).wait()
        assert leaks(outcome.printed, self._secrets()) == [], outcome.printed
        assert self.password not in outcome.printed
        assert "Traceback" not in outcome.printed, outcome.printed[-700:]
        return outcome

    def play(self, name: str, *argv: str, **variables: Any) -> subprocess.CompletedProcess[str]:
        """Run C(servos.ops.NAME) as a user does; neither key nor password may stand in anything that it prints."""
        told = {
            "servos_database": self.cluster.url(self.database, user=self.role), "servos_database_password_file": str(self.password_file),
            "servos_env_file": str(self.env_file), "servos_state_dir": str(self.state_dir), "servos_backup_dir": str(self.backup_dir),
            "servos_service_manager": "none", "rotation_rehearse_directory": str(self.folder), **variables,
        }  # fmt: skip
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        inventory = {"servos_control": {"hosts": {"control": host}, "vars": told}}
        home = self.folder / "ansible"
        done = subprocess.run(
            [shutil.which("ansible-playbook") or str(Path(sys.executable).with_name("ansible-playbook")), "-i",
             str(write(self.folder / "inventory.json", json.dumps(inventory))), f"servos.ops.{name}", *argv],
            env=os.environ | {"ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "remote"), "ANSIBLE_LOCALHOST_WARNING": "0"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert leaks(done.stdout, self._secrets()) == []
        assert self.password not in done.stdout
        return done

    def _secrets(self) -> dict[str, str]:
        files = {f"the key in {path.name}": path.read_text().strip() for path in self.state_dir.glob("*.key")}
        return {"the old key": b64(OLD), **{name: text for name, text in files.items() if text}}

    def workers(self) -> list[int]:
        """List the processes on this host that hold the collection's sessions with this database."""
        query = "SELECT client_port FROM pg_stat_activity WHERE datname = %s AND application_name = 'servos.ops'"
        ports = {f"{port:04X}" for (port,) in self.sql(query, self.database)}
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    held = {os.readlink(one) for one in (entry / "fd").iterdir()}
                    found += [int(entry.name)] if held & _sockets(ports) else []
        return found

    def backup(self, **options: Any) -> Outcome:
        return self.run("servos_backup", backup_dir=str(self.backup_dir), **options)

    def tear_down(self) -> None:
        for name in self.scratches():
            self.cluster.drop(name)
        self.cluster.drop(self.database)
        with contextlib.suppress(psycopg.Error), self.cluster.connect() as connection:
            connection.execute(f"DROP ROLE {self.role}")


def _sockets(ports: set[str]) -> set[str]:
    """Return, as /proc names them, the sockets of this host whose own port is one of these. Source: proc(5), /proc/net/tcp."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[1].rpartition(":")[2] in ports}
