# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Databases to measure on: the payload 'mix' of env variables, tokens and SSH keys, made fast and only once a size."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
import typing as t
from pathlib import Path

from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

# Of 20 values, 12 are env variables (64 bytes), 7 tokens (400), and one an SSH key (3,000).
_SIZES_BYTES = [64] * 12 + [400] * 7 + [3000]
_CREATED_AT = "2026-01-01T00:00:00+00:00"
_SERVOS = """CREATE TABLE service_env_vars (id INTEGER PRIMARY KEY, service_id INTEGER NOT NULL, name TEXT NOT NULL,
    value TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL)"""
# As the real Provara makes it; see tests/fixtures/provara.
_PROVARA = """CREATE TABLE api_keys (id text PRIMARY KEY NOT NULL, name text NOT NULL, provider text NOT NULL,
    encrypted_value text NOT NULL, iv text NOT NULL, auth_tag text NOT NULL, created_at integer NOT NULL,
    updated_at integer NOT NULL, tenant_id text)"""


class Keys(t.NamedTuple):
    """Files of an old and a new key, each 64 hex digits, which every tool here reads alike."""

    old: str
    new: str


def make_keys(folder: Path) -> Keys:
    """Write two throw-away keys."""
    for name in ("old.key", "new.key"):
        path = folder / name
        if not path.exists():
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                stream.write(os.urandom(32).hex())
    return Keys(str(folder / "old.key"), str(folder / "new.key"))


def plaintexts(count: int) -> t.Iterator[bytes]:
    """Yield the mix; slices of one block of random letters, since what they say costs nothing to anyone."""
    letters = base64.b64encode(os.urandom(30000))
    for number in range(count):
        size = _SIZES_BYTES[number * 7 % len(_SIZES_BYTES)]
        start = number * 13 % (len(letters) - size)
        yield letters[start : start + size]


def servos_database(path: Path, count: int, keys: Keys, *, journal: str) -> None:
    """Make a table of values as ServOS seals them: Base64 of nonce, ciphertext and tag, beside unsealed columns."""
    _make(path, _SERVOS, "INSERT INTO service_env_vars VALUES (?, ?, ?, ?, ?, ?)", _servos_rows(count, keys), journal)


def servos_rows_in_postgres(connection: t.Any, count: int, keys: Keys) -> None:
    """Make the same table in a PostgreSQL database."""
    connection.execute(_SERVOS)
    with connection.cursor() as cursor, cursor.copy("COPY service_env_vars FROM STDIN") as copy:
        for row in _servos_rows(count, keys):
            copy.write_row(row)
    connection.execute("VACUUM ANALYZE service_env_vars")


def _servos_rows(count: int, keys: Keys) -> t.Iterator[tuple[t.Any, ...]]:
    encrypt = AESGCM(bytes.fromhex(Path(keys.old).read_text())).encrypt
    for number, plaintext in enumerate(plaintexts(count), 1):
        nonce = os.urandom(12)
        sealed = base64.b64encode(nonce + encrypt(nonce, plaintext, None)).decode()
        yield number, number % 97, f"VARIABLE_{number}", sealed, _CREATED_AT, _CREATED_AT


def provara_database(path: Path, count: int, keys: Keys) -> None:
    """Make Provara's table as Provara seals it: hex in three columns, a text as primary key."""
    encrypt = AESGCM(bytes.fromhex(Path(keys.old).read_text())).encrypt

    def rows() -> t.Iterator[tuple[t.Any, ...]]:
        for number, plaintext in enumerate(plaintexts(count), 1):
            nonce = os.urandom(16)
            sealed = encrypt(nonce, plaintext, None).hex()
            identity = f"key_{os.urandom(10).hex()}"
            yield identity, f"key {number}", "openai", sealed[:-32], nonce.hex(), sealed[-32:], 1767225600, 1767225600, None

    _make(path, _PROVARA, f"INSERT INTO api_keys VALUES ({', '.join('?' * 9)})", rows(), "delete")


def fernet_database(path: Path, count: int, keys: Keys) -> None:
    """Make the table of servos_database with Fernet tokens instead."""
    encrypt = fernet_of(keys.old).encrypt
    rows = (
        (number, number % 97, f"VARIABLE_{number}", encrypt(plaintext).decode(), _CREATED_AT, _CREATED_AT)
        for number, plaintext in enumerate(plaintexts(count), 1)
    )
    _make(path, _SERVOS, "INSERT INTO service_env_vars VALUES (?, ?, ?, ?, ?, ?)", rows, "delete")


def fernet_of(key_path: str) -> Fernet:
    """Return the Fernet of a key file of ours."""
    return Fernet(base64.urlsafe_b64encode(bytes.fromhex(Path(key_path).read_text())))


def _make(path: Path, schema: str, insert: str, rows: t.Iterable[tuple[t.Any, ...]], journal: str) -> None:
    remove(path)
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA journal_mode={journal}")
    connection.execute("PRAGMA synchronous=OFF")
    with connection:
        connection.execute(schema)
        connection.executemany(insert, rows)
    connection.close()


def fresh_copy(source: Path, target: Path) -> Path:
    """Put an untouched copy in the place of what the last run left."""
    remove(target)
    shutil.copyfile(source, target)
    return target


def remove(path: Path) -> None:
    """Remove a database and what lies beside it."""
    for end in ("", "-wal", "-shm", "-journal"):
        Path(str(path) + end).unlink(missing_ok=True)
