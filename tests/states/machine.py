# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rotation as a game: the operator, the application, the disk and the clock move in any order.

After every single write, and after every move: each value opens under a key that is in a file, on each of the three disks
that a stop could leave; it says what was written last; no key or plaintext is where it does not belong; and the phase that
is reported is the one that the oracle sees. From wherever the game ends, the same three calls again reach C(settled).
"""

from __future__ import annotations

import collections
import datetime
import typing as t
from collections.abc import Callable

import oracle
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import UNTIL
from calls import attempt, back_up, hold, put_back, retire, rotate, stage, writes_of
from disk import DISKS
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from starts import STARTS, Start, begin
from world import KINDS, ROLES, Process, World, worlds

RERUNS = 3
PHASES: collections.Counter[str] = collections.Counter()
CONTENTS = ("sealed", "sealed", "sealed", "empty", "plain")

# The run is stopped before the write of that number, counted round and round.
STOPS = st.none() | st.tuples(st.sampled_from(DISKS), st.sampled_from(range(40)))
INTRUSIONS = st.just(()) | st.lists(st.tuples(st.sampled_from(range(1, 30)), st.sampled_from(KINDS)), max_size=2)


class Rotations(RuleBasedStateMachine):
    """The moves. C(answer) is what the last call of the collection returned or raised."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self._lent = worlds()
        self._make = self._lent.__enter__()
        self._ids = 0
        self._saved: dict[str, dict[tuple[str, int], t.Any]] = {}
        self._set_aside: set[str] = set()
        self._last_seen: oracle.Seen | None = None

    @initialize(
        start=st.sampled_from(STARTS), wal=st.booleans(), has_service=st.sampled_from((True, True, False)), in_base64=st.booleans(),
        values=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(CONTENTS), st.integers(0, 1)), max_size=6),
    )  # fmt: skip
    def install(self, start: Start, wal: bool, has_service: bool, in_base64: bool, values: list[tuple[str, str, int]]) -> None:
        self.world = begin(self._make, start, values, wal=wal, has_service=has_service, in_base64=in_base64)

    def teardown(self) -> None:
        try:
            if hasattr(self, "world") and not self.world.trouble:
                self.finish()
        finally:
            self._lent.__exit__(None, None, None)

    def _attempt(self, call: Callable[[], dict[str, t.Any]], stop: t.Any = None, intrusions: t.Sequence[t.Any] = ()) -> t.Any:
        """Make a call; note for the reader of a failed game what came of it."""
        at = {number: self._intruder(kind) for number, kind in intrusions}
        if stop is not None:
            writes = writes_of(self.world, call, at)
            stop = (stop[0], stop[1] % writes + 1) if writes else None
        answer = attempt(self.world, call, stop, at)
        trace = self.world.disk.trace
        came = f"stopped before {trace[-1:]}" if answer is None else answer if isinstance(answer, ServosError) else answer.get("phase")
        note(f"{len(trace)} writes, {came}")
        return answer

    def _intruder(self, kind: str) -> Callable[[], None]:
        def strike() -> None:
            for process in (self.world.main, *self.world.forgotten):
                if process is not None:
                    self.world.write(kind, "sealed", process.key_bytes)

        return strike

    def stage(self, stop: t.Any = None) -> t.Any:
        return self._attempt(lambda: stage(self.world, f"id-{self._ids}"), stop)

    # The operator's playbooks.

    @rule(stop=STOPS, is_new=st.booleans())
    def operator_stages(self, stop: t.Any, is_new: bool) -> None:
        self._ids += is_new
        self.stage(stop)

    @rule(stop=STOPS, until=st.sampled_from(UNTIL), scrub=st.booleans(), intrusions=INTRUSIONS)
    def operator_rotates(self, stop: t.Any, until: str, scrub: bool, intrusions: t.Any) -> None:
        self._judged(stop, intrusions, until=until, scrub=scrub)

    @rule(stop=STOPS, intrusions=INTRUSIONS)
    def operator_rolls_back(self, stop: t.Any, intrusions: t.Any) -> None:
        self._judged(stop, intrusions, until="activated", back=True)

    def _judged(self, stop: t.Any, intrusions: t.Any, **how: t.Any) -> None:
        world = self.world
        seen, before, stops = oracle.see(world), world.disk.tree(), world.stops
        due = oracle.rotation(seen, until=how["until"], back=how.get("back", False))
        is_calm = not world.refusals and not (intrusions and (world.main or world.forgotten))
        answer = self._attempt(lambda: rotate(world, **how), stop, intrusions)
        if due.refusal is not None:
            assert answer is None or isinstance(answer, ServosError), f"it went on although {due.refusal}"
            if not intrusions:
                assert (world.disk.tree(), world.stops) == (before, stops), f"it refused since {due.refusal}, and left something changed"
        elif answer is not None and is_calm:
            assert not isinstance(answer, ServosError), f"it refused where it should go on: {answer}"
            after = oracle.see(world)
            assert after.has_only(due.target), "some value is under another key"
            assert after.env == (due.target if how["until"] != "rewrapped" else seen.env)
            assert answer["phase"] == oracle.phase(after)
            if how["until"] == "activated" and world.has_service and answer["changed"]:
                assert after.process == due.target

    @rule(stop=STOPS)
    def operator_retires(self, stop: t.Any) -> None:
        world = self.world
        seen, before = oracle.see(world), world.disk.tree()
        answer = self._attempt(lambda: retire(world), stop)
        due = oracle.retirement(seen, {process.key_bytes for process in world.forgotten})
        if due.refusal is not None:
            assert answer is None or isinstance(answer, ServosError), f"it retired although {due.refusal}"
            assert world.disk.tree() == before
        elif answer is not None:
            assert not isinstance(answer, ServosError) or seen.foreign, f"it refused where it should go on: {answer}"
            assert oracle.see(world).known == {seen.env}

    @rule(stop=STOPS, retention_days=st.sampled_from((1, 30)))
    def operator_backs_up(self, stop: t.Any, retention_days: int) -> None:
        world = self.world
        world.now += datetime.timedelta(seconds=1)  # the name of a backup is its time
        said = dict(world.truth)
        self._attempt(lambda: back_up(world, retention_days), stop)
        for path in world.backups() - self._set_aside:  # the answer may be lost
            self._saved.setdefault(path, said)

    @rule(stop=STOPS)
    def operator_restores_the_newest_backup(self, stop: t.Any) -> None:
        world = self.world
        world.now += datetime.timedelta(seconds=1)
        newest = max((path for path in world.backups() if path in self._saved), default=None)
        world.truth_restored = self._saved[newest] if newest else None
        answer = self._attempt(lambda: put_back(world), stop)
        if isinstance(answer, dict):
            assert world.truth_restored is None or world.truth_restored == world.truth, "the backup was not put back"
        world.truth_restored = None
        self._set_aside |= world.backups() - set(self._saved)

    @rule(stop=STOPS, is_new=st.booleans(), intrusions=INTRUSIONS)
    def operator_runs_the_playbook(self, stop: t.Any, is_new: bool, intrusions: t.Any) -> None:
        self._ids += is_new
        if not isinstance(self.stage(), ServosError):
            self._judged(stop, intrusions, until="activated")

    # What the operator does by hand, as far as no key is lost by it.

    @rule(role=st.sampled_from(ROLES), deed=st.sampled_from(("edit", "remove", "restart")))
    def operator_acts_by_hand(self, role: str, deed: str) -> None:
        world = self.world
        keys = world.keys_on()
        if deed == "edit" and role in keys and keys["active"] in [keys.get(other) for other in ROLES]:
            world.write_env(world.written_like_env(keys[role]))
        elif deed == "remove" and keys.get("staged") == keys["active"]:
            world.remove_key("staged")
        elif deed == "restart" and world.has_service:
            world.start_main()

    # The application, and what befalls it.

    @rule(kind=st.sampled_from(KINDS), content=st.sampled_from(CONTENTS), replaced=st.integers(0, 4))
    def application_writes(self, kind: str, content: str, replaced: int) -> None:
        world = self.world
        if (kind, content) == ("hex", "plain"):
            return
        if not world.has_service:
            world.write(kind, content, world.keys_on()["active"], row=replaced or None)
        elif world.main is not None:
            world.write(kind, content, world.main.key_bytes, row=replaced or None)

    @rule(deed=st.sampled_from(("fork", "write", "write", "end")), kind=st.sampled_from(KINDS))
    def a_forgotten_process(self, deed: str, kind: str) -> None:
        world = self.world
        if deed == "fork" and world.main is not None and len(world.forgotten) < 2:
            world.forgotten.append(Process(world.main.key_text))
        elif deed == "end" and world.forgotten:
            world.forgotten.pop()
        elif deed == "write":
            for process in world.forgotten:
                world.write(kind, "sealed", process.key_bytes)

    @rule(refusals=st.integers(0, 2), days=st.integers(0, 40))
    def trouble_ahead(self, refusals: int, days: int) -> None:
        self.world.refusals = refusals
        self.world.now += datetime.timedelta(days=days, seconds=1)

    @rule(kind=st.sampled_from(KINDS), back=st.booleans(), stop=STOPS)
    def a_foreign_value_comes_and_goes(self, kind: str, back: bool, stop: t.Any) -> None:
        self.world.write(kind, "foreign", None)
        self._judged(stop, (), until="activated", back=back)
        self.operator_retires(stop)
        hold(self.world)
        self.the_phase_is_the_oracles()
        self.world.remove_foreign()

    # What must hold.

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "world"):
            hold(self.world)

    @invariant()
    def the_phase_is_the_oracles(self) -> None:
        if hasattr(self, "world"):
            seen = oracle.see(self.world)
            if seen != self._last_seen:
                self._last_seen = seen
                assert observe(self.world.installation()).phase == oracle.phase(seen)
                PHASES[oracle.phase(seen)] += 1

    def finish(self) -> None:
        """Nothing goes wrong any more: the same calls again reach the end, forward, and by the way of a rollback."""
        world = self.world
        world.refusals = 0
        world.forgotten = []
        if world.has_service and world.main is None and oracle.phase(oracle.see(world)) == "settled":
            world.start_main()  # nothing is under way, so it is its manager's to start
        saved, truth, main = world.disk.saved(), dict(world.truth), world.main
        self._reach_the_end()
        world.disk.reset(saved)
        world.truth, world.main = truth, main
        self._go_back()
        self._reach_the_end()

    def _go_back(self) -> None:
        due = oracle.rotation(oracle.see(self.world), until="activated", back=True)
        answer = self._attempt(lambda: rotate(self.world, back=True))
        if due.refusal is None:
            assert not isinstance(answer, ServosError), answer
            assert oracle.see(self.world).env == due.target

    def _reach_the_end(self) -> None:
        answers = []
        for unused_run in range(RERUNS):
            answers += [self.stage(), *(self._attempt(lambda call=call: call(self.world)) for call in (rotate, retire))]
            seen = oracle.see(self.world)
            if oracle.phase(seen) == "settled" and seen.known == {seen.env} and seen.runs_on_env:
                return
        raise AssertionError(f"not settled after {RERUNS} runs, but {oracle.phase(oracle.see(self.world))}: {answers}")
