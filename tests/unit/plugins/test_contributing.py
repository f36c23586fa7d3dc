# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a stranger is told to type is there: the targets of make that a page names, and the places on the map of the house."""

from __future__ import annotations

import os
import re

import pytest

ROOT = os.path.join(os.path.dirname(__file__), "..", "..", "..")


def read(*names):
    with open(os.path.join(ROOT, *names), encoding="utf-8") as stream:
        return stream.read()


GUIDES = sorted("docs/" + name for name in os.listdir(os.path.join(ROOT, "docs")) if name.endswith(".md"))
PAGES = ["README.md", "CONTRIBUTING.md", *GUIDES]
COMMAND = re.compile(r"(?:^|`)make ((?:[a-z-]+ ?)+)", re.M)


@pytest.mark.parametrize("page", PAGES)
def test_each_target_of_make_that_a_page_names_is_one(page):
    targets = re.findall(r"^([a-z-]+):", read("Makefile"), re.M)
    named = " ".join(COMMAND.findall(read(page))).split()
    assert sorted(set(named) - set(targets)) == []


def places():
    """Yield each place on the map; what is set in lies in the place above that is not."""
    drawn = re.search(r"## The house\n\n```text\n(.*?)```", read("CONTRIBUTING.md"), re.S).group(1)
    above = ""
    for line in drawn.splitlines():
        depth, words = len(line) - len(line.lstrip()), re.split(r"  +", line.strip())[0]
        if depth <= 2:
            for place in words.split(", "):
                yield (above if depth else "") + place
            above = above if depth else words


PLACES = list(places())


def test_the_map_is_read():
    assert {"plugins/module_utils/", "plugins/module_utils/_errors.py", "tests/unit/", "docs/"} <= set(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_each_place_on_the_map_is_there(place):
    assert os.path.exists(os.path.join(ROOT, place))
