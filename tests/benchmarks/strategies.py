# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One strategy, measured from within, in a process of its own; prints its cost as JSON.

strategies.py NAME DATABASE OLD_KEY_FILE NEW_KEY_FILE [APP]
"""

from __future__ import annotations

import base64
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

    installation = Installation({
        "app": task.app, "database": f"sqlite:///{task.database}", "state_dir": task.database + ".state", "service_manager": "none",
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


STRATEGIES: dict[str, t.Callable[[Task], Meter]] = {
    function.__name__: function
    for function in (floor, floor_in_sql, crypto_pass, census, rewrap, scrub, multifernet_rows, multifernet_transaction)
}


def main() -> None:
    name, database, old_key_path, new_key_path, app = [*sys.argv[1:], "servos"][:5]
    meter = STRATEGIES[name](Task(database, old_key_path, new_key_path, app))
    print(json.dumps(meter.cost))


if __name__ == "__main__":
    main()
