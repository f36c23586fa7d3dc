# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The vault file on the controller, and the whole playbook with an escrow."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from escrows import Holder, directory_of, escrow_of, new_holder, vault_view
from evidence import leaks
from installations import NEW, OLD, OTHER, Servos, assert_same, b64, fingerprint, write
from playbook_runs import Played, environment_of, inventory_of, play

PASSWORD = "the-password-of-the-vault-5b0e"
DIGITS = fingerprint(NEW)[3:]


@pytest.fixture
def controller(quiet: Servos) -> Path:
    """The directory for vault files; it is not on the managed host."""
    folder = quiet.scratch / "controller"
    folder.mkdir()
    return folder


@pytest.fixture
def password(quiet: Servos) -> Path:
    return write(quiet.scratch / "vault-password", PASSWORD + "\n")


def call(servos: Servos, *argv: str, escrow: dict[str, Any], **options: Any) -> tuple[dict[str, Any], str]:
    """Run the one task that stages NEW; return its result, and all that was said."""
    command = shutil.which("ansible") or str(Path(sys.executable).with_name("ansible"))
    inventory = write(servos.scratch / "inventory.json", json.dumps(inventory_of(servos)))
    told = servos.options(state="staged", new_key_file=str(servos.key_file("new", b64(NEW))), escrow=escrow_of(servos, **escrow))
    done = subprocess.run(
        [command, "-i", str(inventory), "control", "-m", "servos.ops.servos_keyring", "-a", json.dumps(told | options), *argv],
        env=environment_of(servos, ANSIBLE_LOAD_CALLBACK_PLUGINS="1", ANSIBLE_STDOUT_CALLBACK="ansible.builtin.minimal"),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert leaks(done.stdout, servos.secrets() | {"new": b64(NEW), "password": PASSWORD}) == []
    marked = done.stdout.split(" => ", 1)
    try:
        return json.loads(marked[1]), done.stdout
    except (ValueError, IndexError):
        return {}, done.stdout


def assert_holds(path: Path, password: Path, key_bytes: bytes) -> None:
    found = yaml.safe_load(vault_view(path, password))
    assert (found["fingerprint"], found["key"]) == (fingerprint(key_bytes), b64(key_bytes))
    assert oct(path.stat().st_mode)[-3:] == "600"


def test_the_vault_file_holds_the_key_and_ansible_vault_shows_it(quiet: Servos, controller: Path, password: Path) -> None:
    escrow = {"vault_file": f"{controller}/prod-{{fingerprint}}.yml"}
    checked, said = call(quiet, "--vault-password-file", str(password), "--check", escrow=escrow)
    assert (checked["changed"], checked["escrow"]["missing"], list(controller.iterdir())) == (True, ["vault"], []), said
    done, said = call(quiet, "--vault-password-file", str(password), escrow=escrow)
    assert (done["changed"], done["escrow"]["missing"]) == (True, []), said
    assert "sealed" not in done["escrow"]
    assert [path.name for path in controller.iterdir()] == [f"prod-{DIGITS}.yml"]
    assert_holds(controller / f"prod-{DIGITS}.yml", password, NEW)
    again, said = call(quiet, "--vault-password-file", str(password), escrow=escrow)
    assert (again["changed"], "sealed" in again["escrow"], "sealed" in checked["escrow"]) == (False, False, False), said
    (controller / f"prod-{DIGITS}.yml").unlink()
    again, said = call(quiet, "--vault-password-file", str(password), escrow=escrow)
    assert again["changed"] is True, said
    assert_holds(controller / f"prod-{DIGITS}.yml", password, NEW)
    assert quiet.rotate()["phase"] == "activated"


@pytest.mark.parametrize("argv", [(), ("-B", "60", "-P", "1")], ids=["no secret", "async"])
def test_what_would_fail_is_refused_before_a_key_is_made(
    quiet: Servos, controller: Path, password: Path, argv: tuple[str, ...]
) -> None:
    given = ("--vault-password-file", str(password), *argv) if argv else ()
    before = quiet.snapshot()
    said = call(quiet, *given, escrow={"vault_file": f"{controller}/"})[1]
    assert "FAILED!" in said
    assert ("async" if argv else "the play has none") in said and "nothing was changed" in said
    assert_same(before, quiet.snapshot())
    assert list(controller.iterdir()) == []


def test_a_file_of_another_key_is_never_overwritten(quiet: Servos, controller: Path, password: Path) -> None:
    path = controller / "servos.yml"
    given = ("--vault-password-file", str(password))
    other = str(quiet.key_file("other", b64(OTHER)))
    quiet.env_file.write_text(quiet.env_file.read_text().replace(b64(OLD), b64(OTHER)))
    done, said = call(quiet, *given, escrow={"vault_file": str(path)}, state="escrowed", new_key_file=other)
    assert done["changed"], said
    quiet.env_file.write_text(quiet.env_file.read_text().replace(b64(OTHER), b64(OLD)))
    before = path.read_bytes()

    refused, said = call(quiet, *given, escrow={"vault_file": str(path)})
    assert fingerprint(OTHER) in refused["msg"] and "{fingerprint}" in refused["msg"], said
    assert path.read_bytes() == before
    assert "escrow" in quiet.rotate().msg
    quiet.assert_all_under(b64(OLD))
    done, said = call(quiet, *given, escrow={"vault_file": f"{controller}/servos-{{fingerprint}}.yml"})
    assert (done["changed"], done["escrow"]["missing"]) == (True, []), said
    assert quiet.rotate()["phase"] == "activated"


def test_a_controller_that_died_before_the_file_is_finished_by_the_same_call(quiet: Servos, controller: Path, password: Path) -> None:
    escrow = escrow_of(quiet, vault_file=f"{controller}/", vault_recipient=b64(bytes(range(32))))
    staged = quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), escrow=escrow)
    assert staged["escrow"]["missing"] == ["vault"]
    assert not leaks(base64.b64decode(staged["escrow"]["sealed"]), {"new": b64(NEW)})
    assert "vault" in quiet.rotate().msg
    done, said = call(quiet, "--vault-password-file", str(password), escrow={"vault_file": f"{controller}/"})
    assert (done["changed"], done["escrow"]["missing"]) == (True, []), said
    assert quiet.rotate()["phase"] == "activated"


def test_a_controller_that_died_after_the_file_is_finished_by_the_same_call(quiet: Servos, controller: Path, password: Path) -> None:
    given = ("--vault-password-file", str(password))
    assert call(quiet, *given, escrow={"vault_file": f"{controller}/"})[0]["changed"]
    (directory_of(quiet) / f"escrow-{DIGITS}.json").unlink()
    (path,) = controller.iterdir()
    before = (path.stat().st_ino, path.read_bytes())
    assert "vault" in quiet.rotate().msg
    done, said = call(quiet, *given, escrow={"vault_file": f"{controller}/"})
    assert (done["changed"], done["escrow"]["missing"]) == (True, []), said
    assert before == (path.stat().st_ino, path.read_bytes())


def test_async_is_possible_without_a_vault_file(quiet: Servos) -> None:
    ann = new_holder(quiet.scratch, "ann")
    unused_result, said = call(quiet, "-B", "60", "-P", "1", escrow={"age_recipients": [ann.recipient]})
    assert "CHANGED" in said
    assert ann.open(directory_of(quiet) / f"escrow-{DIGITS}.age") == b64(NEW)


def rotate(servos: Servos, controller: Path, password: Path, ann: Holder, *argv: str, **environment: str) -> Played:
    variables = {
        "servos_escrow": escrow_of(servos, vault_file=f"{controller}/", age_recipients=[ann.recipient]),
        "servos_new_key_file": str(servos.key_file("new", b64(NEW))),
    }
    given = ("-e", "servos_rotation_id=one", "--vault-password-file", str(password), *argv)
    return play(servos, "rotate", *given, environment=environment, **variables)


def test_the_playbook_escrows_both_ways_before_it_rotates(servos: Servos) -> None:
    ann, password = new_holder(servos.scratch, "ann"), write(servos.scratch / "password", PASSWORD)
    controller = servos.scratch / "controller"
    controller.mkdir()
    artifacts = servos.scratch / "artifacts"
    loud = {
        "ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_PIPELINING": "0", "ANSIBLE_LOG_PATH": str(servos.scratch / "ansible.log"),
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.tree", "ANSIBLE_CALLBACK_TREE_DIR": str(artifacts),
    }  # fmt: skip
    done = rotate(servos, controller, password, ann, "-vvvv", "--diff", **loud)

    assert done.code == 0, done.text[-3000:]
    assert servos.env_text() == b64(NEW)
    assert ann.open(directory_of(servos) / f"escrow-{DIGITS}.age") == b64(NEW)
    (path,) = controller.iterdir()
    assert_holds(path, password, NEW)
    note = yaml.safe_load((directory_of(servos) / f"escrow-{DIGITS}.json").read_text())
    assert {entry["kind"]: entry.get("path") for entry in note["files"]} == {"age": None, "vault": str(path)}

    # Neither the key nor the vault's password is anywhere but where it belongs.
    belongs = {servos.env_file, servos.scratch / "new.key", password, servos.state_dir / "staged.key", servos.token_file}
    searched = [path for root in (servos.folder, servos.scratch) for path in root.rglob("*") if path.is_file() and path not in belongs]
    found = {str(path): leaks(path.read_bytes(), {"new": b64(NEW), "password": PASSWORD}) for path in searched}
    assert {name: names for name, names in found.items() if names} == {}
    assert any("AnsiballZ" in name for name in found) and any(str(artifacts) in name for name in found), "too little was searched"
    assert os.path.getsize(servos.scratch / "ansible.log") > 10_000

    again = rotate(servos, controller, password, ann)
    assert (again.code, again.stats["changed"]) == (0, 0), again.text[-3000:]


def test_the_rehearsal_tries_the_escrow_and_writes_none(quiet: Servos, controller: Path, password: Path) -> None:
    ann = new_holder(quiet.scratch, "ann")
    asked = {"servos_verify_application": False, "servos_probes": [], "servos_health_url": ""}
    sound = escrow_of(quiet, vault_file=f"{controller}/", age_recipients=[ann.recipient])
    done = play(quiet, "rehearse", "--vault-password-file", str(password), servos_escrow=sound, **asked)
    assert done.code == 0, done.text[-3000:]
    assert (list(controller.iterdir()), directory_of(quiet).exists()) == ([], False)
    done = play(quiet, "rehearse", servos_escrow=sound, **asked)
    assert done.code != 0 and "the play has none" in done.text
