# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the service and the API may do wrong by themselves, for the length of one run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class ServiceFault(NamedTuple):
    """C(break_it) is called while the service runs and before the run; C(mend_it) before the recovery."""

    break_it: Callable[[Any], None]
    mend_it: Callable[[Any], None]
    methods: tuple[str, ...] = ("database", "api")

    def fits(self, method: str) -> bool:
        return method in self.methods


def _mend(rig: Any) -> None:
    rig.set_faults("")
    rig.write_scripts()
    rig.database.with_name("servos.db.failed-once").unlink(missing_ok=True)  # by which the model remembers that it failed


def _switched(switches: str, *methods: str) -> ServiceFault:
    """A switch of the reference server, which it reads when it starts."""

    def break_it(rig: Any) -> None:
        rig.stop()
        rig.set_faults(switches)
        rig.start()

    def mend_it(rig: Any) -> None:
        _mend(rig)
        if rig.pid() is not None:  # the endpoint's switches are read at the start
            rig.stop()
            rig.start()

    return ServiceFault(break_it, mend_it, methods or ("database", "api"))


def _at_next_start(switches: str) -> ServiceFault:
    """A switch that is to bite at the next start only."""
    return ServiceFault(lambda rig: rig.set_faults(switches), _mend)


def _scripted(**lines: str) -> ServiceFault:
    return ServiceFault(lambda rig: rig.write_scripts(**{name: line.format(rig=rig) for name, line in lines.items()}), _mend)


SERVICE_FAULTS = {
    "fail-start-once": _at_next_start("fail_start_once"),
    "never-starts": _at_next_start("no_such_switch"),
    "stop-fails": _scripted(instead_of_stop="exit 1"),
    "stop-does-nothing": _scripted(instead_of_stop="exit 0"),
    "stop-dies-late": _scripted(after_stop="exit 3"),
    "start-fails": _scripted(before_start="exit 1"),
    "killed-in-the-window": _scripted(before_start="(sleep 0.03; kill -9 $(cat '{rig.pid_file}')) 2>/dev/null &"),
    "commit-then-drop": _switched("commit_then_drop", "api"),
    "drop-before-commit": _switched("drop_before_commit", "api"),
    "empty-reply": _switched("empty_reply", "api"),
    "too-slow": _switched("slow_ms=6000", "api"),
    "skips-a-table": _switched("skip_builders", "api"),
    "writes-stale": _switched("stale_key_writes=old", "api"),
    "no-endpoint": _switched("no_endpoint", "api"),
    "wants-restart": _switched("require_restart", "api"),
}
