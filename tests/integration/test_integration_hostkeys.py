# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""servos_hostkey against real sshd processes; what it pins is judged by ssh, ssh-keygen and paramiko."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from evidence import differences, snapshot_of
from module_runs import ModuleRun, Outcome, without_override
from sshds import NoSshd, Sshd, find, fingerprints, free_port, make_keys, public_keys

try:
    find()
except NoSshd as reason:
    pytest.skip(str(reason), allow_module_level=True)

ALGORITHMS = {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256", "rsa": "rsa-sha2-512"}
TYPES = {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256", "rsa": "ssh-rsa"}


@pytest.fixture(scope="session")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("genuine") / "keys")


@pytest.fixture(scope="session")
def impostor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("impostor") / "keys")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A place for the file of pins in a directory that holds nothing else."""
    (tmp_path / "store").mkdir(mode=0o700)
    return tmp_path / "store" / "known_hosts"


@pytest.fixture
def sshd(tmp_path: Path, genuine: Path) -> Iterator[Sshd]:
    """The genuine server, on two names for one machine."""
    with Sshd(tmp_path / "sshd", genuine, free_port("127.0.20.1"), ["127.0.20.1", "::1"]) as started:
        yield started


def run(store: Path, *hosts: Any, check: bool = False, prepare: Any = (), **options: Any) -> Outcome:
    return ModuleRun("servos_hostkey", {"hosts": list(hosts), "path": str(store), **options}, check=check, prepare=prepare).wait(180)


def ssh_lets_in(sshd: Sshd, store: Path, address: str = "127.0.20.1", algorithm: str = "", **variables: str) -> bool:
    """Whether a strict ssh with these pins, and nothing else, logs in."""
    options = {
        "UserKnownHostsFile": str(store), "GlobalKnownHostsFile": "/dev/null", "StrictHostKeyChecking": "yes", "BatchMode": "yes",
        "IdentitiesOnly": "yes", "ConnectTimeout": "10", "CheckHostIP": "no",
    }  # fmt: skip
    if algorithm:
        options["HostKeyAlgorithms"] = algorithm
    argv = ["ssh", "-F", "/dev/null", "-i", str(sshd.identity), "-p", str(sshd.port)]
    argv += [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    done = subprocess.run([*argv, f"{sshd.user}@{address}", "true"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 or "Host key verification failed" in done.stderr or "host key is known" in done.stderr, done.stderr
    return done.returncode == 0


def found_by_ssh_keygen(store: Path, name: str) -> set[str]:
    done = subprocess.run(["ssh-keygen", "-F", name, "-f", str(store)], capture_output=True, text=True, timeout=20, check=False)
    return {" ".join(line.split()[1:3]) for line in done.stdout.splitlines() if line and not line.startswith("#")}


HARDENED = {
    "one cipher": "Ciphers chacha20-poly1305@openssh.com\n",
    "one MAC": "Ciphers aes128-ctr\nMACs umac-128-etm@openssh.com\n",
    "one key exchange": "KexAlgorithms curve25519-sha256\n",
    "all of it": "KexAlgorithms curve25519-sha256\nCiphers chacha20-poly1305@openssh.com\nMACs umac-128-etm@openssh.com\n",
}


@pytest.mark.parametrize("config", HARDENED.values(), ids=list(HARDENED))
def test_a_hardened_server_is_pinned_and_ssh_connects_by_its_pin(tmp_path: Path, store: Path, genuine: Path, config: str) -> None:
    with Sshd(tmp_path / "sshd", genuine, free_port("127.0.20.1"), ["127.0.20.1"], config) as sshd:
        done = run(store, f"127.0.20.1:{sshd.port}")
        assert done.changed, done.msg
        assert found_by_ssh_keygen(store, f"[127.0.20.1]:{sshd.port}") == set(public_keys(genuine).values())
        assert ssh_lets_in(sshd, store)


def test_a_server_that_only_knows_other_key_exchanges_says_what_to_enable(tmp_path: Path, store: Path, genuine: Path) -> None:
    config = "KexAlgorithms sntrup761x25519-sha512@openssh.com\n"
    with Sshd(tmp_path / "sshd", genuine, free_port("127.0.20.1"), ["127.0.20.1"], config) as sshd:
        done = run(store, f"127.0.20.1:{sshd.port}")
    assert done.failed
    assert "its list is: sntrup761x25519-sha512@openssh.com" in done.msg
    assert "enable curve25519-sha256@libssh.org" in done.msg
    assert not store.exists()


@pytest.mark.parametrize("hash_names", [False, True], ids=["plain", "hashed"])
@pytest.mark.parametrize("address", ["127.0.20.1", "::1"])
def test_what_is_pinned_is_what_ssh_and_ssh_keygen_and_paramiko_find(
    sshd: Sshd, store: Path, genuine: Path, address: str, hash_names: bool
) -> None:
    host = f"[{address}]:{sshd.port}" if ":" in address else f"{address}:{sshd.port}"
    done = run(store, host, hash_names=hash_names)
    assert done.changed, done.msg
    (result,) = done["hosts"]
    assert (result["host"], result["port"], result["status"], result["error"]) == (address, sshd.port, "pinned", None)
    wanted = {(TYPES[name], mark) for name, mark in fingerprints(genuine).items()}
    assert {(key["type"], key["fingerprint"]) for key in result["presented_keys"]} == wanted
    assert {(key["type"], key["fingerprint"]) for key in result["pinned"]} == wanted
    name = f"[{address}]:{sshd.port}"
    assert found_by_ssh_keygen(store, name) == set(public_keys(genuine).values())
    read = paramiko.HostKeys(str(store)).lookup(name)
    assert {f"{kind} {read[kind].get_base64()}" for kind in read} == set(public_keys(genuine).values())
    assert [ssh_lets_in(sshd, store, address, algorithm) for algorithm in ALGORITHMS.values()] == [True] * 3
    assert store.read_text().count(" servos.ops pinned=20") == 3
    assert (address in store.read_text()) is not hash_names
    assert oct(store.stat().st_mode & 0o777) == "0o600"
    again = run(store, host, hash_names=hash_names)
    assert not again.changed
    assert not again.failed
    assert again["hosts"][0]["pinned_at"] == result["pinned_at"]
    assert again["hosts"][0]["pinned_by"].startswith(f"{sshd.user}@")


def test_an_impostor_is_refused_for_good_until_the_pin_is_reset(
    sshd: Sshd, store: Path, tmp_path: Path, genuine: Path, impostor: Path
) -> None:
    host = f"127.0.20.1:{sshd.port}"
    assert run(store, host).changed
    content, marks, others = store.read_bytes(), fingerprints(genuine), fingerprints(impostor)
    sshd.__exit__()
    with Sshd(tmp_path / "impostor", impostor, sshd.port, sshd.addresses) as rebuilt:
        refused, *later = [run(store, host, state=state) for state in ("pinned", "verified", "pinned")]
        assert [(one.failed, one.changed, one["hosts"][0]["status"]) for one in (refused, *later)] == [(True, False, "changed")] * 3
        assert store.read_bytes() == content
        wanted = [marks["ed25519"], others["ed25519"], "127.0.20.1", str(sshd.port), refused["hosts"][0]["pinned_at"]]
        assert [word for word in wanted if word not in refused.msg] == []
        assert not ssh_lets_in(rebuilt, store)
        wrong = run(store, host, state="reset", expected_fingerprint=[marks["ed25519"]])
        assert wrong.failed
        assert wrong["hosts"][0]["status"] == "unexpected"
        assert store.read_bytes() == content
        right = run(store, host, state="reset", expected_fingerprint=[others["ed25519"]])
        assert right.changed
        assert right["hosts"][0]["status"] == "reset"
        assert found_by_ssh_keygen(store, f"[127.0.20.1]:{sshd.port}") == {public_keys(impostor)["ed25519"]}
        assert ssh_lets_in(rebuilt, store)
        assert not run(store, host, expected_fingerprint=[others["ed25519"]]).failed
    with Sshd(tmp_path / "sshd", genuine, sshd.port, sshd.addresses):
        assert run(store, host)["hosts"][0]["status"] == "changed"


def test_one_changed_type_of_several_is_a_change(sshd: Sshd, store: Path, tmp_path: Path, genuine: Path, impostor: Path) -> None:
    host = f"127.0.20.1:{sshd.port}"
    run(store, host)
    sshd.__exit__()
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for name in ("ed25519", "ecdsa", "rsa"):
        for suffix in ("", ".pub"):
            source = (impostor if name == "rsa" else genuine) / f"{name}{suffix}"
            (mixed / source.name).write_bytes(source.read_bytes())
            (mixed / source.name).chmod(0o600)
    with Sshd(tmp_path / "mixed-sshd", mixed, sshd.port, sshd.addresses):
        assert run(store, host)["hosts"][0]["status"] == "changed"


def test_a_type_that_was_not_pinned_is_reported_and_not_planted(sshd: Sshd, store: Path, genuine: Path) -> None:
    host = f"127.0.20.1:{sshd.port}"
    assert run(store, host, key_types=["ed25519"]).changed
    content = store.read_bytes()
    later = run(store, host)
    assert not later.failed and not later.changed
    assert later["hosts"][0]["unpinned_types"] == ["ecdsa-sha2-nistp256", "ssh-rsa"]
    assert "state=reset" in later.warnings
    assert store.read_bytes() == content
    assert run(store, host, state="reset").changed
    assert found_by_ssh_keygen(store, f"[127.0.20.1]:{sshd.port}") == set(public_keys(genuine).values())


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


def test_the_good_are_recorded_and_the_bad_are_named(sshd: Sshd, store: Path, genuine: Path) -> None:
    down = free_port()
    hosts = [f"127.0.0.1:{down}", f"127.0.20.1:{sshd.port}", "no-such-host.invalid", f"[::1]:{sshd.port}", f"127.0.20.1:{sshd.port}"]
    done = run(store, *hosts)
    assert done.failed
    assert [(row["host"], row["status"]) for row in done["hosts"]] == [
        ("127.0.0.1", "unreachable"), ("127.0.20.1", "pinned"), ("no-such-host.invalid", "unreachable"), ("::1", "pinned"),
        ("127.0.20.1", "unchanged"),
    ]  # fmt: skip
    assert done.changed
    assert "2 of 5" in done.msg and f"127.0.0.1 port {down}: refuses" in done.msg and "no-such-host.invalid" in done.msg
    assert found_by_ssh_keygen(store, f"[::1]:{sshd.port}") == set(public_keys(genuine).values())


def test_a_failure_keeps_its_warnings(sshd: Sshd, store: Path) -> None:
    host = f"127.0.20.1:{sshd.port}"
    run(store, host, key_types=["ed25519"])
    done = run(store, host, f"127.0.0.1:{free_port()}")
    assert done.failed
    assert "also presents ecdsa-sha2-nistp256, ssh-rsa" in done.warnings


def test_a_host_that_does_not_answer_keeps_its_pin(sshd: Sshd, store: Path) -> None:
    host = f"127.0.20.1:{sshd.port}"
    run(store, host)
    content = store.read_bytes()
    sshd.__exit__()
    done = run(store, host, state="reset")
    assert done.failed
    assert done["hosts"][0]["status"] == "unreachable"
    assert len(done["hosts"][0]["pinned"]) == 3
    assert store.read_bytes() == content


def test_a_thousand_hosts_in_one_call_have_a_result_each_in_their_order(sshd: Sshd, store: Path) -> None:
    down = free_port("127.0.20.1")
    hosts = [f"127.{20 + i // 250}.0.{1 + i % 250}:{down}" for i in range(998)]
    hosts[500:500] = [f"[::1]:{sshd.port}", f"127.0.20.1:{sshd.port}"]
    done = run(store, *hosts, parallel=256)
    found = [f"[{row['host']}]:{row['port']}" if ":" in row["host"] else f"{row['host']}:{row['port']}" for row in done["hosts"]]
    assert found == hosts
    assert {row["status"] for row in done["hosts"][:500] + done["hosts"][502:]} == {"unreachable"}
    assert [row["status"] for row in done["hosts"][500:502]] == ["pinned", "pinned"]
    assert "998 of 1000 hosts failed" in done.msg


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
