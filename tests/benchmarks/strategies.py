# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One strategy, measured from within, in a process of its own; prints its cost as JSON.

strategies.py NAME DATABASE OLD_KEY_FILE NEW_KEY_FILE [APP]
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import sqlite3
import sys
import typing as t
from pathlib import Path

from cryptography.fernet import MultiFernet
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from data import fernet_of
from measure import Meter

_RANGE_ROWS = 400
_CACHE = "PRAGMA cache_size=-16384"


class Task(t.NamedTuple):
    """What a strategy works on."""

    database: str
    old_key_path: str
    new_key_path: str
    app: str


def floor(task: Task) -> Meter:
    """The UPDATE in ranges as ours does it, calling a Python function that does almost nothing: it turns the text by a letter."""
    return _update_in_ranges(task, "turned(value)")


def floor_in_sql(task: Task) -> Meter:
    """The same without any Python: a stricter floor, for information."""
    return _update_in_ranges(task, "substr(value, 2) || substr(value, 1, 1)")


def _update_in_ranges(task: Task, expression: str) -> Meter:
    # A change of content is needed: SQLite skips an overwrite that changes nothing.
    with Meter() as meter:
        connection = sqlite3.connect(task.database, isolation_level=None)
        connection.create_function("turned", 1, lambda text: text[1:] + text[:1])
        connection.execute(_CACHE)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        update = f"UPDATE service_env_vars SET value = {expression} WHERE id >= ? AND id <= ?"
        (last,) = connection.execute("SELECT max(id) FROM service_env_vars").fetchone()
        for low in range(1, last + 1, _RANGE_ROWS):
            connection.execute(update, (low, low + _RANGE_ROWS - 1))
        connection.execute("COMMIT")
        connection.close()
    return meter


def crypto_pass(task: Task) -> Meter:
    """Read everything, open and seal it in Python, and write nothing."""
    old, new = (AESGCM(bytes.fromhex(Path(path).read_text())) for path in (task.old_key_path, task.new_key_path))
    decrypt, encrypt, urandom = old.decrypt, new.encrypt, os.urandom
    with Meter() as meter:
        connection = sqlite3.connect(f"file:{task.database}?mode=ro&immutable=1", uri=True)
        for (text,) in connection.execute("SELECT value FROM service_env_vars"):
            raw = base64.b64decode(text)
            nonce = urandom(12)
            base64.b64encode(nonce + encrypt(nonce, decrypt(raw[:12], raw[12:], None), None)).decode()
        connection.close()
    return meter


def _no_command(argv: t.Sequence[str]) -> t.NoReturn:
    raise SystemExit(f"nothing is to be run here: {argv[0]}")


def _installation(task: Task) -> tuple[t.Any, t.Any]:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation
    from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import Keys

    is_file = "://" not in task.database
    installation = Installation({
        "app": task.app, "database": f"sqlite:///{task.database}" if is_file else task.database, "service_manager": "none",
        "state_dir": task.old_key_path + ".state", "database_password_file": os.environ.get("BENCH_PASSWORD_FILE"),
    }, run=_no_command)
    old, new = installation.key_from_file(task.old_key_path), installation.key_from_file(task.new_key_path)
    return installation, Keys(active=old, staged=new, previous=None, withdrawn=None)


def census(task: Task) -> Meter:
    """Our look at the data: every value opened, every other column searched."""
    from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe

    installation, keys = _installation(task)
    with Meter() as meter:
        observe(installation, keys=keys)
    return meter


def rewrap(task: Task) -> Meter:
    """Our transaction, read-back included, on the file as the module does it."""
    from ansible_collections.servos.ops.plugins.module_utils._rotation.data_step import rewrap_data
    from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe

    installation, keys = _installation(task)
    seen = observe(installation, keys=keys)
    with Meter() as meter:
        done = rewrap_data(
            installation, keys=keys, target=keys.target, census=seen.census, include_new_fields=False, lock_timeout_s=30
        )
    if done.rewrapped != sum(seen.sight.sealed.values()):
        raise SystemExit(f"only {done.rewrapped} values were rewrapped")
    return meter


def scrub(task: Task) -> Meter:
    """Our VACUUM and truncating checkpoint."""
    installation, unused = _installation(task)
    with Meter() as meter:
        installation.database().scrub(lock_timeout_s=30)
    return meter


def rows_commit_each(task: Task) -> Meter:
    """The loop that everybody writes first: a SELECT, and an UPDATE and a commit for each row."""
    return _naive(task, isolation_level=None)


def rows(task: Task) -> Meter:
    """The same in one transaction."""
    return _naive(task, isolation_level="")


def _naive(task: Task, *, isolation_level: str | None) -> Meter:
    renewed = _renewed(task)
    with Meter() as meter:
        connection = sqlite3.connect(task.database, isolation_level=isolation_level)
        connection.execute("PRAGMA synchronous=FULL")
        for row_id, text in connection.execute("SELECT id, value FROM service_env_vars").fetchall():
            connection.execute("UPDATE service_env_vars SET value = ? WHERE id = ?", (renewed(text), row_id))
        connection.commit()
        connection.close()
    return meter


def executemany(task: Task) -> Meter:
    """Pages of 500 rows, written back by executemany, in one transaction."""
    renewed = _renewed(task)
    with Meter() as meter:
        connection = sqlite3.connect(task.database, isolation_level=None)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("BEGIN IMMEDIATE")
        last = 0
        while page := connection.execute("SELECT id, value FROM service_env_vars WHERE id > ? ORDER BY id LIMIT 500", (last,)).fetchall():
            connection.executemany("UPDATE service_env_vars SET value = ? WHERE id = ?", [(renewed(text), row_id) for row_id, text in page])
            last = page[-1][0]
        connection.execute("COMMIT")
        connection.close()
    return meter


def in_memory(task: Task) -> Meter:
    """Everything read, everything sealed, everything written."""
    renewed = _renewed(task)
    with Meter() as meter:
        connection = sqlite3.connect(task.database)
        connection.execute("PRAGMA synchronous=FULL")
        plain = connection.execute("SELECT id, value FROM service_env_vars").fetchall()
        sealed = [(renewed(text), row_id) for row_id, text in plain]
        connection.executemany("UPDATE service_env_vars SET value = ? WHERE id = ?", sealed)
        connection.commit()
        connection.close()
    return meter


def _renewed(task: Task) -> t.Callable[[str], str]:
    old, new = (AESGCM(bytes.fromhex(Path(path).read_text())) for path in (task.old_key_path, task.new_key_path))

    def renewed(text: str) -> str:
        raw, nonce = base64.b64decode(text), os.urandom(12)
        return base64.b64encode(nonce + new.encrypt(nonce, old.decrypt(raw[:12], raw[12:], None), None)).decode()

    return renewed


def rewrap_unread(task: Task) -> Meter:
    """Our transaction without its read-back, which no user can have: what the goal without read-back is for."""
    from ansible_collections.servos.ops.plugins.module_utils._sealing import aes_gcm

    def renewer(unused: t.Any, source: t.Any, target: t.Any, nonce_of: t.Callable[[int], bytes]) -> t.Callable[[t.Any], t.Any]:
        decode, encode, decrypt, encrypt = aes_gcm._strictly_decoded, binascii.b2a_base64, source.decrypt, target.encrypt

        def renew(stored: t.Any) -> str | None:
            try:
                raw = decode(stored)
                plaintext = decrypt(raw[:12], raw[12:], None)
            except (aes_gcm.InvalidTag, ValueError, TypeError):
                return None
            nonce = nonce_of(12)
            return encode(nonce + encrypt(nonce, plaintext, None), newline=False).decode("ascii")

        return renew

    aes_gcm.Base64Codec.renewer = renewer
    return rewrap(task)


def multifernet_rows(task: Task) -> Meter:
    """MultiFernet in a loop, a commit a row."""
    return _multifernet(task, isolation_level=None)


def multifernet_transaction(task: Task) -> Meter:
    """MultiFernet in a loop, in one transaction."""
    return _multifernet(task, isolation_level="")


def _multifernet(task: Task, *, isolation_level: str | None) -> Meter:
    ring = MultiFernet([fernet_of(task.new_key_path), fernet_of(task.old_key_path)])
    with Meter() as meter:
        connection = sqlite3.connect(task.database, isolation_level=isolation_level)
        connection.execute("PRAGMA synchronous=FULL")
        for row_id, token in connection.execute("SELECT id, value FROM service_env_vars").fetchall():
            connection.execute("UPDATE service_env_vars SET value = ? WHERE id = ?", (ring.rotate(token).decode(), row_id))
        connection.commit()
        connection.close()
    return meter


def pg_floor(task: Task) -> Meter:
    """Without cryptography, in the server."""
    import postgres_strategies

    return postgres_strategies.floor(task.database)


def pg_batched(task: Task) -> Meter:
    """Without cryptography, in our batches."""
    import postgres_strategies

    return postgres_strategies.batched(task.database)


def pg_rows(task: Task) -> Meter:
    """Row by row."""
    import postgres_strategies

    return postgres_strategies.rows(task.database, _renewed(task))


def pg_in_memory(task: Task) -> Meter:
    """All in memory."""
    import postgres_strategies

    return postgres_strategies.in_memory(task.database, _renewed(task))


STRATEGIES: dict[str, t.Callable[[Task], Meter]] = {
    function.__name__: function
    for function in (
        floor, floor_in_sql, crypto_pass, census, rewrap, rewrap_unread, scrub, rows_commit_each, rows, executemany, in_memory,
        multifernet_rows, multifernet_transaction, pg_floor, pg_batched, pg_rows, pg_in_memory,
    )
}


def main() -> None:
    name, database, old_key_path, new_key_path, app = [*sys.argv[1:], "servos"][:5]
    meter = STRATEGIES[name](Task(database, old_key_path, new_key_path, app))
    print(json.dumps(meter.cost))


if __name__ == "__main__":
    main()
