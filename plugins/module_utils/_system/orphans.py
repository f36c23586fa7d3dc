# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Commands that outlive who ran them: a killed run's last command goes on, and must not meet the next run's first."""

from __future__ import annotations

import os

# Every bounded command is a child of timeout(1), which lives exactly as long; what the command leaves behind may live on.
_BOUND = "timeout"


def commands_at_work(name: str, value: str) -> list[int]:
    """List the processes of timeout(1) that have a variable of this value in their environment, as far as we may see."""
    wanted = f"{name}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/comm", encoding="utf-8", errors="replace") as stream:
                if stream.read().strip() != _BOUND:
                    continue
            with open(f"/proc/{entry}/environ", "rb") as stream_bytes:
                if wanted in stream_bytes.read().split(b"\x00"):
                    found.append(int(entry))
        except OSError:
            continue  # gone, or somebody else's
    return sorted(found)


__all__ = ("commands_at_work",)
