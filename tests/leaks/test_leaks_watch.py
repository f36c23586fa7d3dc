# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch sees programs that live for a moment, and looks into no process but those of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from node import HERE

MARK = f"SERVOS_LEAKS_WATCH={os.getpid()}"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that was seen while programs with and without the mark came and went."""
    out = tmp_path_factory.mktemp("watch") / "out"
    watch = [sys.executable, HERE / "processes.py", out, MARK, "no such namespace"]
    with subprocess.Popen(watch, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline() == b"watching\n"
        name, unused, value = MARK.partition("=")
        for kind, environment in (("ours", {name: value}), ("another", {})):
            script = f"for number in 1 2 3 4 5 6 7 8 9 10; do for again in 1 2 3 4 5; do /bin/true {kind}-$number-$again; done; done"
            subprocess.run(["sh", "-c", script], env=environment, check=True, timeout=60)
        watching.communicate(timeout=60)
    return json.loads(out.read_text())


def arguments(watched: dict[str, Any], kind: str) -> set[str]:
    lines = [line for unused_where, line, unused_environ in watched["seen"]]
    return {line.split("\0")[1] for line in lines if line.startswith("/bin/true\0") and kind in line}


def test_programs_that_live_for_a_moment_are_seen(watched: dict[str, Any]) -> None:
    if not watched["events"]:
        pytest.skip("this kernel does not tell of processes")
    assert len(arguments(watched, "ours-")) > 10, "of 50"


def test_what_is_not_of_the_run_is_not_looked_into(watched: dict[str, Any]) -> None:
    assert arguments(watched, "another-") == set()
    assert [environ for unused_where, unused_line, environ in watched["seen"] if MARK not in environ] == []
