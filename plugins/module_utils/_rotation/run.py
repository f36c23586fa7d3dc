# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What one run was asked to do, and what it has done so far."""

from __future__ import annotations

import typing as t

from .._apps.http_base import request
from .._errors import ApiError
from .._system.services import Service, wait_until_settled
from .data_step import Pace
from .installation import Installation

UNTIL = ("rewrapped", "swapped", "activated")


class WalkOptions(t.NamedTuple):
    """How to walk; the names and units are those of the options of M(servos.ops.servos_key_rotate)."""

    until: str = "activated"
    method: str = "database"
    back: bool = False
    discover: str = "fail"
    allow_empty: bool = False
    scrub: bool = True
    lock_timeout_s: float = 30.0
    stop_timeout_s: float = 90.0
    start_timeout_s: float = 60.0
    settle_s: float = 1.0
    health_url: str | None = None
    reencode_on_failed_start: bool = False
    api_url: str | None = None
    api_token_file: str | None = None
    api_timeout_s: float = 300.0
    api_ca_file: str | None = None
    batch_size: int = 0
    batch_pause_s: float = 0.0
    batch_workers: int = 1
    online: bool = False

    @property
    def pace(self) -> Pace:
        """How much of the data is committed at a time."""
        return Pace(self.batch_size, self.batch_pause_s, self.batch_workers)


class Run:
    """C(did) is returned by the module, C(warnings) are shown by it."""

    def __init__(self, installation: Installation, options: WalkOptions) -> None:
        self.installation = installation
        self.options = options
        self.did: dict[str, t.Any] = {"rewrapped": 0, "healed": 0, "duration_s": 0.0, "values_per_s": 0, "window_s": None}
        self.warnings: list[str] = []
        self._health_counts = True

    def start(self, service: Service) -> None:
        """Start the service and wait until it is ready and stays so.

        Raises:
            ServiceError: it does not come up.
        """
        options = self.options
        self.installation.progress.begin("start")
        service.start(options.start_timeout_s)
        wait_until_settled(service, is_ready=self.is_ready, settle_s=options.settle_s, timeout_s=options.start_timeout_s)

    def note_scrub(self) -> None:
        """Write down, just before a commit, that a scrub is due: after a kill nothing else would tell."""
        remember_scrub(self.installation, is_due=True)

    def note_cleaned(self, cleaned: t.Mapping[str, t.Any]) -> None:
        """Keep what a scrub did, and warn once of what was not in its power."""
        self.did["scrub"] = dict(self.did.get("scrub") or {}, **cleaned)
        warning = self.did["scrub"].pop("warning", None)
        if warning and warning not in self.warnings:
            self.warnings.append(warning)

    def leave_health_out(self) -> None:
        """Go on without the health URL, and say so."""
        self._health_counts = False
        self.warnings.append(f"{self.options.health_url} did not answer 200 before, so it is not waited for; look at it afterwards")

    def is_ready(self) -> bool:
        """Ask the health URL, if there is one."""
        url = self.options.health_url
        if not url or not self._health_counts:
            return True
        try:
            return request("GET", url, token=None, body=None, timeout_s=5, ca_path=self.options.api_ca_file).status == 200
        except ApiError:
            return False


def scrub_is_due(installation: Installation) -> bool:
    """Tell whether values were rewrapped and no scrub has followed: what they were under before may lie in free pages."""
    return bool(installation.keyring.record().get("scrub_due"))


def remember_scrub(installation: Installation, *, is_due: bool) -> None:
    """Write down whether a scrub is due, which looking at the data would tell only at the cost of reading all of its pages."""
    if is_due != scrub_is_due(installation):
        installation.keyring.remember(scrub_due=is_due)


__all__ = ("UNTIL", "Run", "WalkOptions", "remember_scrub", "scrub_is_due")
