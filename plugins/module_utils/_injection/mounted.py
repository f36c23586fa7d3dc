# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Secrets as files in memory, mounted into one container each: C({mount_dir}/{engine}/{uuid}/NAME).

The directories are 0700, so that on the host only their owner reaches the files; inside the container their own mode
counts. They stay as long as a container refers to them by its label: a restart mounts them again.
"""

from __future__ import annotations

import os
import typing as t

from .._errors import FileError
from .._system.ephemeral import EphemeralFolder, require_private
from .._system.files import file_error
from .._system.mounts import IN_MEMORY, file_system_of
from .wanted import Wanted


def require_memory(path: str) -> str:
    """Hold a directory to lying in memory. Returns the type of its file system.

    Raises:
        FileError: it does not.
    """
    kind = file_system_of(path)
    if kind not in IN_MEMORY:
        raise FileError(
            f"{path} lies on {kind}, not on tmpfs or ramfs, so secrets would reach a disk; nothing was written; "
            "set mount_dir to a directory in memory, such as one below /run"
        )
    return kind


def folder_path(mount_dir: str, instance: str) -> str:
    """Return where the directories of one engine's containers lie: each instance knows its own containers only."""
    return os.path.join(mount_dir, instance)


def write_files(descriptor: int, path: str, wanted: Wanted) -> None:
    """Write a file for each variable into a held directory.

    Raises:
        FileError: it cannot be written.
    """
    mode = int(wanted.params["mount_mode"], 8)
    uid, gid = wanted.params["mount_uid"], wanted.params["mount_gid"]
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    for name, value in wanted.variables.items():
        try:
            opened = os.open(name, flags, 0o600, dir_fd=descriptor)
            try:
                content, written = value.encode("utf-8"), 0
                while written < len(content):
                    written += os.write(opened, content[written:])
                if uid is not None or gid is not None:
                    os.fchown(opened, -1 if uid is None else uid, -1 if gid is None else gid)
                os.fchmod(opened, mode)
            finally:
                os.close(opened)
        except OSError as error:
            raise file_error("write", os.path.join(path, name), error) from None


def mount_words(path: str, wanted: Wanted) -> list[str]:
    """Return the engine's words that mount the files of a directory, read-only."""
    target = wanted.params["mount_target"].rstrip("/")
    return [f"--mount=type=bind,source={path}/{name},target={target}/{name},readonly" for name in wanted.variables]


def holds_files(path: str, wanted: Wanted) -> bool:
    """Tell whether every file is there with its value; after a boot none is."""
    for name, value in wanted.variables.items():
        try:
            with open(os.path.join(path, name), "rb") as stream:
                if stream.read() != value.encode("utf-8"):
                    return False
        except OSError:
            return False
    return True


def sweep_mounts(path: str, needed: t.Callable[[], t.Iterable[str]]) -> list[str]:
    """Remove the directories in a folder that no container refers to; C(needed) returns the paths of the others.

    Effects: none where there is no such folder. Returns the paths of those that were removed.
    """
    if not (require_private(os.path.dirname(path)) and require_private(path)):
        return []
    with EphemeralFolder(path) as folder:
        return folder.sweep_directories(lambda: {os.path.basename(other) for other in needed()})


__all__ = ("folder_path", "holds_files", "mount_words", "require_memory", "sweep_mounts", "write_files")
