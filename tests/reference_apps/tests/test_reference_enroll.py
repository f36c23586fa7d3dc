# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers that can be logged in to, and services with variables of one's own, among rows that are made up."""

from __future__ import annotations

import base64
import json
import sqlite3
import subprocess
from pathlib import Path

import pytest
from Cryptodome.Cipher import AES
from reference_harness import OLD_KEY, b64, run_script


def open_by_hand(sealed_b64: str) -> bytes:
    """Open once more by hand: nonce, ciphertext, tag."""
    sealed = base64.b64decode(sealed_b64)
    return AES.new(OLD_KEY, AES.MODE_GCM, nonce=sealed[:12]).decrypt_and_verify(sealed[12:-16], sealed[-16:])


def query(database: Path, statement: str) -> list[tuple]:
    connection = sqlite3.connect(database)
    rows = connection.execute(statement).fetchall()
    connection.close()
    return rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty database, its key, and a key pair with a passphrase."""
    (tmp_path / "old.key").write_text(b64(OLD_KEY))
    (tmp_path / "passphrase").write_text("kōan, with a blank at its end \n")
    (tmp_path / "variables").write_text('{"MOTD": "two\\nlines", "TOKEN": "ключ"}\n')
    made = ("ssh-keygen", "-q", "-t", "ed25519", "-N", "kōan, with a blank at its end ", "-f", str(tmp_path / "login"))
    subprocess.run(made, check=True, timeout=30, stdin=subprocess.DEVNULL)
    run_schema(tmp_path, "init", check=True)
    return tmp_path


def run_schema(folder: Path, command: str, *more: object, check: bool = False) -> subprocess.CompletedProcess[str]:
    common = ("--database", folder / "servos.db", "--key-file", folder / "old.key")
    return run_script("servos/schema.py", command, *common, *more, check=check)


def enroll(folder: Path, *more: object, name: str = "node1", check: bool = True) -> subprocess.CompletedProcess[str]:
    host = ("--name", name, "--host", "192.0.2.7:2222", "--private-key-file", folder / "login")
    return run_schema(folder, "enroll", *host, *more, check=check)


def test_an_enrolled_key_opens_with_its_passphrase(folder: Path) -> None:
    enroll(folder, "--passphrase-file", folder / "passphrase")
    [(name, host, private_key, passphrase)] = query(
        folder / "servos.db", "SELECT name, host, ssh_private_key, ssh_passphrase FROM servers"
    )
    assert (name, host) == ("node1", "192.0.2.7:2222")
    assert open_by_hand(private_key) == (folder / "login").read_bytes()
    (folder / "opened").touch(mode=0o600)
    (folder / "opened").write_bytes(open_by_hand(private_key))
    asked = ("ssh-keygen", "-y", "-P", open_by_hand(passphrase).decode(), "-f", str(folder / "opened"))
    shown = subprocess.run(asked, check=True, timeout=30, capture_output=True, text=True).stdout
    assert shown.split()[:2] == (folder / "login.pub").read_text().split()[:2]


def test_a_key_without_a_passphrase_has_none(folder: Path) -> None:
    enroll(folder)
    assert query(folder / "servos.db", "SELECT ssh_passphrase FROM servers") == [(None,)]


def test_a_service_has_the_variables_as_the_file_has_them(folder: Path) -> None:
    run_schema(folder, "put-service", "--name", "web", "--variables-file", folder / "variables", check=True)
    [(name, variables)] = query(folder / "servos.db", "SELECT name, env_vars FROM services")
    assert (name, open_by_hand(variables)) == ("web", (folder / "variables").read_bytes())


def test_the_rest_is_filled_around_them_and_the_manifest_has_them(folder: Path) -> None:
    enroll(folder, "--passphrase-file", folder / "passphrase")
    run_schema(folder, "put-service", "--name", "web", "--variables-file", folder / "variables", check=True)
    fill = ("--values", 30, "--without", "servers", "--manifest", folder / "manifest.json")
    run_schema(folder, "fill", *fill, check=True)
    assert query(folder / "servos.db", "SELECT name FROM servers") == [("node1",)]
    assert query(folder / "servos.db", "SELECT count(*) FROM builders")[0][0] > 1
    records = ("--database", folder / "servos.db", "--key-file", folder / "old.key", "--manifest", folder / "manifest.json")
    verdict = json.loads(run_script("servos/judge.py", *records, check=True).stdout)
    assert (verdict["ok"], verdict["opens_new"]) == (True, 30 + 3 + 1)


@pytest.mark.parametrize(
    ("command", "more", "complaint"),
    [
        ("enroll", ("--name", "taken", "--host", "h", "--private-key-file", "login"), "has a row named taken already"),
        ("enroll", ("--name", "n", "--host", "h", "--private-key-file", "login.pub"), "holds no private key"),
        ("enroll", ("--name", "n", "--host", "h", "--private-key-file", "missing"), "No such file"),
        ("put-service", ("--name", "n", "--variables-file", "passphrase"), "Expecting value"),
        ("put-service", ("--name", "n", "--variables-file", "list"), "holds no JSON object"),
        ("fill", ("--values", "6", "--without", "servers", "--manifest", "m"), "at least 7"),
    ],
    ids=["name taken", "public key", "no file", "no JSON", "no object", "too few values"],
)
def test_what_cannot_be_added_is_refused(folder: Path, command: str, more: tuple[str, ...], complaint: str) -> None:
    enroll(folder, name="taken")
    (folder / "list").write_text("[]")
    files = ("login", "login.pub", "missing", "passphrase", "list", "m")
    done = run_schema(folder, command, *(folder / word if word in files else word for word in more))
    assert done.returncode == 2 and complaint in done.stderr
    assert query(folder / "servos.db", "SELECT count(*) FROM servers") == [(1,)]
    assert query(folder / "servos.db", "SELECT count(*) FROM services") == [(0,)]
