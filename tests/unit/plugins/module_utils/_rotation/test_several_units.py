# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several units that are one application: the process of each is held against the configuration. Real processes, a told systemctl."""

from __future__ import annotations

import subprocess
import sys

import pytest
from ansible_collections.servos.ops.plugins.module_utils._keys.material import fingerprint_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation
from ansible_collections.servos.ops.plugins.module_utils._system.service_group import ServiceGroup
from ansible_collections.servos.ops.plugins.module_utils._system.services import SystemdService

ACTIVE, OTHER = "a1" * 32, "b2" * 32


def mark(text):
    return fingerprint_of(bytes.fromhex(text))


@pytest.fixture
def make(tmp_path):
    """Return a function that describes units by the key that the process of each was started with, or None for a stopped one."""
    processes = []

    def build(keys, service=None):
        pids = {}
        for name, key in keys.items():
            if key is not None:
                sleeper = [sys.executable, "-c", "import time; print(flush=True); time.sleep(600)"]
                processes.append(subprocess.Popen(sleeper, env={"SERVOS_MASTER_KEY": key}, stdout=subprocess.PIPE))
                processes[-1].stdout.readline()
                pids[name] = processes[-1].pid

        def run(argv):
            assert argv[:2] == ["systemctl", "show"]
            return 0, f"LoadState=loaded\nActiveState=active\nMainPID={pids.get(argv[-1], 0)}\n", ""

        (tmp_path / "servos.env").write_text(f"SERVOS_MASTER_KEY={ACTIVE}\n")
        options = {"env_file": str(tmp_path / "servos.env"), "state_dir": str(tmp_path), "service": service or " ".join(keys)}
        return Installation(options, run=run), pids

    yield build
    for process in processes:
        process.kill()
        process.communicate()


def test_names_with_blanks_between_are_a_group_in_that_order(make):
    installation, unused_pids = make({"api.service": None, "scheduler": None}, service=" api.service  scheduler ")
    service = installation.service()
    assert isinstance(service, ServiceGroup)
    assert [member.name for member in service.members] == ["api.service", "scheduler"]


def test_one_name_is_one_unit(make):
    installation, unused_pids = make({"scheduler": None})
    assert isinstance(installation.service(), SystemdService)


CASES = {
    "all-on-it": ({"a": ACTIVE, "b": ACTIVE}, mark(ACTIVE), "a"),
    "the-first-is-not": ({"a": OTHER, "b": ACTIVE}, mark(OTHER), "a"),
    "the-last-is-not": ({"a": ACTIVE, "b": ACTIVE, "c": OTHER}, mark(OTHER), "c"),
    "one-without-a-key": ({"a": ACTIVE, "b": ""}, "mk:unset", "b"),
    "one-is-stopped": ({"a": ACTIVE, "b": None}, None, None),
    "all-are-stopped": ({"a": None, "b": None}, None, None),
    "one-unit": ({"a": OTHER}, mark(OTHER), "a"),
}


@pytest.mark.parametrize(("keys", "seen", "where"), CASES.values(), ids=CASES)
def test_one_that_does_not_run_on_the_active_key_counts(make, keys, seen, where):
    installation, pids = make(keys)
    assert installation.process_key() == (seen, pids.get(where))
