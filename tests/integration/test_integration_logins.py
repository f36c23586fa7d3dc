# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every server lets the control host in with its key from the data, and shows the pinned host key; or it is named."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence import leaks
from installations import NEW, OLD, Servos, assert_refused, assert_same, b64, reference
from module_runs import Outcome
from ports import free_port
from sshds import Sshd, fingerprints, make_keys, public_keys

ADDRESS = "127.0.0.21"
LOGINS = {"table": "servers", "private_key": "ssh_private_key", "passphrase": "ssh_passphrase"}
PASSPHRASE = "a passphrase that nobody may see"


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory, genuine: Path) -> Iterator[Sshd]:
    with Sshd(tmp_path_factory.mktemp("sshd"), genuine, free_port(ADDRESS), [ADDRESS]) as running:
        yield running


class Fleet:
    """An installation whose servers are those that a test enrolls, with keys that are the sshd's friends."""

    def __init__(self, servos: Servos, sshd: Sshd, genuine: Path) -> None:
        self.servos, self.sshd, self.genuine = servos, sshd, genuine
        self.pins = servos.folder / "known_hosts"
        self.private_keys: list[Path] = []
        servos.sql("DELETE FROM servers")

    def make_key(self, name: str, *options: str, passphrase: str = "") -> Path:
        path = self.servos.scratch / name
        subprocess.run(["ssh-keygen", "-q", *options, "-N", passphrase, "-f", str(path)], check=True, timeout=60)
        self.private_keys.append(path)
        return path

    def admit(self, key: Path) -> Path:
        with (self.sshd.folder / "id.pub").open("a") as admitted:
            admitted.write(key.with_suffix(".pub").read_text())
        return key

    def enroll(self, name: str, key: Path, *, host: str = "", passphrase: str = "") -> None:
        key_file = self.servos.key_file("enroll", b64(OLD))
        argv = ["--name", name, f"--host={host or f'{ADDRESS}:{self.sshd.port}'}", "--private-key-file", key]
        if passphrase:
            file = self.servos.scratch / "passphrase"
            file.write_text(passphrase + "\n")
            argv += ["--passphrase-file", file]
        reference("servos/schema.py", "enroll", "--database", self.servos.database, "--key-file", key_file, *argv)

    def pin(self, keys: Path | None = None, kinds: tuple[str, ...] = ("ed25519", "ecdsa", "rsa"), port: int | None = None) -> None:
        """Write the pins by hand, as ssh-keyscan would."""
        name = f"[{ADDRESS}]:{port or self.sshd.port}"
        self.pins.write_text("".join(f"{name} {public_keys(keys or self.genuine)[kind]}\n" for kind in kinds))

    def log_in(self, **options: Any) -> Outcome:
        logins = LOGINS | options.pop("logins", {})
        outcome = self.servos.run(
            "servos_node_login", service_manager=None, service_commands=None, service=None, logins=logins,
            known_hosts=str(self.pins), **({"timeout": 10} | options),
        )
        assert leaks(outcome.printed, {"passphrase": PASSPHRASE} | self.secrets()) == []
        return outcome

    def secrets(self) -> dict[str, str]:
        lines = {path.name: path.read_text().splitlines()[2] for path in self.private_keys if path.exists()}
        return {name: line for name, line in lines.items() if len(line) > 30}


@pytest.fixture
def fleet(quiet: Servos, sshd: Sshd, genuine: Path) -> Fleet:
    return Fleet(quiet, sshd, genuine)


KINDS = {
    "ed25519": (("-t", "ed25519"), ""),
    "rsa": (("-t", "rsa", "-b", "3072"), ""),
    "ecdsa": (("-t", "ecdsa", "-b", "384"), ""),
    "ed25519 with a passphrase": (("-t", "ed25519"), PASSPHRASE),
    "rsa in PEM with a passphrase": (("-t", "rsa", "-b", "2048", "-m", "PEM"), PASSPHRASE),
    "rsa in PKCS 8": (("-t", "rsa", "-b", "2048", "-m", "PKCS8"), ""),
    "ecdsa in PKCS 8 with a passphrase": (("-t", "ecdsa", "-m", "PKCS8"), PASSPHRASE),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_lets_us_in(fleet: Fleet, kind: str) -> None:
    options, passphrase = KINDS[kind]
    fleet.enroll("one", fleet.admit(fleet.make_key("one", *options, passphrase=passphrase)), passphrase=passphrase)
    fleet.pin()
    before = fleet.servos.snapshot(directory_times=True)
    outcome = fleet.log_in()
    assert not outcome.failed, outcome.msg
    (entry,) = outcome["logins"]
    assert (entry["name"], entry["ok"], entry["address"]) == ("one", True, f"[{ADDRESS}]:{fleet.sshd.port}")
    assert entry["host_fingerprint"] in fingerprints(fleet.genuine).values()
    assert not outcome.changed
    assert_same(before, fleet.servos.snapshot(directory_times=True))


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_one_pinned_type_is_enough_and_is_the_one_asked_for(fleet: Fleet, kind: str) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")))
    fleet.pin(kinds=(kind,))
    assert fleet.log_in()["logins"][0]["host_fingerprint"] == fingerprints(fleet.genuine)[kind]


def test_after_a_rotation(fleet: Fleet) -> None:
    key = fleet.admit(fleet.make_key("one", "-t", "ed25519", passphrase=PASSPHRASE))
    fleet.enroll("one", key, passphrase=PASSPHRASE)
    fleet.pin()
    new = fleet.servos.key_file("new", b64(NEW))
    assert fleet.servos.rotate(new_key_file=str(new), until="swapped").changed
    assert fleet.servos.env_text() == b64(NEW)
    assert fleet.log_in()["logins"][0]["ok"]


def test_a_passphrase_that_the_key_does_not_need(fleet: Fleet) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")), passphrase=PASSPHRASE)
    fleet.pin()
    assert fleet.log_in()["logins"][0]["ok"]


def impostor(fleet: Fleet, tmp_path: Path) -> None:
    fleet.pin(keys=make_keys(tmp_path / "other-keys"))


def other_type(fleet: Fleet, tmp_path: Path) -> None:
    port = fleet.sshd.port
    key = public_keys(make_keys(tmp_path / "p521", types=("ed25519",)))["ed25519"]
    fleet.pins.write_text(f"[{ADDRESS}]:{port} {key}\n")


def nothing(fleet: Fleet, tmp_path: Path) -> None:
    fleet.pins.write_text("")


def no_file(fleet: Fleet, tmp_path: Path) -> None:
    return


def revoked(fleet: Fleet, tmp_path: Path) -> None:
    fleet.pin()
    fleet.pins.write_text(fleet.pins.read_text() + "".join(f"@revoked * {key}\n" for key in public_keys(fleet.genuine).values()))


def corrupt(fleet: Fleet, tmp_path: Path) -> None:
    fleet.pins.write_text("this is not a known_hosts\n")


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (impostor, ("is pinned", "somebody answers in its place", "SHA256:")),
        (other_type, ("is pinned", "somebody answers in its place")),
        (nothing, ("no host key is pinned", "servos.ops.hostkeys")),
        (no_file, ("no host key is pinned", "servos.ops.hostkeys")),
        (revoked, ("no host key is pinned",)),
        (corrupt, ("line 1",)),
    ],
    ids=["another key", "another key of one type", "no pin", "no file", "revoked", "corrupt"],
)
def test_a_host_key_that_is_not_the_pinned_one(fleet: Fleet, tmp_path: Path, prepare: Callable[..., None], words: tuple[str, ...]) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")))
    prepare(fleet, tmp_path)
    outcome = fleet.log_in()
    assert_refused(outcome, "1 of 1 servers", "one:", *words)
    assert [entry["ok"] for entry in outcome["logins"]] == [False]


def test_the_wrong_ones_are_named_and_the_others_tried(fleet: Fleet) -> None:
    good = fleet.admit(fleet.make_key("good", "-t", "ed25519"))
    fleet.enroll("first", good)
    fleet.enroll("stranger", fleet.make_key("stranger", "-t", "ed25519"))
    fleet.enroll("locked", fleet.admit(fleet.make_key("locked", "-t", "ed25519", passphrase=PASSPHRASE)), passphrase="not it")
    fleet.enroll("down", good, host=f"{ADDRESS}:{free_port(ADDRESS)}")
    fleet.enroll("nowhere", good, host="-oProxyCommand=true")
    fleet.enroll("last", good)
    fleet.pin()
    down = fleet.servos.sql("SELECT host FROM servers WHERE name = 'down'")[0][0].rpartition(":")[2]
    fleet.pins.write_text(fleet.pins.read_text() + f"[{ADDRESS}]:{down} {public_keys(fleet.genuine)['rsa']}\n")
    outcome = fleet.log_in()
    assert_refused(
        outcome, "4 of 6 servers", "stranger: ", "does not let", "locked: the private key", "passphrase is not",
        "down: ", "does not answer", "nowhere: ",
    )
    assert [(entry["name"], entry["ok"]) for entry in outcome["logins"]] == [
        ("first", True), ("stranger", False), ("locked", False), ("down", False), ("nowhere", False), ("last", True),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("UPDATE servers SET ssh_private_key = ''", ("no private key",)),
        ("UPDATE servers SET host = ''", ("names no address", "addresses of logins")),
        ("UPDATE servers SET host = 'a b'", ("neither a host name nor",)),
        ("UPDATE servers SET ssh_private_key = 'x' || substr(ssh_private_key, 2)", ("opens under no known key", "servers at id=")),
        ("DELETE FROM servers", ("no row to log in with", "allow_empty")),
    ],
    ids=["no key", "no address", "no name", "not ours", "no servers"],
)
def test_data_that_cannot_log_in(fleet: Fleet, change: str, words: tuple[str, ...]) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")))
    fleet.pin()
    fleet.servos.sql(change)
    assert_refused(fleet.log_in(), *words)


def test_what_the_operator_says_goes_before_the_data(fleet: Fleet) -> None:
    key = fleet.admit(fleet.make_key("one", "-t", "ed25519"))
    fleet.enroll("moved", key, host="192.0.2.1")
    fleet.enroll("gone", key, host="192.0.2.2")
    fleet.pin()
    where = f"{ADDRESS}:{fleet.sshd.port}"
    outcome = fleet.log_in(logins={"addresses": {"moved": where}, "leave_out": ["gone"]})
    assert [(entry["name"], entry["ok"]) for entry in outcome["logins"]] == [("moved", True)]


def test_pins_of_types_that_are_never_asked_for_stand_beside_the_others(fleet: Fleet) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")))
    fleet.pin()
    security_key = "AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fAAAABHNzaDo="
    name = f"[{ADDRESS}]:{fleet.sshd.port}"
    fleet.pins.write_text(f"{name} sk-ssh-ed25519@openssh.com {security_key}\n" + fleet.pins.read_text())
    assert fleet.log_in()["logins"][0]["ok"]


@pytest.mark.parametrize("port", ["{port}", " {port} "], ids=["digits", "blanks around"])
def test_a_port_in_a_column_of_its_own(fleet: Fleet, port: str) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")), host=ADDRESS)
    fleet.pin()
    fleet.servos.sql("ALTER TABLE servers ADD COLUMN port")
    fleet.servos.sql("UPDATE servers SET port = ?", port.format(port=fleet.sshd.port))
    assert fleet.log_in(logins={"port_column": "port"})["logins"][0]["ok"]


@pytest.mark.parametrize("port", [2222.0, b"2222", "²", "0", 65536, "ssh"], ids=repr)
def test_a_port_that_is_none(fleet: Fleet, port: Any) -> None:
    fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")), host=ADDRESS)
    fleet.pin()
    fleet.servos.sql("ALTER TABLE servers ADD COLUMN port")
    fleet.servos.sql("UPDATE servers SET port = ?", port)
    assert_refused(fleet.log_in(logins={"port_column": "port"}), "one: ", "not a number from 1 to 65535")


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("MaxSessions 0", ("opens no session", "MaxSessions")),
        ("AuthenticationMethods publickey,publickey", ("wants more", "publickey")),
    ],
    ids=["no sessions", "one key is not enough"],
)
def test_a_server_that_lets_us_in_only_halfway(
    quiet: Servos, genuine: Path, tmp_path: Path, config: str, words: tuple[str, ...]
) -> None:
    with Sshd(tmp_path / "sshd", genuine, free_port(ADDRESS), [ADDRESS], config + "\n") as strict:
        fleet = Fleet(quiet, strict, genuine)
        fleet.enroll("one", fleet.admit(fleet.make_key("one", "-t", "ed25519")))
        fleet.pin()
        assert_refused(fleet.log_in(), "one: ", *words)


def test_no_servers_where_that_is_right(fleet: Fleet) -> None:
    assert fleet.log_in(allow_empty=True)["logins"] == []


@pytest.mark.parametrize("name", ["table", "private_key", "host"])
def test_names_that_the_data_does_not_have(fleet: Fleet, name: str) -> None:
    assert_refused(fleet.log_in(logins={name: "nope"}), "nope", "has no")


def test_a_server_that_says_nothing(fleet: Fleet) -> None:
    fleet.enroll("mute", fleet.admit(fleet.make_key("one", "-t", "ed25519")))
    with socket.socket() as mute:
        mute.bind((ADDRESS, 0))
        mute.listen()
        fleet.servos.sql("UPDATE servers SET host = ?", f"{ADDRESS}:{mute.getsockname()[1]}")
        fleet.pin(port=mute.getsockname()[1])
        began = time.monotonic()
        assert_refused(fleet.log_in(timeout=1), "mute: no secure connection")
        assert time.monotonic() - began < 30  # it ends at all; how soon is not for a test to say
