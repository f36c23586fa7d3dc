# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What C(/proc/PID/status) says of the rights of a process or a thread. Source: proc_pid_status(5)."""

from __future__ import annotations

import typing as t

from .._errors import AgentError
from .capabilities import names_of

_SETS = {"inheritable": "CapInh", "permitted": "CapPrm", "effective": "CapEff", "bounding": "CapBnd", "ambient": "CapAmb"}
_SECCOMP = {"0": "disabled", "1": "strict", "2": "filter"}
_IDS = ("real", "effective", "saved", "file_system")


class Credentials(t.NamedTuple):
    """Who a thread is and what it may: uids and gids as real, effective, saved, file system; capabilities by name."""

    name: str
    uids: tuple[int, ...]
    gids: tuple[int, ...]
    groups: tuple[int, ...]
    capabilities: dict[str, list[str]]
    no_new_privileges: bool | None
    seccomp: str | None

    def as_facts(self) -> dict[str, t.Any]:
        """Return them as a module does."""
        return {
            "uid": dict(zip(_IDS, self.uids)),
            "gid": dict(zip(_IDS, self.gids)),
            "groups": list(self.groups),
            "capabilities": self.capabilities,
            "no_new_privileges": self.no_new_privileges,
            "seccomp": self.seccomp,
        }


def parse_status(text: str) -> Credentials:
    """Read the text of a status file. What a kernel does not say, as C(NoNewPrivs) before 4.10, is None; ambient of old ones is empty.

    Raises:
        AgentError: it says nothing of identities or capabilities.
    """
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    try:
        uids, gids = (tuple(map(int, fields[name].split())) for name in ("Uid", "Gid"))
        fields.setdefault("CapAmb", "0")
        capabilities = {name: names_of(int(fields[field], 16)) for name, field in _SETS.items()}
        groups = tuple(sorted(map(int, fields["Groups"].split())))
    except (KeyError, ValueError):
        uids = gids = groups = ()
        capabilities = {}
    if len(uids) != 4 or len(gids) != 4:
        raise AgentError("/proc does not say what rights the process has; is it the kernel's own proc file system?")
    told = fields.get("NoNewPrivs", "").strip()
    return Credentials(
        fields.get("Name", "").strip(),
        uids,
        gids,
        groups,
        capabilities,
        told == "1" if told else None,
        _SECCOMP.get(fields.get("Seccomp", "").strip()),
    )


__all__ = ("Credentials", "parse_status")
