# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each guide is found from the README, on the site, and in the list that Ansible's own documentation shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDES = sorted(path.stem for path in (ROOT / "docs").glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
SITE = (ROOT / "docs" / "docsite" / "index.rst").read_text(encoding="utf-8")
LIST = (ROOT / "docs" / "docsite" / "rst" / "guides.rst").read_text(encoding="utf-8")
LISTED = dict(re.findall(r"- `([^`<]+?) <https://github\.com/servos-ops/servos\.ops/blob/main/docs/([\w-]+)\.md>`__", LIST))


def title_of(guide: str) -> str:
    """Return the heading of a guide, without marks."""
    text = (ROOT / "docs" / (guide + ".md")).read_text(encoding="utf-8")
    headings = re.findall(r"^# (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    assert len(headings) == 1
    return str(headings[0]).replace("`", "")


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide_is_listed_everywhere(guide: str) -> None:
    assert f"](docs/{guide}.md)" in README
    assert SITE.count(f"\n   docs/{guide}\n") == 1
    assert LISTED.get(title_of(guide)) == guide


def test_nothing_else_is_listed() -> None:
    assert sorted(LISTED.values()) == GUIDES
    assert set(re.findall(r"\]\(docs/([\w-]+)\.md", README)) == set(GUIDES)
