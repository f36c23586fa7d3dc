# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The live key, the settings row and the vault accounts: initialize, unlock, lock, rotate, read, write.

It knows no HTTP: a refusal carries a status because the product's errors do. The order of the checks and of the steps of a
rotation is the point of this file, together with what is left on disk and in memory when one of them fails.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from typing import Any

from faults import Faults
from replies import Refused
from sealing import (
    VERIFIER_MAGIC,
    OpenError,
    derive,
    new_verifier_plaintext,
    open_blob,
    open_verifier,
    seal_blob,
    seal_verifier,
)  # fmt: skip
from store import SETTINGS_ID, Store

UNREADABLE = "get settings: sealed payload corrupt or unreadable under the live key"
# Fields of the settings that are sealed; everything else lies open in the row.
SECRET_FIELDS = (
    "password", "token", "secret_id", "secret_key", "client_secret", "bind_password", "service_account_json", "kubeconfig",
    "static_token", "private_key", "host_key",
)  # fmt: skip


def die_at(faults: Faults, point: str) -> None:
    """End the process here, as a power cut would, if the switch says so."""
    if faults.take("die_step", point):
        os.kill(os.getpid(), signal.SIGKILL)


class Keys:
    """What the process knows of the server key."""

    def __init__(self, store: Store, version: str, faults: Faults) -> None:
        self._store, self._version, self._faults = store, version, faults
        self._live_key: bytes | None = None

    def _row(self) -> dict[str, Any]:
        return self._store.read("settings", SETTINGS_ID) or {"encryption_verifier": None, "sensitive_payload": None, "plain": {}}

    @property
    def is_initialized(self) -> bool:
        """Whether a verifier is on disk."""
        return bool(self._row()["encryption_verifier"])

    @property
    def is_unlocked(self) -> bool:
        """Whether a key is in memory."""
        return self._live_key is not None

    @property
    def is_locked(self) -> bool:
        """Whether the lock gate is closed."""
        return self.is_initialized and not self.is_unlocked

    def _read_settings(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Read the row and, where a key is live, the secrets by path. A locked process reads without opening."""
        row = self._row()
        if not row["sensitive_payload"] or self._live_key is None:
            return row, dict(row.get("plain_secrets", {}))
        try:
            return row, json.loads(open_blob(self._live_key, row["sensitive_payload"]))
        except (OpenError, ValueError):
            raise Refused(500, UNREADABLE) from None

    def _seal_payload(self, secrets: dict[str, str]) -> str | None:
        if not secrets:
            return None
        if self._live_key is None:
            raise Refused(500, "save settings: server is locked; cannot persist secret values")
        return seal_blob(self._live_key, json.dumps(secrets).encode())

    def status(self) -> dict[str, bool]:
        """Return the two booleans."""
        row, unused = self._read_settings()
        return {"initialized": bool(row["encryption_verifier"]), "unlocked": self.is_unlocked}

    def initialize(self, passphrase: str) -> None:
        """Write a verifier, then make the key live: in this order, so a row that already has secrets is refused."""
        row, secrets = self._read_settings()
        if row["encryption_verifier"]:
            raise Refused(409, "server is already initialized")
        key_bytes = derive(passphrase)
        row["encryption_verifier"] = seal_verifier(key_bytes, new_verifier_plaintext())
        row["sensitive_payload"] = self._seal_payload(secrets)
        self._store.write("settings", SETTINGS_ID, row)
        self._live_key = key_bytes

    def _open_verifier(self, row: dict[str, Any], passphrase: str, wrong: str) -> tuple[bytes, bytes]:
        key_bytes = derive(passphrase)
        try:
            return key_bytes, open_verifier(key_bytes, row["encryption_verifier"])
        except OpenError:
            raise Refused(403, wrong) from None

    def unlock(self, passphrase: str) -> None:
        """Make a key live that opens the verifier on disk, whatever is live now. Writes nothing."""
        row, unused = self._read_settings()
        if not row["encryption_verifier"]:
            raise Refused(400, "server is not initialized; call /api/v1/key/initialize first")
        key_bytes, plaintext = self._open_verifier(row, passphrase, "invalid server key")
        if not plaintext.startswith(VERIFIER_MAGIC):
            raise Refused(403, "verifier format mismatch")
        self._live_key = key_bytes

    def lock(self) -> None:
        """Forget the key. Reads no settings, so it works when the live key is not the disk's."""
        if self._faults.take("lock_fails"):
            raise Refused(500, UNREADABLE)
        self._live_key = None

    def rotate(self, old: str, new: str) -> None:
        """Rotate in the product's steps; what each leaves behind when it fails is the product's too."""
        if not old or not new:
            raise Refused(400, "old and new keys are required")
        if old == new:
            raise Refused(400, "new key must differ from old key")
        fails_at = self._faults.take("fail_step")
        # Step 1. The settings are read before, as unlock does: a live key that is not the disk's is 500 here.
        row, unused = self._read_settings()
        if not row["encryption_verifier"]:
            raise Refused(400, "server is not initialized")
        if fails_at == "1":
            raise Refused(500, "get settings: Value log truncated")
        old_key, verifier = self._open_verifier(row, old, "invalid old key")
        # Step 2.
        die_at(self._faults, "2")
        row, secrets = self._read_settings()
        if fails_at == "2":
            raise Refused(500, UNREADABLE)
        vault_keys = self._open_vault_keys(old_key) if self._version == "C" else {}
        # Step 3: the swap comes before anything is on disk.
        new_verifier = seal_verifier(derive(new), verifier)
        self._live_key = derive(new)
        die_at(self._faults, "3")
        time.sleep(int(self._faults.take("slow_rotate_ms") or 0) / 1000)
        # Step 4: one row.
        if fails_at == "4":
            raise Refused(500, "rewrap secrets failed: save settings: No space left on device")
        if self._faults.take("lose_oauth2_only") and all(path.startswith(("oauth2/", "ldap/")) for path in secrets):
            secrets = {}
        # The verifier was made with the new key, the payload is sealed with the live one: an unlock meanwhile mixes them.
        row["encryption_verifier"] = new_verifier
        row["sensitive_payload"] = self._seal_payload(secrets)
        self._store.write("settings", SETTINGS_ID, row)
        die_at(self._faults, "4")
        # Step 5: one account after the other; a failure leaves the last under the old key.
        for position, (user_id, vault_key) in enumerate(vault_keys.items()):
            if position == len(vault_keys) - 1:
                die_at(self._faults, "5")
                if fails_at == "5":
                    raise Refused(500, f"rewrap server-managed vault keys failed: save vault account {user_id}")
            account = self._store.read("vault_accounts", user_id) or {}
            account["wrapped_vault_key"] = seal_blob(derive(new), vault_key)
            self._store.write("vault_accounts", user_id, account)

    def _open_vault_keys(self, key_bytes: bytes) -> dict[str, bytes]:
        opened = {}
        for user_id, account in self._store.table("vault_accounts").items():
            if account["key_mode"] != "server":
                continue
            try:
                opened[user_id] = open_blob(key_bytes, account["wrapped_vault_key"])
            except OpenError:
                raise Refused(500, f"read server-managed vault keys: open vault key for user {user_id}") from None
        return opened

    def settings(self) -> dict[str, Any]:
        """Show the settings: a secret only by whether it is set."""
        row, secrets = self._read_settings()
        shown = json.loads(json.dumps(row["plain"]))
        for path in secrets:
            section, name, field = path.split("/")
            shown.setdefault(section, {}).setdefault(name, {})[f"{field}_set"] = True
        return shown

    def save_settings(self, changes: dict[str, Any]) -> None:
        """Merge {section: {name: {field: text}}}; a secret field changes if it is not empty. The whole row is written."""
        row, secrets = self._read_settings()
        for section, entries in changes.items():
            for name, fields in entries.items():
                for field, value in fields.items():
                    if field not in SECRET_FIELDS:
                        row["plain"].setdefault(section, {}).setdefault(name, {})[field] = value
                    elif value:
                        secrets[f"{section}/{name}/{field}"] = value
        if secrets and not row["encryption_verifier"]:
            raise Refused(500, "save settings: server is locked; cannot persist secret values")
        row["sensitive_payload"] = self._seal_payload(secrets)
        self._store.write("settings", SETTINGS_ID, row)

    def new_vault_account(self, user_id: str) -> None:
        """Make a vault whose key the server wraps."""
        if self._live_key is None:
            raise Refused(500, "server is locked; cannot wrap a vault key")
        wrapped = seal_blob(self._live_key, os.urandom(32))
        self._store.write("vault_accounts", user_id, {"key_mode": "server", "wrapped_vault_key": wrapped})

    def vault_fingerprint(self, user_id: str) -> str:
        """Open a vault account's key under the live key and show a hash of it."""
        account = self._store.read("vault_accounts", user_id)
        if account is None:
            raise Refused(404, "vault account not found")
        try:
            vault_key = open_blob(self._live_key or b"\0" * 32, account["wrapped_vault_key"])
        except OpenError:
            raise Refused(500, f"open vault key for user {user_id}") from None
        return base64.b16encode(derive(vault_key.hex()))[:16].decode().lower()
