# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The file of pins: an OpenSSH known_hosts, read whole, changed under a lock, written in one step."""

from __future__ import annotations

import os
import re
import socket
import typing as t

from .._errors import FileError, PinStoreError
from .._system.files import ensure_private_directory, file_error, read_file, replace_file_content, write_private_file
from .._system.locks import exclusive_lock
from .endpoints import canonical_name
from .known_hosts import KnownHosts

_LIMIT_BYTES = 64 * 1024 * 1024

Edited = t.TypeVar("Edited")


def pinned_keys(path: str, name: str) -> list[tuple[str, str]]:
    """Return what is pinned to a name: pairs of key type and blob in Base64, none where it is not pinned.

    C(name) is what endpoints.known_name makes of host and port. Where it is an IPv6 address written at length that is not
    pinned, its canonical form will do. A revoked key is not among them.

    Raises:
        PinStoreError: the file cannot be read, or is not a known_hosts.
    """
    pins = read_pins(path)
    written, canonical = name.lower(), canonical_name(name.lower())
    revoked = pins.revoked(written) | pins.revoked(canonical)
    keys = [entry.key for entry in pins.pins(written) or pins.pins(canonical)]
    return [(key.key_type, key.blob_b64) for key in keys if key.blob_b64 not in revoked]


def read_pins(path: str) -> KnownHosts:
    """Read the file; one that is not there holds nothing.

    Raises:
        PinStoreError: it cannot be read, or is not a known_hosts.
    """
    content = _content(path)
    try:
        return KnownHosts(content)
    except PinStoreError as error:
        raise PinStoreError(
            f"{path} is not a known_hosts file: {error}; nothing was changed; repair or remove that line, or name another path"
        ) from None


def _content(path: str) -> bytes:
    """Return the bytes of the file, none where there is no file."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise PinStoreError(str(file_error("read", path, error))) from None
    target = os.path.realpath(path)
    if os.path.islink(path):
        if found.st_uid not in (0, os.geteuid()):
            raise PinStoreError(f"{path} is a symbolic link of uid {found.st_uid}, who could lead it anywhere; name the file itself")
        if not os.path.exists(target):
            raise PinStoreError(f"{path} is a symbolic link to {target}, which is not there; make it, or remove the link")
    try:
        return read_file(target, limit_bytes=_LIMIT_BYTES)
    except FileError as error:
        raise PinStoreError(str(error)) from None


def update_pins(
    path: str, edit: t.Callable[[KnownHosts], Edited], *, lock_timeout_s: float, purpose: str, write: bool
) -> tuple[Edited, bytes, bytes]:
    """Let C(edit) change what the file holds, and write that. Return what it returned, and the bytes before and after.

    It is asked once without the lock; if it wants a change, and another content is read under the lock, it is asked again
    about that, so what it returns must follow from its argument alone.

    Effects: where there is a change and C(write) is set: the lock file C(.NAME.lock) beside it, the file, made 0600 or
    with its mode and owner kept.

    Raises:
        PinStoreError: the file cannot be read, understood or written.
        HeldLockError: another run held the lock for C(lock_timeout_s) seconds.
    """
    outcome, before, after = _edited(path, edit)
    if before == after or not write:
        return outcome, before, after
    target = os.path.realpath(path)
    directory, name = os.path.split(target)
    try:
        if not os.path.isdir(directory):
            ensure_private_directory(directory)
        lock_path = os.path.join(directory, f".{name}.lock")
        with exclusive_lock(lock_path, purpose=purpose, wait_s=lock_timeout_s, what=f"the pins in {path}"):
            if _content(path) != before:
                outcome, before, after = _edited(path, edit)
            if before != after:
                if os.path.exists(target):
                    replace_file_content(target, after)
                else:
                    write_private_file(target, after)
    except FileError as error:
        raise PinStoreError(str(error)) from None
    return outcome, before, after


def _edited(path: str, edit: t.Callable[[KnownHosts], Edited]) -> tuple[Edited, bytes, bytes]:
    pins = read_pins(path)
    before = pins.content()
    outcome = edit(pins)
    return outcome, before, pins.content()


def who_we_are() -> str:
    """Return C(user@host) of this process, in characters that a comment of known_hosts can carry."""
    try:
        import pwd

        user = pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        user = f"uid{os.geteuid()}"
    return re.sub(r"[^A-Za-z0-9._@-]", "_", f"{user}@{socket.gethostname()}")


__all__ = ("pinned_keys", "read_pins", "update_pins", "who_we_are")
