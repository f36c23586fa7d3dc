# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read what somebody writes while they write it, so that it lies nowhere as a whole."""

from __future__ import annotations

import contextlib
import os
import threading
import typing as t

_BUFFER_BYTES = 256 * 1024


@contextlib.contextmanager
def read_while(write: t.Callable[[int], None]) -> t.Iterator[t.BinaryIO]:
    """Lend the reading end of a pipe while C(write), in a thread, fills the other end, whose descriptor it is given.

    The reader meets the end of the file when C(write) returns; a writer whose reader has gone is told so by the kernel. What
    C(write) raises is raised at the end of a block that raised nothing itself.
    """
    reading, writing = os.pipe()
    raised: list[Exception] = []

    def work() -> None:
        try:
            write(writing)
        except Exception as error:  # whatever it is, it is raised again in the thread that waits for this one
            raised.append(error)
        finally:
            os.close(writing)

    writer = threading.Thread(target=work, name="servos.ops pipe", daemon=True)
    writer.start()
    try:
        with os.fdopen(reading, "rb", buffering=_BUFFER_BYTES) as stream:
            yield stream
    finally:
        writer.join()
    if raised:
        raise raised[0]


__all__ = ("read_while",)
