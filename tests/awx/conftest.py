# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An AWX that was set up, once for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from awx_api import Awx
from setup_runs import TOKEN, Played, set_up


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Awx, list[Played], list[int]]]:
    """An AWX after two runs, a check with another age, and a run with it; how many requests had changed something after each."""
    folder = tmp_path_factory.mktemp("awx")
    notification = {"type": "webhook", "configuration": {"url": "https://chat.example.org/hook", "http_method": "POST", "headers": {}}}
    with Awx(TOKEN) as awx:
        runs, counts, other = [], [], ["-e", "servos_awx_key_max_age=90"]
        for argv in ([], ["-vvv"], ["--check", *other], other):
            runs.append(set_up(awx, folder, *argv, servos_awx_notification=notification))
            counts.append(len(awx.sent))
        yield awx, runs, counts
