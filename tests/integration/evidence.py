# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a test may believe: the bytes on disk, and what can be found in a text. Nothing here asks the collection."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
import urllib.parse
from pathlib import Path
from typing import Any

Snapshot = dict[str, tuple[Any, ...]]

# The shared memory of a write-ahead log is a lock table, and the server's log is the server's.
_NOT_OURS = ("-shm", ".log", ".pyc")


def snapshot_of(*roots: Path, directory_times: bool = False) -> Snapshot:
    """Describe every file below the roots: kind, mode, owner, time of change and content.

    The times of directories are left out where a lock file may come and go; check mode is held to them as well.
    """
    found: Snapshot = {}
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))]:
            if path.name.endswith(_NOT_OURS):
                continue
            seen = path.lstat()
            facts: tuple[Any, ...] = (oct(seen.st_mode), seen.st_uid, seen.st_gid)
            if stat.S_ISLNK(seen.st_mode):
                facts += (os.readlink(path),)
            elif stat.S_ISREG(seen.st_mode):
                facts += (seen.st_ino, seen.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
            elif directory_times and stat.S_ISDIR(seen.st_mode):
                facts += (seen.st_mtime_ns,)
            found[str(path)] = facts
    return found


def differences(before: Snapshot, after: Snapshot) -> list[str]:
    """Name what came, went or changed."""
    names = sorted(set(before) | set(after))
    return [f"{name}: {before.get(name)} -> {after.get(name)}" for name in names if before.get(name) != after.get(name)]


def key_bytes_of(text: str) -> bytes | None:
    """Return the 32 bytes that a text spells, or None where it is a passphrase or no key."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    try:
        key_bytes = base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "==")
    except ValueError:
        return None
    return key_bytes if len(key_bytes) == 32 else None


def forms_of(text: str) -> dict[str, str]:
    """Return every form in which a secret could stand in a text, by name."""
    raw = key_bytes_of(text) or text.encode()
    b64, url = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    forms = {
        "as written": text,
        "base64": b64.rstrip("="),
        "base64url": url.rstrip("="),
        "hex": raw.hex(),
        "HEX": raw.hex().upper(),
        "URL-encoded": urllib.parse.quote(b64, safe=""),
        "text in base64": base64.b64encode(text.encode()).decode().rstrip("="),
        "JSON": b64.replace("/", "\\/"),
    }
    return {name: form for name, form in forms.items() if len(form) >= 8}


def leaks(content: str | bytes, secrets: dict[str, str]) -> list[str]:
    """Name each secret (by its name in C(secrets)) and form that stands in the content."""
    hay = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
    return [f"{name} ({kind})" for name, text in secrets.items() for kind, form in forms_of(text).items() if form.encode() in hay]
