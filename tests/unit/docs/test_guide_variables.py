# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of an inventory: each that is read stands in a guide, and each that a guide's table names is read."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GUIDES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
MODULES = {path.stem for folder in ("plugins", "playbooks") for path in (ROOT / folder).glob("*/servos_*.py")}
FOLDERS = (
    "roles/*/defaults/*.yml", "roles/*/tasks/*.yml", "roles/*/vars/*.yml", "playbooks/**/*.yml", "plugins/action/*.py",
    "plugins/callback/*.py", "plugins/plugin_utils/*.py",
)  # fmt: skip
SOURCES = [path for folder in FOLDERS for path in ROOT.glob(folder)]
TABLES = re.compile(r"^ *\| (`servos_[^|]+)\|", re.M)


def variables_in(text: str) -> t.Set[str]:
    """Return the names of variables that a text holds; one that ends with an underscore is the beginning of several."""
    return {name for name in re.findall(r"\bservos_\w+", text) if not name.endswith("_")} - MODULES


READ = {name for path in SOURCES for name in variables_in(path.read_text(encoding="utf-8"))}
NAMED = {name for text in GUIDES.values() for name in variables_in(text)}
ROWS = sorted({(guide, name) for guide, text in GUIDES.items() for row in TABLES.findall(text) for name in variables_in(row)})


def test_there_are_many() -> None:
    assert len(READ) > 120
    assert len(ROWS) > 80


@pytest.mark.parametrize("name", sorted(READ))
def test_a_variable_that_is_read_stands_in_a_guide(name: str) -> None:
    assert name in NAMED


@pytest.mark.parametrize(("guide", "name"), ROWS)
def test_a_variable_of_a_table_is_read(guide: str, name: str) -> None:
    assert name in READ, f"docs/{guide}.md names a variable that nothing reads"
