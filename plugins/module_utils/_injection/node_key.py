# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The key under which this host digests what its containers were given. Labels can be read by many, this file by us only."""

from __future__ import annotations

import os
import stat

from .._system.ephemeral import EphemeralFolder
from .._system.files import file_error, write_private_file

NAME = "digest.key"
_SIZE = 32


def read_node_key(folder: EphemeralFolder) -> bytes | None:
    """Return the key, or None where there is none, or no whole one.

    Raises:
        FileError: it cannot be read.
    """
    try:
        descriptor = os.open(NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder.descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise file_error("read", os.path.join(folder.path, NAME), error) from None
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        key_bytes = os.read(descriptor, _SIZE + 1)
    finally:
        os.close(descriptor)
    return key_bytes if len(key_bytes) == _SIZE else None


def make_node_key(folder: EphemeralFolder) -> bytes:
    """Return the key; make it on first use, or where it was lost: then every container counts as changed, once."""
    with folder.locked():
        key_bytes = read_node_key(folder)
        if key_bytes is None:
            key_bytes = os.urandom(_SIZE)
            write_private_file(os.path.join(folder.path, NAME), key_bytes)
    return key_bytes


__all__ = ("NAME", "make_node_key", "read_node_key")
