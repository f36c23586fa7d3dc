# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Which open descriptors are rights of their own: what was opened as root works on when root is gone."""

from __future__ import annotations

import stat
import typing as t

from .._system.descriptor_facts import DescriptorFacts

_MEMORY = {(1, 1): "/dev/mem", (1, 2): "/dev/kmem", (1, 4): "/dev/port"}
_ENGINE_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock", "crio.sock")
_WRITES, _ACCESS = (0o1, 0o2), 0o3  # O_WRONLY and O_RDWR, O_ACCMODE
_PATH = 0o10000000  # O_PATH: names a file and reads nothing of it

# What may be allowed by name, in the words of the module's documentation.
KINDS = (
    "raw_socket",
    "packet_socket",
    "netlink_socket",
    "engine_socket",
    "bpf",
    "perf_event",
    "memory_device",
    "block_device",
    "foreign_file",
)


class Owner(t.NamedTuple):
    """Whose rights count: those that a process is to have, not those that it has."""

    uid: int
    gids: frozenset[int]


class Privileged(t.NamedTuple):
    """A descriptor that is a right: its number, kind, and what it leads to."""

    number: int
    kind: str
    target: str

    def as_facts(self) -> dict[str, t.Any]:
        """Return it as a module does."""
        return {"descriptor": self.number, "kind": self.kind, "target": self.target}


def classify(opened: DescriptorFacts, *, sockets: t.Mapping[int, str], peers: t.Mapping[int, str], owner: Owner) -> Privileged | None:
    """Say what right a descriptor is, or None.

    Args:
        sockets: kinds of sockets by inode, of those that are privileged by their kind.
        peers: paths of the Unix sockets that others listen on, by the inode of the socket that is connected to them.
        owner: who the process is to be. A file that this user could open as well is no right.
    """
    if opened.target.startswith("socket:["):
        inode = _inode_of(opened.target)
        if inode in sockets:
            return Privileged(opened.number, sockets[inode], opened.target)
        peer = peers.get(inode, "")
        return Privileged(opened.number, "engine_socket", peer) if peer.endswith(_ENGINE_SOCKETS) else None
    if opened.target.startswith("anon_inode:"):
        name = opened.target.split(":", 1)[1].strip("[]")
        kind = "bpf" if name.startswith("bpf") or name == "btf" else name if name == "perf_event" else None
        return Privileged(opened.number, kind, opened.target) if kind else None
    kind = _kind_of_file(opened, owner)
    return Privileged(opened.number, kind, opened.target) if kind else None


def _kind_of_file(opened: DescriptorFacts, owner: Owner) -> str | None:
    if stat.S_ISBLK(opened.mode):
        return "block_device"
    if stat.S_ISCHR(opened.mode) and opened.device in _MEMORY:
        return "memory_device"
    if not opened.target.startswith("/") or opened.flags & _PATH or stat.S_ISLNK(opened.mode):
        return None
    return None if _could_open(opened, owner) else "foreign_file"


def _could_open(opened: DescriptorFacts, owner: Owner) -> bool:
    """Tell whether the mode lets the owner open it the way it is open. Directories above it are not asked."""
    access = opened.flags & _ACCESS
    wanted = (0 if access == 1 else 0o4) | (0o2 if access in _WRITES else 0)
    if owner.uid == opened.uid:
        granted = opened.mode >> 6
    elif opened.gid in owner.gids:
        granted = opened.mode >> 3
    else:
        granted = opened.mode
    return granted & wanted == wanted


def _inode_of(target: str) -> int:
    digits = target[len("socket:[") : -1]
    return int(digits) if digits.isdigit() else -1


# Where the inode stands in a row of a table in /proc/net.
TABLES = {"raw": 9, "raw6": 9, "packet": -1, "netlink": -1}
KIND_OF_TABLE = {"raw": "raw_socket", "raw6": "raw_socket", "packet": "packet_socket", "netlink": "netlink_socket"}


def privileged_sockets(tables: t.Mapping[str, str]) -> dict[int, str]:
    """Return kinds of sockets by inode, from the texts of the tables of C(/proc/net) that C(TABLES) names."""
    found = {}
    for table, text in tables.items():
        position = TABLES[table]
        for line in text.splitlines()[1:]:
            words = line.split()
            if -len(words) <= position < len(words) and words[position].isdigit():
                found[int(words[position])] = KIND_OF_TABLE[table]
    return found


__all__ = ("KINDS", "TABLES", "Owner", "Privileged", "classify", "privileged_sockets")
