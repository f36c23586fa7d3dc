# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill it anywhere: after the same run again there is one container, with the new secrets, and nothing else."""

from __future__ import annotations

import os
import signal
import time
import uuid
from pathlib import Path

import pytest
from engines import Injecting
from module_runs import parent_of

# Of this run alone: another one's containers may be on the machine too.
_RUN = uuid.uuid4().hex
OLD, NEW = {"A": f"the first value of all {_RUN}"}, {"A": f"the other value of all {_RUN}"}
STEPS = [
    ("create", 1, "before"),
    ("create", 1, "after"),
    ("stop", 1, "before"),
    ("stop", 1, "after"),
    ("rename", 1, "before"),
    ("rename", 1, "after"),
    ("rename", 2, "before"),
    ("rename", 2, "after"),
    ("start", 1, "before"),
    ("start", 1, "after"),
    ("rm", 1, "before"),
    ("rm", 1, "after"),
]
each_step = pytest.mark.parametrize(("verb", "call", "moment"), STEPS, ids=str)
# Where the engines do not differ, one of them is enough.
by_docker = pytest.mark.parametrize("engine", ["docker"], indirect=True)
DELIVERED = [("env_file", *step) for step in STEPS] + [("mount", *step) for step in STEPS if step[0] in ("create", "start")]


def is_whole(injecting: Injecting) -> None:
    """One container, which runs with the new secrets, and no trace of another or of a file."""
    assert injecting.names() == [injecting.name]
    assert injecting.engine.status(injecting.name) == "running"
    assert injecting.env_files() == []
    assert strays(injecting) == []


def strays(injecting: Injecting) -> list[str]:
    """List the processes that have one of the values, or watch over a container of this name, and are not the container's."""
    shown = injecting.engine.inspect(injecting.name)
    inside, monitor = {int(shown["State"]["Pid"])}, f"conmon\x00--api-version\x001\x00-c\x00{shown['Id']}"
    values = [f"A={value['A']}".encode() for value in (OLD, NEW)]
    found = []
    for pid in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        try:
            environment, words = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
            is_monitor = b"conmon\x00" in words and injecting.name.encode() in words and monitor.encode() not in words
            if parent_of(pid) in inside:
                inside.add(pid)
            elif pid not in inside and (is_monitor or any(value in environment for value in values)):
                found.append(words.decode("utf-8", "replace"))
        except OSError:
            continue
    return found


def value_in(injecting: Injecting) -> str:
    arrived = injecting.engine.environment(injecting.name)
    if "A_FILE" in arrived:
        return injecting.engine.run("exec", injecting.name, "cat", arrived["A_FILE"])
    return arrived["A"]


def heals(injecting: Injecting, wanted: dict[str, str], **options: str) -> None:
    """The same run again, and nothing is left of the one that was cut."""
    injecting.no_fault()
    done = injecting.run(env=wanted, **options)
    assert not done.failed, done.msg
    is_whole(injecting)
    assert value_in(injecting) == wanted["A"]


@pytest.mark.parametrize(("delivery", "verb", "call", "moment"), DELIVERED, ids=str)
def test_everything_killed_at_a_step(injecting: Injecting, delivery: str, verb: str, call: int, moment: str) -> None:
    assert injecting.run(env=OLD, delivery=delivery).changed
    injecting.kill_at(verb, call, moment, env=NEW, delivery=delivery)
    heals(injecting, NEW, delivery=delivery)
    directories = list(injecting.mount_dir.glob("*/*"))
    assert len(directories) == (delivery == "mount")
    assert not injecting.run(env=NEW, delivery=delivery).changed


@each_step
def test_the_worker_killed_at_a_step_is_swept_after_by_the_one_who_waits(
    injecting: Injecting, verb: str, call: int, moment: str
) -> None:
    injecting.run(env=OLD)
    injecting.fault(verb, call, moment, "worker")
    run = injecting.start(env=NEW)
    told = run.wait()
    assert injecting.reached()
    assert told.failed
    assert injecting.env_files() == []
    heals(injecting, NEW)


@by_docker
@pytest.mark.parametrize(("verb", "call", "moment"), STEPS[:9], ids=str)
def test_a_cut_replacement_that_is_not_wanted_any_more_ends_with_the_old_secrets(
    injecting: Injecting, verb: str, call: int, moment: str
) -> None:
    injecting.run(env=OLD)
    first = injecting.engine.inspect(injecting.name)["Id"]
    injecting.kill_at(verb, call, moment, env=NEW)
    heals(injecting, OLD)
    assert injecting.engine.inspect(injecting.name)["Id"] == first


@by_docker
@each_step
def test_a_command_that_fails_leaves_the_old_one_running_or_the_new_one(
    injecting: Injecting, verb: str, call: int, moment: str
) -> None:
    injecting.run(env=OLD)
    injecting.fault(verb, call, moment, "fail")
    told = injecting.run(env=NEW)
    assert told.failed or verb in ("rm", "start")  # a start is tried again, to hear why it failed
    assert injecting.env_files() == []
    assert injecting.engine.status(injecting.name) == "running"
    heals(injecting, NEW)


def test_a_lost_connection_does_not_leave_half_a_replacement(injecting: Injecting) -> None:
    injecting.run(env=OLD)
    run = injecting.stall_at("stop", 1, "before", env=NEW, timeout=2)
    with open(f"/proc/{run.pid}/task/{run.pid}/children", encoding="ascii") as stream:
        (worker,) = stream.read().split()
    os.kill(run.pid, signal.SIGTERM)
    os.kill(int(worker), signal.SIGTERM)
    os.kill(int(worker), signal.SIGHUP)
    run.wait()
    deadline = time.monotonic() + 30
    while os.path.exists(f"/proc/{worker}") and time.monotonic() < deadline:
        time.sleep(0.02)
    injecting.no_fault()
    is_whole(injecting)
    assert value_in(injecting) == OLD["A"]  # the engine's command hung until its timeout, and all was taken back
