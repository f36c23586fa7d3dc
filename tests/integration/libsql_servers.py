# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Provara's database behind a libSQL server: the reference server, or a real sqld, and modules that are run against it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evidence import leaks
from installations import REFERENCE, reference, write
from module_runs import ModuleRun, Outcome
from ports import free_port
from provara_installation import FIXTURE, NEW_TEXT, OLD_TEXT

TOKEN = "eyJhbGciOiJFZERTQSJ9.reference-token"
SQLD = os.environ.get("SERVOS_SQLD", "")
NOBODY = 65534


class Client:
    """The protocol once more, in the few words that a test needs. Source: HTTP_V2_SPEC.md of libSQL."""

    def __init__(self, port: int, token: str | None) -> None:
        self.port, self._token = port, token

    def call(self, method: str, path: str, document: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._token}"} if self._token else {})
        try:
            connection.request(method, path, json.dumps(document), headers)
            reply = connection.getresponse()
            content = reply.read()
            return reply.status, json.loads(content) if reply.getheader("Content-Type") == "application/json" else content
        finally:
            connection.close()

    def run(self, *statements: tuple[Any, ...]) -> list[list[tuple[Any, ...]]]:
        """Run statements with arguments; return the rows of each."""
        requests = [{"type": "execute", "stmt": {"sql": s[0], "args": [_argument(v) for v in s[1:]]}} for s in statements]
        status, document = self.call("POST", "/v2/pipeline", {"requests": [*requests, {"type": "close"}]})
        assert status == 200, document
        replies = document["results"][: len(statements)]
        assert [reply for reply in replies if reply["type"] != "ok"] == []
        return [[tuple(map(_value, row)) for row in reply["response"]["result"]["rows"]] for reply in replies]


def _argument(value: Any) -> dict[str, Any]:
    if isinstance(value, bytes):
        return {"type": "blob", "base64": base64.b64encode(value).decode()}
    kind = {type(None): "null", int: "integer", float: "float", str: "text"}[type(value)]
    return {"type": kind, "value": str(value) if kind == "integer" else value}


def _value(cell: dict[str, Any]) -> Any:
    if cell["type"] == "blob":
        return base64.b64decode(cell["base64"] + "==")
    return int(cell["value"]) if cell["type"] == "integer" else cell.get("value")


class LibsqlProvara:
    """The fixture's database on a server, the two keys in files, and no service."""

    def __init__(self, folder: Path, *, is_real: bool = False, options: tuple[str, ...] = (), token: str = TOKEN) -> None:
        folder.mkdir()
        self.folder, self.state_dir, self.backup_dir = folder, folder / "rotation", folder / "backups"
        self.old_key, self.new_key = write(folder / "old.key", OLD_TEXT + "\n"), write(folder / "new.key", NEW_TEXT + "\n")
        self.token_file = folder / "token"
        self.is_real = is_real
        self.file = folder / "server.db"
        self._log = (folder / "server.log").open("wb")
        if is_real:
            self.port, self.token = free_port(), token if options else None
            write(self.token_file, token + "\n")
            self._process = self._start_sqld(options)
            self.client = Client(self.port, self.token)
            load(self.client, FIXTURE / "provara.db")
        else:
            self.token = token
            write(self.token_file, token + "\n")
            shutil.copy(FIXTURE / "provara.db", self.file)
            argv = [sys.executable, str(REFERENCE / "libsql/server.py"), "--database", self.file, "--token-file", self.token_file, *options]
            self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=self._log)
            self.port = json.loads(self._process.stdout.readline())["port"]  # type: ignore[union-attr]
            self.client = Client(self.port, token)
        self.url = f"http://127.0.0.1:{self.port}"

    def _start_sqld(self, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
        """Start the real server as nobody, in a folder that others may enter; its package is not ours to trust with more."""
        data = Path("/var/tmp") / f"servos-sqld-{self.port}"
        data.mkdir()
        as_nobody: dict[str, Any] = {}
        if os.geteuid() == 0:
            os.chown(data, NOBODY, NOBODY)
            as_nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        self._data = data
        argv = [SQLD, "--db-path", data / "db", "--http-listen-addr", f"127.0.0.1:{self.port}", "--no-welcome", *options]
        process = subprocess.Popen(argv, stdout=self._log, stderr=self._log, env={"PATH": "/usr/bin:/bin"}, cwd=data, **as_nobody)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                if Client(self.port, None).call("GET", "/health")[0] == 200:
                    return process
            assert process.poll() is None, (self.folder / "server.log").read_text()
            time.sleep(0.05)
        raise AssertionError("sqld did not come up")

    def tear_down(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)
        self._log.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        if self.is_real:
            shutil.rmtree(self._data, ignore_errors=True)

    def reset(self) -> None:
        """Bring the reference server back to the fixture's rows, and forget all runs."""
        self.fault(forget=True)
        write(self.token_file, TOKEN + "\n")
        shutil.rmtree(self.state_dir, ignore_errors=True)
        shutil.rmtree(self.backup_dir, ignore_errors=True)
        connection = sqlite3.connect(self.file, timeout=10)
        connection.execute("ATTACH ? AS fixture", (str(FIXTURE / "provara.db"),))
        for table in ("api_keys", "context_connector_credentials"):
            connection.execute(f"DELETE FROM {table}")
            connection.execute(f"INSERT INTO {table} SELECT * FROM fixture.{table}")
        connection.commit()
        connection.close()

    def fault(self, **wish: Any) -> None:
        """Set what goes wrong, and count requests from one again; nothing goes wrong without arguments."""
        assert self.client.call("POST", "/control", wish)[0] == 200

    def asked(self) -> list[str]:
        """Return the first words of the statements of each request since a fault was set."""
        return list(self.client.call("GET", "/control")[1]["asked"])

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        if self.is_real:
            return self.client.run((statement, *values))[0]
        connection = sqlite3.connect(self.file, timeout=10)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def start(self, module: str, *, check: bool = False, authority: Path | None = None, **overrides: Any) -> ModuleRun:
        options: dict[str, Any] = {
            "app": "provara", "database": self.url, "state_dir": str(self.state_dir), "service_manager": "none",
            "database_token_file": str(self.token_file) if self.token else None,
        } | overrides
        trust = [lambda: os.environ.update(SSL_CERT_FILE=str(authority))] if authority else []
        return ModuleRun(module, {name: value for name, value in options.items() if value is not None}, check=check, prepare=trust)

    def finish(self, run: ModuleRun) -> Outcome:
        outcome = run.wait(120)
        secrets = {"old key": OLD_TEXT, "new key": NEW_TEXT} | ({"token": self.token} if self.token else {})
        assert leaks(outcome.printed, secrets) == []
        assert "********" not in outcome.printed, "only the masking hid a secret"
        assert "Traceback" not in outcome.printed, outcome.printed[-700:]
        return outcome

    def start_rotation(self, *, check: bool = False, **overrides: Any) -> ModuleRun:
        keys = {"old_key_file": str(self.old_key), "new_key_file": str(self.new_key), "until": "rewrapped"}
        return self.start("servos_key_rotate", check=check, **(keys | overrides))

    def rotate(self, *, check: bool = False, **overrides: Any) -> Outcome:
        return self.finish(self.start_rotation(check=check, **overrides))

    def backup(self, **overrides: Any) -> Outcome:
        options = {"state": "present", "backup_dir": str(self.backup_dir), "env_file": str(self.env_file())} | overrides
        return self.finish(self.start("servos_backup", **options))

    def env_file(self) -> Path:
        path = self.folder / ".env"
        return path if path.exists() else write(path, f"PROVARA_MASTER_KEY={OLD_TEXT}\n")

    def judged(self, new_key: Path, old_key: Path) -> tuple[int, int]:
        """Return how many rows open under a key, and how many faults the judge names with that key as the new one."""
        path = self.file
        if self.is_real:
            path = self.folder / "dumped.db"
            dump(self.client, path)
        done = reference(
            "provara/judge.py", "--database", path, "--key-file", new_key, "--old-key-file", old_key, "--manifest",
            FIXTURE / "manifest.json", check=False,
        )
        assert done.returncode in (0, 1), done.stderr
        verdict = json.loads(done.stdout)
        wrong = {name: count for name, count in verdict.items() if name not in ("opens_new", "ok", "details")}
        return verdict["opens_new"], sum(wrong.values())

    def is_rotated(self) -> bool:
        """Tell whether all is under the new key; fails where it is neither all old nor all new, or otherwise wrong."""
        new = self.judged(self.new_key, self.old_key)
        if new == (132, 0):
            return True
        assert self.judged(self.old_key, self.new_key) == (132, 0), new
        return False


def load(client: Client, path: Path) -> None:
    """Fill an empty server with a database."""
    for statements in _chunks(_script(path)):
        client.run(*statements)


def _script(path: Path) -> Iterator[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    schema = "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' AND type "
    tables = connection.execute(schema + "= 'table'").fetchall()
    yield from ((sql,) for unused_name, sql in tables)
    for name, unused_sql in tables:
        for row in connection.execute(f'SELECT * FROM "{name}"'):
            yield (f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(row))})', *row)
    yield from ((sql,) for unused_name, sql in connection.execute(schema + "<> 'table'"))
    connection.close()


def _chunks(script: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    statements = list(script)
    for place in range(0, len(statements), 100):
        yield statements[place : place + 100]


def dump(client: Client, path: Path) -> None:
    """Write what a server holds in the sealed tables into a file, for the judge."""
    path.unlink(missing_ok=True)
    connection = sqlite3.connect(path)
    for table in ("api_keys", "context_connector_credentials"):
        found, rows = client.run(("SELECT sql FROM sqlite_master WHERE name = ?", table), (f"SELECT * FROM {table} ORDER BY id",))
        for (sql,) in found:
            connection.execute(sql)
        connection.executemany(f"INSERT INTO {table} VALUES ({', '.join('?' * len(rows[0]))})" if rows else "SELECT 1", rows)
    connection.commit()
    connection.close()
