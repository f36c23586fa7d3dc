# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules do when they are called, on a world; and one call under observation, to its end or to a stop."""

from __future__ import annotations

import collections
import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.servos.ops.plugins.module_utils._errors import ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation import backups, custody, restore
from ansible_collections.servos.ops.plugins.module_utils._rotation import rotate as rotate_room
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import WalkOptions
from disk import Stopped
from world import World

Answer = t.Union[dict[str, t.Any], ServosError]
Stop = tuple[str, int]

# What was stopped where, over all tests of a run: (disk, the write that did not come).
STOPPED: collections.Counter[tuple[str, str]] = collections.Counter()


def stage(world: World, rotation_id: str) -> dict[str, t.Any]:
    """servos_keyring state=staged."""
    return custody.stage(
        world.installation(), new_key=None, rotation_id=rotation_id, max_age_days=None, allow_empty=False, now=world.now, write=True
    )


def rotate(world: World, **how: t.Any) -> dict[str, t.Any]:
    """servos_key_rotate."""
    options = WalkOptions(settle_s=0, start_timeout_s=0, **how)
    return rotate_room.rotate(
        world.installation(), options, old_key=None, new_key=None, expect_staged=False, now=world.now, write=True
    )


def retire(world: World) -> dict[str, t.Any]:
    """servos_keyring state=retired."""
    return custody.retire(world.installation(), allow_empty=False, now=world.now, write=True)


def back_up(world: World, retention_days: int) -> dict[str, t.Any]:
    """servos_backup state=present."""
    return backups.keep_backups(
        world.installation(), backup_dir=world.backup_dir, retention_days=retention_days, allow_empty=False, now=world.now, write=True
    )


def put_back(world: World) -> dict[str, t.Any]:
    """servos_backup state=restored: the newest backup."""
    return restore.restore_backup(
        world.installation(), backup_dir=world.backup_dir, path=None, target=None, stop_timeout_s=9, start_timeout_s=9,
        retention_days=30, now=world.now, write=True,
    )  # fmt: skip


def hold(world: World) -> None:
    """Fail if anything was ever seen that must not be."""
    world.look()
    assert world.trouble == []
    assert world.leaks() == []


def attempt(
    world: World,
    call: Callable[[], dict[str, t.Any]],
    stop: Stop | None = None,
    at: Mapping[int, Callable[[], None]] | None = None,
) -> Answer | None:
    """Make one call. Returns its result, its refusal, or None if it was stopped; a power cut ends the processes too."""
    answer: Answer | None = None
    try:
        with world.disk.run(stop=stop, at=dict(at or {})):
            answer = call()
    except ServosError as error:
        answer = error
    except Stopped:
        answer = None  # it may have been on its way
        kind = stop[0] if stop is not None else ""
        STOPPED[kind, (world.disk.trace or ["nothing"])[-1]] += 1
        if kind != "killed":
            world.main, world.forgotten = None, []
    assert not world.tells(repr(answer)), "the answer holds a key or a plaintext"
    hold(world)
    return answer


def writes_of(world: World, call: Callable[[], object], at: Mapping[int, Callable[[], None]] | None = None) -> int:
    """Make a call, count its writes, and take it all back."""
    saved, truth, main, refusals, stops = world.disk.saved(), dict(world.truth), world.main, world.refusals, world.stops
    world.disk.watch = lambda: None
    try:
        with world.disk.run(at=dict(at or {})):
            call()
    except ServosError:
        pass
    finally:
        world.disk.watch = world.look
    world.disk.reset(saved)
    world.truth, world.main, world.refusals, world.stops = truth, main, refusals, stops
    return len(world.disk.trace)
