# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""servos_hostkey against real sshd processes; what it pins is judged by ssh, ssh-keygen and paramiko."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest
from hostkey_runs import found_by_ssh_keygen, run
from ports import free_port
from sshds import Sshd, fingerprints, public_keys

ALGORITHMS = {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256", "rsa": "rsa-sha2-512"}
TYPES = {"ed25519": "ssh-ed25519", "ecdsa": "ecdsa-sha2-nistp256", "rsa": "ssh-rsa"}


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
