# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read a file back from its disk, and not from the memory that it was just written from."""

from __future__ import annotations

import contextlib
import os

from .files import file_error


def read_from_disk(path: str, *, limit_bytes: int = 1024 * 1024) -> bytes:
    """Return what the disk holds of a file of moderate size.

    Effects: fsync, and the kernel is asked to forget what it has cached of the file; a file system that lives in memory, or
    one that does not heed the wish, gives what it has.

    Raises:
        FileError: it cannot be made durable or read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.fsync(descriptor)
            with contextlib.suppress(OSError):
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            content = b""
            while len(content) <= limit_bytes:
                chunk = os.read(descriptor, 64 * 1024)
                if not chunk:
                    break
                content += chunk
        finally:
            os.close(descriptor)
    except OSError as error:
        raise file_error("read back", path, error) from None
    return content


__all__ = ("read_from_disk",)
