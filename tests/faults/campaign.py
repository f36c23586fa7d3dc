# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that is tried: combinations, scenarios and faults, shared out to a few processes."""

from __future__ import annotations

import argparse
import base64
import hashlib
import importlib
import json
import os
import random
import shutil
import struct
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from mmap import mmap
from pathlib import Path
from typing import Any, NamedTuple

import planted
import report
from audit import audit
from boundaries import FAULTS, Boundary, boundaries_of, firsts_of_kind, thinned
from module_runs import MODULES
from nursery import Nursery, end_with_parent
from rigs import ProvaraRig, ServosRig, make_template
from service_faults import SERVICE_FAULTS
from shim import Aim, Shim, build
from trials import SCENARIOS, Bench, Verdict

VALUES = 60


class Combination(NamedTuple):
    """An application, the way its data is rewrapped, and its journal."""

    product: str
    method: str
    journal: str

    def __str__(self) -> str:
        return "-".join(self)


COMBINATIONS = (
    Combination("servos", "database", "wal"), Combination("servos", "database", "delete"),
    Combination("servos", "api", "wal"), Combination("servos", "api", "delete"),
    Combination("act", "database", "wal"), Combination("act", "api", "wal"),
    Combination("provara", "database", "delete"), Combination("provara", "database", "wal"),
)  # fmt: skip


# What `make faults-quick` tries, its main one first.
_QUICK = (
    "servos-database-wal/rotate", "servos-database-wal/rollback", "servos-database-wal/retire", "servos-api-delete/rotate",
    "provara-database-delete/rotate",
)  # fmt: skip
Traced = dict[tuple[Combination, str], list[Boundary]]


class Task(NamedTuple):
    """One trial to do. C(aim) is None for what the service does wrong."""

    combination: Combination
    scenario: str
    aim: Aim | None
    kind: str
    fault: str
    way: str

    @property
    def place(self) -> str:
        return f"{self.combination}/{self.scenario}"

    def command(self, plant: str) -> str:
        at = f" --at {self.aim}" if self.aim else ""
        more = f" --plant {plant}" if plant else ""
        return f"make faults ARGS='--jobs 1 --only {self.place}{at} --faults {self.fault} --then {self.way}{more}'"


class Worker:
    """One process's installations; each has a folder, a port and keys that no other one has."""

    def __init__(self, work: Path, library: Path, knock: Path) -> None:
        self._work, self._knock = work, knock
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        self._sockets = Path(tempfile.mkdtemp(prefix="servos-faults-"))  # a socket's path may have 107 characters
        self._nursery = Nursery(self._sockets / "nursery")
        self._shim = Shim(library)
        self._benches: dict[Combination, Bench] = {}

    def bench(self, combination: Combination) -> Bench:
        if combination not in self._benches:
            folder = self._work / str(combination) / "host"
            if combination.product == "provara":
                rig: Any = ProvaraRig(folder, journal=combination.journal)
            else:
                key_bytes = hashlib.sha256(f"servos.ops faults {self._work} {os.getpid()}".encode()).digest()
                template = self._work / "template"
                if not template.exists():
                    make_template(template, base64.b64encode(key_bytes).decode(), values=VALUES)
                rig = ServosRig(
                    folder, template, self._nursery, self._knock,
                    product=combination.product, journal=combination.journal, method=combination.method,
                )  # fmt: skip
            self._benches[combination] = Bench(rig, self._shim)
        return self._benches[combination]

    def close(self) -> None:
        for bench in self._benches.values():
            bench.rig.power_off()
        self._nursery.close()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def do(self, task: Task) -> Verdict:
        bench = self.bench(task.combination)
        try:
            if task.aim is not None:
                verdict = bench.try_boundary(task.scenario, FAULTS[task.fault], task.aim, task.way)
            else:
                fault = SERVICE_FAULTS[task.fault]
                verdict = bench.try_service(task.scenario, task.fault, fault.break_it, fault.mend_it, task.way)
        except Exception:  # a trial that cannot be judged has not held
            verdict = Verdict([f"HARNESS: {traceback.format_exc()[-1500:]}"], "", 0, 0.0, 0.0, "")
        if verdict.problems:
            kept = bench.rig.keep(f"{task.combination}-{task.scenario}-{task.aim or 'service'}-{task.fault}-{task.way}")
            verdict = verdict._replace(problems=[*verdict.problems, f"kept in {kept}"])
        return verdict


def campaign(arguments: argparse.Namespace) -> int:
    """Trace, try, report."""
    for name in MODULES:
        importlib.import_module(f"ansible_collections.servos.ops.plugins.modules.{name}")
    planted.plant(arguments.plant)
    made, started = build(arguments.work), time.monotonic()
    traced, problems = _trace(arguments, made)
    tasks = list(_tasks(arguments, traced))[:: arguments.sample]
    if arguments.quick:
        tasks = _quick(tasks)
    if arguments.minutes:
        random.Random(len(tasks)).shuffle(tasks)
    if arguments.list:
        for task in tasks:
            print(f"{task.place:32} {task.aim or ''!s:16} {task.kind:40} {task.fault:8} {task.way}")
        return 0
    for place, found in problems.items():
        for problem in found:
            print(f"FAILED undisturbed: {place}: {problem}", flush=True)
    results = _run(arguments, made, tasks)
    written = report.write(arguments.work, tasks, results, traced, seconds=time.monotonic() - started, undisturbed=problems)
    print(written)
    is_whole = len(results) == len(tasks) or bool(arguments.minutes)
    has_failed = any(verdict.problems for verdict in results.values()) or any(problems.values())
    return 0 if is_whole and not has_failed else 1


def _chosen(arguments: argparse.Namespace) -> Iterator[tuple[Combination, str]]:
    for combination in COMBINATIONS:
        for scenario in SCENARIOS:
            place = f"{combination}/{scenario}"
            if arguments.quick and place not in _QUICK:
                continue
            if arguments.only:
                if str(combination) in arguments.only or place in arguments.only:
                    yield combination, scenario
            elif scenario == "rotate" or (combination.method == "database" and combination.product != "act"):
                # Rollback and retirement never go by the API, and act differs from servos by names alone.
                yield combination, scenario


def _trace(arguments: argparse.Namespace, made: dict[str, Path]) -> tuple[Traced, dict[str, list[str]]]:
    traced: Traced = {}
    problems: dict[str, list[str]] = {}
    worker = Worker(arguments.work / "trace", made["shim"], made["knock"])
    try:
        for combination, scenario in _chosen(arguments):
            bench = worker.bench(combination)
            crossings, wrong = bench.trace(scenario)
            boundaries = traced[combination, scenario] = boundaries_of(crossings, bench.rig.folder)
            if scenario == "rotate":
                wrong += audit(boundaries, env_name=bench.rig.env_file.name, by_api=combination.method == "api")
            problems[f"{combination}/{scenario}"] = wrong
            print(f"traced {combination}/{scenario}: {len(crossings)} boundaries", flush=True)
    finally:
        worker.close()
    return traced, problems


def _tasks(arguments: argparse.Namespace, traced: Traced) -> Iterator[Task]:
    for (combination, scenario), boundaries in traced.items():
        firsts = firsts_of_kind(boundaries)
        chosen = [b for b in boundaries if str(b.aim) in arguments.at] if arguments.at else thinned(boundaries)
        chosen = [b for b in chosen if not arguments.kind or b.kind in arguments.kind]
        turn = 0
        for fault in FAULTS.values():
            if arguments.faults and fault.name not in arguments.faults:
                continue
            for boundary in chosen:
                if not fault.fits(boundary) or (fault.first_of_kind and boundary.number not in firsts and not arguments.at):
                    continue
                if combination.product == "act" and boundary.number not in firsts and not arguments.at:
                    continue  # it differs from servos by names alone
                turn += 1
                ways = ["finish", "back"] if fault.recovery == "each" or arguments.then else [("finish", "back")[turn % 2]]
                if scenario != "rotate":
                    ways = ["finish"]
                for way in ways:
                    if arguments.then in (None, way):
                        yield Task(combination, scenario, boundary.aim, boundary.kind, fault.name, way)
        if scenario == "rotate" and combination.product != "provara" and not (arguments.at or arguments.kind):
            for name, service_fault in SERVICE_FAULTS.items():
                if (not arguments.faults or name in arguments.faults) and service_fault.fits(combination.method):
                    for way in ("finish", "back"):
                        if arguments.then in (None, way):
                            yield Task(combination, scenario, None, "service", name, way)


def _quick(tasks: list[Task]) -> list[Task]:
    """Keep a kill at each boundary of one rotation, recovered in turn the one way and the other, and a sample of the rest."""
    main = [task for task in tasks if task.place == _QUICK[0]]
    kills = [task for task in main if task.fault == "kill"]
    others = [task for task in main if task.fault != "kill"]
    rest = [task for task in tasks if task.place != _QUICK[0]]
    in_turn = [task for place, task in enumerate(kills) if place % 4 in (0, 3)]  # they come in pairs
    return in_turn + others[::8] + rest[::30]


def _run(arguments: argparse.Namespace, made: dict[str, Path], tasks: list[Task]) -> dict[int, Verdict]:
    """Let each worker take the next task when it has done one; print what comes in."""
    ticket = mmap(-1, 8)  # which task is next; taken under a lock on a file
    gate = os.open(arguments.work / "gate", os.O_RDWR | os.O_CREAT, 0o600)
    logs = [arguments.work / f"results-{number}.jsonl" for number in range(arguments.jobs)]
    pids = []
    sys.stdout.flush()
    for number, log in enumerate(logs):
        log.write_text("")
        pid = os.fork()
        if pid == 0:
            _be_worker(arguments.work / f"w{number}", made, tasks, ticket, gate, log)
        pids.append(pid)
    try:
        return report.follow(
            tasks, logs, pids, plant=arguments.plant, stop_after=arguments.stop_after, limit_s=arguments.minutes * 60,
            stop=lambda: _stop(ticket, len(tasks)),
        )  # fmt: skip
    finally:
        os.close(gate)


def _stop(ticket: mmap, count: int) -> None:
    ticket[:8] = struct.pack("q", count)


def _take(ticket: mmap, gate: int) -> int:
    os.lockf(gate, os.F_LOCK, 0)
    try:
        (position,) = struct.unpack("q", ticket[:8])
        ticket[:8] = struct.pack("q", position + 1)
        return int(position)
    finally:
        os.lockf(gate, os.F_ULOCK, 0)


def _be_worker(work: Path, made: dict[str, Path], tasks: list[Task], ticket: mmap, gate: int, log: Path) -> None:
    code = 1
    end_with_parent()
    try:
        worker = Worker(work, made["shim"], made["knock"])
        try:
            with log.open("a") as stream:
                while (position := _take(ticket, gate)) < len(tasks):
                    verdict = worker.do(tasks[position])
                    stream.write(json.dumps([position, verdict]) + "\n")
                    stream.flush()
        finally:
            worker.close()
        code = 0
    except BaseException:  # this is a copy of the parent, which must not go on in it
        traceback.print_exc()
    finally:
        os._exit(code)
