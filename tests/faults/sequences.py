# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules of the playbooks, in their order and with the options that the roles give them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from evidence import leaks
from module_runs import ModuleRun, Outcome
from rigs import Rig

TIMES = {"settle_time": 0.05, "stop_timeout": 10, "start_timeout": 10, "lock_timeout": 5}


class StoppedError(Exception):
    """A module failed or was killed, and with it the playbook ended."""

    def __init__(self, module: str, outcome: Outcome) -> None:
        super().__init__(module)
        self.module, self.outcome = module, outcome


class Operator:
    """Somebody who runs playbooks on one installation; complaints about what was printed gather in C(complaints)."""

    def __init__(
        self, rig: Rig, *, prepare: Sequence[Callable[[], None]] = (), before_each: Callable[[int], None] = lambda number: None
    ) -> None:
        self._rig, self._before_each = rig, before_each
        self._prepare = [lambda: setattr(tempfile, "tempdir", str(rig.temporary)), *prepare]
        self._count = 0
        self.complaints: list[str] = []
        self.waiting: Callable[[ModuleRun], None] = lambda run: None

    def do(self, module: str, **options: Any) -> Outcome:
        """Run one module to its end.

        Raises:
            StoppedError: it failed, or was killed.
        """
        self._before_each(self._count)
        self._count += 1
        secrets = self._secrets()
        run = ModuleRun(module, self._rig.options(**options), prepare=self._prepare)
        self.waiting(run)
        outcome = run.wait()
        secrets |= self._secrets()
        if leaks(outcome.printed, secrets):
            self.complaints.append(f"{module} printed a key")
        if "Traceback" in outcome.printed:
            self.complaints.append(f"{module} printed a traceback: {outcome.printed[-600:]}")
        if outcome.code != 0:
            raise StoppedError(module, outcome)
        return outcome

    def _secrets(self) -> dict[str, str]:
        return {name: text for name, text in (self._rig.keys() | {"old": self._rig.old_text}).items() if len(text) >= 16}

    def rotate(self) -> None:
        """The playbook servos.ops.rotate."""
        rig = self._rig
        staging = self.do("servos_keyring", state="staged", rotation_id="one", max_age_days=365)
        if staging["rotation_pending"]:
            self.do("servos_backup", backup_dir=str(rig.backup_dir), retention_days=30)
        done = self.do(
            "servos_key_rotate", **rig.method, **TIMES, until="activated", health_url=rig.health_url,
            expect_staged=staging["rotation_pending"],
        )  # fmt: skip
        self._prove(done["sealed_values_before"])

    def back(self) -> None:
        """The playbook servos.ops.rollback."""
        done = self.do("servos_key_rotate", **TIMES, direction="back", until="activated", health_url=self._rig.health_url)
        self._prove(done["sealed_values_before"])

    def retire(self) -> None:
        """The playbook servos.ops.retire."""
        self._prove(0)
        self.do("servos_keyring", state="retired")
        self.do("servos_backup", state="pruned", backup_dir=str(self._rig.backup_dir), unreadable=True)

    def _prove(self, values_before: int) -> None:
        """What the role rotation_verify asserts."""
        seen = self.do("servos_key_info", probes=self._rig.probes)
        active = sum(row["active"] for row in seen["census"])
        wrong = [
            seen["phase"] not in ("activated", "settled") and f"the phase is {seen['phase']}",
            seen["undeclared"] and "undeclared fields",
            active < max(values_before, 1) and f"{active} values are active",
            seen["process_seen"] and seen["process_key"] != seen["env_key"] and "the process runs on another key",
            *(f"{probe['name']}: {probe['reason']}" for probe in seen.result.get("probes", ()) if not probe["ok"]),
        ]
        if any(wrong):
            said = f"the proof failed: {', '.join(filter(None, wrong))}"
            raise StoppedError("proof", Outcome(2, {"failed": True, "msg": said, "error": "ServosError"}, "", ""))


def wait_for_end(pids: Sequence[int], *, timeout_s: float = 40) -> bool:
    """Wait until processes that are not our children are gone."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if not any(is_alive(pid) for pid in pids):
            return True
        time.sleep(0.003)
    return False


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that only waits to be asked for its exit code does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            return stream.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
