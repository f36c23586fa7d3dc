# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The search in a log, with a command in place of the engine that prints one, as the real shell and grep do it."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EngineError
from ansible_collections.servos.ops.plugins.module_utils._setup.container_log import log_lines


def run(argv, environment):
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False, env=dict(os.environ, **environment))
    return done.returncode, done.stdout.decode("utf-8", "surrogateescape"), done.stderr.decode("utf-8", "replace")


def search(folder, script, **options):
    command = folder / "engine"
    command.write_text("#!/bin/sh\n" + script)
    command.chmod(0o755)
    wanted = dict({"name": "api", "driver": "none", "pattern": "setup[ _-]?token", "since": "", "timeout_s": 20}, **options)
    return log_lines(run, str(command), "c1", **wanted)


def test_only_what_matches_and_the_line_after_it(tmp_path):
    said = search(tmp_path, "echo one; echo 'Setup Token:' >&2; echo abc; echo two; seq 100000\n")
    assert said.splitlines()[:2] == ["Setup Token:", "abc"]
    assert "two" not in said
    assert len(said) < 100


@pytest.mark.parametrize(("since", "words"), [("", "logs --timestamps c1"), ("48h", "logs --timestamps --since=48h c1")])
def test_what_the_engine_is_asked(tmp_path, since, words):
    assert search(tmp_path, 'echo "setup_token $*"\n', since=since) == "setup_token " + words


def test_a_log_without_a_match_is_an_empty_text(tmp_path):
    assert search(tmp_path, "echo one\n") == ""


def test_a_token_is_not_drowned_by_what_speaks_of_tokens_after_it(tmp_path):
    said = search(tmp_path, "echo 'setup token: hunter2hunter2'; yes 'a wrong setup token was sent' | head -n 20000\n")
    assert said.startswith("setup token: hunter2hunter2\n")
    with pytest.raises(EngineError, match="more lines than are looked at") as refused:
        search(tmp_path, "echo 'setup token: hunter2hunter2'; yes 'a wrong setup token was sent' | head -n 400000\n")
    assert "hunter2" not in str(refused.value)


def test_a_log_that_cannot_be_shown_is_not_quoted(tmp_path):
    with pytest.raises(EngineError, match=r"log of the container api \(log driver none") as refused:
        search(tmp_path, "echo 'setup token: hunter2hunter2' >&2; exit 1\n")
    assert "hunter2" not in str(refused.value)


def test_an_engine_that_hangs_is_stopped(tmp_path):
    with pytest.raises(EngineError, match=r"did not end within 0\.2 s"):
        search(tmp_path, "exec sleep 30\n", timeout_s=0.2)
