# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of /proc/PID/status, as kernels print it."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._agents.credentials import parse_status
from ansible_collections.servos.ops.plugins.module_utils._errors import AgentError

# Of an agent that dropped its rights by itself, Linux 6.18; fields that are not read are left out.
STATUS = """\
Name:\tservos-agent
Umask:\t0077
State:\tS (sleeping)
Tgid:\t139
NSpid:\t139
Uid:\t999\t998\t997\t996
Gid:\t899\t898\t897\t896
FDSize:\t128
Groups:\t4 27
Threads:\t2
SigCgt:\t0000000000004002
CapInh:\t0000000000000001
CapPrm:\t0000008000005000
CapEff:\t0000000000005000
CapBnd:\t00000080000051c0
CapAmb:\t0000008000000000
NoNewPrivs:\t1
Seccomp:\t2
Seccomp_filters:\t8
"""


def test_every_field_is_read():
    seen = parse_status(STATUS)
    assert seen.name == "servos-agent"
    assert (seen.uids, seen.gids, seen.groups) == ((999, 998, 997, 996), (899, 898, 897, 896), (4, 27))
    assert seen.capabilities == {
        "inheritable": ["CAP_CHOWN"],
        "permitted": ["CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_BPF"],
        "effective": ["CAP_NET_ADMIN", "CAP_IPC_LOCK"],
        "bounding": ["CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP", "CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_BPF"],
        "ambient": ["CAP_BPF"],
    }
    assert (seen.no_new_privileges, seen.seccomp) == (True, "filter")


def test_facts_name_each_id():
    facts = parse_status(STATUS).as_facts()
    assert facts["uid"] == {"real": 999, "effective": 998, "saved": 997, "file_system": 996}
    assert facts["gid"] == {"real": 899, "effective": 898, "saved": 897, "file_system": 896}
    assert facts["groups"] == [4, 27]


@pytest.mark.parametrize(
    ("line", "replaced", "field", "value"),
    [
        ("NoNewPrivs:\t1\n", "NoNewPrivs:\t0\n", "no_new_privileges", False),
        ("NoNewPrivs:\t1\n", "", "no_new_privileges", None),
        ("Seccomp:\t2\n", "Seccomp:\t0\n", "seccomp", "disabled"),
        ("Seccomp:\t2\n", "Seccomp:\t1\n", "seccomp", "strict"),
        ("Seccomp:\t2\n", "", "seccomp", None),
        ("Groups:\t4 27\n", "Groups:\t \n", "groups", ()),
        ("Name:\tservos-agent\n", "Name:\ta: b\n", "name", "a: b"),
    ],
)
def test_what_a_kernel_may_say_otherwise(line, replaced, field, value):
    assert getattr(parse_status(STATUS.replace(line, replaced)), field) == value


def test_a_kernel_without_ambient_capabilities_has_none():
    assert parse_status(STATUS.replace("CapAmb:\t0000008000000000\n", "")).capabilities["ambient"] == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        STATUS.replace("Uid:", "Xid:"),
        STATUS.replace("CapBnd:", "CapXxx:"),
        STATUS.replace("\t996", ""),
        STATUS.replace("51c0", "xyz"),
    ],
    ids=["empty", "other", "no uid", "no bounding set", "three uids", "no number"],
)
def test_what_is_no_status_is_refused(text):
    with pytest.raises(AgentError, match="does not say what rights"):
        parse_status(text)
