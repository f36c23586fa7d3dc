# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemctl prints of a unit, and what of it is in the way of an agent."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._agents.unit import (
    drop_in_name,
    parse_unit,
    parse_version,
    unit_deviations,
    unit_name,
)
from ansible_collections.servos.ops.plugins.module_utils._errors import AgentError

SHOWN = """\
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
MainPID=812
FragmentPath=/usr/lib/systemd/system/servos-agent.service
DropInPaths=/etc/systemd/system/servos-agent.service.d/50-a.conf /run/systemd/system/servos-agent.service.d/60-b.conf
ControlGroup=/system.slice/servos-agent.service
NeedDaemonReload=no
Result=success
NRestarts=0
"""


def test_a_unit_that_runs():
    unit = parse_unit("servos-agent.service", SHOWN)
    assert unit.main_pid == 812
    assert len(unit.drop_ins) == 2
    assert unit.control_group == "/system.slice/servos-agent.service"
    assert unit_deviations(unit) == []
    assert unit.as_facts()["needs_daemon_reload"] is False


@pytest.mark.parametrize(
    ("line", "replaced", "is_now"),
    [
        ("LoadState=loaded", "LoadState=masked", "masked"),
        ("LoadState=loaded", "LoadState=not-found", "not there"),
        ("LoadState=loaded", "LoadState=bad-setting", "bad-setting"),
        ("LoadState=loaded\n", "", "unknown"),
        ("MainPID=812", "MainPID=0", "not running (ActiveState=active, SubState=running, Result=success, NRestarts=0)"),
        ("MainPID=812\n", "", "not running (ActiveState=active, SubState=running, Result=success, NRestarts=0)"),
        ("NeedDaemonReload=no", "NeedDaemonReload=yes", "changed on disk since it was loaded"),
    ],
)
def test_what_is_in_the_way(line, replaced, is_now):
    found = unit_deviations(parse_unit("servos-agent.service", SHOWN.replace(line, replaced)))
    assert [(row["what"], row["is"], row["pid"]) for row in found] == [("unit", is_now, None)]
    assert "servos-agent.service" in found[0]["how"]


def test_a_masked_unit_is_to_be_unmasked():
    masked = parse_unit("servos-agent.service", SHOWN.replace("LoadState=loaded", "LoadState=masked"))
    assert unit_deviations(masked)[0]["how"] == "systemctl unmask servos-agent.service"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT", 252),
        ("systemd 257 (257.8-1~deb13u2)", 257),
        ("systemd 219\n+PAM", 219),
        ("systemd 258~rc1 (258~rc1)", 258),
        ("systemd v252", None),
        ("", None),
        ("runit 2", None),
    ],
)
def test_a_version(text, version):
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("text", "name"),
    [("servos-agent", "servos-agent.service"), ("servos-agent.service", "servos-agent.service"), ("a@b:c.d", "a@b:c.d.service")],
)
def test_the_name_of_a_unit(text, name):
    assert unit_name(text) == name


@pytest.mark.parametrize("text", ["../a", "a/b.service", "-a", "a b", "a\nb", "a.service\n", ".service"])
def test_what_is_no_unit_is_refused(text):
    with pytest.raises(AgentError, match="no service of systemd"):
        unit_name(text)


@pytest.mark.parametrize("text", ["a", "../a.conf", "a/b.conf", ".conf", "a.conf\n"])
def test_what_is_no_drop_in_is_refused(text):
    with pytest.raises(AgentError, match=r"ends in \.conf"):
        drop_in_name(text)


def test_the_name_of_a_drop_in():
    assert drop_in_name("50-servos.conf") == "50-servos.conf"
