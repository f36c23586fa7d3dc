# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users, sessions and tokens. Passwords are hashed with PBKDF2, since the standard library has no bcrypt."""

from __future__ import annotations

import hashlib
import hmac
import os
import struct
import threading
import time
from typing import Any

from store import Store

ALL_PERMISSIONS = ["files.read", "files.write", "settings.manage", "tokens.manage", "users.manage", "vault.use"]
# A token maps to these, whatever its owner may do; its record has no field for more.
TOKEN_PERMISSIONS = ["files.read", "files.write"]
SESSION_LIFE_S = 12 * 3600
TOTP_LIFE_S = 300


def _hash_password(password: str, salt: bytes) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode("utf-8", "surrogatepass"), salt, 1000).hex()


def _fingerprint(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def totp_code(secret: str, at: float) -> str:
    """Return the six digits of RFC 6238 for a secret given as hex."""
    digest = hmac.new(bytes.fromhex(secret), struct.pack(">Q", int(at) // 30), "sha1").digest()
    offset = digest[-1] & 15
    number = struct.unpack(">I", digest[offset : offset + 4])[0] & 0x7FFFFFFF
    return f"{number % 10**6:06d}"


class Accounts:
    """Who there is, and who is signed in."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._guard = threading.Lock()
        self._half_logins: dict[str, tuple[str, float]] = {}

    @property
    def is_empty(self) -> bool:
        """Whether nobody is registered yet."""
        return not self._store.table("users")

    def add_user(
        self, name: str, password: str, *, is_superadmin: bool = False, permissions: list[str] | None = None, totp_secret: str = ""
    ) -> None:
        """Register a user."""
        salt = os.urandom(8)
        row = {
            "is_superadmin": is_superadmin, "permissions": permissions or [], "totp_secret": totp_secret,
            "salt": salt.hex(), "password_hash": _hash_password(password, salt),
        }  # fmt: skip
        self._store.write("users", name, row)

    def add_token(self, name: str, token: str) -> None:
        """Register a token: `pika_` and 64 hex digits."""
        self._store.write("tokens", _fingerprint(token), {"name": name})

    def is_password(self, name: str, password: str) -> bool:
        """Check a password."""
        row = self._store.read("users", name)
        if row is None:
            return False
        return hmac.compare_digest(row["password_hash"], _hash_password(password, bytes.fromhex(row["salt"])))

    def needs_totp(self, name: str) -> bool:
        """Whether this user has a second factor."""
        row = self._store.read("users", name)
        return bool(row and row["totp_secret"])

    def begin_totp(self, name: str) -> str:
        """Keep a login that waits for its code; in this process's memory."""
        half_id = os.urandom(16).hex()
        with self._guard:
            self._half_logins[half_id] = (name, time.time() + TOTP_LIFE_S)
        return half_id

    def end_totp(self, half_id: str, code: str) -> str | None:
        """Return the user's name; right or wrong, the waiting login is spent."""
        with self._guard:
            name, until = self._half_logins.pop(half_id, ("", 0.0))
        row = self._store.read("users", name) if name else None
        if row is None or time.time() > until:
            return None
        now = time.time()
        is_right = any(hmac.compare_digest(totp_code(row["totp_secret"], now + shift), code) for shift in (-30, 0, 30))
        return name if is_right else None

    def begin_session(self, name: str) -> str:
        """Return a new cookie value."""
        cookie = os.urandom(24).hex()
        self._store.write("sessions", _fingerprint(cookie), {"user": name, "until": time.time() + SESSION_LIFE_S})
        return cookie

    def end_session(self, cookie: str) -> None:
        """Forget a session."""
        if cookie and self._store.read("sessions", _fingerprint(cookie)):
            self._store.delete("sessions", _fingerprint(cookie))

    def session_user(self, cookie: str) -> str | None:
        """Return whose session this is."""
        row = self._store.read("sessions", _fingerprint(cookie)) if cookie else None
        if row is None or row["until"] < time.time():
            return None
        return row["user"] if self._store.read("users", row["user"]) else None

    def is_token(self, token: str) -> bool:
        """Whether this token is registered."""
        return self._store.read("tokens", _fingerprint(token)) is not None

    def view(self, name: str) -> dict[str, Any]:
        """Return what /info shows of a signed-in user."""
        row = self._store.read("users", name) or {"is_superadmin": False, "permissions": []}
        permissions = ALL_PERMISSIONS if row["is_superadmin"] else row["permissions"]
        return {"user": name, "is_superadmin": row["is_superadmin"], "permissions": permissions, "capabilities": permissions}
