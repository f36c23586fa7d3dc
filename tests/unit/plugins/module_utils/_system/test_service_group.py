# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several services as one: real processes behind a service that starts and stops them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServiceError
from ansible_collections.servos.ops.plugins.module_utils._system.service_group import ServiceGroup, main_pids
from ansible_collections.servos.ops.plugins.module_utils._system.services import Service, wait_until_settled


class Sleeper(Service):
    """A service whose main process sleeps; with C(lasts_s) it ends by itself."""

    def __init__(self, name, log, lasts_s=600):
        super().__init__(name, run=None)
        self.log, self.lasts_s, self.process = log, lasts_s, None

    def main_pid(self):
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def failure_note(self):
        return f"note of {self.name}"

    def _stop(self, timeout_s):
        self.log.append(f"stop {self.name}")
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _start(self, timeout_s):
        self.log.append(f"start {self.name}")
        self.process = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({self.lasts_s})"])


@pytest.fixture
def log():
    return []


@pytest.fixture
def group(log):
    made = ServiceGroup([Sleeper("first", log), Sleeper("second", log)], run=None)
    yield made
    for member in made.members:
        member._stop(1)


def test_it_stops_in_order_and_starts_in_reverse(group, log):
    group.start(5)
    assert len(main_pids(group)) == 2
    group.stop(5)
    assert log == ["start second", "start first", "stop first", "stop second"]
    assert (group.main_pid(), main_pids(group), group.is_up()) == (None, [], False)


def test_its_process_is_the_youngest(group):
    group.start(5)
    first, second = group.members
    assert group.main_pid() == first.main_pid()
    second.stop(5)
    second.start(5)
    assert group.main_pid() == second.main_pid()


def test_it_is_up_when_each_is(group):
    group.start(5)
    assert group.is_up()
    group.members[1].stop(5)
    assert (group.is_up(), main_pids(group)) == (False, [])
    assert group.main_pid() == group.members[0].main_pid()
    assert group.failure_note() == "second: note of second"


def test_it_does_not_settle_while_one_is_down(group):
    group.start(5)
    group.members[1].stop(5)
    with pytest.raises(ServiceError, match=r"first, second is not ready \(second: note of second\)"):
        wait_until_settled(group, is_ready=lambda: True, settle_s=0.01, timeout_s=0.2)


def test_one_service_has_one_process(log):
    sleeper = Sleeper("only", log)
    assert main_pids(sleeper) == []
    sleeper.start(5)
    assert main_pids(sleeper) == [sleeper.main_pid()]
    sleeper.stop(5)


def test_a_failure_to_stop_ends_it(group, log, monkeypatch):
    group.start(5)

    def refuse(timeout_s):
        raise ServiceError("it does not stop")

    monkeypatch.setattr(group.members[0], "stop", refuse)
    with pytest.raises(ServiceError, match="it does not stop"):
        group.stop(5)
    assert "stop second" not in log
