# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of writes that traffic leaves for the judge: one JSON object a line.

It exists because rows that appear during a rotation are in no manifest, and yet must be neither lost nor doubted. A
write is "acked" when the server gave its id, and "maybe" when the reply was lost: then the row may be there or not,
both are right.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple


class Write(NamedTuple):
    """One write: the API class, the id if the server gave one, the SHA-256 of the plaintext."""

    class_name: str
    row_id: int | None
    sha256: str


class JournalWriter:
    """Append writes; each is in the kernel before the next request is sent."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "a", encoding="utf-8")  # noqa: SIM115 - lives as long as the writer

    def append(self, write: Write) -> None:
        """Append and flush one write."""
        state = "maybe" if write.row_id is None else "acked"
        line = {"state": state, "class": write.class_name, "id": write.row_id, "sha256": write.sha256}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush to the disk and close."""
        os.fsync(self._file.fileno())
        self._file.close()


def read_journal(path: str) -> list[Write]:
    """Read a journal; a last line cut short by a crash is left out, and the judge then calls its row an extra one."""
    text = Path(path).read_text(encoding="utf-8")
    lines = text.split("\n")[:-1]
    return [Write(entry["class"], entry["id"], entry["sha256"]) for entry in map(json.loads, lines)]
