# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""Harden an agent: write the drop-in of its unit, restart it, and prove what its processes are; or put all back as it was."""

from __future__ import annotations

import os
import time
import typing as t

from .._errors import AgentError, ServosError
from .._system.detached import run_detached
from .._system.locks import exclusive_lock
from .._system.process_rights import last_capability
from .._system.processes import started_at
from .._system.services import Runner, SystemdService, wait_until_settled
from .._system.unit_files import DropInFile, copied_unit
from .capabilities import NAMES
from .directives import DropIn, Wish, complaints_about, drop_in_of, unknown_directives
from .look import Agent, look_at_agent, look_at_unit, systemd_version
from .policy import Policy
from .unit import UnitState, unit_deviations

_UNITS = "/etc/systemd/system"
_SETTLE_S = 1.0
_POLL_S = 0.2
_SAME_MOMENT_S = 0.02  # clock ticks, by which the start of a process is known


class Hardening(t.NamedTuple):
    """One agent, what it may, and the drop-in that is to see to it; C(wish) is None where there is to be no drop-in."""

    agent: Agent
    policy: Policy
    wish: Wish | None
    drop_in_name: str
    timeout_s: float
    run: Runner

    @property
    def file(self) -> DropInFile:
        """The drop-in's file."""
        return DropInFile(os.path.join(_UNITS, f"{self.agent.unit}.d"), self.drop_in_name)


def harden(asked: Hardening, *, write: bool) -> dict[str, t.Any]:
    """Bring an agent to its policy. Without C(write), say what would be done; nothing is proven then that would have to change first.

    Raises:
        AgentError: it cannot be hardened, or deviates; then all is as it was before. C(deviations) says where.
        ServiceError: systemd does not restart it.
    """
    if not write:
        return _harden(asked, write=False)

    def locked() -> dict[str, t.Any]:
        lock = f"/run/servos-ops-{asked.agent.unit}.lock"
        with exclusive_lock(lock, purpose="servos_agent_harden", what=f"the unit {asked.agent.unit}"):
            return _harden(asked, write=True)

    return run_detached(locked, expected=ServosError)


def _harden(asked: Hardening, *, write: bool) -> dict[str, t.Any]:
    unit = look_at_unit(asked.agent.unit, asked.run)
    _refuse(asked, unit, write=write)
    file, version = asked.file, systemd_version(asked.run)
    before = file.read()
    wanted = _wanted(asked, unit, version, before, write=write)
    text = wanted.text if wanted else None
    changed = text != before
    if changed and unit.main_pid is None and text is not None:
        raise AgentError(
            f"{unit.name} is not running ({unit.note}), so it could not be seen whether it runs hardened as well; nothing was changed; "
            f"start it (systemctl start {unit.name}), or find out with journalctl -u {unit.name} why it does not run"
        )
    restart = changed or _is_stale(unit, file, text)
    result = {
        "drop_in": file.path,
        "left_out": wanted.left_out if wanted else [],
        "restarted": restart,
        "changed": restart,
        "diff": {"before": before or "", "after": text or "", "before_header": file.path, "after_header": file.path},
    }
    if wanted and wanted.left_out:
        result["_warnings"] = [
            f"systemd {version} on this host does not know {', '.join(wanted.left_out)}; the agent runs without, until systemd is newer"
        ]
    prove = restart and write
    seen = _restart_and_prove(asked, text, changed=changed) if prove else look_at_agent(asked.agent, asked.policy, asked.run)
    if not restart and text is not None and not seen["conforms"]:
        raise AgentError(
            f"the drop-in {file.path} is in force, and {unit.name} was started with it, but is not as it must be: "
            f"{_in_words(seen)}; see in deviations how to mend each", deviations=seen["deviations"], processes=seen["processes"],
        )  # fmt: skip
    return dict(result, **seen)


def _refuse(asked: Hardening, unit: UnitState, *, write: bool) -> None:
    if unit.load_state != "loaded":
        deviation = unit_deviations(unit)[0]
        raise AgentError(f"the unit {unit.name} is {deviation['is']}, so nothing was changed; {deviation['how']}")
    if asked.wish is None:
        return
    if asked.policy.uid == 0 or asked.policy.gid == 0:
        raise AgentError("the agent is to end as root (user, group), which hardens nothing; name a user and a group of its own")
    if write and (asked.policy.uid is None or asked.policy.gid is None):
        raise AgentError(
            f"this host knows no user {asked.policy.user}, or no group {asked.policy.group}; make them first, as the role agent_harden does"
        )
    foreign = [name for name in asked.policy.capabilities if NAMES.index(name) > last_capability()]
    if foreign:
        raise AgentError(
            f"the kernel of this host does not know {', '.join(foreign)}; take a newer one (CAP_BPF came with Linux 5.8), "
            "or leave it out of capabilities"
        )


def _wanted(asked: Hardening, unit: UnitState, version: int | None, before: str | None, *, write: bool) -> DropIn | None:
    """Write the drop-in in our minds, and let systemd look at it on a copy of the unit before it is put anywhere else."""
    if asked.wish is None:
        return None
    wanted = drop_in_of(asked.wish, version=version)
    if wanted.text == before or not write:
        return wanted
    unknown = unknown_directives(_complaints(asked, unit, wanted.text))
    if unknown:
        wanted = drop_in_of(asked.wish, version=version, unknown=unknown)
        wanted = wanted._replace(left_out=sorted({*wanted.left_out, *unknown}))
    refused = _complaints(asked, unit, wanted.text)
    if refused:
        raise AgentError(
            f"systemd-analyze verify refuses the drop-in for {unit.name}, so nothing was changed: line {'; line '.join(refused[:3])}; "
            "correct directives", refused=wanted.text,
        )  # fmt: skip
    return wanted


def _complaints(asked: Hardening, unit: UnitState, text: str) -> list[str]:
    verify = ["systemd-analyze", "--man=no", "verify"]
    with copied_unit(unit.name, {asked.drop_in_name: text}, fragment=unit.fragment, drop_ins=unit.drop_ins) as path:
        try:
            unused_code, output, errors = asked.run([*verify, path])
        except OSError:
            raise AgentError(
                "there is no systemd-analyze on this host to look at the drop-in before it is in force; "
                "install it (package systemd)"
            ) from None
    return complaints_about(asked.drop_in_name, output + errors)


def _is_stale(unit: UnitState, file: DropInFile, text: str | None) -> bool:
    """Tell whether the agent has been running since before its drop-in, as after a run that was cut off."""
    if text is None:
        return file.is_unproven()
    if file.is_unproven() or unit.needs_reload or unit.main_pid is None:
        return True
    written, started = file.written_at(), started_at(unit.main_pid)
    return written is not None and started is not None and started + _SAME_MOMENT_S < written


def _restart_and_prove(asked: Hardening, text: str | None, *, changed: bool) -> dict[str, t.Any]:
    file = asked.file
    file.keep_previous()
    try:
        if changed:
            file.write(text)
        _restart(asked)
        seen = _settled(asked, must_conform=text is not None)
    except ServosError as error:
        raise _undone(asked, error) from None
    file.forget_previous()
    return seen


def _restart(asked: Hardening) -> None:
    code, unused_output, unused_errors = asked.run(["systemctl", "daemon-reload"])
    if code != 0:
        raise AgentError(f"systemctl daemon-reload failed with exit code {code}; see what it says by hand, then run again")
    service = SystemdService(asked.agent.unit, asked.run)
    service.stop(asked.timeout_s)
    service.start(asked.timeout_s)
    wait_until_settled(service, is_ready=lambda: True, settle_s=_SETTLE_S, timeout_s=asked.timeout_s)


def _settled(asked: Hardening, *, must_conform: bool) -> dict[str, t.Any]:
    """Look until the agent is as it must be: it may take a moment to drop its rights."""
    deadline = time.monotonic() + asked.timeout_s
    while True:
        seen = look_at_agent(asked.agent, asked.policy, asked.run)
        if seen["conforms"] or not must_conform:
            return seen
        if time.monotonic() > deadline:
            raise AgentError(
                f"{asked.agent.unit} came up and is not as it must be: {_in_words(seen)}", deviations=seen["deviations"],
                processes=seen["processes"],
            )  # fmt: skip
        time.sleep(_POLL_S)


def _undone(asked: Hardening, error: ServosError) -> AgentError:
    """Put the old drop-in back and start the agent with it; return what is to be said."""
    try:
        asked.file.put_back()
        _restart(asked)
    except ServosError as second:
        return AgentError(f"{error}; and it could not be put back as it was: {second}; see journalctl -u {asked.agent.unit}", **error.facts)
    return AgentError(
        f"{error}; the drop-in is as it was before, and the agent runs with that; see deviations, or journalctl -u {asked.agent.unit}, "
        "for what is in the way", **error.facts,
    )  # fmt: skip


def _in_words(seen: t.Mapping[str, t.Any]) -> str:
    texts, main = [], (seen["unit"] or {}).get("main_pid")
    for deviation in seen["deviations"]:
        whose = "" if deviation["pid"] in (None, main) else f" of process {deviation['pid']}"
        whose += "" if deviation["thread"] == deviation["pid"] else f" of thread {deviation['thread']}"
        texts.append(f"{deviation['what']}{whose} is {deviation['is']} and should be {deviation['should']}")
    return "; ".join(texts[:5]) + (f"; and {len(texts) - 5} more" if len(texts) > 5 else "")


__all__ = ("Hardening", "harden")
