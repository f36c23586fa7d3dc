# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The drop-in of an agent's unit, and what systemd-analyze says of one."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._agents.directives import Wish, complaints_about, drop_in_of, unknown_directives
from ansible_collections.servos.ops.plugins.module_utils._errors import AgentError

WISH = Wish(
    user="servos", group="agents", supplementary_groups=(), capabilities=("CAP_NET_ADMIN", "CAP_BPF"), drop_by="systemd",
    no_new_privileges=True, read_write_paths=("/var/lib/servos",), directives={},
)  # fmt: skip


def lines_of(wish, version=252, unknown=()):
    """What systemd makes of it: the last value of each directive, or all since it was emptied."""
    values = {}
    text = drop_in_of(wish, version=version, unknown=unknown).text
    assert text.partition("[Service]\n")[0].replace("\n", "").count("#") == 2
    for line in text.partition("[Service]\n")[2].splitlines():
        name, unused_equals, value = line.partition("=")
        values.setdefault(name, []).append(value)
        if not value:
            values[name] = []
    return values


def test_systemd_drops_the_rights():
    lines = lines_of(WISH)
    assert (lines["User"], lines["Group"], lines["SupplementaryGroups"]) == (["servos"], ["agents"], [])
    assert lines["AmbientCapabilities"] == lines["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_BPF"]


def test_the_agent_drops_the_rights():
    lines = lines_of(WISH._replace(drop_by="agent", supplementary_groups=("adm",)))
    assert (lines["User"], lines["Group"], lines["SupplementaryGroups"], lines["AmbientCapabilities"]) == (["root"], ["root"], [], [])
    assert lines["CapabilityBoundingSet"] == ["CAP_NET_ADMIN CAP_BPF CAP_SETGID CAP_SETUID CAP_SETPCAP"]


def test_an_agent_that_may_keep_what_it_drops_with_has_it_once():
    assert lines_of(WISH._replace(drop_by="agent", capabilities=("CAP_SETUID",)))["CapabilityBoundingSet"] == [
        "CAP_SETUID CAP_SETGID CAP_SETPCAP"
    ]


def test_no_capability_at_all_is_an_empty_set():
    lines = lines_of(WISH._replace(capabilities=()))
    assert lines["AmbientCapabilities"] == lines["CapabilityBoundingSet"] == []


def test_groups_that_may_be_are_given():
    assert lines_of(WISH._replace(supplementary_groups=("adm", "ssl-cert")))["SupplementaryGroups"] == ["adm ssl-cert"]


@pytest.mark.parametrize("drop_by", ["systemd", "agent"])
def test_ebpf_stays_possible(drop_by):
    lines = lines_of(WISH._replace(drop_by=drop_by))
    assert "bpf" in lines["SystemCallFilter"][0].split()
    assert "AF_NETLINK" in lines["RestrictAddressFamilies"][0].split()
    assert "MemoryDenyWriteExecute" not in lines
    assert lines["NoNewPrivileges"] == ["yes"]
    assert lines["ReadWritePaths"] == ["-/var/lib/servos"]


@pytest.mark.parametrize(
    ("directives", "name", "value"),
    [
        ({"ProtectHome": "read-only"}, "ProtectHome", ["read-only"]),
        ({"ProtectHome": False}, "ProtectHome", ["no"]),
        ({"ProtectHome": None}, "ProtectHome", None),
        ({"MemoryDenyWriteExecute": True}, "MemoryDenyWriteExecute", ["yes"]),
        ({"SystemCallFilter": ["@system-service", "~@chown", "bpf"]}, "SystemCallFilter", ["@system-service", "~@chown", "bpf"]),
        ({"LimitNOFILE": 4096}, "LimitNOFILE", ["4096"]),
        ({"DeviceAllow": []}, "DeviceAllow", None),
    ],
)
def test_a_directive_is_replaced_added_or_taken_out(directives, name, value):
    assert lines_of(WISH._replace(directives=directives)).get(name) == value


def test_an_old_systemd_is_not_given_what_it_does_not_know():
    made = drop_in_of(WISH, version=239)
    assert sorted(made.left_out) == ["ProtectClock", "ProtectHostname", "ProtectKernelLogs", "ProtectProc", "RestrictSUIDSGID"]
    assert [name for name in made.left_out if f"\n{name}=" in made.text] == []
    assert drop_in_of(WISH, version=252).left_out == drop_in_of(WISH, version=None).left_out == []


def test_what_systemd_says_it_does_not_know_is_left_out_too():
    made = drop_in_of(WISH._replace(directives={"Foo": "bar"}), version=252, unknown=["Foo", "UMask"])
    assert made.left_out == ["UMask", "Foo"]
    assert "Foo" not in made.text
    assert "UMask" not in made.text


@pytest.mark.parametrize(("version", "unknown"), [(228, ()), (252, ("AmbientCapabilities",))])
def test_a_systemd_that_cannot_give_capabilities_is_refused(version, unknown):
    with pytest.raises(AgentError, match="drop_by: agent"):
        drop_in_of(WISH, version=version, unknown=unknown)
    assert "AmbientCapabilities=\n" in drop_in_of(WISH._replace(drop_by="agent"), version=version).text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"directives": {"User": "root"}}, "follows from user"),
        ({"directives": {"CapabilityBoundingSet": "~"}}, "follows from capabilities"),
        ({"directives": {"ReadWritePaths": "/"}}, "follows from read_write_paths"),
        ({"directives": {"NoNewPrivileges": False}}, "follows from no_new_privileges"),
        ({"directives": {"UMask": "0077\nUser=root"}}, "one line"),
        ({"directives": {"UMask": ["0077", "0\nUser=root"]}}, "one line"),
        ({"directives": {"UMask": "0077\\"}}, "one line"),
        ({"directives": {"User=root\nUMask": "0"}}, "one line"),
        ({"directives": {"umask": "0"}}, "one line"),
        ({"read_write_paths": ("var",)}, "absolute"),
        ({"read_write_paths": ("/a /b",)}, "absolute"),
        ({"read_write_paths": ("/a\nUser=root",)}, "absolute"),
        ({"user": "servos\nUser=root"}, "no name"),
        ({"group": "a b"}, "no name"),
        ({"supplementary_groups": ("",)}, "no name"),
    ],
)
def test_what_is_no_directive_is_refused(change, said):
    with pytest.raises(AgentError, match=said):
        drop_in_of(WISH._replace(**change), version=252)


# Of systemd 252, 257 and 232, on a drop-in with mistakes.
PRINTED = """\
/run/v/a.service.d/50-x.conf:2: Unknown key name 'Foo' in section 'Service', ignoring.
/run/v/a.service.d/50-x.conf:3: Unknown key 'Bar' in section [Service], ignoring.
/run/v/a.service.d/50-x.conf:4: Unknown lvalue 'Baz' in section 'Service'
/run/v/a.service.d/50-x.conf:5: Failed to parse protect home value, ignoring: maybe
/run/v/a.service:3: Unknown key 'Documentation' in section [Service], ignoring.
/run/v/a.service.d/150-x.conf:2: Unknown key 'Quux' in section [Service], ignoring.
a.service: Command /bin/nosuch is not executable: No such file or directory
"""


def test_only_what_is_said_of_the_drop_in_counts():
    found = complaints_about("50-x.conf", PRINTED)
    assert [text.split(":")[0] for text in found] == ["2", "3", "4", "5"]
    assert unknown_directives(found) == ["Bar", "Baz", "Foo"]
    assert complaints_about("50-x.conf", "") == []
