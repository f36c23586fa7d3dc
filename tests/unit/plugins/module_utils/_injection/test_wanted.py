# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From options to the engine's words: none can become another option, and what makes a container what it is counts."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import InjectionError
from ansible_collections.servos.ops.plugins.module_utils._injection.wanted import Wanted

PARAMS = {
    "name": "app", "state": "started", "image": "box:1", "delivery": "env_file", "allow_empty": False, "mount_dir": "/run/servos/secrets",
    "mount_target": "/run/secrets", "mount_mode": "0444", "mount_uid": None, "mount_gid": None, "read_only": False, "init": False,
    "timeout": 120, "pull_timeout": 600, "settle": 1, "pull": "missing", "secrets_dir": "/var/lib/servos/secrets",
}


def wanted(variables=None, public=None, **params):
    return Wanted(dict(PARAMS, **params), variables or {}, public or {})


def test_every_value_stands_behind_its_option():
    given = wanted(
        entrypoint="--privileged", restart_policy="always", user="--user", memory="1g", cpus="1.5", working_dir="/w", hostname="h",
        stop_timeout=0, ports=["-v"], volumes=["a:b"], cap_drop=["ALL"], cap_add=["X"], tmpfs=["/t"], security_opt=["s"],
        read_only=True, init=True, labels={"a": "b=c"}, extra_args=["--gpus=all"],
    )
    assert given.arguments() == [
        "--entrypoint=--privileged", "--restart=always", "--user=--user", "--memory=1g", "--cpus=1.5", "--workdir=/w", "--hostname=h",
        "--stop-timeout=0", "--publish=-v", "--volume=a:b", "--cap-drop=ALL", "--cap-add=X", "--tmpfs=/t", "--security-opt=s",
        "--read-only", "--init", "--label=a=b=c", "--gpus=all",
    ]


def test_what_is_not_asked_for_is_not_there():
    assert wanted().arguments() == []
    assert wanted().options == {"delivery": "env_file"}


def test_options_that_do_not_make_the_container_do_not_count():
    assert wanted(timeout=1, settle=9, pull="always", secrets_dir="/elsewhere", mount_dir="/x").options == {"delivery": "env_file"}
    assert set(wanted(delivery="mount").options) == {"delivery", "mount_dir", "mount_target", "mount_mode"}


def test_digests_belong_to_one_container_one_name_and_one_kind():
    options, values = wanted({"A": "x", "B": "x"}, {"C": "x"}, user="x").digests(b"k" * 32)
    other_options, other_values = wanted({"A": "x"}, user="x", name="other").digests(b"k" * 32)
    every = [options["user"], *values.values(), other_options["user"], *other_values.values()]
    assert set(values) == {"A", "B", "C"}
    assert len(set(every)) == len(every)


def test_a_secret_that_is_made_public_has_changed():
    assert wanted({"A": "x"}).digests(b"k" * 32)[1] != wanted({}, {"A": "x"}).digests(b"k" * 32)[1]


def test_mounted_secrets_are_no_variables_but_their_paths_are():
    given = wanted({"A": "secret"}, {"LEVEL": "info"}, delivery="mount", mount_target="/s")
    assert given.environment == {"LEVEL": "info", "A_FILE": "/s/A"}
    assert wanted({"A": "secret"}, {"LEVEL": "info"}).environment == {"LEVEL": "info", "A": "secret"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "a"}, "name"),
        ({"name": "../a"}, "name"),
        ({"name": "app\n"}, "name"),
        ({"name": "app.servos-ops-new"}, "name"),
        ({"image": "-v"}, "image"),
        ({"settle": float("nan")}, "settle"),
        ({"settle": float("inf")}, "settle"),
        ({"settle": -1}, "settle"),
        ({"timeout": 0}, "timeout"),
        ({"pull_timeout": -1}, "pull_timeout"),
        ({"secrets_dir": "/a,b"}, "secrets_dir"),
        ({"labels": {"a": None}}, "labels"),
        ({"image": "a b"}, "image"),
        ({"image": None}, "image"),
        ({"restart_policy": "on-failure:x"}, "restart_policy"),
        ({"labels": {"servos.ops.mount": "x"}}, "labels"),
        ({"labels": {"a=b": "x"}}, "labels"),
        ({"extra_args": ["-v"]}, "extra_args"),
        ({"extra_args": ["--"]}, "extra_args"),
        ({"extra_args": ["--env-file=/x"]}, "extra_args"),
        ({"extra_args": ["--label=servos.ops.injection=other"]}, "extra_args"),
        ({"networks": ["--privileged"]}, "networks"),
        ({"delivery": "mount", "mount_dir": "relative"}, "mount_dir"),
        ({"delivery": "mount", "mount_target": "/a,readonly=false"}, "mount_target"),
        ({"delivery": "mount", "mount_mode": "1777"}, "mount_mode"),
    ],
    ids=str,
)
def test_refused(params, words):
    with pytest.raises(InjectionError, match="^" + words + ": "):
        wanted(**params)


def test_absent_asks_for_a_name_only():
    assert wanted(state="absent", image=None, restart_policy="x").name == "app"
    with pytest.raises(InjectionError):
        wanted(state="absent", name="-x")
