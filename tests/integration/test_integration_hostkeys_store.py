# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""servos_hostkey's file of pins: what changes it, and what leaves it as it was."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Any

import paramiko
import pytest
from evidence import differences, snapshot_of
from hostkey_runs import found_by_ssh_keygen, run
from module_runs import ModuleRun, without_override
from ports import free_port
from sshds import Sshd, public_keys

STATES = ["pinned", "verified", "reset", "absent"]


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_check_mode_says_the_same_and_writes_nothing(sshd: Sshd, store: Path, tmp_path: Path, state: str, known: bool) -> None:
    host = {"host": f"127.0.20.1:{sshd.port}", "aliases": ["node"]}
    if known:
        run(store, f"127.0.20.1:{sshd.port}", key_types=["ed25519"])
    before = snapshot_of(store.parent, directory_times=True)
    would = run(store, host, state=state, check=True)
    assert differences(before, snapshot_of(store.parent, directory_times=True)) == []
    old = store.read_text() if known else ""
    does = run(store, host, state=state)
    assert (would.failed, would.changed) == (does.failed, does.changed)
    assert [row["status"] for row in would["hosts"]] == [row["status"] for row in does["hosts"]]
    if does.changed:
        assert would["diff"]["before"] == does["diff"]["before"] == old
        assert does["diff"]["after"] == store.read_text()


def test_absent_asks_nobody(sshd: Sshd, store: Path, genuine: Path) -> None:
    hosts = [f"127.0.20.1:{sshd.port}", f"[::1]:{sshd.port}"]
    store.write_text("# mine\nother " + public_keys(genuine)["rsa"] + " kept\n")
    kept = store.read_text()
    run(store, *hosts)
    sshd.__exit__()
    gone = run(store, hosts[0], state="absent")
    assert gone.changed
    assert gone["hosts"][0]["status"] == "removed"
    assert found_by_ssh_keygen(store, f"[::1]:{sshd.port}") == set(public_keys(genuine).values())
    assert run(store, hosts[1], state="absent", prepare=[forget_paramiko]).changed
    assert store.read_text() == kept
    assert not run(store, hosts[1], state="absent").changed


def test_64_processes_that_pin_64_hosts_lose_nothing(tmp_path: Path, store: Path, genuine: Path) -> None:
    addresses = [f"127.0.21.{number}" for number in range(1, 65)]
    port = free_port(addresses[0])
    keys = set(public_keys(genuine).values())
    with Sshd(tmp_path / "sshd", genuine, port, addresses):
        runs = [
            ModuleRun(
                "servos_hostkey",
                {"hosts": [f"{address}:{port}"], "path": str(store), "timeout": 120, "lock_timeout": 120},
            )
            for address in addresses
        ]  # fmt: skip
        outcomes = [one.wait(240) for one in runs]
    assert [one.msg for one in outcomes if one.failed or not one.changed] == []
    lines = store.read_text().splitlines()
    assert len(lines) == 64 * 3
    assert {line.split()[0] for line in lines} == {f"[{address}]:{port}" for address in addresses}
    assert {" ".join(line.split()[1:3]) for line in lines} == keys
    assert sorted(path.name for path in store.parent.iterdir()) == [".known_hosts.lock", "known_hosts"]


def test_a_locked_store_fails_after_the_wait_and_is_not_touched(sshd: Sshd, store: Path) -> None:
    with open(store.parent / ".known_hosts.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = run(store, f"127.0.20.1:{sshd.port}", lock_timeout=0.2)
    assert done.failed
    assert done["error"] == "HeldLockError" and str(store) in done.msg
    assert not store.exists()


def test_a_corrupt_store_is_named_by_its_line_before_any_host_is_asked(store: Path) -> None:
    store.write_text("# fine\n\nnode ssh-ed25519 hunter2!\n")
    content = store.read_bytes()
    done = run(store, f"127.0.0.1:{free_port()}")
    assert done.failed
    assert done["error"] == "PinStoreError" and f"{store} is not a known_hosts file: line 3" in done.msg
    assert "hunter2" not in done.printed
    assert "hosts" not in done.result
    assert store.read_bytes() == content


def test_an_unreadable_store_is_one_clear_error(sshd: Sshd, store: Path) -> None:
    store.write_text("")
    store.chmod(0)
    done = run(store, f"127.0.20.1:{sshd.port}", prepare=[without_override])
    assert done.failed
    assert done["error"] == "PinStoreError" and "permission denied" in done.msg and str(store) in done.msg


def test_a_store_in_a_directory_that_cannot_be_written_is_one_clear_error(sshd: Sshd, store: Path) -> None:
    store.parent.chmod(0o500)
    done = run(store, f"127.0.20.1:{sshd.port}", prepare=[without_override])
    assert done.failed
    assert done["error"] == "PinStoreError" and "permission denied" in done.msg


def forget_paramiko() -> None:
    from ansible_collections.servos.ops.plugins.module_utils._hosts import scan

    scan.PARAMIKO_IMPORT_ERROR = "ImportError: no paramiko"
    from ansible_collections.servos.ops.plugins.module_utils._ansible import paramiko_dependency

    paramiko_dependency.PARAMIKO_IMPORT_ERROR = scan.PARAMIKO_IMPORT_ERROR


def age_paramiko() -> None:
    paramiko.__version__ = "2.11.0"


@pytest.mark.parametrize("step", [forget_paramiko, age_paramiko], ids=["none", "too old"])
def test_without_a_good_paramiko_it_says_what_to_install(sshd: Sshd, store: Path, step: Any) -> None:
    refused = run(store, f"127.0.20.1:{sshd.port}", prepare=[step])
    assert refused.failed
    assert "paramiko >= 2.12" in refused.msg and "python3-paramiko" in refused.msg
    assert not store.exists()


REFUSED: dict[str, tuple[list[Any], dict[str, Any], str]] = {
    "no hosts": ([], {}, "hosts is empty"),
    "an empty name": ([""], {}, "entry 1: the host is empty"),
    "a comma": (["a,b"], {}, "entry 1 (a,b): 'a,b' is neither"),
    "white space": (["ok", "a b"], {}, "entry 2 (a b): 'a b' is neither"),
    "a control character": (["a\x07b"], {}, "entry 1: 'a\\x07b' is neither"),
    "a port": (["node:70000"], {}, "entry 1 (node:70000): the port is not a number from 1 to 65535"),
    "the port of all": (["node"], {"port": 0}, "port: the port is not a number"),
    "a fingerprint": (["node"], {"expected_fingerprint": ["MD5:00"]}, "ssh-keygen -lf"),
    "a fingerprint for two": (["a", "b"], {"expected_fingerprint": ["SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc"]}, "one host"),
    "parallel": (["node"], {"parallel": 0}, "parallel is not"),
    "timeout": (["node"], {"timeout": 0}, "timeout is not"),
    "lock_timeout": (["node"], {"lock_timeout": -1}, "lock_timeout is not"),
    "no key types": (["node"], {"key_types": []}, "key_types is empty"),
    "a key type": (["node"], {"key_types": ["dsa"]}, "key_types"),
}


@pytest.mark.parametrize(("hosts", "options", "said"), REFUSED.values(), ids=list(REFUSED))
def test_bad_options_are_refused_by_their_name(store: Path, hosts: list[Any], options: dict[str, Any], said: str) -> None:
    done = run(store, *hosts, **options)
    assert done.failed
    assert said in done.msg
    assert os.listdir(store.parent) == []
