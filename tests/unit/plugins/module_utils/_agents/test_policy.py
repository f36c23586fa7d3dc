# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an agent differs from what it is to be: each deviation by a change of one thing."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._agents.credentials import Credentials
from ansible_collections.servos.ops.plugins.module_utils._agents.descriptors import Privileged
from ansible_collections.servos.ops.plugins.module_utils._agents.policy import Policy, descriptor_deviations, deviations_of, missing_names

THREE = ["CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_BPF"]
POLICY = Policy(
    user="servos", group="agents", uid=999, gid=997, capabilities=tuple(THREE), supplementary_gids=frozenset([27]),
    no_new_privileges=True, seccomp=True, allowed_descriptors=frozenset(["bpf", "/var/log/agent"]), group_names={4: "adm"},
)  # fmt: skip
SETS = {"inheritable": [], "permitted": THREE, "effective": THREE, "bounding": THREE, "ambient": []}
GOOD = Credentials("servos-agent", (999,) * 4, (997,) * 4, (), SETS, True, "filter")


def having(**sets):
    return GOOD._replace(capabilities=dict(SETS, **sets))


@pytest.mark.parametrize(
    "seen",
    [GOOD, GOOD._replace(groups=(27, 997)), having(inheritable=THREE, ambient=THREE), having(ambient=["CAP_BPF"])],
    ids=["self-dropped", "groups that may be", "given by systemd", "one of them ambient"],
)
def test_what_conforms_has_no_deviation(seen):
    assert deviations_of(POLICY, seen, pid=8, thread=8) == []


@pytest.mark.parametrize(
    ("seen", "what", "is_now"),
    [
        (GOOD._replace(uids=(0, 0, 0, 0)), "uid", "0"),
        (GOOD._replace(uids=(999, 999, 0, 999)), "uid", "real 999, effective 999, saved 0, file system 999"),
        (GOOD._replace(uids=(0, 999, 999, 999)), "uid", "real 0, effective 999, saved 999, file system 999"),
        (GOOD._replace(uids=(999, 999, 999, 0)), "uid", "real 999, effective 999, saved 999, file system 0"),
        (GOOD._replace(uids=(1000,) * 4), "uid", "1000"),
        (GOOD._replace(gids=(997, 997, 0, 997)), "gid", "real 997, effective 997, saved 0, file system 997"),
        (GOOD._replace(groups=(4, 27)), "supplementary_groups", "adm (4)"),
        (GOOD._replace(groups=(0,)), "supplementary_groups", "0"),
        (having(permitted=[*THREE, "CAP_SETUID"]), "permitted", "too many: CAP_SETUID"),
        (having(permitted=THREE[:2]), "permitted", "missing: CAP_BPF"),
        (having(permitted=["CAP_SYS_ADMIN"]), "permitted", "too many: CAP_SYS_ADMIN; missing: " + " ".join(THREE)),
        (having(effective=[]), "effective", "missing: " + " ".join(THREE)),
        (having(bounding=["CAP_SETPCAP", *THREE]), "bounding", "too many: CAP_SETPCAP"),
        (having(inheritable=["CAP_SETUID"]), "inheritable", "too many: CAP_SETUID"),
        (having(ambient=["CAP_NET_RAW"]), "ambient", "too many: CAP_NET_RAW"),
        (GOOD._replace(no_new_privileges=False), "no_new_privileges", "not set"),
        (GOOD._replace(no_new_privileges=None), "no_new_privileges", "unknown"),
        (GOOD._replace(seccomp="disabled"), "seccomp", "disabled"),
        (GOOD._replace(seccomp="strict"), "seccomp", "strict"),
        (GOOD._replace(seccomp=None), "seccomp", "unknown"),
    ],
)
def test_one_thing_that_differs_is_one_deviation(seen, what, is_now):
    found = deviations_of(POLICY, seen, pid=8, thread=9)
    assert [(row["what"], row["is"], row["pid"], row["thread"]) for row in found] == [(what, is_now, 8, 9)]
    assert found[0]["should"]
    assert found[0]["how"].startswith("the agent has to drop the rights of all its threads")


def test_a_long_list_is_cut():
    many = [f"CAP_{number}" for number in range(41, 60)]
    assert deviations_of(POLICY, having(bounding=[*THREE, *many]), pid=8, thread=8)[0]["is"].endswith("CAP_48 and 11 more")


@pytest.mark.parametrize("off", ["no_new_privileges", "seccomp"])
def test_what_is_not_asked_for_is_no_deviation(off):
    bare = GOOD._replace(no_new_privileges=False, seccomp="disabled")
    assert [row["what"] for row in deviations_of(POLICY._replace(**{off: False}), bare, pid=8, thread=8)] == [
        name for name in ("no_new_privileges", "seccomp") if name != off
    ]


def test_an_unknown_user_is_said_once_and_not_compared():
    policy = POLICY._replace(uid=None, gid=None)
    assert [(row["what"], row["is"], row["pid"]) for row in missing_names(policy)] == [
        ("user", "unknown to this host", None), ("group", "unknown to this host", None),
    ]  # fmt: skip
    assert deviations_of(policy, GOOD._replace(uids=(0,) * 4, gids=(0,) * 4), pid=8, thread=8) == []
    assert missing_names(POLICY) == []


@pytest.mark.parametrize(
    ("held", "number"),
    [
        (Privileged(5, "bpf", "anon_inode:bpf-map"), 0),
        (Privileged(5, "foreign_file", "/var/log/agent"), 0),
        (Privileged(5, "foreign_file", "/var/log/agents"), 1),
        (Privileged(5, "raw_socket", "socket:[9]"), 1),
    ],
)
def test_a_descriptor_is_allowed_by_kind_or_by_path(held, number):
    found = descriptor_deviations(POLICY, [held], pid=8)
    assert [row["is"] for row in found] == [f"{held.kind} {held.target} (descriptor 5)"] * number
