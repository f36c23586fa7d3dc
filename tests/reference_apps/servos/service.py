# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running application without HTTP: the key in memory, the database, and what may be asked of it.

ASSUMPTION model. It exists apart from the HTTP server because the point worth modelling is here: the key is read once,
at the start, and a rotation of the database does not change it until the process is restarted.
"""

from __future__ import annotations

import hashlib
import threading
from datetime import datetime, timezone
from pathlib import Path

import layout
from database import BUSY_TIMEOUT_S, ERRORS, Connection, connect, is_server
from rotation import RotationRefused, read_canary, rotate
from schema import insert_row
from sealing import KeyFormatError, OpenError, open_sealed, parse_key, seal
from settings import Settings


class StartRefused(Exception):
    """The server must not start; the text shows no key."""


class Service:
    """One process's state."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.faults = settings.faults
        self.is_restart_required = False
        self._rotation_lock = threading.Lock()
        self._key_bytes = self._check_key()
        self._write_key_bytes = self._key_bytes
        if not is_server(settings.database_path) and not Path(settings.database_path).is_file():
            raise StartRefused("the database does not exist")
        # Kept open for the life of the process, as a connection pool would: in WAL mode the -wal file then stays.
        try:
            self._keeper = self._connect()
        except ERRORS as error:
            raise StartRefused(f"the database cannot be opened: {type(error).__name__}") from None
        self._check_canary()

    def _check_key(self) -> bytes:
        try:
            key_bytes = parse_key(self.settings.key_text, accept_hex="accept_hex" in self.faults)
        except KeyFormatError as error:
            raise StartRefused(f"the master key is unusable: {error}") from None
        if "fail_start_once" in self.faults:
            if is_server(self.settings.database_path):
                raise StartRefused("fault: fail_start_once needs a file")
            marker = Path(self.settings.database_path + ".failed-once")
            if not marker.exists():
                marker.touch()
                raise StartRefused("fault: fail_start_once")
        prefix = self.settings.faults.fail_start_on_key
        if prefix and hashlib.sha256(key_bytes).hexdigest().startswith(prefix):
            raise StartRefused("fault: fail_start_on_key")
        return key_bytes

    def _check_canary(self) -> None:
        if "canary_missing" in self.faults:
            return
        try:
            canary_b64 = read_canary(self._keeper)
        except ERRORS as error:
            raise StartRefused(f"the database cannot be read: {error}") from None
        if canary_b64 is None:
            raise StartRefused("Integrity canary not found")
        try:
            open_sealed(canary_b64, self._key_bytes)
        except OpenError:
            raise StartRefused("the integrity canary does not open under the master key") from None

    def _connect(self) -> Connection:
        return connect(self.settings.database_path, timeout_s=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

    def list_ids(self, class_name: str) -> list[int | str]:
        """List a class's ids; passphrases by the table and row they belong to."""
        connection = self._connect()
        try:
            if class_name != layout.PASSPHRASE_CLASS:
                return [row[0] for row in connection.execute(f"SELECT id FROM {class_name} ORDER BY id")]
            return [
                f"{name}-{row[0]}"
                for name in ("servers", "builders")
                for row in connection.execute(f"SELECT id FROM {name} WHERE ssh_passphrase IS NOT NULL ORDER BY id")
            ]
        finally:
            connection.close()

    def reveal(self, class_name: str, api_id: str) -> str | None:
        """Open one value under the key in memory; None if there is no such value; raises OpenError."""
        place = layout.locate(class_name, api_id)
        if place is None:
            return None
        table_name, column, row_id = place
        connection = self._connect()
        try:
            row = connection.execute(f"SELECT {column} FROM {table_name} WHERE id = ?", (row_id,)).fetchone()
        finally:
            connection.close()
        if row is None or row[0] is None:
            return None
        return open_sealed(row[0], self._key_bytes).decode("utf-8")

    def create(self, class_name: str, value: str, name: str) -> int:
        """Seal a value and insert it; sealed under the lock, so that a rotation decides which key it gets."""
        table = layout.TABLES[class_name]
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            row: dict[str, object] = {column: now if column.endswith("_at") else name for column in table.unsealed}
            row[table.sealed[0]] = seal(value.encode("utf-8"), self._write_key_bytes)
            row_id = insert_row(connection, table, row)
            connection.execute("COMMIT")
            return row_id
        finally:
            connection.close()

    def rotate(self, old_key_text: str, new_key_text: str) -> dict[str, int]:
        """Rotate the database; this process goes on with the key it has.

        The endpoint reads hex and Base64, unless strict_base64: its page shows hex keys, although the start check
        of the other page refuses them. Raises RotationRefused; the database's own error if the database stays locked.
        """
        try:
            is_hex_accepted = "strict_base64" not in self.faults
            old_key_bytes = parse_key(old_key_text, accept_hex=is_hex_accepted)
            new_key_bytes = parse_key(new_key_text, accept_hex=is_hex_accepted)
        except KeyFormatError:
            raise RotationRefused(400, "invalid key format") from None
        if old_key_bytes == new_key_bytes:
            raise RotationRefused(400, "old_key and new_key are identical")
        if not self._rotation_lock.acquire(blocking=False):
            raise RotationRefused(409, "rotation in progress")
        try:
            connection = self._connect()
            try:
                counts = rotate(connection, old_key_bytes, new_key_bytes, self.faults)
            finally:
                connection.close()
            if self.faults.stale_key_writes == "new":
                self._write_key_bytes = new_key_bytes
            self.is_restart_required = "require_restart" in self.faults
            return counts
        finally:
            self._rotation_lock.release()

    def close(self) -> None:
        """Let go of the database."""
        self._keeper.close()
