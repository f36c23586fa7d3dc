# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands that outlive who ran them are found by the mark in their environment."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.servos.ops.plugins.module_utils._system.orphans import commands_at_work


@pytest.fixture
def command():
    words = ["timeout", "60", "sh", "-c", "echo up; exec sleep 60"]
    started = subprocess.Popen(words, env=dict(os.environ, MARK_OF_TESTS=f"mine-{os.getpid()}"), stdout=subprocess.PIPE)
    started.stdout.readline()  # until then the command itself is a copy of timeout
    yield started
    started.stdout.close()
    started.terminate()
    started.wait(timeout=10)


def test_a_marked_command_is_found_until_it_ends(command):
    mark = f"mine-{os.getpid()}"
    assert commands_at_work("MARK_OF_TESTS", mark) == [command.pid]
    assert commands_at_work("MARK_OF_TESTS", mark[:-1]) == []
    assert commands_at_work("MARK_OF", mark) == []
    command.terminate()
    command.wait(timeout=10)
    assert commands_at_work("MARK_OF_TESTS", mark) == []
