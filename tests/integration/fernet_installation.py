# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation that seals with Fernet and lists keys in its configuration, as Airflow does, without Airflow.

Tokens are made and opened here with pycryptodomex, from the specification: https://github.com/fernet/spec
"""

from __future__ import annotations

import base64
import configparser
import hashlib
import os
import sqlite3
import stat
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from Cryptodome.Cipher import AES
from Cryptodome.Hash import HMAC, SHA256
from Cryptodome.Util.Padding import pad, unpad
from evidence import Snapshot, leaks, snapshot_of
from installations import write
from module_runs import ModuleRun, Outcome

VARIABLE = "AIRFLOW__CORE__FERNET_KEY"


def new_text(name: str) -> str:
    """Return a key of this process alone, as Airflow writes one."""
    return base64.urlsafe_b64encode(hashlib.sha256(f"fernet {os.getpid()} {name}".encode()).digest()).decode()


FIRST, SECOND, NEW, OTHER = map(new_text, ("first", "second", "new", "other"))


def fingerprint(text: str) -> str:
    key_bytes = base64.urlsafe_b64decode(text)
    return "mk:" + hashlib.sha256(b"servos.ops master key fingerprint v1\x00" + key_bytes).hexdigest()[:16]


def seal(plaintext: bytes, text: str, *, at: int = 1_700_000_000) -> str:
    key_bytes, iv = base64.urlsafe_b64decode(text), os.urandom(16)
    signed = b"\x80" + at.to_bytes(8, "big") + iv + AES.new(key_bytes[16:], AES.MODE_CBC, iv=iv).encrypt(pad(plaintext, 16))
    return base64.urlsafe_b64encode(signed + HMAC.new(key_bytes[:16], signed, SHA256).digest()).decode()


def unseal(token: str, text: str) -> bytes | None:
    key_bytes, raw = base64.urlsafe_b64decode(text), base64.urlsafe_b64decode(token)
    try:
        HMAC.new(key_bytes[:16], raw[:-32], SHA256).verify(raw[-32:])
    except ValueError:
        return None
    return unpad(AES.new(key_bytes[16:], AES.MODE_CBC, iv=raw[9:25]).decrypt(raw[25:-32]), 16)


class Fernets:
    """Airflow's tables, an env file or C(airflow.cfg), and the state directory, in one folder."""

    def __init__(self, folder: Path, keys: Sequence[str] = (FIRST, SECOND), *, is_ini: bool = False) -> None:
        self.folder, self.is_ini, self.state_dir = folder, is_ini, folder / "rotation"
        folder.mkdir()
        self.database = folder / "airflow.db"
        self.plaintexts: dict[tuple[str, str, int], bytes] = {}
        self._fill(keys)
        self.config = folder / ("airflow.cfg" if is_ini else "airflow.env")
        self.written = self.text_with(",".join(keys))
        write(self.config, self.written)

    def text_with(self, value: str) -> str:
        if self.is_ini:
            return textwrap.dedent(f"""\
                # Airflow's own file
                [core]
                dags_folder = /dags
                # Secret key to save connection passwords in the db
                #
                fernet_key = {value}
                hostname_callable = a.b

                [other]
                fernet_key = untouched
                """)
        return f"# of Airflow\nAIRFLOW_HOME=/opt/airflow\n{VARIABLE}={value}\nAIRFLOW__CORE__LOAD_EXAMPLES=False\n"

    def _fill(self, keys: Sequence[str]) -> None:
        self.sql("CREATE TABLE connection (id INTEGER PRIMARY KEY, conn_id TEXT, password TEXT, extra TEXT, is_encrypted BOOLEAN)")
        self.sql('CREATE TABLE variable (id INTEGER PRIMARY KEY, "key" TEXT, val TEXT NOT NULL, is_encrypted BOOLEAN)')
        self.sql('CREATE TABLE "trigger" (id INTEGER PRIMARY KEY, classpath TEXT, kwargs TEXT NOT NULL)')
        for number in range(1, 9):
            text = keys[number % 2 % len(keys)]
            self.add("variable", "val", number, f"variable {number} ß".encode(), text, {"key": f"v{number}", "is_encrypted": 1})
            self.add("connection", "password", number, f"password {number}".encode(), text, {"conn_id": f"c{number}"})
        self.add("trigger", "kwargs", 1, b"{}", keys[-1], {"classpath": "a.B"})
        self.sql("INSERT INTO variable VALUES (99, 'plain', 'never sealed', 0)")
        self.sql("INSERT INTO connection VALUES (99, 'neither', NULL, '', 0)")

    def add(self, table: str, column: str, row: int, plaintext: bytes, text: str, others: dict[str, Any]) -> None:
        names = ", ".join(f'"{name}"' for name in ("id", column, *others))
        marks = ", ".join("?" * (2 + len(others)))
        self.sql(f'INSERT INTO "{table}" ({names}) VALUES ({marks})', row, seal(plaintext, text), *others.values())
        self.plaintexts[table, column, row] = plaintext

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "app": "airflow", "database": f"sqlite:///{self.database}", "state_dir": str(self.state_dir), "service_manager": "none",
            "env_file": str(self.config),
        }
        if self.is_ini:
            options.update(env_var="fernet_key", profile={"config_format": "ini"})
        return options

    def run(self, module: str, *, check: bool = False, prepare: Sequence[Callable[[], None]] = (), **options: Any) -> Outcome:
        told = {name: value for name, value in (self.options() | options).items() if value is not None}
        outcome = ModuleRun(module, told, check=check, prepare=prepare).wait()
        assert leaks(outcome.printed, {"first": FIRST, "second": SECOND, "new": NEW, "other": OTHER}) == []
        assert "********" not in outcome.printed, "only the masking hid a key"
        assert "Traceback" not in outcome.printed, outcome.printed[-900:]
        return outcome

    def stage(self, text: str = NEW, **options: Any) -> Outcome:
        return self.run("servos_keyring", state="staged", new_key_file=str(write(self.folder.parent / "new.key", text)), **options)

    def rotate(self, **options: Any) -> Outcome:
        return self.run("servos_key_rotate", **options)

    def back(self, **options: Any) -> Outcome:
        return self.run("servos_key_rotate", direction="back", **options)

    def retire(self, **options: Any) -> Outcome:
        return self.run("servos_keyring", state="retired", **options)

    def info(self) -> Outcome:
        return self.run("servos_key_info")

    def counted(self, role: str) -> int:
        return sum(row[role] for row in self.info()["census"])

    def snapshot(self) -> Snapshot:
        """Describe every file but the lock, which says when it was last held."""
        return {name: facts for name, facts in snapshot_of(self.folder).items() if not name.endswith("/rotation/lock")}

    def opened(self, text: str) -> dict[tuple[str, str, int], bytes | None]:
        """Open every value that was written here, under one key."""
        return {place: unseal(self.token(place), text) for place in self.plaintexts}

    def token(self, place: tuple[str, str, int]) -> str:
        table, column, row = place
        return self.sql(f'SELECT "{column}" FROM "{table}" WHERE id = ?', row)[0][0]

    def configured(self) -> str:
        """Read the value as its reader does."""
        if self.is_ini:
            parser = configparser.ConfigParser()
            parser.read(self.config)
            return parser["core"]["fernet_key"]
        return next(line.split("=", 1)[1] for line in self.config.read_text().splitlines() if line.startswith(f"{VARIABLE}="))

    def kept(self) -> str | None:
        """Return the list that is kept in the state directory."""
        path = self.state_dir / "listed.key"
        if not path.exists():
            return None
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        return path.read_text()

    def lying_about(self) -> set[str]:
        """Return every key that is on disk, in the configuration or in the state directory."""
        found = set(self.configured().split(","))
        for path in self.state_dir.glob("*.key"):
            found.update(path.read_text().split(","))
        return found

    def assert_nothing_lost(self) -> None:
        """Every value opens under some key that is on disk."""
        keys = self.lying_about()
        lost = [place for place, plaintext in self.plaintexts.items() if plaintext not in [unseal(self.token(place), k) for k in keys]]
        assert lost == []

    def assert_all_under(self, text: str) -> None:
        assert self.opened(text) == self.plaintexts
        for other in {FIRST, SECOND, NEW, OTHER} - {text}:
            assert set(self.opened(other).values()) == {None}
