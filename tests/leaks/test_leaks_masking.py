# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that are made at run time are masked on every ansible-core: by C(no_log_values) before 2.22, by its API from there on."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from forms import key_bytes_of

HERE = Path(__file__).resolve().parent / "masking"
WAYS = (
    "result", "hex", "diff", "difference", "warning", "failure", "exception", "error of ours", "warning of an error", "fault of ours",
)  # fmt: skip
# A fault's text is not shown at all, registered or not.
NEVER_SAID = "fault of ours"


class Said:
    """What one ansible-playbook printed, and the key that each way of saying it had."""

    def __init__(self, programs: Path, folder: Path, *, api: bool) -> None:
        ways = [{"way": way, "masked": masked, "path": str(folder / f"{way}-{masked}")} for way in WAYS for masked in (True, False)]
        environment = os.environ | {
            "PATH": f"{programs}:{os.environ['PATH']}", "ANSIBLE_HOME": str(folder / "home"), "ANSIBLE_LIBRARY": str(HERE / "library"),
            "ANSIBLE_INJECT_INVOCATION": "1", "ANSIBLE_DISPLAY_TRACEBACK": "always",
            "ANSIBLE_LOCALHOST_WARNING": "0", "ANSIBLE_LOG_PATH": str(folder / "log"),
        }  # fmt: skip
        if api:
            environment["ANSIBLE_MODULE_UTILS"] = str(HERE / "api_of_2_22")
        command = [
            programs / "ansible-playbook", "-vvvv", "--diff", "-i", "localhost,", "-c", "local", HERE / "masking.yml",
            "-e", json.dumps({"leaks_ways": ways, "ansible_python_interpreter": sys.executable}),
        ]  # fmt: skip
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180, check=False)
        self.text = done.stdout.decode() + (folder / "log").read_text()
        assert done.returncode == 0, self.text[-3000:]
        self.keys = {(way["way"], way["masked"]): Path(way["path"]).read_text() for way in ways}

    def forms_of(self, way: str, *, masked: bool) -> list[str]:
        """List the forms of that key that were said."""
        raw = key_bytes_of(self.keys[(way, masked)])
        assert raw is not None
        return [name for name, form in texts_of(raw).items() if form in self.text]


def texts_of(raw: bytes) -> dict[str, str]:
    """Return the texts of a key that a log could hold as they are."""
    standard, url_safe = base64.b64encode(raw).decode(), base64.urlsafe_b64encode(raw).decode()
    return {"hex": raw.hex(), "HEX": raw.hex().upper(), "base64": standard[:43], "base64url": url_safe[:43]}


@pytest.fixture(scope="session")
def said_by(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, bool], Said]:
    """Run the playbook once for each ansible-core and API."""
    done: dict[tuple[Path, bool], Said] = {}

    def run(programs: Path, api: bool) -> Said:
        if (programs, api) not in done:
            done[(programs, api)] = Said(programs, tmp_path_factory.mktemp("masking"), api=api)
        return done[(programs, api)]

    return run


@pytest.mark.parametrize("way", WAYS)
def test_a_key_that_was_made_is_masked(masking_core: tuple[Path, bool], said_by: Callable[[Path, bool], Said], way: str) -> None:
    assert said_by(*masking_core).forms_of(way, masked=True) == []


@pytest.mark.parametrize("way", [way for way in WAYS if way != NEVER_SAID])
def test_one_that_was_not_registered_is_said(masking_core: tuple[Path, bool], said_by: Callable[[Path, bool], Said], way: str) -> None:
    """Shows that the test above can see it."""
    assert said_by(*masking_core).forms_of(way, masked=False) != []


def test_a_fault_is_never_quoted(masking_core: tuple[Path, bool], said_by: Callable[[Path, bool], Said]) -> None:
    said = said_by(*masking_core)
    assert said.forms_of(NEVER_SAID, masked=False) == []
    assert "a fault of servos.ops" in said.text


def test_it_is_the_way_of_that_version_that_masks(masking_core: tuple[Path, bool], said_by: Callable[[Path, bool], Said]) -> None:
    said = said_by(*masking_core)
    assert ("$REDACTED$" in said.text) is masking_core[1]
