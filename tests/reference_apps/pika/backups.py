# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backup files: a header of 25 bytes, and the rows behind it, sealed or not."""

from __future__ import annotations

import struct
from datetime import datetime, timezone

from replies import Refused
from sealing import OpenError, derive, open_bare, seal_bare
from store import Store

MAGIC = b"PIKABW\0\1"
HEADER = struct.Struct(">8sBQQ")
_ENCRYPTED = 1


def file_name(version: int) -> str:
    """Name a backup as the product does."""
    return f"pika-backup-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}-v{version}.pikabw"


def parse_bounds(query: dict[str, str]) -> dict[str, int]:
    """Read since or until, of which there may be one."""
    bounds = {name: query[name] for name in ("since", "until") if name in query}
    if len(bounds) > 1 or not all(text.isdigit() for text in bounds.values()):
        raise Refused(400, "since and until are versions, and exclude each other")
    return {name: int(text) for name, text in bounds.items()}


def make(store: Store, password: str, bounds: dict[str, int]) -> bytes:
    """Make a backup file."""
    payload = store.export(since=bounds.get("since", 0), until=bounds.get("until"))
    if password:
        payload = seal_bare(derive(password), payload)
    return HEADER.pack(MAGIC, _ENCRYPTED if password else 0, len(payload), store.version) + payload


def payload_of(content: bytes, password: str) -> bytes:
    """Check a backup file and return its rows."""
    if content[:8] != MAGIC[: len(content[:8])] or not content:
        raise Refused(400, "invalid backup magic")
    if len(content) < HEADER.size:
        raise Refused(400, "backup is truncated")
    unused_magic, flags, size, unused_version = HEADER.unpack(content[: HEADER.size])
    payload = content[HEADER.size :]
    if len(payload) != size:
        raise Refused(400, "backup is truncated")
    if not flags & _ENCRYPTED:
        return payload
    if not password:
        raise Refused(400, "backup is encrypted; a password is required")
    try:
        return open_bare(derive(password), payload)
    except OpenError:
        raise Refused(400, "wrong backup password") from None
