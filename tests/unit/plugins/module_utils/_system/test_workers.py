# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several processes that belong to one: what they return, report and raise, and that none is left."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError, StoreBusyError, StoreError
from ansible_collections.servos.ops.plugins.module_utils._system.detached import DetachedError
from ansible_collections.servos.ops.plugins.module_utils._system.workers import run_side_by_side


def run(works):
    told = []
    return run_side_by_side(works, expected=ServosError, told=told.append), told


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_each_returns_in_its_place_and_is_another_process():
    def work_of(number):
        def work(report):
            time.sleep(0.05 * (3 - number))
            report([number, 7])
            return {"number": number, "pid": os.getpid()}

        return work

    found, told = run([work_of(number) for number in range(3)])
    assert [one["number"] for one in found] == [0, 1, 2]
    assert len({os.getpid(), *(one["pid"] for one in found)}) == 4
    assert sorted(told) == [[0, 7], [1, 7], [2, 7]]
    assert all(is_gone(one["pid"]) for one in found)


def test_the_first_error_comes_back_as_itself_and_ends_the_others(tmp_path):
    def fails(report):
        while not (tmp_path / "pid").exists():
            time.sleep(0.01)
        raise StoreBusyError("locked", table="t")

    def endless(report):
        (tmp_path / "new").write_text(str(os.getpid()))
        (tmp_path / "new").rename(tmp_path / "pid")
        while True:
            time.sleep(1)

    with pytest.raises(StoreBusyError, match="locked") as caught:
        run([fails, endless])
    assert isinstance(caught.value, StoreError)
    assert caught.value.facts == {"table": "t"}
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_an_unforeseen_error_does_not_say_what_it_stumbled_over():
    secret = "hunter" + str(2)  # the text of an error, and not of the line that raises it

    def work(report):
        raise ValueError(secret)

    with pytest.raises(DetachedError, match="ValueError") as caught:
        run([work])
    assert "hunter2" not in str(caught.value)


def test_one_that_is_killed_is_no_success():
    with pytest.raises(DetachedError, match="without a word"):
        run([lambda report: {}, lambda report: os._exit(0)])


def test_one_whose_parent_is_gone_ends_with_its_next_report(tmp_path):
    child = os.fork()
    if child == 0:

        def work(report):
            (tmp_path / "new").write_text(str(os.getpid()))
            (tmp_path / "new").rename(tmp_path / "pid")
            while True:
                time.sleep(0.02)
                report([1])

        run_side_by_side([work], expected=ServosError, told=lambda numbers: os._exit(0))
        os._exit(1)
    os.waitpid(child, 0)
    deadline = time.monotonic() + 10
    while not is_gone(int((tmp_path / "pid").read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_gone(int((tmp_path / "pid").read_text()))
