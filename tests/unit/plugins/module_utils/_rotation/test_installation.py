# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service that an installation's options describe is the one that is asked."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ServiceError
from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


@pytest.fixture
def service_of(make_installation, make_database):
    def make(**commands):
        database = make_database("CREATE TABLE empty (id INTEGER)")
        return make_installation("sqlite:///" + database, service_manager="command", service_commands=commands).service()

    return make


def test_its_process_is_the_one_in_the_pid_file(service_of, tmp_path):
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert service_of(stop=["false"], start=["true"], pid_file=str(tmp_path / "pid")).main_pid() == os.getpid()


def test_its_process_is_the_one_that_a_command_prints(service_of):
    assert service_of(stop=["false"], start=["true"], pid=["echo", str(os.getpid())]).main_pid() == os.getpid()


@pytest.mark.parametrize("missing", ["stop", "start"])
def test_it_has_to_be_stopped_and_started(service_of, missing):
    commands = {"stop": ["true"], "start": ["true"], "pid": ["true"]}
    del commands[missing]
    with pytest.raises(ServiceError, match="give service_commands with stop and start"):
        service_of(**commands)


def test_its_process_has_to_be_seen(service_of):
    with pytest.raises(ServiceError, match="with pid_file or pid"):
        service_of(stop=["true"], start=["true"])


@pytest.mark.parametrize("app", ["servos", "act"])
def test_it_is_the_unit_of_the_applications_name_unless_another_is_given(tmp_path, app):
    def run(argv):
        return 0, "LoadState=loaded\nActiveState=active\nMainPID=0\n", ""

    options = {"app": app, "env_file": str(tmp_path / "app.env"), "state_dir": str(tmp_path)}
    assert Installation(options, run=run).service().name == app
    assert Installation(dict(options, service="other"), run=run).service().name == "other"
