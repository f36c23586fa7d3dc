# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster of processes: who leads, what is forwarded, what is replicated. The live key is not.

The election is a model: nodes ping each other, a leader stays one while it sees a majority, and without one the node with
the newest data leads. What a client sees is the product's: reads are local, everything else goes to the leader, which
hands its whole database to the followers after a 2xx reply.
"""

from __future__ import annotations

import hmac
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from faults import Faults
from replies import Reply, Request, json_reply, text_reply
from store import Store

PREFIX = "/_cluster/"
_SECRET_HEADER, _FORWARDED_HEADER = "X-Cluster-Secret", "X-Pika-Forwarded"
_TICK_S, _SILENCE_S, _FORWARD_TIMEOUT_S = 0.05, 2.0, 30.0
_HOP_HEADERS = frozenset(("connection", "content-length", "transfer-encoding", "host", "keep-alive", "date", "server"))
NO_LEADER = "cluster: no leader available, retry shortly"


@dataclass
class Peer:
    """What is known of another node."""

    url: str
    heard_at: float = float("-inf")
    version: int = -1
    is_leader: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it answered a moment ago."""
        return time.monotonic() - self.heard_at < _SILENCE_S


def _call(url: str, method: str, target: str, body: bytes, headers: dict[str, str], timeout_s: float) -> http.client.HTTPResponse:
    parts = urlsplit(url)
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        # The nodes of a test have certificates of their own making.
        context = ssl._create_unverified_context()
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout_s, context=context)
    else:
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=timeout_s)
    try:
        connection.request(method, target, body, {**headers, "Connection": "close"})
        reply = connection.getresponse()
        reply.content = reply.read()  # type: ignore[attr-defined]
        return reply
    finally:
        connection.close()


class Cluster:
    """One node's view. Without other nodes it leads, and does nothing."""

    def __init__(
        self, node_id: str, urls: dict[str, str], secret: str, store: Store, faults: Faults, on_leading: Callable[[], None]
    ) -> None:
        self.node_id, self._secret, self._store, self._faults = node_id, secret, store, faults
        self._order = list(urls)
        self._url = urls.get(node_id, "")
        self._peers = {name: Peer(url) for name, url in urls.items() if name != node_id}
        self._on_leading = on_leading
        self._leader_id: str | None = None if self._peers else node_id
        self._has_caught_up = False
        self._started_at = time.monotonic()
        self._stopping = threading.Event()

    @property
    def is_enabled(self) -> bool:
        """Whether there are other nodes."""
        return bool(self._peers)

    def start(self) -> None:
        """Begin to ping."""
        if self._peers:
            threading.Thread(target=self._run, daemon=True).start()

    def stop(self) -> None:
        """Stop pinging."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            for peer in self._peers.values():
                self._ping(peer)
            self._elect()

    def _ping(self, peer: Peer) -> None:
        try:
            reply = _call(peer.url, "GET", PREFIX + "ping", b"", {_SECRET_HEADER: self._secret}, 1)
            said = json.loads(reply.content)  # type: ignore[attr-defined]
            peer.version, peer.is_leader, peer.heard_at = said["version"], said["is_leader"], time.monotonic()
        except ConnectionRefusedError:
            peer.is_leader, peer.heard_at = False, float("-inf")
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return  # one that is busy stays what it was, until it has been silent for too long

    @property
    def has_quorum(self) -> bool:
        """Whether more than half of the nodes are alive."""
        if self._faults.peek("quorum"):
            return False
        alive = 1 + sum(peer.is_alive for peer in self._peers.values())
        return alive * 2 > len(self._order) or not self._peers

    def _elect(self) -> None:
        if not self.has_quorum:
            self._leader_id = None
            return
        claims = [name for name, peer in self._peers.items() if peer.is_alive and peer.is_leader]
        if self._leader_id == self.node_id:
            claims = [name for name in claims if self._order.index(name) < self._order.index(self.node_id)]
            if not claims:
                return
        if claims:
            self._follow(claims[0])
        elif time.monotonic() - self._started_at > _SILENCE_S or all(peer.is_alive for peer in self._peers.values()):
            versions = {name: peer.version for name, peer in self._peers.items() if peer.is_alive}
            versions[self.node_id] = self._store.version
            if max(versions, key=lambda name: (versions[name], -self._order.index(name))) == self.node_id:
                self._leader_id = self.node_id
                self._on_leading()
            else:
                self._leader_id = None

    def _follow(self, leader_id: str) -> None:
        if self._leader_id != leader_id:
            self._has_caught_up = False
        if not self._has_caught_up and not self._faults.peek("replication"):
            try:
                reply = _call(self._peers[leader_id].url, "GET", PREFIX + "export", b"", {_SECRET_HEADER: self._secret}, 5)
                self._take_in(reply.content, int(reply.headers["X-Version"]))  # type: ignore[attr-defined]
            except (OSError, http.client.HTTPException, ValueError, TypeError):
                return
            self._has_caught_up = True
        self._leader_id = leader_id

    def _take_in(self, stream_bytes: bytes, version: int) -> None:
        self._store.load(stream_bytes, wipe=True)
        self._store.version = version

    @property
    def is_leader(self) -> bool:
        """Whether this node leads now."""
        if not self._peers:
            return True
        return self._leader_id == self.node_id and self.has_quorum and self._faults.peek("leader") != "none"

    @property
    def leader_id(self) -> str | None:
        """Return who leads, as far as this node knows."""
        if self.is_leader:
            return self.node_id
        if not self.has_quorum or self._faults.peek("leader") == "none" or self._leader_id == self.node_id:
            return None
        peer = self._peers.get(self._leader_id or "")
        return self._leader_id if peer and peer.is_alive else None

    def answer_peer(self, request: Request) -> Reply:
        """Answer another node."""
        if not hmac.compare_digest(request.headers.get(_SECRET_HEADER, ""), self._secret) or not self._peers:
            return text_reply(404, "not found")
        if request.path == PREFIX + "ping":
            return json_reply(200, {"version": self._store.version, "is_leader": self.is_leader})
        if request.path == PREFIX + "export":
            return Reply(200, self._store.export(), "application/octet-stream", [("X-Version", str(self._store.version))])
        if not self._faults.peek("replication"):
            self._take_in(request.body, int(request.headers["X-Version"]))
        return text_reply(200, "ok")

    def forward(self, request: Request) -> Reply:
        """Hand a request to the leader and its reply back."""
        leader_id = self.leader_id
        if leader_id is None or _FORWARDED_HEADER in request.headers:
            return text_reply(503, NO_LEADER)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP_HEADERS}
        headers[_FORWARDED_HEADER] = self.node_id
        try:
            if self._faults.peek("leader") == "unreachable":
                raise ConnectionRefusedError
            reply = _call(self._peers[leader_id].url, request.method, request.target, request.body, headers, _FORWARD_TIMEOUT_S)
        except (OSError, http.client.HTTPException):
            return text_reply(502, "cluster: leader forward failed")
        kept = [(name, value) for name, value in reply.getheaders() if name.lower() not in (*_HOP_HEADERS, "content-type")]
        return Reply(reply.status, reply.content, reply.headers.get("Content-Type", ""), kept)  # type: ignore[attr-defined]

    def replicate(self) -> None:
        """Hand the database to every follower that is alive."""
        if self._faults.peek("replication"):
            return
        headers = {_SECRET_HEADER: self._secret, "X-Version": str(self._store.version)}
        content = self._store.export()
        for peer in self._peers.values():
            if peer.is_alive:
                try:
                    _call(peer.url, "POST", PREFIX + "replicate", content, headers, 5)
                except (OSError, http.client.HTTPException):
                    continue

    def status(self) -> dict[str, Any]:
        """Return what GET /api/v1/cluster/status shows."""
        leader_id = self.leader_id
        nodes = [{"id": self.node_id, "address": self._url, "is_leader": leader_id == self.node_id, "healthy": True}]
        nodes += [
            {"id": name, "address": peer.url, "is_leader": leader_id == name, "healthy": peer.is_alive}
            for name, peer in self._peers.items()
        ]
        role = "standalone" if not self._peers else "leader" if self.is_leader else "follower"
        return {
            "enabled": self.is_enabled, "role": role, "is_leader": self.is_leader, "leader_healthy": leader_id is not None,
            "peer_count": len(self._peers), "has_quorum": self.has_quorum, "version": self._store.version,
            "nodes": nodes if self._peers else [],
        }  # fmt: skip
