# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Several services that are one application, such as Airflow's scheduler, API server and triggerer.

They are stopped in the order in which they are named, and started in reverse. The group is up when each of them is.
"""

from __future__ import annotations

import typing as t

from .processes import start_ticks
from .services import Runner, Service


class ServiceGroup(Service):
    """Services of this host that hold one key together."""

    def __init__(self, members: t.Sequence[Service], run: Runner) -> None:
        super().__init__(", ".join(member.name for member in members), run)
        self.members = list(members)

    def main_pid(self) -> int | None:
        """Return the youngest of the main processes: whichever service is started again, this one changes."""
        running = [pid for pid in (member.main_pid() for member in self.members) if pid is not None]
        return max(running, key=lambda pid: (start_ticks(pid) or 0, pid)) if running else None

    def is_up(self) -> bool:
        return all(member.main_pid() is not None and member.is_up() for member in self.members)

    def failure_note(self) -> str:
        notes = [(member.name, member.failure_note()) for member in self.members if member.main_pid() is None or not member.is_up()]
        return "; ".join(f"{name}: {note}" if note else f"{name} is down" for name, note in notes)

    def stop(self, timeout_s: float) -> None:
        for member in self.members:
            member.stop(timeout_s)

    def start(self, timeout_s: float) -> None:
        for member in reversed(self.members):
            member.start(timeout_s)


def main_pids(service: Service) -> list[int]:
    """Return the main process of each service of a group, or of the one service; none while any of them is stopped."""
    members = service.members if isinstance(service, ServiceGroup) else [service]
    found = [member.main_pid() for member in members]
    return [pid for pid in found if pid is not None] if None not in found else []


__all__ = ("ServiceGroup", "main_pids")
