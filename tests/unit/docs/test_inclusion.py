# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the Ansible community package asks of a collection's first page, and of the files beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONDUCT = "https://docs.ansible.com/ansible/latest/community/code_of_conduct.html"
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("link", [CONDUCT, "https://forum.ansible.com", GALAXY["issues"], "CONTRIBUTING.md", "CHANGELOG.rst", "LICENSE"])
def test_the_readme_leads_to_it(link: str) -> None:
    assert f"]({link})" in README


def test_the_code_of_conduct_stands_beside_it() -> None:
    assert CONDUCT in (ROOT / "CODE_OF_CONDUCT.md").read_text(encoding="utf-8")


def test_the_readme_names_the_versions_that_are_tested() -> None:
    makefile = ROOT / "Makefile"
    if not makefile.exists():
        pytest.skip("an installed collection has no Makefile")
    cores = re.findall(r"^CORES := (.*)$", makefile.read_text(encoding="utf-8"), re.M)[0].split()
    assert "Tested with ansible-core " + ", ".join(cores[:-1]) + " and " + cores[-1] in README
    required = yaml.safe_load((ROOT / "meta" / "runtime.yml").read_text(encoding="utf-8"))["requires_ansible"]
    assert required == f">={cores[0]}.0"
