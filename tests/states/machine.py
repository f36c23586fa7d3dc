# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rotation as a game: the operator, the application, the disk and the clock move in any order.

After every single write, and after every move: each value opens under a key that is in a file, on each of the three disks
that a stop could leave; it says what was written last; no key or plaintext is where it does not belong; and the phase that
is reported is the one that the oracle sees. From wherever the game ends, the same three calls again reach C(settled).
"""

from __future__ import annotations

import datetime
import typing as t

import oracle
import sealed
from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation import backups, custody
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe
from ansible_collections.servos.ops.plugins.module_utils._rotation.rotate import rotate
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import UNTIL, WalkOptions
from disk import DISKS, Stopped
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from world import KINDS, Process, World, worlds

RERUNS = 3
CONTENTS = ("sealed", "sealed", "sealed", "empty", "plain")

# No stop in half of the runs. A number beyond the last write of a run is no stop either.
STOPS = st.none() | st.tuples(st.sampled_from(DISKS), st.integers(1, 45))
INTRUSIONS = st.lists(st.tuples(st.integers(1, 40), st.sampled_from(KINDS)), max_size=2)


class Rotations(RuleBasedStateMachine):
    """The moves. C(answer) is what the last call of the collection returned or raised."""

    world: World

    def __init__(self) -> None:
        super().__init__()
        self._lent = worlds()
        self._make = self._lent.__enter__()
        self._ids = 0

    @initialize(
        wal=st.booleans(), has_service=st.sampled_from((True, True, False)), in_base64=st.booleans(),
        values=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(CONTENTS)), max_size=6),
    )  # fmt: skip
    def install(self, wal: bool, has_service: bool, in_base64: bool, values: list[tuple[str, str]]) -> None:
        key_text = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=" if in_base64 else "aa" * 32
        self.world = self._make(key_text=key_text, wal=wal, has_service=has_service)
        key_bytes = sealed.key_of(key_text)
        self.world.fill([("canary", "sealed", key_bytes), *((k, c, key_bytes) for k, c in values if (k, c) != ("hex", "plain"))])
        self.world.disk.settle()

    def teardown(self) -> None:
        try:
            if hasattr(self, "world") and not self.world.trouble:
                self.finish()
        finally:
            self._lent.__exit__(None, None, None)

    # Calls of the collection.

    def _call(
        self,
        call: t.Callable[[], dict[str, t.Any]],
        stop: tuple[str, int] | None = None,
        intrusions: t.Sequence[tuple[int, str]] = (),
    ) -> dict[str, t.Any] | ServosError | None:
        """Run one call as a module would be run. Returns its result, its refusal, or None if it was stopped."""
        world = self.world
        at = {number: self._intruder(kind) for number, kind in intrusions}
        try:
            with world.disk.run(stop=stop, at=at):
                answer: dict[str, t.Any] | ServosError = call()
        except ServosError as error:
            answer = error
        except Stopped:
            note(f"stopped before write {len(world.disk.trace)}: {world.disk.trace[-1:]}")
            if stop is not None and stop[0] != "killed":
                world.main, world.forgotten = None, []
            self._hold()
            return None
        note(f"{len(world.disk.trace)} writes, {answer if isinstance(answer, ServosError) else answer.get('phase', 'done')}")
        assert not world.tells(repr(answer)), "the answer holds a key or a plaintext"
        self._hold()
        return answer

    def _intruder(self, kind: str) -> t.Callable[[], None]:
        def strike() -> None:
            for process in (self.world.main, *self.world.forgotten):
                if process is not None:
                    self.world.write(kind, "sealed", process.key_bytes)

        return strike

    def _hold(self) -> None:
        self.world.look()
        assert self.world.trouble == []
        assert self.world.leaks() == []

    def stage(self, rotation_id: str, stop: t.Any = None) -> t.Any:
        world = self.world
        return self._call(
            lambda: custody.stage(
                world.installation(), new_key=None, rotation_id=rotation_id, max_age_days=None, allow_empty=False, now=world.now, write=True
            ),
            stop,
        )

    def rotate(self, stop: t.Any = None, intrusions: t.Sequence[t.Any] = (), **how: t.Any) -> t.Any:
        world = self.world
        options = WalkOptions(settle_s=0, start_timeout_s=0, **how)
        return self._call(
            lambda: rotate(world.installation(), options, old_key=None, new_key=None, expect_staged=False, now=world.now, write=True),
            stop,
            intrusions,
        )

    def retire(self, stop: t.Any = None) -> t.Any:
        world = self.world
        return self._call(lambda: custody.retire(world.installation(), allow_empty=False, now=world.now, write=True), stop)

    # The operator's playbooks.

    @rule(stop=STOPS, is_new=st.booleans())
    def operator_stages(self, stop: t.Any, is_new: bool) -> None:
        self._ids += is_new
        self.stage(f"id-{self._ids}", stop)

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
        answer = self.rotate(stop, intrusions, **how)
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
        answer = self.retire(stop)
        may = seen.has_only(seen.env) and seen.runs_on_env and seen.staged in (None, seen.env)
        if not {seen.staged, seen.previous, seen.withdrawn} - {None}:
            assert answer is None or isinstance(answer, ServosError) or not answer["changed"]
            assert world.disk.tree() == before
        elif not may:
            assert answer is None or isinstance(answer, ServosError), "it retired a key that is needed"
            assert world.disk.tree() == before
        elif answer is not None:
            assert not isinstance(answer, ServosError), f"it refused where it should go on: {answer}"
            assert oracle.see(world).known == {seen.env}

    @rule(stop=STOPS, retention_days=st.sampled_from((1, 30)))
    def operator_backs_up(self, stop: t.Any, retention_days: int) -> None:
        world = self.world
        self._call(
            lambda: backups.keep_backups(
                world.installation(), backup_dir=world.backup_dir, retention_days=retention_days, allow_empty=False, now=world.now, write=True
            ),
            stop,
        )

    # What the operator does by hand, as far as no key is lost by it.

    @precondition(lambda self: self._kept_elsewhere())
    @rule(role=st.sampled_from(("staged", "previous", "withdrawn")))
    def operator_edits_the_env_file(self, role: str) -> None:
        keys = self.world.keys_on()
        if role in keys:
            self.world.write_env(self.world.written_like_env(keys[role]))

    def _kept_elsewhere(self) -> bool:
        keys = self.world.keys_on()
        return keys["active"] in [keys.get(role) for role in ("staged", "previous", "withdrawn")]

    @precondition(lambda self: (lambda keys: keys.get("staged") == keys["active"])(self.world.keys_on()))
    @rule()
    def operator_removes_the_staged_copy_of_the_active_key(self) -> None:
        self.world.remove_key("staged")

    @rule()
    def operator_restarts_the_service(self) -> None:
        if self.world.has_service:
            self.world.start_main()

    # The application.

    @rule(kind=st.sampled_from(KINDS), content=st.sampled_from(CONTENTS), replaced=st.integers(0, 4))
    def application_writes(self, kind: str, content: str, replaced: int) -> None:
        if (kind, content) != ("hex", "plain"):
            key_bytes = self.world.main.key_bytes if self.world.main else None if self.world.has_service else self.world.keys_on()["active"]
            if key_bytes is not None:
                self.world.write(kind, content, key_bytes, row=replaced or None)

    @precondition(lambda self: self.world.main is not None and len(self.world.forgotten) < 2)
    @rule()
    def a_second_process_is_forgotten(self) -> None:
        assert self.world.main is not None
        self.world.forgotten.append(Process(self.world.main.key_text))

    @precondition(lambda self: self.world.forgotten)
    @rule(kind=st.sampled_from(KINDS))
    def the_forgotten_process_writes(self, kind: str) -> None:
        key_bytes = self.world.forgotten[0].key_bytes
        if key_bytes in self.world.keys_on().values():
            self.world.write(kind, "sealed", key_bytes)

    @precondition(lambda self: self.world.forgotten)
    @rule()
    def the_forgotten_process_ends(self) -> None:
        self.world.forgotten.pop()

    @rule(times=st.integers(1, 2))
    def the_service_will_refuse_to_start(self, times: int) -> None:
        self.world.refusals = times

    @rule(kind=st.sampled_from(KINDS))
    def a_foreign_value_appears(self, kind: str) -> None:
        self.world.write(kind, "foreign", None)

    @precondition(lambda self: None in self.world.census())
    @rule()
    def the_foreign_values_are_removed(self) -> None:
        self.world.remove_foreign()

    @rule(days=st.integers(1, 40))
    def time_passes(self, days: int) -> None:
        self.world.now += datetime.timedelta(days=days)

    # What must hold.

    @invariant()
    def nothing_is_lost(self) -> None:
        if hasattr(self, "world"):
            self._hold()

    @invariant()
    def the_phase_is_the_oracles(self) -> None:
        if hasattr(self, "world"):
            assert observe(self.world.installation()).phase == oracle.phase(oracle.see(self.world))

    def finish(self) -> None:
        """Nothing goes wrong any more: the same calls again reach the end, forward, and by the way of a rollback."""
        world = self.world
        world.refusals = 0
        world.forgotten = []
        world.remove_foreign()
        if world.has_service and world.main is None and oracle.phase(oracle.see(world)) == "settled":
            world.start_main()  # nothing is under way, so it is its manager's to start
        tree, truth, main = world.disk.tree(), dict(world.truth), world.main
        self._reach_the_end()
        world.disk.restore(tree)
        world.truth, world.main = truth, main
        self._go_back()
        self._reach_the_end()

    def _go_back(self) -> None:
        due = oracle.rotation(oracle.see(self.world), until="activated", back=True)
        answer = self.rotate(back=True)
        if due.refusal is None:
            assert not isinstance(answer, ServosError), answer
            assert oracle.see(self.world).env == due.target

    def _reach_the_end(self) -> None:
        answers = []
        for unused_run in range(RERUNS):
            answers += [self.stage(f"id-{self._ids}"), self.rotate(), self.retire()]
            seen = oracle.see(self.world)
            if oracle.phase(seen) == "settled" and seen.known == {seen.env} and seen.runs_on_env:
                return
        raise AssertionError(f"not settled after {RERUNS} runs, but {oracle.phase(oracle.see(self.world))}: {answers}")
