# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""What rights an agent is to have, and where one differs: each deviation says what, is, should and how to mend it."""

from __future__ import annotations

import typing as t

from .credentials import Credentials
from .descriptors import Privileged

Deviation = t.Dict[str, t.Any]
_EXACT = ("permitted", "effective", "bounding")
_BOUNDED = ("inheritable", "ambient")
_WAY_TO_NO_NEW = "NoNewPrivileges=yes in its unit; without it a set-uid program gives rights back"


class Policy(t.NamedTuple):
    """What is asked of every process and thread of an agent.

    C(uid) and C(gid) are None where this host knows no such user or group. C(supplementary_gids) may be there; no other may.
    C(allowed_descriptors) are kinds, or paths.
    """

    user: str
    group: str
    uid: int | None
    gid: int | None
    capabilities: tuple[str, ...]
    supplementary_gids: frozenset[int]
    no_new_privileges: bool
    seccomp: bool
    allowed_descriptors: frozenset[str]
    group_names: t.Mapping[int, str]

    def group_name(self, gid: int) -> str:
        """Return a group as people know it."""
        return f"{self.group_names[gid]} ({gid})" if gid in self.group_names else str(gid)


def missing_names(policy: Policy) -> list[Deviation]:
    """Compare the names of the policy with the users and groups of this host."""
    unknown = "unknown to this host"
    found = []
    if policy.uid is None:
        found.append(_deviation("user", unknown, policy.user, f"useradd --system {policy.user}; the role agent_harden does it"))
    if policy.gid is None:
        found.append(_deviation("group", unknown, policy.group, f"groupadd --system {policy.group}; the role agent_harden does it"))
    return [dict(deviation, pid=None, thread=None) for deviation in found]


def deviations_of(policy: Policy, seen: Credentials, *, pid: int, thread: int) -> list[Deviation]:
    """Compare what a thread is and may with the policy. C(thread) equals C(pid) for the first one."""
    found = _identities(policy, seen) + _capabilities(policy, seen)
    if policy.no_new_privileges and seen.no_new_privileges is not True:
        is_text = "unknown" if seen.no_new_privileges is None else "not set"
        found.append(_deviation("no_new_privileges", is_text, "set", _WAY_TO_NO_NEW))
    if policy.seccomp and seen.seccomp != "filter":
        found.append(_deviation("seccomp", seen.seccomp or "unknown", "filter", "SystemCallFilter= in its unit"))
    if thread != pid:
        for deviation in found:
            deviation["how"] = f"the agent has to drop the rights of all its threads, before it starts others; {deviation['how']}"
    return [dict(deviation, pid=pid, thread=thread) for deviation in found]


def descriptor_deviations(policy: Policy, opened: t.Iterable[Privileged], *, pid: int) -> list[Deviation]:
    """Compare the privileged descriptors of a process with those that the policy allows."""
    return [
        dict(
            _deviation(
                "descriptor",
                f"{found.kind} {found.target} (descriptor {found.number})",
                "closed",
                "the agent has to close it before it drops its rights, or not to open it; or allow it (allowed_descriptors)",
            ),
            pid=pid,
            thread=pid,
        )
        for found in opened
        if found.kind not in policy.allowed_descriptors and found.target not in policy.allowed_descriptors
    ]


def _identities(policy: Policy, seen: Credentials) -> list[Deviation]:
    found = []
    drops = "User= and Group= in its unit, or the agent has to change all of its ids (setresuid, setresgid) when it has started"
    for what, ids, wanted, name in (("uid", seen.uids, policy.uid, policy.user), ("gid", seen.gids, policy.gid, policy.group)):
        if wanted is not None and set(ids) != {wanted}:
            found.append(_deviation(what, _in_words(ids), f"{wanted} ({name})", drops))
    extra = [gid for gid in seen.groups if gid not in policy.supplementary_gids and gid != policy.gid]
    if extra:
        names = [policy.group_name(gid) for gid in extra]
        found.append(
            _deviation(
                "supplementary_groups",
                ", ".join(names),
                "none" if not policy.supplementary_gids else "those that are allowed",
                f"take the user {policy.user} out of the group, empty SupplementaryGroups= in its unit, or the agent has to call "
                "setgroups before it drops CAP_SETGID",
            )
        )
    return found


def _capabilities(policy: Policy, seen: Credentials) -> list[Deviation]:
    found, wanted = [], set(policy.capabilities)
    for name in (*_EXACT, *_BOUNDED):
        has = seen.capabilities[name]
        if (set(has) == wanted) if name in _EXACT else (set(has) <= wanted):
            continue
        missing = [] if name in _BOUNDED else [capability for capability in policy.capabilities if capability not in has]
        extra = [capability for capability in has if capability not in wanted]
        differs = [text for text in (extra and "too many: " + _few(extra), missing and "missing: " + _few(missing)) if text]
        found.append(_deviation(name, "; ".join(differs), " ".join(policy.capabilities) or "none", _way_to(name)))
    return found


def _way_to(name: str) -> str:
    if name == "bounding":
        return "CapabilityBoundingSet= in its unit, or the agent has to call prctl(PR_CAPBSET_DROP) while it has CAP_SETPCAP"
    if name == "ambient":
        return "AmbientCapabilities= in its unit"
    return "AmbientCapabilities= with User= in its unit, or the agent has to call capset after it has changed its user (PR_SET_KEEPCAPS)"


def _few(names: list[str]) -> str:
    return " ".join(names) if len(names) <= 8 else " ".join(names[:8]) + f" and {len(names) - 8} more"


def _in_words(ids: tuple[int, ...]) -> str:
    if len(set(ids)) == 1:
        return str(ids[0])
    return "real {}, effective {}, saved {}, file system {}".format(*ids)


def _deviation(what: str, is_now: str, should: str, how: str) -> Deviation:
    return {"what": what, "is": is_now, "should": should, "how": how}


__all__ = ("Deviation", "Policy", "descriptor_deviations", "deviations_of", "missing_names")
