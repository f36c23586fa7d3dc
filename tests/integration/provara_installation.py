# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A database file that the real Provara wrote, with its key in a file and no service."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import Any

from Cryptodome.Cipher import AES
from evidence import Snapshot, leaks, snapshot_of
from installations import reference, write
from module_runs import ModuleRun, Outcome

FIXTURE = Path(__file__).resolve().parent.parent / "fixtures" / "provara"
OLD_TEXT, NEW_TEXT = "5e" * 32, "a7" * 31 + "0b"


class Provara:
    """The fixture's database and the two keys in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.database, self.state_dir = folder, folder / "provara.db", folder / "rotation"
        shutil.copy(FIXTURE / "provara.db", self.database)
        self.old_key = write(folder / "old.key", OLD_TEXT + "\n")
        self.new_key = write(folder / "new.key", NEW_TEXT + "\n")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def rotate(self, *, check: bool = False, **overrides: Any) -> Outcome:
        options: dict[str, Any] = {
            "app": "provara", "database": f"sqlite:///{self.database}", "state_dir": str(self.state_dir), "service_manager": "none",
            "old_key_file": str(self.old_key), "new_key_file": str(self.new_key), "until": "rewrapped",
        }
        told = {name: value for name, value in (options | overrides).items() if value is not None}
        outcome = ModuleRun("servos_key_rotate", told, check=check).wait()
        assert leaks(outcome.printed, {"old key": OLD_TEXT, "new key": NEW_TEXT}) == []
        assert "********" not in outcome.printed, "only the masking hid a key"
        assert "Traceback" not in outcome.printed, outcome.printed[-700:]
        return outcome

    def snapshot(self) -> Snapshot:
        return snapshot_of(self.folder)

    def judge(self, new_key: Path, old_key: Path) -> dict[str, Any]:
        done = reference(
            "provara/judge.py", "--database", self.database, "--key-file", new_key, "--old-key-file", old_key,
            "--manifest", FIXTURE / "manifest.json", check=False,
        )
        return json.loads(done.stdout or "{}") | {"exit": done.returncode, "stderr": done.stderr}

    def add_table(self, name: str, plaintexts: list[bytes], key_text: str = OLD_TEXT) -> None:
        """Add a table that nobody declared, with Provara's three columns."""
        self.sql(f"CREATE TABLE {name} (id TEXT PRIMARY KEY, label TEXT, encrypted_value TEXT, iv TEXT, auth_tag TEXT)")
        for number, plaintext in enumerate(plaintexts):
            self.sql(f"INSERT INTO {name} VALUES (?, 'x', ?, ?, ?)", f"row_{number}", *seal_columns(plaintext, key_text))

    def opened(self, table: str, key_text: str) -> list[bytes | None]:
        """Open every row of a table under a key."""
        rows = self.sql(f"SELECT encrypted_value, iv, auth_tag FROM {table} ORDER BY id")
        return [open_columns(row, key_text) for row in rows]


def seal_columns(plaintext: bytes, key_text: str) -> tuple[str, str, str]:
    iv = os.urandom(16)
    content, tag = AES.new(bytes.fromhex(key_text), AES.MODE_GCM, nonce=iv).encrypt_and_digest(plaintext)
    return content.hex(), iv.hex(), tag.hex()


def open_columns(row: tuple[str, str, str], key_text: str) -> bytes | None:
    content, iv, tag = map(bytes.fromhex, row)
    try:
        return AES.new(bytes.fromhex(key_text), AES.MODE_GCM, nonce=iv).decrypt_and_verify(content, tag)
    except ValueError:
        return None
