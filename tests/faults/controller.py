# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller of a real ansible-playbook is killed between any two tasks, or while a module works; or there are two of them.

    controller.py [--quick] [--at N ...] [--then finish|back] [--jobs N] [--work DIR]

The boundaries are counted by a callback plugin in an undisturbed run. Exit 0: all held.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_MARK = "SERVOS_FAULTS_CONTROLLER"
_LIMIT_S = 180


class Trial(NamedTuple):
    """C(number) is a boundary between tasks, or 0; then C(name) says what happens."""

    number: int
    name: str
    way: str

    def command(self) -> str:
        at = f"--at {self.number}" if self.number else f"--case {self.name}"
        return f"make faults-controller ARGS='--jobs 1 {at} --then {self.way}'"


class Player:
    """Plays the collection's playbooks on one installation, as a user does, in a process group of their own."""

    def __init__(self, rig: Any) -> None:
        from judging import Judge

        self.rig, self._judge = rig, Judge(rig)
        self.log = rig.scratch / "events"

    def begin(self, name: str, *, cut_at: int = 0, number: int = 0) -> subprocess.Popen[bytes]:
        from playbook_runs import environment_of, inventory_of

        inventory = self.rig.scratch / "inventory.json"
        inventory.write_text(json.dumps(inventory_of(self.rig, servos_rotation_id="one", servos_lock_timeout=5)))
        self.log.unlink(missing_ok=True)
        environment = environment_of(
            self.rig, FAULTS_LOG=str(self.log), FAULTS_CUT_AT=str(cut_at), ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="cut",
        )
        with (self.rig.scratch / f"said-{number}").open("wb") as said:
            return subprocess.Popen(
                [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), f"servos.ops.{name}"],
                env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def said(self, number: int = 0) -> str:
        return str((self.rig.scratch / f"said-{number}").read_text(errors="replace"))

    def play(self, name: str, *, cut_at: int = 0) -> int:
        started = self.begin(name, cut_at=cut_at)
        try:
            return started.wait(_LIMIT_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)

    def reset(self) -> None:
        self.rig.reset()
        self.rig.write_scripts()
        self.rig.start()
        self._judge.begin()

    def complaints(self, number: int = 0) -> list[str]:
        """Say what must not stand in what a playbook said."""
        from evidence import leaks

        text = self.said(number)
        found = ["a key was printed"] if leaks(text, self.rig.keys() | {"old": self.rig.old_text}) else []
        return found + (["a traceback was printed"] if "Traceback" in text else [])

    def count(self) -> tuple[list[str], list[str]]:
        """Rotate undisturbed; return the boundaries, and what was wrong."""
        self.reset()
        code = self.play("rotate")
        wrong = [] if code == 0 else [f"the undisturbed playbook failed: {self.said()[-2000:]}"]
        return self.log.read_text().splitlines(), wrong + self.complaints() + self._judge.now() + self._judge.end("new")

    def cut(self, number: int, way: str) -> tuple[list[str], float]:
        """Kill the controller at a boundary between tasks."""
        self.reset()
        code = self.play("rotate", cut_at=number)
        problems = [] if code == -signal.SIGKILL else [f"the playbook was not killed, but ended with {code}"]
        return self._recovered(problems, way)

    def _recovered(self, problems: list[str], way: str) -> tuple[list[str], float]:
        self.rig.settle_orphans()
        self.rig.write_scripts()
        problems = problems + self._judge.now()
        started = time.monotonic()
        if way == "back":
            code = self.play("rollback")
            problems += self.complaints()
            if code == 0:
                took = time.monotonic() - started
                wrong = self._judge.end("old")
                return problems + [problem for problem in wrong if "LEFTOVER: var/backups" not in problem], took
            if "nothing to go" not in self.said():
                problems.append(f"the rollback failed: {self.said()[-2000:]}")
            problems += self._judge.now()
        if self.play("rotate") != 0:
            problems.append(f"the playbook did not finish: {self.said()[-2000:]}")
        took = time.monotonic() - started
        return problems + self.complaints() + self._judge.end("new"), took

    def while_at_work(self, where: str, *, is_all: bool, way: str) -> tuple[list[str], float]:
        """Kill while a command of the service runs: the controller alone, as when a connection is cut, or the module as well."""
        self.reset()
        mark = self.rig.scratch / "mark"
        mark.unlink(missing_ok=True)
        self.rig.write_scripts(**{where: f"touch '{mark}'; sleep 1"})
        started = self.begin("rotate")
        deadline = time.monotonic() + _LIMIT_S
        while not mark.exists() and started.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        problems = [] if mark.exists() else ["the playbook did not come that far"]
        for pid in descendants(started.pid):
            if is_all or b"ansible-playbook" in _command_line(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        started.wait(30)
        if not is_all:
            problems += self._await_activation()
        return self._recovered(problems, way)

    def _await_activation(self) -> list[str]:
        """The module's work goes on by itself when its controller is gone."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            key = self.rig.keys().get("env")
            if key != self.rig.old_text and self.rig.process_key_text() == key and _lock_is_free(self.rig.state_dir / "lock"):
                return []
            time.sleep(0.05)
        return ["the work did not go on when the controller was killed"]

    def two_at_once(self) -> tuple[list[str], float]:
        """Two operators run the same playbook."""
        self.reset()
        began = time.monotonic()
        runs = [self.begin("rotate", number=number) for number in (0, 1)]
        codes = [run.wait(_LIMIT_S) for run in runs]
        problems = [*self.complaints(0), *self.complaints(1)]
        for number, code in enumerate(codes):
            if code and "another run is at work" not in self.said(number):
                problems.append(f"the playbook failed, and not because of the other one: {self.said(number)[-2000:]}")
        if all(codes):
            problems.append("neither of the two came to its end")
        return problems + self._judge.now() + self._judge.end("new"), time.monotonic() - began


def _lock_is_free(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def descendants(pid: int) -> list[int]:
    """List a process and all that it started, and theirs."""
    from module_runs import parent_of

    parents = {other: parent_of(other) for other in map(int, filter(str.isdigit, os.listdir("/proc")))}
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


CASES: dict[str, Callable[[Player, str], tuple[list[str], float]]] = {
    "connection-cut-in-the-window": lambda player, way: player.while_at_work("after_stop", is_all=False, way=way),
    "connection-cut-before-the-start": lambda player, way: player.while_at_work("before_start", is_all=False, way=way),
    "all-killed-in-the-window": lambda player, way: player.while_at_work("after_stop", is_all=True, way=way),
    "all-killed-before-the-start": lambda player, way: player.while_at_work("before_start", is_all=True, way=way),
    "two-at-once": lambda player, way: player.two_at_once(),
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the controller of a real playbook and judge what is left.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--at", type=int, nargs="+", default=[], metavar="N")
    parser.add_argument("--case", nargs="+", default=[], choices=list(CASES))
    parser.add_argument("--then", choices=["finish", "back"])
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=ROOT / ".work" / "faults")
    arguments = parser.parse_args()
    if _MARK not in os.environ:
        from nursery import PADDING

        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | PADDING | {_MARK: "yes"})
    sys.path.insert(0, str(HERE.parent / "integration"))
    return _campaign(arguments)


def _campaign(arguments: argparse.Namespace) -> int:
    from nursery import Nursery
    from rigs import ServosRig, make_template
    from shim import build

    work = arguments.work / "controller"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    knock, sockets = build(arguments.work)["knock"], Path(tempfile.mkdtemp(prefix="servos-faults-"))
    nurseries = [Nursery(sockets / str(number)) for number in range(arguments.jobs)]  # before there are threads
    began = time.monotonic()
    try:
        players = []
        for number, nursery in enumerate(nurseries):
            key_text = base64.b64encode(os.urandom(32)).decode()
            template = make_template(work / f"template{number}", key_text, values=60)
            folder = work / f"c{number}" / "host"
            rig = ServosRig(folder, template, nursery, knock, product="servos", journal="wal", method="database")
            players.append(Player(rig))
        events, problems = players[0].count()
        print(f"counted {len(events)} boundaries of tasks", flush=True)
        results = {"undisturbed": (problems, 0.0)} if problems else {}
        results |= _shared_out(players, _trials(arguments, len(events)), events)
    finally:
        for nursery in nurseries:
            nursery.close()
        shutil.rmtree(sockets, ignore_errors=True)
    return _report(arguments.work, events, results, time.monotonic() - began)


def _trials(arguments: argparse.Namespace, count: int) -> list[Trial]:
    numbers = arguments.at or ([] if arguments.case else range(1, count + 1))
    if arguments.quick:
        numbers = [number for number in numbers if number % 12 == 5]
    trials = [
        Trial(number, "", way)
        for number in numbers for way in ("finish", "back")
        if arguments.then in (None, way) and not (arguments.quick and way == "back")
    ]  # fmt: skip
    names = arguments.case or ([] if arguments.at else list(CASES))
    for place, name in enumerate(names):
        way = arguments.then or ("finish", "back")[place % 2]
        if not arguments.quick or name in ("connection-cut-in-the-window", "two-at-once"):
            trials.append(Trial(0, name, "finish" if name == "two-at-once" else way))
    return trials


def _shared_out(players: list[Player], trials: list[Trial], events: list[str]) -> dict[Any, tuple[list[str], float]]:
    """Let each player take the next trial when it has done one."""
    queue: SimpleQueue[Trial] = SimpleQueue()
    for trial in trials:
        queue.put(trial)
    results: dict[Any, tuple[list[str], float]] = {}

    def work(player: Player) -> None:
        while True:
            try:
                trial = queue.get_nowait()
            except Empty:
                return
            try:
                done = player.cut(trial.number, trial.way) if trial.number else CASES[trial.name](player, trial.way)
            except Exception as error:
                done = ([f"HARNESS: {type(error).__name__}: {error}"], 0.0)
            results[trial] = done
            what = f"at {trial.number} ({events[trial.number - 1]})" if trial.number else trial.name
            if done[0]:
                print(f"FAILED {what}, then {trial.way}\n    " + "\n    ".join(done[0]) + f"\n    again: {trial.command()}", flush=True)
            print(f"{len(results)} of {len(trials)} trials on the controller", flush=True)

    threads = [threading.Thread(target=work, args=(player,)) for player in players]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def _report(work: Path, events: list[str], results: dict[Any, tuple[list[str], float]], seconds: float) -> int:
    failed = {str(trial): problems for trial, (problems, unused_s) in results.items() if problems}
    summary = {
        "boundaries": len(events), "trials": len(results), "failed": failed, "seconds": round(seconds),
        "lost": sum(any("LOST" in problem for problem in problems) for problems, unused_s in results.values()),
        "slowest_recovery_s": round(max((took for unused, took in results.values()), default=0.0), 1),
    }  # fmt: skip
    (work / "controller.json").write_text(json.dumps(summary | {"events": events}, indent=1) + "\n")
    text = (
        f"\n# Boundaries of tasks on the controller\n\n{summary['boundaries']} boundaries, {summary['trials']} trials in "
        f"{summary['seconds']} s; {len(failed)} did not hold. Trials in which a value was lost: {summary['lost']}. "
        f"Slowest recovery, a whole playbook: {summary['slowest_recovery_s']} s.\n"
    )
    (work / "controller.md").write_text(text)
    print(text)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
