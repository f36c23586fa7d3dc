# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Env file and data as a service sees them: a real process that is started with what the env file holds, and refuses some keys."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation import window
from ansible_collections.servos.ops.plugins.module_utils._rotation.rotate import rotate
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import WalkOptions
from ansible_collections.servos.ops.plugins.module_utils._system.services import Service

KEYS = {"A": b"\xaa" * 32, "S": b"\x5e" * 32}
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
SCRIPT = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
INSERT = "INSERT INTO t VALUES (?, ?)"
SLEEPER = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]


class RealService(Service):
    """Notes under which key the env file and the data are whenever it is stopped or started; never comes up on refused texts."""

    def __init__(self, env_file, keys_of_data):
        super().__init__("model", None)
        self._env_file, self._keys_of_data = env_file, keys_of_data
        self._process = None
        self.refused = set()
        self.seen = []

    def in_force(self):
        with open(self._env_file) as opened:
            return opened.read().strip().partition("=")[2]

    def main_pid(self):
        return self._process.pid if self._process is not None else None

    def _stop(self, timeout_s):
        self.seen.append(("stop", self.in_force(), self._keys_of_data()))
        self.end()

    def _start(self, timeout_s):
        key = self.in_force()
        self.seen.append(("start", key, self._keys_of_data()))
        if key not in self.refused:
            self._process = subprocess.Popen(SLEEPER, env={"SERVOS_MASTER_KEY": key}, stdout=subprocess.PIPE)
            self._process.stdout.readline()

    def end(self):
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@pytest.fixture
def service(make_installation, make_database, sealed, reveal, dump):
    """A service that runs on A, with its installation as an attribute."""
    installation = make_installation(make_database(SCRIPT, [(INSERT, (1, sealed("A", "value")))]), key_bytes=KEYS["A"])
    path = installation.database().path
    made = RealService(installation.env_file, lambda: "".join(sorted({reveal.cell(row[1])[1] for row in dump(path)["t"]})))
    made.installation = installation
    installation._manager, installation._service = "command", made
    made.start(5)
    made.seen.clear()
    yield made
    made.end()


def walk(service, new="S", **options):
    installation = service.installation
    new_key = installation.parse(KEYS[new].hex(), where="the test") if new else None
    walked = WalkOptions(settle_s=0.0, start_timeout_s=0.3, stop_timeout_s=5.0, **options)
    return rotate(installation, walked, old_key=None, new_key=new_key, expect_staged=False, now=NOW, write=True)


def test_it_never_finds_a_key_in_force_that_its_data_is_not_under(service):
    result = walk(service)
    assert service.seen == [("stop", KEYS["A"].hex(), "A"), ("start", KEYS["S"].hex(), "S")]
    assert result["rewrapped"] == 1
    assert 0 <= result["duration_s"] < result["window_s"]


def test_where_it_does_not_come_up_all_is_as_before(service):
    service.refused = {KEYS["S"].hex()}
    with pytest.raises(ServosError) as raised:
        walk(service)
    assert [(what, data) for what, unused_key, data in service.seen] == [("stop", "A"), ("start", "S"), ("stop", "S"), ("start", "A")]
    assert (service.in_force(), service.main_pid() is not None) == (KEYS["A"].hex(), True)
    text = str(raised.value)
    assert "if this version reads keys in base64 only, set reencode_on_failed_start=true" in text
    assert "1 values were rewrapped back, the env file was put back, and the service runs on" in text


def test_where_it_comes_up_on_no_key_both_are_kept_and_it_says_where(service, mark):
    service.refused = {key.hex() for key in KEYS.values()}
    with pytest.raises(ServosError, match=r"bringing everything back failed as well: .*both keys are in .*nothing is lost") as raised:
        walk(service)
    installation = service.installation
    assert installation.state_dir in str(raised.value)
    assert installation.keyring.read("staged").fingerprint == mark("S")
    service.refused = set()
    walk(service, new=None)
    assert (service.in_force(), service.seen[-1][2]) == (KEYS["S"].hex(), "S")


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_a_fault_before_the_commit_leaves_it_running_on_its_old_key(service, monkeypatch, error):
    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(window, "rewrap_data", fail)
    with pytest.raises(type(error)):
        walk(service)
    assert [what for what, *unused in service.seen] == ["stop", "start"]
    assert (service.in_force(), service.seen[-1][2]) == (KEYS["A"].hex(), "A")
    assert os.path.exists(f"/proc/{service.main_pid()}")
