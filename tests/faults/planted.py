# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Defects to plant in the collection, so that the harness itself is proven: each must be caught."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Callable
from typing import Any

_UTILS = "ansible_collections.servos.ops.plugins.module_utils"


def _util(name: str) -> Any:
    return importlib.import_module(f"{_UTILS}.{name}")


def _replace(owner: Any, name: str, value: Any) -> None:
    """Put something else in the place of what is there; a name that has moved away is an error, or nothing would be planted."""
    getattr(owner, name)
    setattr(owner, name, value)


def _env_before_data() -> None:
    """The env file is swapped first, so that a power cut leaves a service that cannot read its data."""
    window = _util("_rotation.window").Window
    rewrap = window._rewrap

    def swapped_first(self: Any, before: Any, target: Any) -> None:
        self.swap(before.keys, target)
        rewrap(self, before, target)

    _replace(window, "_rewrap", swapped_first)


def _no_scrub() -> None:
    """Old ciphertext stays in free pages."""
    _replace(_util("_stores.sqlite").SqliteDatabase, "scrub", lambda self, lock_timeout_s: {"vacuumed": True, "wal_bytes": 0})


def _loses_previous_key() -> None:
    """The key that is replaced is kept nowhere."""
    keyring = _util("_keys.keyring").Keyring
    write = keyring.write
    _replace(keyring, "write", lambda self, role, key: role != "previous" and write(self, role, key))


def _stages_late() -> None:
    """The staged key is written into the page cache only."""
    os_of_files = _util("_system.files").os

    class WithoutFsync:
        def __getattr__(self, name: str) -> Any:
            return (lambda descriptor: None) if name == "fsync" else getattr(os_of_files, name)

    _replace(_util("_system.files"), "os", WithoutFsync())


def _swallows_write_error() -> None:
    """An error while the previous key is written is taken for success."""
    keyring, file_error = _util("_keys.keyring").Keyring, _util("_errors").FileError
    write = keyring.write

    def swallowing(self: Any, role: str, key: Any) -> bool:
        with contextlib.suppress(*([file_error] if role == "previous" else [])):
            return bool(write(self, role, key))
        return True

    _replace(keyring, "write", swallowing)


def _writes_in_place() -> None:
    """Files are written where they lie, so that a kill leaves half of one."""

    def in_place(path: str, content: bytes, *, prepare: Any, last_look: Any = None) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, content)
        os.fsync(descriptor)
        os.close(descriptor)

    _replace(_util("_system.files"), "_write", in_place)


def _not_detached() -> None:
    """The work is done by the process that the connection holds."""
    _replace(_util("_ansible.acting"), "run_detached", lambda work, *, expected: work())


def _no_lock() -> None:
    """Everybody gets the lock."""
    _replace(_util("_system.locks"), "take_lock", lambda descriptor: True)


def _leaves_the_copy() -> None:
    """The copy that a killed backup left is never cleared."""

    def of_no_use(backup_dir: str, installation: Any) -> str:
        return os.path.join(backup_dir, f".{os.urandom(4).hex()}.partial")

    _replace(_util("_rotation.backups"), "clear_leftovers", of_no_use)


def _traceback() -> None:
    """A failed rewrap is no error of the collection's own."""
    window = _util("_rotation.window")
    rewrap = window.rewrap_data

    def raising(*arguments: Any, **options: Any) -> Any:
        try:
            return rewrap(*arguments, **options)
        except window.ServosError as error:
            raise RuntimeError("something went wrong") from error

    _replace(window, "rewrap_data", raising)


DEFECTS: dict[str, Callable[[], None]] = {
    "env-before-data": _env_before_data,
    "no-scrub": _no_scrub,
    "loses-previous-key": _loses_previous_key,
    "no-fsync": _stages_late,
    "swallows-write-error": _swallows_write_error,
    "writes-in-place": _writes_in_place,
    "not-detached": _not_detached,
    "no-lock": _no_lock,
    "leaves-the-copy": _leaves_the_copy,
    "unforeseen-error": _traceback,
}


def plant(name: str) -> None:
    """Plant a defect in this process, and so in every module that is a copy of it."""
    if name:
        DEFECTS[name]()
