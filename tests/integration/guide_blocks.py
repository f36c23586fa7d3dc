# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fenced blocks of the guides, each with the comment before it: which test runs it, or why none does."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("docs/*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
_BLOCK = re.compile(r"^( *)(?:<!-- ([^\n]*?) -->\n\1)?```(\w*)\n(.*?)^\1```$", re.M | re.S)
_WHOLE_PAGE = re.compile(r"^<!-- all blocks (run by \S+) -->$", re.M)


class Block(NamedTuple):
    """One block. C(note) is the comment before it, or what the page says of all of its blocks."""

    page: str
    line: int
    language: str
    text: str
    note: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Return every block of every guide."""
    found = []
    for path in PAGES:
        page = path.read_text(encoding="utf-8")
        whole = _WHOLE_PAGE.search(page)
        for match in _BLOCK.finditer(page):
            line = page.count("\n", 0, match.start(3)) + 1
            note = match[2] or (whole[1] if whole else "")
            found.append(Block(str(path.relative_to(ROOT)), line, match[3], textwrap.dedent(match[4]), note))
    return found


def blocks_run_by(test: str, page: str = "") -> list[Block]:
    """Return the blocks that name a test (FILE::NAME), those of one page or of all."""
    return [block for block in blocks() if block.note == f"run by {test}" and page in ("", block.page)]
