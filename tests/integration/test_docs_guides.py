# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the guides tell a reader to type, typed: the inventory of docs/start.md, and every command that names a test of this file.

The places of a test are given beside the page's inventory, in group_vars, so that its text is used as it stands.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from escrows import directory_of, escrow_of, new_holder
from evidence import Snapshot, leaks
from guide_blocks import Block, blocks_run_by
from installations import NEW, OLD, Servos, assert_refused, assert_same, b64, fingerprint, seal
from libsql_servers import LibsqlProvara
from playbook_runs import environment_of, inventory_of
from provara_installation import OLD_TEXT
from servers import write

HERE = "tests/integration/test_docs_guides.py"


def blocks_of(test: str, page: str = "") -> list[Block]:
    found = blocks_run_by(f"{HERE}::{test}", page)
    assert found, test
    return found


def commands_of(test: str) -> set[str]:
    """Return the lines of all blocks of a test; two pages may tell the same."""
    return {line for block in blocks_of(test) if block.language != "yaml" for line in block.text.splitlines()}


class Reader:
    """Somebody at a shell, in a folder with the inventory of docs/start.md."""

    def __init__(self, servos: Servos) -> None:
        self.servos, self.folder = servos, servos.scratch / "reader"
        (page,) = [block.text for block in blocks_of("test_five_minutes", "docs/start.md") if block.language == "yaml"]
        local = f"ansible_connection: local\n    ansible_python_interpreter: {sys.executable}"
        for there, here in {
            "ansible_become: true": local, "http://127.0.0.1:8080": servos.url, "/etc/servos/admin_token": str(servos.token_file),
        }.items():  # fmt: skip
            assert there in page
            page = page.replace(there, here)
        told = inventory_of(servos)["servos_control"]["vars"]
        said = yaml.safe_load(page)["servos_control"]["vars"]
        (self.folder / "group_vars").mkdir(parents=True)
        write(self.folder / "inventory.yml", page)
        places = {name: value for name, value in told.items() if name not in said}
        write(self.folder / "group_vars" / "servos_control.yml", json.dumps(places))
        self.typed: set[str] = set()
        self.environment: dict[str, str] = {}

    def type(self, line: str, *more: str, code: int = 0) -> str:
        """Type one line of a page; it must end as told and show no key. C(more) are a test's own words after it."""
        self.typed.add(line)
        if line.startswith("export "):
            name, unused_equals, value = line.removeprefix("export ").partition("=")
            self.environment[name] = value
            return ""
        words = shlex.split(line.replace("/var/lib/servos", str(self.servos.folder / "var")), comments=True)
        words[0] = shutil.which(words[0]) or str(Path(sys.executable).with_name(words[0]))
        secrets = self.servos.secrets()
        done = subprocess.run(
            [*words, *more], cwd=self.folder, env=environment_of(self.servos, **self.environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=180, check=False,
        )  # fmt: skip
        assert leaks(done.stdout, secrets | self.servos.secrets()) == []
        assert done.returncode == code, f"{line}\n{done.stdout}"
        return done.stdout


def find(lines: set[str], *parts: str, without: str = "\0") -> list[str]:
    """Return the lines that hold all of some words. Several pages may tell the same, with other remarks."""
    found = [line for line in sorted(lines) if all(part in line for part in parts) and without not in line]
    assert found, parts
    return found


def without_backups(servos: Servos) -> Snapshot:
    return {name: facts for name, facts in servos.snapshot().items() if not name.startswith(str(servos.backup_dir))}


def test_five_minutes(servos: Servos) -> None:
    """README.md, docs/start.md and docs/rotation.md: a key is tried, rehearsed, rotated, taken back and retired."""
    reader, lines = Reader(servos), commands_of("test_five_minutes")
    (pipelining,) = find(lines, "export ")
    reader.type(pipelining)
    (look,) = find(lines, "servos_key_info")
    assert '"phase": "settled"' in reader.type(look, "-a", json.dumps(servos.options()))

    before = servos.snapshot(directory_times=True)
    check, *checks = find(lines, "rotate", "--check")
    assert "Would rewrap 61 values" in reader.type(check)
    assert_same(before, servos.snapshot(directory_times=True))

    kept = without_backups(servos)
    rehearse, *rehearsals = find(lines, "rehearse")
    text = reader.type(rehearse)
    assert "61 values" in text and "nothing stands in its way" in text
    assert_same(kept, without_backups(servos))
    assert not (servos.folder / "var" / "servos-ops-rehearsal").exists()

    rotate, *rotations = find(lines, "rotate", without="--check")
    assert f"env_key: {fingerprint(OLD)}" in reader.type(rotate, "--diff")
    new = servos.env_text()
    assert servos.process_key_text() == new != b64(OLD)
    servos.assert_all_under(new, b64(OLD))

    before = servos.snapshot()
    assert "changed=0" in reader.type(rotate)
    assert_same(before, servos.snapshot())

    rollback, *rollbacks = find(lines, "rollback")
    reader.type(rollback)
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    servos.assert_all_under(b64(OLD), new)

    retire, *retirements = find(lines, "retire")
    reader.type(retire)
    assert list(servos.state_dir.glob("*.key")) == []
    same = [*checks, *rehearsals, *rotations, *rollbacks, *retirements]
    assert {line.partition("#")[0].strip() for line in same} <= reader.typed
    assert lines - reader.typed <= set(same)


def test_recovery_as_it_is_told(servos: Servos) -> None:
    """docs/recovery.md: a look at a rotation that was stopped, and how the service is started without a playbook."""
    servos.stage()
    servos.rotate(until="rewrapped")
    reader, lines = Reader(servos), commands_of("test_recovery_as_it_is_told")
    (look,) = find(lines, "servos_key_info")
    assert '"phase": "rewrapped"' in reader.type(look, "-a", json.dumps(servos.options()))
    (check,) = find(lines, "--check")
    assert "phase rewrapped" in " ".join(reader.type(check).split())
    (keyring,) = find(lines, "ls -l")
    assert "staged.key" in reader.type(keyring)
    assert lines == reader.typed

    staged = (servos.state_dir / "staged.key").read_text()
    servos.edit_env(r"_MASTER_KEY=.*$", f'_MASTER_KEY="{staged}"')
    servos.start()
    assert servos.call("GET", "/api/servers/1/reveal")[0] == 200
    assert servos.rotate()["phase"] == "activated"


def given_in(test: str, module: str, servos: Servos, **here: str) -> dict[str, Any]:
    """Return the options of the one task that names a test, with a test's files in the places of the page's."""
    (block,) = blocks_of(test)
    (task,) = yaml.safe_load(block.text)
    places = {"/var/lib/servos": str(servos.folder / "var"), **here}
    options = {name: str(places.get(value, value)) for name, value in task[f"servos.ops.{module}"].items()}
    return {name: value.replace("/var/lib/servos", places["/var/lib/servos"]) for name, value in options.items()} | {
        "check": task.get("check_mode", False)
    }


def test_a_backup_is_put_back_as_it_is_told(servos: Servos) -> None:
    servos.backup(state="present")
    servos.sql("DELETE FROM servers WHERE id = 1")
    options = given_in("test_a_backup_is_put_back_as_it_is_told", "servos_backup", servos)
    offered = servos.run("servos_backup", **options)
    assert offered["loss"]["deleted"] == 1
    assert servos.sql("SELECT count(*) FROM servers WHERE id = 1") == [(0,)]
    put_back = servos.run("servos_backup", **(options | {"check": False}))
    assert put_back["started"], put_back.msg
    assert servos.call("GET", "/api/servers/1/reveal")[0] == 200
    servos.assert_all_under(b64(OLD))


def test_a_lost_keyring_as_it_is_told(servos: Servos) -> None:
    in_force, restored = servos.key_file("in-force", b64(OLD)), servos.key_file("restored", b64(NEW))
    servos.stage(new_key_file=str(restored))
    servos.rotate(until="rewrapped")
    servos.sql("UPDATE servers SET ssh_private_key = ? WHERE id = 1", seal(b"written meanwhile", OLD))
    shutil.rmtree(servos.state_dir)
    assert_refused(servos.rotate(), "open neither under", "nothing was changed")
    places = {"/root/in-force.key": str(in_force), "/root/restored.key": str(restored)}
    options = given_in("test_a_lost_keyring_as_it_is_told", "servos_key_rotate", servos, **places)
    assert not servos.run("servos_key_rotate", **options).failed
    assert servos.rotate()["phase"] == "activated"
    assert servos.env_text() == servos.process_key_text() == b64(NEW)


def test_a_key_is_restored_by_hand_as_it_is_told(quiet: Servos, tmp_path: Path) -> None:
    """docs/escrow.md: with age, with shares, and the Base64 of what the shares give."""
    lines = commands_of("test_a_key_is_restored_by_hand_as_it_is_told")
    mark = fingerprint(OLD)[3:]

    def shell(line: str, typed: str = "") -> str:
        done = subprocess.run(
            ["bash", "-ec", line.replace("0123456789abcdef", mark)], cwd=tmp_path, input=typed, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + (done.stderr if "ssss" in line else "")

    make, show = find(lines, "age-keygen")
    shell(make)
    ann = shell(show).strip()
    bob = new_holder(quiet.scratch, "bob")
    escrow = escrow_of(quiet, age_recipients=[ann], shares={"threshold": 2, "recipients": [ann, bob.recipient]})
    assert not quiet.run("servos_keyring", state="escrowed", escrow=escrow).failed
    shutil.copytree(directory_of(quiet), tmp_path / "escrow")

    (with_age,) = find(lines, "age -d", "-o restored.key")
    shell(with_age)
    assert (tmp_path / "restored.key").read_text() == b64(OLD)

    (share,) = find(lines, "age -d", "share-1")
    shares = [shell(share), bob.open(tmp_path / "escrow" / f"escrow-{mark}.share-2.age")]
    assert shares[0].startswith(f"servos.ops share 1 of 2 of mk:{mark}")
    (combine,) = find(lines, "ssss-combine")
    halves = ["".join(text.splitlines()[line].split(": ")[1] + "\n" for text in shares) for line in (1, 2)]
    digits = "".join(shell(combine, half).split()[-1] for half in halves)
    (to_base64,) = find(lines, "python3 -c")
    assert shell(to_base64, digits).strip() == b64(OLD)
    assert lines == {make, show, with_age, share, combine, to_base64}


def test_a_libsql_server_as_it_is_told(tmp_path: Path) -> None:
    """docs/libsql.md, with a server of this test's."""
    provara = LibsqlProvara(tmp_path / "libsql")
    try:
        (told,) = [block.text for block in blocks_of("test_a_libsql_server_as_it_is_told") if block.language == "yaml"]
        for there, here in {
            "libsql://provara-myorg.turso.io": provara.url, "/etc/servos/database_token": str(provara.token_file),
            "/srv/provara/.env": str(provara.env_file()),
        }.items():  # fmt: skip
            assert there in told
            told = told.replace(there, here)
        places = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "servos_service_manager": "none",
            "servos_verify_application": False, "servos_state_dir": str(provara.state_dir), "servos_backup_dir": str(provara.backup_dir),
        }  # fmt: skip
        write(tmp_path / "inventory.yml", json.dumps({"servos_control": {"hosts": {"control": places | yaml.safe_load(told)}}}))
        home = {"ANSIBLE_HOME": str(tmp_path / "ansible"), "ANSIBLE_REMOTE_TMP": str(tmp_path / "remote"), "NO_COLOR": "1"}
        said = []
        for line in sorted(commands_of("test_a_libsql_server_as_it_is_told"), key=len, reverse=True):  # the check first
            words = shlex.split(line)
            command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
            done = subprocess.run(
                command, cwd=tmp_path, env=os.environ | home, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, timeout=180, check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stdout
            said.append(" ".join(done.stdout.split()))
        assert ("Would rewrap 132 values" in said[0], "Rewrapped 132 values" in said[1]) == (True, True)
        assert OLD_TEXT not in provara.env_file().read_text()
    finally:
        provara.tear_down()
