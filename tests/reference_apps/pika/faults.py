# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The fault switches: set by the environment at the start, and by the control port while the server runs.

    PIKA_REFERENCE_FAULTS="fail_step=4*1,drop=after"

`*N` lets a switch work N times and then be off. An unknown switch or value is an error, so that no test passes because
its fault never happened.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

# Values that a switch may have; an empty tuple takes any text, None a number.
KNOWN: Mapping[str, tuple[str, ...] | None] = {
    # The rotation: 1 cannot read the verifier, 2 the sealed values, 4 the settings row, 5 the vault accounts.
    "fail_step": ("1", "2", "4", "5"),
    "die_step": ("before", "2", "3", "4", "5", "after"),
    "slow_rotate_ms": None,
    # Rotate and every other POST of /api/v1/key: the connection is closed without a reply.
    "drop": ("before", "after"),
    "drop_path": (),
    # Answers of /api/v1/key/rotate that were never written in the code read, for a client to survive. A number is the status of a
    # page that something between client and server gives, after the server did rotate; echo_* quotes the keys and does not; with "locked"
    # somebody locked the server a moment before; with "untrue" it says that it was done, and nothing was.
    "rotate_reply": (
        "untrue", "html", "empty", "text", "other_message", "not_json", "array", "echo_500", "echo_400", "locked",
        "303", "400", "401", "403", "404", "413", "429", "500", "502", "503",
    ),
    "redirect_to": (),
    "redirect_path": (),
    "redirect_status": ("301", "302", "303", "307", "308"),
    "lock_fails": ("500",),
    # The last two are not true: what a server says that changes between two requests.
    "status_reply": ("html", "not_json", "text", "extra", "uninitialized", "unlocked"),
    # 503 of another cause than the lock gate: no header.
    "plain_503": (),
    "session_store": ("down",),
    "limiter_store": ("down",),
    "bare_messages": ("on",),
    # Sign-in.
    "login_url": (),
    "login_reply": ("html", "no_cookie", "empty"),
    "tokens": ("cookie_only",),
    # /api/v1/info is 401 too for a token that is unknown. Which of the two is the product's is not known.
    "info_bearer": ("401",),
    # Backup.
    "backup_truncate": None,
    "backup_reply": ("html", "bad_magic", "drop", "longer", "endless", "empty", "500"),
    # Cluster.
    "leader": ("none", "unreachable"),
    "quorum": ("lost",),
    "replication": ("off",),
    "forward_before_gate": ("on",),
    # Of 9f67a8a and 03055b5: a whole-row write forgets the OAuth2 and LDAP secrets of a row that has no other.
    "lose_oauth2_only": ("on",),
}


class FaultError(ValueError):
    """No such switch, or no such value."""


class Faults:
    """Switches that are on, by name."""

    def __init__(self, text: str = "") -> None:
        self._guard = threading.Lock()
        self._values: dict[str, tuple[str, int | None]] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, unused, value = part.partition("=")
            self.set(name, value)

    def set(self, name: str, value: str | None) -> None:
        """Turn a switch on, or off with None."""
        if name not in KNOWN:
            raise FaultError(f"unknown fault switch: {name}")
        with self._guard:
            if value is None:
                self._values.pop(name, None)
                return
            text, star, times = value.rpartition("*")
            if not star or not times.isdigit():
                text, times = value, ""
            choices = KNOWN[name]
            if (choices is None and not text.isdigit()) or (choices and text not in choices):
                raise FaultError(f"unknown value of fault switch {name}")
            self._values[name] = (text, int(times) if times else None)

    def names(self) -> list[str]:
        """Return the switches that are on."""
        with self._guard:
            return sorted(self._values)

    def peek(self, name: str) -> str | None:
        """Return a switch's value without using it up."""
        with self._guard:
            return self._values[name][0] if name in self._values else None

    def take(self, name: str, *values: str) -> str | None:
        """Return a switch's value, if it is one of these (any, if none is named), and count that it worked."""
        with self._guard:
            text, times = self._values.get(name, (None, None))
            if text is None or (values and text not in values):
                return None
            if times is not None:
                self._values[name] = (text, times - 1)
                if times <= 1:
                    del self._values[name]
            return text
