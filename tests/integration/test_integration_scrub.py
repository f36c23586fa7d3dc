# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Old ciphertext is gone: no byte of what was sealed under the old key is left in the database's pages, log or journal."""

from __future__ import annotations

import base64
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installations import NEW, OLD, Servos, b64, fingerprint, seal, unseal, wait_until

# Long enough for no accident, short enough that a page border does not hide a value that is left.
PIECE = 40


def sealed_values(servos: Servos) -> set[str]:
    """Collect every sealed text in the database, from each text column, as SQLite gives it."""
    connection = sqlite3.connect(f"file:{servos.database}?mode=ro", uri=True)
    try:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        cells = [cell for table in tables for row in connection.execute(f"SELECT * FROM {table}") for cell in row if isinstance(cell, str)]
    finally:
        connection.close()
    return {text for cell in cells for text in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", cell)}


def pieces_left(servos: Servos, values: set[str]) -> list[str]:
    """Look for pieces of the values in the raw bytes of every file of the database."""
    raw = b"".join(path.read_bytes() for path in sorted(servos.database.parent.glob("servos.db*")))
    return [value[:12] for value in values for piece in pieces(value) if piece in raw]


def pieces(value: str) -> Iterator[bytes]:
    yield from (value[start : start + PIECE].encode() for start in range(0, len(value) - PIECE + 1, PIECE))


def under_the_old_key(servos: Servos) -> set[str]:
    found = {value for value in sealed_values(servos) if opens_under(value, OLD)}
    assert len(found) >= 60
    assert pieces_left(servos, found), "the search finds nothing even before the rotation"
    return found


def leave_remains(servos: Servos) -> set[str]:
    """Delete values as a database without secure_delete does: the bytes stay in free pages. Returns them and the others."""
    old = under_the_old_key(servos)
    connection = sqlite3.connect(servos.database, isolation_level=None)
    connection.execute("PRAGMA secure_delete=OFF")
    connection.execute("DELETE FROM git_credentials")
    connection.close()
    return old


def opens_under(value: str, key: bytes) -> bool:
    try:
        return len(base64.b64decode(value)) > 28 and unseal(value, key) is not None
    except ValueError:
        return False


def begin(servos: Servos, **options: object) -> None:
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))


@pytest.mark.parametrize("journal", ["wal", "delete"])
@pytest.mark.parametrize("method", ["database", "api"])
def test_after_a_run_nothing_is_left(make_servos: Callable[..., Servos], journal: str, method: str) -> None:
    servos = make_servos(journal=journal)
    servos.start()
    old = leave_remains(servos)
    begin(servos)
    api = {"method": "api", "api_url": servos.url, "api_token_file": str(servos.token_file)} if method == "api" else {}
    assert servos.rotate(**api)["phase"] == "activated"
    assert pieces_left(servos, old) == []


def test_after_a_rollback_nothing_of_the_withdrawn_key_is_left(servos: Servos) -> None:
    begin(servos)
    servos.rotate()
    new = {value for value in sealed_values(servos) if opens_under(value, NEW)}
    assert len(new) >= 60
    servos.rotate(direction="back")
    assert pieces_left(servos, new) == []


def test_what_the_application_rewrapped_itself_is_scrubbed_by_the_next_run_too(servos: Servos) -> None:
    old = leave_remains(servos)
    begin(servos)
    done = servos.rotate(method="api", api_url=servos.url, api_token_file=str(servos.token_file), scrub=False)
    assert done["phase"] == "activated"
    assert pieces_left(servos, old)
    assert servos.rotate()["steps"] == ["scrub"]
    assert pieces_left(servos, old) == []


@pytest.mark.parametrize("has_service", [True, False], ids=["with a service", "alone"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_what_a_kill_between_commit_and_scrub_left_goes_with_the_next_run(
    make_servos: Callable[..., Servos], has_service: bool, journal: str
) -> None:
    servos = make_servos(journal=journal, has_service=has_service)
    if has_service:
        servos.start()
    old = leave_remains(servos)
    begin(servos)
    assert servos.rotate(scrub=False)["phase"] == "activated"  # as a kill leaves it: all is done but the scrub
    assert pieces_left(servos, old), "nothing was left to scrub"
    told, done = servos.rotate(check=True), servos.rotate()
    assert told["steps"] == done["steps"] == ["scrub"]
    assert done["scrub"]["vacuumed"]
    assert pieces_left(servos, old) == []
    assert not servos.rotate().changed


def test_a_scrub_that_could_not_be_done_stays_due(servos: Servos) -> None:
    old = leave_remains(servos)
    begin(servos)
    servos.rotate(scrub=False)
    reader = sqlite3.connect(servos.database, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM servers").fetchone()  # holds the log back
    try:
        blocked = servos.rotate(lock_timeout=0.3)
    finally:
        reader.close()
    assert not blocked.failed
    assert "free pages may still hold" in blocked.warnings and "next run tries again" in blocked.warnings
    assert servos.rotate()["steps"] == ["scrub"]
    assert pieces_left(servos, old) == []


def test_a_late_value_leaves_nothing_either(servos: Servos) -> None:
    begin(servos)
    servos.rotate()
    late = seal(b"x" * 300, OLD)
    servos.sql("INSERT INTO git_credentials (token, provider, created_at, updated_at) VALUES (?, 1, 1, 1)", late)
    assert servos.rotate()["rewrapped"] == 1
    assert pieces_left(servos, {late}) == []
    wait_until(lambda: not servos.rotate().changed)


def test_backups_are_listed_with_the_key_that_opens_them_and_their_expiry(servos: Servos) -> None:
    backup = servos.backup(retention_days=7)["backup"]
    begin(servos)
    servos.rotate()
    listed = servos.info(backup_dir=str(servos.backup_dir))["backups"]
    assert [(row["path"], row["keys"], row["opens_with"], row["expires_at"]) for row in listed] == [
        (backup["path"], {fingerprint(OLD): 61}, ["previous"], backup["expires_at"])
    ]
    servos.retire()
    assert servos.info(backup_dir=str(servos.backup_dir))["backups"][0]["opens_with"] == ["none that is kept here"]
    Path(backup["path"]).unlink()
    assert servos.info(backup_dir=str(servos.backup_dir))["backups"] == []
