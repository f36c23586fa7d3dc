# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault file on the controller, and the whole playbook with an escrow."""

from __future__ import annotations

from pathlib import Path

import yaml
from escrows import directory_of, escrow_of, new_holder, vault_view
from evidence import leaks
from installations import NEW, Servos, b64, fingerprint, write
from playbook_runs import Played, play

PASSWORD = "the-password-of-the-vault-5b0e"


def controller_of(servos: Servos) -> Path:
    """The directory for vault files; it is not on the managed host."""
    folder = servos.scratch / "controller"
    folder.mkdir(exist_ok=True)
    return folder


def password_file(servos: Servos) -> Path:
    return write(servos.scratch / "vault-password", PASSWORD + "\n")


def rotate(servos: Servos, *argv: str, vault_file: str | None = None, **asked: object) -> Played:
    secret = () if "--vault-id" in argv else ("--vault-password-file", str(password_file(servos)))
    escrow = escrow_of(servos, vault_file=vault_file or f"{controller_of(servos)}/", **asked)
    variables = {"servos_escrow": escrow, "servos_new_key_file": str(servos.key_file("new", b64(NEW)))}
    return play(servos, "rotate", "-e", "servos_rotation_id=one", *secret, *argv, **variables)


def test_the_playbook_escrows_both_ways_before_it_rotates(servos: Servos) -> None:
    ann = new_holder(servos.scratch, "ann")
    done = rotate(servos, "-vvvv", "--diff", age_recipients=[ann.recipient])

    assert done.code == 0, done.text[-3000:]
    assert servos.env_text() == b64(NEW)
    digits = fingerprint(NEW)[3:]
    assert ann.open(directory_of(servos) / f"escrow-{digits}.age") == b64(NEW)
    (vault_file,) = controller_of(servos).iterdir()
    assert oct(vault_file.stat().st_mode)[-3:] == "600"
    assert not leaks(vault_file.read_bytes(), {"new": b64(NEW)})
    found = yaml.safe_load(vault_view(vault_file, password_file(servos)))
    assert (found["app"], found["fingerprint"], found["key"]) == ("servos", fingerprint(NEW), b64(NEW))
    note = yaml.safe_load((directory_of(servos) / f"escrow-{digits}.json").read_text())
    assert {entry["kind"]: entry.get("path") for entry in note["files"]} == {"age": None, "vault": str(vault_file)}

    again = rotate(servos, age_recipients=[ann.recipient])
    assert (again.code, again.stats["changed"]) == (0, 0), again.text[-3000:]
