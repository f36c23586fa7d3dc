# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which open descriptors are rights: a table of what a process may hold open."""

from __future__ import annotations

import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._agents.descriptors import Owner, classify, privileged_sockets
from ansible_collections.servos.ops.plugins.module_utils._system.descriptor_facts import DescriptorFacts

OWNER = Owner(999, frozenset([999, 4]))
READ, WRITE, BOTH, PATH = 0o100000, 0o100001, 0o100002, 0o12100000
FILE, DIRECTORY, CHARACTER, BLOCK = stat.S_IFREG, stat.S_IFDIR, stat.S_IFCHR, stat.S_IFBLK


def opened(target, mode=FILE | 0o644, uid=0, gid=0, device=(0, 0), flags=READ):
    return DescriptorFacts(7, target, mode, uid, gid, device, flags)


@pytest.mark.parametrize(
    ("what", "kind"),
    [
        (opened("socket:[11]"), "raw_socket"),
        (opened("socket:[12]"), "packet_socket"),
        (opened("socket:[13]"), "netlink_socket"),
        (opened("socket:[14]"), None),
        (opened("socket:[15]"), "engine_socket"),
        (opened("socket:[16]"), None),
        (opened("socket:[what]"), None),
        (opened("anon_inode:bpf-map"), "bpf"),
        (opened("anon_inode:bpf-prog"), "bpf"),
        (opened("anon_inode:bpf_link"), "bpf"),
        (opened("anon_inode:btf"), "bpf"),
        (opened("anon_inode:[perf_event]"), "perf_event"),
        (opened("anon_inode:[eventpoll]"), None),
        (opened("pipe:[20]", mode=stat.S_IFIFO | 0o600), None),
        (opened("/dev/mem", mode=CHARACTER | 0o640, device=(1, 1)), "memory_device"),
        (opened("/dev/elsewhere", mode=CHARACTER | 0o666, device=(1, 4)), "memory_device"),
        (opened("/dev/null", mode=CHARACTER | 0o666, device=(1, 3), flags=BOTH), None),
        (opened("/dev/kmsg", mode=CHARACTER | 0o600, device=(1, 11)), "foreign_file"),
        (opened("/dev/sda", mode=BLOCK | 0o666, uid=999, flags=READ), "block_device"),
        (opened("/etc/shadow", mode=FILE | 0o640, gid=42), "foreign_file"),
        (opened("/etc/passwd"), None),
        (opened("/etc/passwd", flags=WRITE), "foreign_file"),
        (opened("/etc/passwd", flags=BOTH), "foreign_file"),
        (opened("/var/log/agent", mode=FILE | 0o622, flags=WRITE), None),
        (opened("/var/log/agent", mode=FILE | 0o622, flags=BOTH), "foreign_file"),
        (opened("/var/lib/servos/state", mode=FILE | 0o600, uid=999, flags=BOTH), None),
        (opened("/var/lib/servos/state", mode=FILE | 0o466, uid=999, flags=WRITE), "foreign_file"),
        (opened("/var/log/syslog", mode=FILE | 0o640, gid=4), None),
        (opened("/var/log/syslog", mode=FILE | 0o640, gid=4, flags=WRITE), "foreign_file"),
        (opened("/var/log/syslog", mode=FILE | 0o604, gid=4), "foreign_file"),
        (opened("/root", mode=DIRECTORY | 0o700), "foreign_file"),
        (opened("/root", mode=DIRECTORY | 0o700, flags=PATH), None),
        (opened("/", mode=DIRECTORY | 0o755), None),
        (opened("/tmp/gone (deleted)", mode=FILE | 0o600, uid=0), "foreign_file"),
    ],
    ids=lambda value: f"{value.target} {value.mode:o} {value.flags:o}" if isinstance(value, DescriptorFacts) else str(value),
)
def test_a_descriptor_is_a_right_or_none(what, kind):
    sockets = {11: "raw_socket", 12: "packet_socket", 13: "netlink_socket"}
    found = classify(what, sockets=sockets, peers={15: "/run/docker.sock", 16: "/run/systemd/journal/stdout"}, owner=OWNER)
    assert (found.kind if found else None) == kind


def test_what_a_socket_leads_to_is_shown():
    found = classify(opened("socket:[15]"), sockets={}, peers={15: "/run/containerd/containerd.sock"}, owner=OWNER)
    assert found.as_facts() == {"descriptor": 7, "kind": "engine_socket", "target": "/run/containerd/containerd.sock"}


# As Linux 6.18 prints them.
RAW = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  81: 00000000:0001 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20148132 2 000000009e8d2706 0
"""
PACKET = """\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
00000000ea110735 2      3    0000   0     0 0      0      20148133
"""
NETLINK = """\
sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode
00000000b999a6e1 0   32708      00000000 0        0        0     2        0        19447570
0000000032bcefc2 0   0          00000000 0        0        0     2        0        4
"""


@pytest.mark.parametrize(
    ("table", "text", "found"),
    [
        ("raw", RAW, {20148132: "raw_socket"}),
        ("raw6", RAW, {20148132: "raw_socket"}),
        ("packet", PACKET, {20148133: "packet_socket"}),
        ("netlink", NETLINK, {19447570: "netlink_socket", 4: "netlink_socket"}),
        ("raw", RAW.splitlines()[0], {}),
        ("packet", "", {}),
        ("raw", "header\nshort row\n\n", {}),
    ],
)
def test_a_table_says_which_sockets_it_lists(table, text, found):
    assert privileged_sockets({table: text}) == found
