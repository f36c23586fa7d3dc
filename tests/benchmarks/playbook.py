# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P6: the wall time of the rotate playbook, task by task, over ssh with pipelining where an sshd is to be had."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from measure import HERE, Report
from sshd import Host, sshds
from windows import Installation

_RESTARTS = 3
# The tasks that work on the data, the service or the keys. All others only ask Ansible itself.
_ON_THE_HOST = {
    "servos.ops.key_rotate : Stage the new key if a rotation is due, and put it into escrow",
    "servos.ops.database_backup : Copy the database and prove the copy",
    "servos.ops.key_rotate : Rewrap the data, swap the env file and restart the service",
    "servos.ops.rotation_verify : Open every value, look at the process, and let the application read values back",
}


def run(report: Report, work: Path, *, repeat: int, by_ssh: bool = True) -> None:
    """Rotate, and run the same command again."""
    first, second, restarts = [], [], []
    tasks: dict[str, dict[str, list[float]]] = {"first": {}, "second": {}}
    with contextlib.ExitStack() as stack:
        way, variables = "local", {"ansible_connection": "local"}
        if by_ssh:
            try:
                variables = stack.enter_context(Host(work)).variables
                way = "ssh with pipelining"
            except sshds.NoSshd as error:
                report.note("P6", f"no ssh: {error}; local connection instead")
        for number in range(repeat):
            with Installation(work / "installation", values=100) as installation:
                restarts.append(_plain_restart(installation))
                inventory = _inventory(installation, variables)
                first.append(_play(installation, inventory, f"bench-{number}", tasks["first"]))
                second.append(_play(installation, inventory, f"bench-{number}", tasks["second"]))
    for name, turns in tasks.items():
        for task, seconds in turns.items():
            if statistics.median(seconds) >= 0.1:
                report.note("P6", f"{name} run, {way}: {statistics.median(seconds):6.2f} s  {task}")
    for name, turns in tasks.items():
        _shares(report, name, turns, statistics.median(first if name == "first" else second))
    restart = statistics.median(restarts)
    report.note("P6", f"{way}: the service's own stop and start take {restart:.2f} s; first run {statistics.median(first):.2f} s in all")
    report.held("P6", f"rotate playbook, {way}, beyond the restart, wall s", 100, statistics.median(first) - restart, at_most=10)
    report.held("P6", f"second run, which changes nothing, {way}, wall s", 100, statistics.median(second), at_most=6)


def _shares(report: Report, name: str, turns: t.Mapping[str, t.Sequence[float]], whole_s: float) -> None:
    """Say how the time divides: what our modules do on the host, restart and data included, and all that Ansible does around them."""
    on_the_host = {task for task in turns if task in _ON_THE_HOST}
    if name == "first" and on_the_host != _ON_THE_HOST:
        raise SystemExit(f"the playbook has no task {', '.join(_ON_THE_HOST - on_the_host)} any more; name it here as it is called now")
    working_s = sum(statistics.median(turns[task]) for task in on_the_host)
    report.note("P6", f"{name} run: {len(turns) - 2} tasks; {len(on_the_host)} work on the host, {working_s:.2f} of {whole_s:.2f} s")
    report.held("P6", f"{name} run: what is not the restart's or the data's own work / all", 100, 1 - working_s / whole_s,
                at_most=0.5 if name == "first" else None)


def _plain_restart(installation: Installation) -> float:
    taken = []
    for unused in range(_RESTARTS):
        started = time.monotonic()
        installation.restart()
        taken.append(time.monotonic() - started)
    return statistics.median(taken)


def _inventory(installation: Installation, variables: t.Mapping[str, t.Any]) -> str:
    described = installation.demo.inventory()
    described["servos_control"]["hosts"] = {"control": dict(variables, ansible_python_interpreter=sys.executable)}
    path = Path(installation.demo.path("bench-inventory.json"))
    path.write_text(json.dumps(described))
    return str(path)


def _play(installation: Installation, inventory: str, rotation_id: str, tasks: dict[str, list[float]]) -> float:
    timeline = Path(installation.demo.path("timeline"))
    timeline.unlink(missing_ok=True)
    environment = dict(
        os.environ, ANSIBLE_PIPELINING="1", ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"), ANSIBLE_CALLBACKS_ENABLED="timeline",
        ANSIBLE_LOCALHOST_WARNING="0", ANSIBLE_NOCOLOR="1", BENCH_TIMELINE=str(timeline),
        ANSIBLE_SSH_ARGS="-o ControlMaster=auto -o ControlPersist=10s",  # Ansible's own minute would outlive the bench
    )
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = time.time()
    done = subprocess.run(
        ["ansible-playbook", "-i", inventory, "servos.ops.rotate", "-e", f"servos_rotation_id={rotation_id}"],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300,
    )
    ended = time.time()
    if done.returncode:
        raise SystemExit(f"the playbook failed:\n{done.stdout[-4000:]}")
    moments = [json.loads(line) for line in timeline.read_text().splitlines()]
    tasks.setdefault("(ansible-playbook, before the first task)", []).append(moments[1]["at"] - started)
    for moment, after in zip(moments[1:], moments[2:]):
        tasks.setdefault(moment["name"], []).append(after["at"] - moment["at"])
    tasks.setdefault("(ansible-playbook, after the last task)", []).append(ended - moments[-1]["at"])
    return ended - started
