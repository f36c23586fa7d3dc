# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The running gateway without HTTP: the key of its environment, the database, and what may be asked of it.

FACT, from the real one's behaviour and code at c4493c1: rows that do not open are passed over without a word when the
providers are loaded, and are listed as "(decrypt error)"; the last four characters are counted in UTF-16; a new value is
trimmed; a name that is there already is updated; there is no wait for a lock. Written anew, with another cryptographic
library.
"""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from rows import OpenError, SealedRow, derive_key, open_row, seal_row
from schema import add_api_key, add_connector

BULLETS = "\u2022" * 8
UNREADABLE = "\u2022\u2022\u2022\u2022(decrypt error)"
_NO_HEADER_VALUE = re.compile(r"[^\x20-\x7E\t]")


class RequestError(Exception):
    """An answer that is no success: status, text and type."""

    def __init__(self, status: int, message: str, kind: str) -> None:
        super().__init__(message)
        self.status, self.message, self.kind = status, message, kind


def masked(value: str, *, is_stripped: bool = False) -> str:
    """Show eight bullets and the last four characters, as JavaScript counts them."""
    text = _NO_HEADER_VALUE.sub("", value).strip() if is_stripped else value
    return BULLETS + text.encode("utf-16-le", "surrogatepass")[-8:].decode("utf-16-le", "surrogatepass")


class Gateway:
    """One process. C(key_text) is None where PROVARA_MASTER_KEY was unset or empty when it started."""

    def __init__(self, database_path: str, key_text: str | None, *, masks_stripped: bool = False) -> None:
        self._database_path = Path(database_path).resolve(strict=True)
        self._key_bytes = derive_key(key_text) if key_text else None
        self._masks_stripped = masks_stripped
        self.providers: dict[str, str] = {}
        self.stripped: list[str] = []
        self.reload()

    @property
    def is_configured(self) -> bool:
        """Whether there was a key, whichever."""
        return self._key_bytes is not None

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        # As the real one's client: who meets a lock fails at once.
        connection = sqlite3.connect(self._database_path, timeout=0)
        connection.row_factory = sqlite3.Row
        try:
            yield connection
        finally:
            connection.close()

    def _key(self) -> bytes:
        if self._key_bytes is None:
            raise RequestError(503, "PROVARA_MASTER_KEY not set", "configuration_error")
        return self._key_bytes

    def _opened(self, row: sqlite3.Row) -> str:
        sealed = SealedRow(row["encrypted_value"], row["iv"], row["auth_tag"])
        return open_row(sealed, self._key()).decode("utf-8", "replace")

    def reload(self) -> int:
        """Load the providers' keys into memory, without those that do not open."""
        found: dict[str, str] = {}
        self.stripped = []
        if self.is_configured:
            with self._connected() as connection:
                for row in connection.execute("SELECT * FROM api_keys"):
                    try:
                        value = self._opened(row)
                    except OpenError:
                        continue
                    found[row["name"]] = _NO_HEADER_VALUE.sub("", value).strip()
                    if found[row["name"]] != value:
                        self.stripped.append(row["name"])
        self.providers = found
        return len(found)

    def listed(self, tenant_id: str | None) -> list[dict[str, Any]]:
        """List the rows of a tenant, or all where there are no tenants, with masked values."""
        self._key()
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT * FROM api_keys WHERE ?1 IS NULL OR tenant_id = ?1", (tenant_id,)
            ).fetchall()
        return [
            {
                "id": row["id"], "name": row["name"], "provider": row["provider"], "maskedValue": self._shown(row),
                "createdAt": _iso(row["created_at"]), "updatedAt": _iso(row["updated_at"]),
            }
            for row in rows
        ]

    def _shown(self, row: sqlite3.Row) -> str:
        try:
            return masked(self._opened(row), is_stripped=self._masks_stripped)
        except OpenError:
            return UNREADABLE

    def put(self, body: dict[str, Any], tenant_id: str | None) -> tuple[bool, dict[str, Any]]:
        """Create or update a key by its name; return whether it was there, and what is shown of it."""
        key_bytes = self._key()
        if not all(isinstance(body.get(name), str) and body[name] for name in ("name", "provider", "value")):
            raise RequestError(400, "name, provider, and value are required", "validation_error")
        value = body["value"].strip()
        if not value:
            raise RequestError(400, "value cannot be empty or whitespace-only", "validation_error")
        name, provider = body["name"], body["provider"]
        with self._connected() as connection:
            there = connection.execute(
                "SELECT id FROM api_keys WHERE name = ?2 AND (?1 IS NULL OR tenant_id = ?1)", (tenant_id, name)
            ).fetchone()
            if there:
                row_id = there["id"]
                sealed = seal_row(value.encode("utf-8"), key_bytes)
                connection.execute(
                    "UPDATE api_keys SET provider = ?, encrypted_value = ?, iv = ?, auth_tag = ?, updated_at = ? WHERE id = ?",
                    (provider, *sealed, int(time.time()), row_id),
                )
                connection.commit()
            else:
                row_id = add_api_key(
                    connection, key_bytes, name=name, provider=provider, value=value, tenant_id=tenant_id
                )
        shown = {"id": row_id, "name": name, "provider": provider, "maskedValue": masked(value)}
        return bool(there), shown

    def delete(self, row_id: str, tenant_id: str | None) -> None:
        """Delete a key."""
        with self._connected() as connection:
            done = connection.execute(
                "DELETE FROM api_keys WHERE id = ?2 AND (?1 IS NULL OR tenant_id = ?1)", (tenant_id, row_id)
            )
            connection.commit()
        if not done.rowcount:
            raise RequestError(404, "API key not found", "not_found")

    def connectors(self, tenant_id: str | None) -> list[dict[str, Any]]:
        """List the connectors' credentials; none is opened for that."""
        with self._connected() as connection:
            rows = connection.execute(
                "SELECT * FROM context_connector_credentials WHERE ?1 IS NULL OR tenant_id = ?1", (tenant_id,)
            ).fetchall()
        return [
            {"id": row["id"], "tenantId": row["tenant_id"], "name": row["name"], "type": row["type"], "hasSecret": True}
            for row in rows
        ]

    def put_connector(self, body: dict[str, Any], tenant_id: str | None) -> str:
        """Add a connector's credential; return its id."""
        value = str(body.get("value") or "").strip()
        if not value or len(value) > 20000 or not body.get("name"):
            raise RequestError(400, "name and value are required", "validation_error")
        with self._connected() as connection:
            return add_connector(
                connection, self._key(), name=body["name"], kind=str(body.get("type") or "github_token"), value=value,
                tenant_id=tenant_id,
            )


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
