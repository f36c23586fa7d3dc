# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""What systemd says of an agent's unit. Source: systemctl(1), org.freedesktop.systemd1(5)."""

from __future__ import annotations

import re
import typing as t

from .._errors import AgentError
from .policy import Deviation

PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "MainPID", "FragmentPath", "DropInPaths", "ControlGroup", "NeedDaemonReload",
    "Result", "NRestarts",
)  # fmt: skip


class UnitState(t.NamedTuple):
    """A unit: as it is loaded, whether it runs, and which files make it."""

    name: str
    load_state: str
    active_state: str
    sub_state: str
    unit_file_state: str
    main_pid: int | None
    fragment: str
    drop_ins: tuple[str, ...]
    control_group: str
    needs_reload: bool
    note: str

    def as_facts(self) -> dict[str, t.Any]:
        """Return it as a module does."""
        return {
            "name": self.name,
            "load_state": self.load_state,
            "active_state": self.active_state,
            "unit_file_state": self.unit_file_state,
            "main_pid": self.main_pid,
            "fragment": self.fragment,
            "drop_ins": list(self.drop_ins),
            "needs_daemon_reload": self.needs_reload,
        }


def unit_name(text: str) -> str:
    """Return the name of a service unit as systemd has it: C(.service) may be left out.

    Raises:
        AgentError: it cannot be one.
    """
    name = text if text.endswith(".service") else f"{text}.service"
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9:_.@\\-]*\.service\Z", name):
        raise AgentError(f"unit is {text!r}, which names no service of systemd; give a name such as servos-agent.service")
    return name


def drop_in_name(text: str) -> str:
    """Return the name of a drop-in.

    Raises:
        AgentError: it cannot be one.
    """
    if not re.match(r"[A-Za-z0-9][A-Za-z0-9_.-]*\.conf\Z", text):
        raise AgentError(f"drop_in_name is {text!r}; give a name without a directory that ends in .conf")
    return text


def parse_unit(name: str, text: str) -> UnitState:
    """Read what C(systemctl show) printed for C(PROPERTIES). What an old systemd does not know is empty."""
    shown = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    main_pid = shown.get("MainPID", "")
    note = ", ".join(f"{key}={shown[key]}" for key in ("ActiveState", "SubState", "Result", "NRestarts") if shown.get(key))
    return UnitState(
        name,
        shown.get("LoadState", ""),
        shown.get("ActiveState", ""),
        shown.get("SubState", ""),
        shown.get("UnitFileState", ""),
        int(main_pid) if main_pid.isdigit() and int(main_pid) else None,
        shown.get("FragmentPath", ""),
        tuple(shown.get("DropInPaths", "").split()),
        shown.get("ControlGroup", ""),
        shown.get("NeedDaemonReload") == "yes",
        note,
    )


def parse_version(text: str) -> int | None:
    """Return the version that C(systemctl --version) prints, or None."""
    words = text.split()
    digits = words[1].split(".")[0].split("~")[0].split("-")[0] if len(words) > 1 and words[0] == "systemd" else ""
    return int(digits) if digits.isdigit() else None


def unit_deviations(unit: UnitState) -> list[Deviation]:
    """Say what of a unit is in the way of an agent that runs as it is written."""
    if unit.load_state == "masked":
        return [_of_unit("masked", "loaded", f"systemctl unmask {unit.name}")]
    if unit.load_state == "not-found":
        return [_of_unit("not there", "loaded", f"install the agent, or name its unit (unit), of which systemd here has no {unit.name}")]
    if unit.load_state != "loaded":
        return [_of_unit(unit.load_state or "unknown", "loaded", f"systemctl status {unit.name} says what is wrong with its files")]
    found = []
    if unit.main_pid is None:
        start = f"systemctl start {unit.name}; journalctl -u {unit.name} says why it ended"
        found.append(_of_unit(f"not running ({unit.note})", "running", start))
    if unit.needs_reload:
        reload = f"systemctl daemon-reload, and systemctl restart {unit.name}"
        found.append(_of_unit("changed on disk since it was loaded", "as loaded", reload))
    return found


def _of_unit(is_now: str, should: str, how: str) -> Deviation:
    return {"what": "unit", "is": is_now, "should": should, "how": how, "pid": None, "thread": None}


__all__ = ("PROPERTIES", "UnitState", "drop_in_name", "parse_unit", "parse_version", "unit_deviations", "unit_name")
