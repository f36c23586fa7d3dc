# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A file that lies on no disk: what a program has to be told by a path, and nobody else may find there.

Source: man 2 memfd_create
"""

from __future__ import annotations

import contextlib
import os
import typing as t

from .._errors import FileError


@contextlib.contextmanager
def memory_file(content: bytes) -> t.Iterator[int]:
    """Lend the descriptor of a regular file, 0600, in memory; it is gone with the last process that has it open.

    A child that is given the descriptor reads it as C(/proc/self/fd/NUMBER).

    Raises:
        FileError: this Python or kernel has none.
    """
    create = getattr(os, "memfd_create", None)
    if create is None:
        raise FileError("this Python cannot make files in memory (memfd_create); use the one of the distribution")
    try:
        descriptor: int = create("servos.ops")
    except OSError as error:
        raise FileError(f"cannot make a file in memory: {os.strerror(error.errno or 0)}; see to that, then run again") from None
    try:
        os.fchmod(descriptor, 0o600)
        written = 0
        while written < len(content):
            written += os.write(descriptor, content[written:])
        yield descriptor
    finally:
        os.close(descriptor)


def path_in_child(descriptor: int) -> str:
    """Name a passed descriptor for the child that has it."""
    return f"/proc/self/fd/{descriptor}"


__all__ = ("memory_file", "path_in_child")
