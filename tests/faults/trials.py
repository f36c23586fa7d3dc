# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One trial: an installation in a known state, a run in which one thing goes wrong, one recovery, a judgement."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from boundaries import FAULTS, Boundary, Fault, boundaries_of
from judging import Judge
from module_runs import ModuleRun, Outcome
from rigs import Rig
from sequences import Operator, StoppedError, is_alive, wait_for_end
from shim import Aim, Crossing, Shim

_TRIES = 3
# Which state a scenario begins in, and which key is in force when it is done.
SCENARIOS = {"rotate": ("base", "new"), "rollback": ("rotated", "old"), "retire": ("rotated", "retired")}
_SAYS_IT_IS_DOWN = ("did not start again", "failed as well", "is stopped", "not start", "nothing was undone", "runs on no key")


class Verdict(NamedTuple):
    """What came of a trial. C(fired) is the boundary at which it really went wrong, if it did."""

    problems: list[str]
    fired: str
    reruns: int
    recovery_s: float
    seconds: float
    told: str


class Bench:
    """Runs trials on one installation, one after the other."""

    def __init__(self, rig: Rig, shim: Shim) -> None:
        self.rig, self._shim = rig, shim
        self._judge = Judge(rig)

    def _reset(self, state: str) -> None:
        if state == "rotated" and not self.rig.has(state):
            self._reset("base")
            Operator(self.rig).rotate()
            self.rig.power_off()
            self.rig.save(state)
        self.rig.reset(state)
        self.rig.start()
        self._judge.begin()

    def _armed(self) -> Operator:
        return Operator(self.rig, prepare=[self._shim.arm], before_each=self._shim.next_module)

    def trace(self, scenario: str) -> tuple[list[Crossing], list[str]]:
        """Run a scenario undisturbed; return every crossing, and what was wrong all the same."""
        state, wanted = SCENARIOS[scenario]
        self._reset(state)
        self._shim.plan(self.rig.folder)
        operator = self._armed()
        try:
            _play(operator, scenario)
        except StoppedError as stopped:
            return self._shim.crossings(), [f"{stopped.module} failed undisturbed: {stopped.outcome.msg} {stopped.outcome.printed[-500:]}"]
        return self._shim.crossings(), operator.complaints + self._judge.now() + self._judge.end(wanted)

    def try_boundary(self, scenario: str, fault: Fault, aim: Aim, way: str) -> Verdict:
        """Let a fault happen at one boundary, recover the one way or the other, and judge."""
        self._reset(SCENARIOS[scenario][0])
        self._shim.plan(self.rig.folder, aim=aim, mode=fault.mode, clock_offset_s=fault.clock_offset_s)
        return self._judged(scenario, fault, way)

    def try_service(self, scenario: str, name: str, break_it: Callable[[Any], None], mend_it: Callable[[Any], None], way: str) -> Verdict:
        """Let the service or the API misbehave for one run."""
        self._reset(SCENARIOS[scenario][0])
        break_it(self.rig)
        self._shim.plan(self.rig.folder)
        return self._judged(scenario, Fault(name, "none"), way, mend=lambda: mend_it(self.rig))

    def _judged(self, scenario: str, fault: Fault, way: str, mend: Callable[[], None] = lambda: None) -> Verdict:
        started = time.monotonic()
        problems: list[str] = []
        operator, stopped = self._armed(), None
        second = SecondOperator(self.rig, self._shim, scenario) if fault.mode == "pause" else None
        if second is not None:
            operator.waiting = second.wait_for_pause
        try:
            _play(operator, scenario)
        except StoppedError as error:
            stopped = error
        if second is not None:
            problems += second.problems
        if fault.name == "power":
            self.rig.power_off()
        if not wait_for_end(self._shim.pids()):  # after a power cut too: there, nothing takes a moment to die
            problems.append("the detached work did not end")
        self.rig.settle_orphans()
        fired = self._shim.fired
        if fault.mode == "hangup" and fired:
            problems += self._went_on(scenario)
        where = self._named(fired)
        problems += operator.complaints + self._judge.now()
        problems += self._answer(fault, stopped)
        mend()
        if fault.name == "power" and (way == "back" or scenario != "rotate"):
            _boot(self.rig)  # a rotation that is under way starts the service itself
        reruns, recovery_s, wrong, wanted = self._recover(scenario, way)
        told = stopped.outcome.msg if stopped is not None else ""
        if not wrong:
            wrong = self._judge.end(wanted)
        return Verdict(problems + wrong, where, reruns, recovery_s, time.monotonic() - started, told)

    def _went_on(self, scenario: str) -> list[str]:
        """The work of servos_key_rotate comes to its end without the process that has asked for it."""
        if (scenario, self._shim.module) not in (("rotate", 2), ("rollback", 0)):
            return []
        key = self.rig.keys().get("env", "")
        is_done = (key == self.rig.old_text) == (scenario == "rollback") and self.rig.process_key_text() in (key, None)
        is_up = not self.rig.has_service or self.rig.pid() is not None
        return [] if is_done and is_up else ["the work did not go on when the process that waits for it was killed"]

    def _named(self, number: int) -> str:
        if not number:
            return ""
        crossings = self._shim.crossings()
        return boundaries_of(crossings[number - 1 : number], self.rig.folder)[0].kind

    def _answer(self, fault: Fault, stopped: StoppedError | None) -> list[str]:
        """Hold what the run said against what it may say: success, one clear error, or the silence of the dead."""
        if stopped is None:
            return []
        outcome = stopped.outcome
        if fault.mode in ("kill", "torn", "hangup") and outcome.code < 0:
            return []
        problems = self._unclear(stopped.module, outcome)
        if fault.mode in ("kill", "torn"):
            return problems
        well = self._judge.application_is_well()
        if well and not any(words in outcome.msg for words in _SAYS_IT_IS_DOWN):
            problems += [f"{complaint}, and the message does not say so: {outcome.msg}" for complaint in well]
        return problems

    def _unclear(self, module: str, outcome: Outcome) -> list[str]:
        if not outcome.failed or not outcome.msg:
            return [f"{module} ended with {outcome.code} and no message: {outcome.printed[-400:]}"]
        if "unexpected" in outcome.msg or not str(outcome.result.get("error", "")).endswith("Error"):
            return [f"{module} failed without a clear message: {outcome.printed[-1500:]}"]
        named = (str(self.rig.folder), "127.0.0.1", "service", "mk:", "proof")
        return [] if any(name in outcome.msg for name in named) else [f"{module} names nothing: {outcome.msg}"]

    def _recover(self, scenario: str, way: str) -> tuple[int, float, list[str], str]:
        """Run the same again, or the rollback; return how often, the slowest, what was wrong, and the key that must be in force."""
        play, wanted = (scenario, SCENARIOS[scenario][1]) if way == "finish" else ("rollback", "old")
        slowest, wrong, count = 0.0, [], 0
        while count < _TRIES:
            count += 1
            operator, started = Operator(self.rig), time.monotonic()
            try:
                _play(operator, play)
            except StoppedError as stopped:
                said = stopped.outcome.msg or stopped.outcome.printed[-500:]
                if play == "rollback" and "nothing to go" in said:
                    # Nothing was begun that could be taken back; what lies about is the next rotation's to clear.
                    wrong += self._judge.now()
                    if self.rig.keys().get("env") != self.rig.old_text:
                        wrong.append("there was nothing to go back to, although another key is in force")
                    play, wanted, count = "rotate", "new", count - 1
                    continue
                wrong.append(f"{play} again ({count}), {stopped.module}: {said}")
                continue
            finally:
                slowest = max(slowest, time.monotonic() - started)
                wrong += operator.complaints
            if play == "rollback" and scenario == "rotate":
                operator.do("servos_backup", backup_dir=str(self.rig.backup_dir), retention_days=30)  # clears what a killed one left
            break
        return count, slowest, wrong, wanted


class SecondOperator:
    """Starts the same playbook while the first run is held at a boundary."""

    def __init__(self, rig: Rig, shim: Shim, scenario: str) -> None:
        self._rig, self._shim, self._scenario = rig, shim, scenario
        self.problems: list[str] = []
        self._is_over = False

    def wait_for_pause(self, run: ModuleRun) -> None:
        """Wait for the pause, or for the end of a module that does not come by; in the pause, run the playbook."""
        while not self._shim.is_paused and is_alive(run.pid):
            time.sleep(0.002)
        if self._shim.is_paused and not self._is_over:
            self._is_over = True
            try:
                self._run_second()
            finally:
                self._shim.resume()

    def _run_second(self) -> None:
        module, here = self._shim.module, self._shim.fired
        seen = [crossing for crossing in self._shim.crossings() if crossing.module == module and crossing.number < here]
        signed = sum(crossing.call in ("truncate", "write") and crossing.path.endswith("/lock") for crossing in seen)
        is_held = signed == 2  # emptied and written to sign it, emptied once more to let go
        operator = Operator(self._rig)
        try:
            _play(operator, self._scenario)
        except StoppedError as stopped:
            said = stopped.outcome.msg
            if "another run" in said:
                # Before it has signed, and that is where it is held, nobody can know its name.
                if is_held and not any(f"process {pid}" in said for pid in self._shim.pids()):
                    self.problems.append(f"the refusal does not name the first run: {said}")
            elif not said or "unexpected" in said:
                self.problems.append(f"the second run failed without a clear message: {stopped.outcome.printed[-400:]}")
        else:
            if is_held:
                self.problems.append("a second run was not refused while the first held the lock")
        self.problems += operator.complaints


def _play(operator: Operator, name: str) -> None:
    {"rotate": operator.rotate, "rollback": operator.back, "retire": operator.retire}[name]()


def _boot(rig: Any) -> None:
    """Start the service as a boot would; it may refuse, if env file and data do not fit yet."""
    with contextlib.suppress(Exception):  # whatever came of it is judged later
        rig.start()


__all__ = ("FAULTS", "SCENARIOS", "Bench", "Boundary", "Verdict")
