# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No report replaces another one."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.callback.report import taken_name


def test_runs_of_the_same_second_have_a_report_each(tmp_path):
    stem = str(tmp_path / "rotate-20260101T000000Z")
    assert [taken_name(stem) for unused in range(3)] == [stem, stem + "-2", stem + "-3"]
    assert sorted(os.listdir(str(tmp_path))) == sorted(os.path.basename(stem) + end for end in (".json", "-2.json", "-3.json"))


def test_a_directory_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        taken_name(str(tmp_path / "nowhere" / "rotate"))
