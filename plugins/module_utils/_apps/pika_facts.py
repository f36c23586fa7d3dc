# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What Pika tells an account that may manage it, beside its key: its place in a cluster, and which secrets its settings have."""

from __future__ import annotations

import typing as t

from .._errors import ApiError
from .http_base import Answer
from .pika_key import judge
from .pika_session import Pika, described

_FLAG = "_set"
_NAMED_BY = ("id", "name", "provider")
_SHOWN = ("address", "healthy", "id", "is_leader", "last_seen", "leader", "name", "role", "status", "version")


class Cluster(t.NamedTuple):
    """A server's place in its cluster; alone, it is the leader of itself. C(nodes) have what a node is known by, and no more."""

    enabled: bool
    role: str
    is_leader: bool
    has_quorum: bool
    leader_healthy: bool
    peer_count: int
    nodes: tuple[dict[str, t.Any], ...]


_ALONE = Cluster(False, "single", True, True, True, 0, ())


def cluster_of(pika: Pika) -> Cluster | None:
    """Return the server's place in its cluster, or None where it does not say so now (locked, or its secrets are unreadable).

    Raises:
        ApiError: it answers what no Pika answers.
    """
    answer = pika.send("GET", "/api/v1/cluster/status")
    found = answer.document
    if answer.status == 404:
        return _ALONE  # a version without clusters
    if judge(answer, "status") == "locked" or answer.status == 500:
        return None
    if answer.status != 200 or not isinstance(found, dict) or not isinstance(found.get("enabled"), bool):
        raise _unexpected(pika, "/api/v1/cluster/status", answer)
    if not found["enabled"]:
        return _ALONE
    peers, nodes = found.get("peer_count"), found.get("nodes")
    return Cluster(
        enabled=True, role=str(found.get("role") or "unknown"), is_leader=found.get("is_leader") is True,
        has_quorum=found.get("has_quorum") is True, leader_healthy=found.get("leader_healthy") is True,
        peer_count=peers if isinstance(peers, int) else 0,
        nodes=tuple(
            {name: node[name] for name in _SHOWN if isinstance(node.get(name), (str, bool, int))}
            for node in (nodes if isinstance(nodes, list) else [])
            if isinstance(node, dict)
        ),
    )  # fmt: skip


def require_leader(pika: Pika, cluster: Cluster) -> None:
    """Refuse a follower, since it passes every request on to its leader and gets no key itself; and a cluster that cannot write.

    Raises:
        ApiError: with what to do.
    """
    if not cluster.enabled:
        return
    if not cluster.is_leader:
        raise ApiError(
            f"{pika.url} is a follower, which passes requests for the key on to its leader and gets no key itself; nothing was changed; "
            "name the leader's own address (url); servos_pika_info on each node says which one that is"
        )
    if not cluster.has_quorum:
        raise ApiError(f"the cluster of {pika.url} has no quorum and cannot write; nothing was changed; bring its nodes up first")


def secrets_set(pika: Pika) -> dict[str, bool]:
    """Return, by its place in the settings, whether each secret is set. The settings are read, so they open under the live key.

    Raises:
        ApiError: they cannot be read.
    """
    answer = pika.send("GET", "/api/v1/settings")
    if answer.status != 200 or not isinstance(answer.document, dict):
        raise _unexpected(pika, "/api/v1/settings", answer)
    return dict(_flags(answer.document, ""))


def _flags(node: t.Any, place: str) -> t.Iterator[tuple[str, bool]]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name.endswith(_FLAG) and isinstance(value, bool):
                yield f"{place}.{name}".lstrip("."), value
            else:
                yield from _flags(value, f"{place}.{name}")
    elif isinstance(node, list):
        for number, item in enumerate(node):
            named = [item[name] for name in _NAMED_BY if isinstance(item.get(name), str)] if isinstance(item, dict) else []
            yield from _flags(item, f"{place}[{named[0] if named else number}]")


def _unexpected(pika: Pika, path: str, answer: Answer) -> ApiError:
    meaning = judge(answer, "status")
    reason = {
        "locked": "it is locked; unlock it (state=unlocked)",
        "no_capability": "the account lacks the capability settings.manage; grant it, or give another username",
        "no_login": "it does not take the login (any more); run again",
        "unreadable": "it cannot read its own secrets with the key that it has in memory; lock it (state=locked), then unlock it",
    }.get(meaning, "that is not what Pika answers there; is url the address of a Pika, with its base path?")
    return ApiError(f"{pika.url}{path} {described(answer)}: {reason}")


__all__ = ("Cluster", "cluster_of", "require_leader", "secrets_set")
