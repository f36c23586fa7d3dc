# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets as files in memory: who can read them, how long they stay, and what is left when they go."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest
from engines import Injecting
from evidence import leaks

SECRETS = {"DB_PASSWORD": "correct horse battery staple", "TLS_KEY": "-----BEGIN-----\nline two\n-----END-----\n", "NUL": "a\x00b\r\n"}


def arrived(injecting: Injecting, name: str) -> str:
    return injecting.engine.run("exec", injecting.name, "cat", f"/run/secrets/{name}")


def test_files_arrive_as_they_were_given_and_the_environment_names_them(injecting: Injecting) -> None:
    done = injecting.run(env=SECRETS, delivery="mount", user="65534:65534", public_env={"LEVEL": "info"})
    assert done.changed, done.printed
    environment = injecting.engine.environment(injecting.name)
    assert {name: environment[f"{name}_FILE"] for name in SECRETS} == {name: f"/run/secrets/{name}" for name in SECRETS}
    assert environment["LEVEL"] == "info"
    assert {name: arrived(injecting, name) for name in SECRETS} == SECRETS
    assert injecting.engine.run("exec", injecting.name, "touch", "/run/secrets/TLS_KEY", check=False) == ""
    assert [mount["RW"] for mount in injecting.engine.inspect(injecting.name)["Mounts"]] == [False] * 3


def test_on_the_host_only_root_reaches_them(injecting: Injecting) -> None:
    done = injecting.run(env=SECRETS, delivery="mount", mount_mode="0440", mount_uid=1234, mount_gid=2345)
    files = [Path(path) for path in done["residue"]["mounted_files"]]
    assert sorted(path.name for path in files) == sorted(SECRETS)
    assert {(stat.S_IMODE(p.stat().st_mode), p.stat().st_uid, p.stat().st_gid) for p in files} == {(0o440, 1234, 2345)}
    assert {stat.S_IMODE(folder.stat().st_mode) for path in files for folder in (path.parent, path.parent.parent)} == {0o700}


def test_neither_the_engine_nor_a_process_holds_them(injecting: Injecting) -> None:
    residue = injecting.run(env=SECRETS, delivery="mount")["residue"]
    assert (residue["inspect"], residue["process_environment"], residue["engine_state"]) == ([], [], {})
    assert residue["mount_filesystem"] == "tmpfs"
    shown = json.dumps(injecting.engine.inspect(injecting.name))
    assert leaks(shown, SECRETS) == []
    assert leaks(str(injecting.engine.environment(injecting.name)), SECRETS) == []


def test_they_survive_a_restart_of_the_container(injecting: Injecting) -> None:
    injecting.run(env=SECRETS, delivery="mount")
    injecting.engine.run("restart", injecting.name)
    assert arrived(injecting, "TLS_KEY") == SECRETS["TLS_KEY"]
    assert not injecting.run(env=SECRETS, delivery="mount").changed


def test_after_a_boot_they_are_gone_and_made_anew(injecting: Injecting) -> None:
    injecting.run(env=SECRETS, delivery="mount")
    injecting.engine.run("stop", injecting.name)
    shutil.rmtree(injecting.mount_dir)
    with pytest.raises(AssertionError):
        injecting.engine.run("start", injecting.name)
    done = injecting.run(env=SECRETS, delivery="mount")
    assert (done["action"], done["reasons"]) == ("replaced", ["its mounted secrets are gone"]), done.printed
    assert arrived(injecting, "DB_PASSWORD") == SECRETS["DB_PASSWORD"]


def test_they_go_with_the_container(injecting: Injecting) -> None:
    first = injecting.run(env=SECRETS, delivery="mount")["residue"]["mounted_files"]
    second = injecting.run(env=dict(SECRETS, DB_PASSWORD="another horse"), delivery="mount")["residue"]["mounted_files"]
    assert set(first) & set(second) == set()
    assert [path for path in first if os.path.lexists(path)] == []
    injecting.run(state="absent", delivery="mount")
    assert [path for path in injecting.mount_dir.rglob("*") if path.is_file()] == []
    assert list(injecting.mount_dir.glob("*/*")) == []


def test_they_go_with_a_container_that_does_not_start(injecting: Injecting) -> None:
    assert injecting.run(env=SECRETS, delivery="mount", command=["/bin/false"]).failed
    assert list(injecting.mount_dir.glob("*/*")) == []
    assert injecting.run(env=SECRETS, delivery="mount").changed
    assert injecting.run(env=SECRETS, delivery="mount", networks=["no-such-network"]).failed
    assert len(list(injecting.mount_dir.glob("*/*"))) == 1
    assert arrived(injecting, "TLS_KEY") == SECRETS["TLS_KEY"]


def test_a_change_of_delivery_replaces_and_takes_the_files_away(injecting: Injecting) -> None:
    injecting.run(env={"A": "the first value"}, delivery="mount")
    done = injecting.run(env={"A": "the first value"})
    assert (done["action"], "delivery" in done["changed_options"]) == ("replaced", True)
    assert list(injecting.mount_dir.glob("*/*")) == []


def test_what_another_container_needs_is_not_swept(injecting: Injecting) -> None:
    injecting.run(env=SECRETS, delivery="mount")
    other = injecting.name + "-other"
    injecting.run(name=other, env=SECRETS, delivery="mount")
    injecting.run(name=other, state="absent")
    assert arrived(injecting, "TLS_KEY") == SECRETS["TLS_KEY"]
    assert len(list(injecting.mount_dir.glob("*/*/*"))) == 3
    assert not injecting.run(env=SECRETS, delivery="mount").changed


def test_a_disk_is_refused(injecting: Injecting, tmp_path: Path) -> None:
    done = injecting.run(env=SECRETS, delivery="mount", mount_dir=str(tmp_path / "mounts"))
    assert done.failed
    assert "not on tmpfs or ramfs" in done.msg
    assert (injecting.names(), list(tmp_path.iterdir())) == ([], [])


CHANGES = {"absent": {"state": "absent"}, "by env file now": {"delivery": "env_file"}, "elsewhere": {"delivery": "mount"}}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_they_go_from_where_they_were(injecting: Injecting, change: dict[str, str]) -> None:
    first = injecting.run(env=SECRETS, delivery="mount")["residue"]["mounted_files"]
    assert first
    elsewhere = injecting.mount_dir.parent / "elsewhere"
    assert injecting.run(env={"A": "the value"}, mount_dir=str(elsewhere), **change).changed
    assert [path for path in first if Path(path).exists()] == []
