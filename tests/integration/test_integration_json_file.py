# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Node-RED's credentials, one value without authentication in a JSON file: rotated, taken back, backed up, and never lost."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installations import assert_refused, assert_same
from installations import seal as seal_gcm
from json_installation import CONTENT, NEW_TEXT, OLD_TEXT, OTHER_TEXT, Credentials, seal, seal_two_bytes_for, unseal
from module_runs import Outcome, without_override

UNPROVEN = "encrypted without authentication"


@pytest.fixture
def nodered(template: Path, tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / "nodered")


@pytest.fixture
def staged(nodered: Credentials) -> Credentials:
    assert not nodered.stage().failed
    return nodered


def assert_rotated(nodered: Credentials, done: Outcome) -> None:
    assert not done.failed, done.msg
    assert nodered.is_under(NEW_TEXT) and nodered.opened(OLD_TEXT) is None
    assert nodered.env_text() == NEW_TEXT
    left = [path.name for path in nodered.folder.rglob("*") if path.name.endswith((".servos-ops-new", ".partial"))]
    assert left == []


def test_a_rotation_from_end_to_end(staged: Credentials) -> None:
    before = staged.file.stat()
    text = staged.file.read_text().replace(staged.sealed(), "")
    done = staged.rotate()
    assert (done["rewrapped"], done.changed) == (1, True)
    assert_rotated(staged, done)
    after = staged.file.stat()
    assert (after.st_uid, after.st_gid, after.st_mode) == (before.st_uid, before.st_gid, before.st_mode)
    assert staged.file.read_text().replace(staged.sealed(), "") == text, "every other byte stays"

    again = staged.rotate()
    assert (again.changed, again["rewrapped"]) == (False, 0)
    assert [UNPROVEN in run.warnings for run in (done, again, staged.info())] == [True] * 3
    retired = staged.run("servos_keyring", state="retired")
    assert retired.changed and not list(staged.state_dir.glob("*.key"))
    (row,) = staged.info()["census"]
    assert (row["table"], row["column"], row["active"], row["foreign"]) == ("document", "$", 1, 0)


def test_check_mode_writes_nothing(staged: Credentials) -> None:
    before = staged.snapshot(directory_times=True)
    done = staged.rotate(check=True)
    assert (done.changed, done["rewrapped"]) == (True, 1)
    assert UNPROVEN in done.warnings
    assert_same(before, staged.snapshot(directory_times=True))


def test_a_rotation_is_taken_back(staged: Credentials) -> None:
    staged.rotate()
    done = staged.rotate(direction="back")
    assert not done.failed, done.msg
    assert staged.is_under(OLD_TEXT) and staged.env_text() == OLD_TEXT


def test_a_copy_is_rotated_alone(nodered: Credentials) -> None:
    """What the playbook for rehearsals does."""
    nodered.backup(state="present")
    before = nodered.snapshot()
    copy = nodered.scratch / "copy" / "copy.json"
    assert not nodered.backup(state="restored", target=str(copy)).failed
    elsewhere = {"database": f"json:///{copy}", "state_dir": str(nodered.scratch / "rotation")}
    assert not nodered.stage(**elsewhere).failed
    assert nodered.rotate(until="rewrapped", **elsewhere)["rewrapped"] == 1
    assert unseal(json.loads(copy.read_bytes())["$"], NEW_TEXT) == CONTENT
    assert_same(before, nodered.snapshot())


# Backups


def test_a_backup_is_the_same_bytes_and_comes_back(staged: Credentials) -> None:
    content = staged.file.read_bytes()
    note = staged.backup(state="present")["backup"]
    assert Path(note["path"]).read_bytes() == content
    assert Path(note["path"]).stat().st_mode & 0o777 == 0o600
    assert list(note["keys"].values()) == [1]
    staged.file.write_bytes(b"{}")
    done = staged.backup(state="restored")
    assert not done.failed, done.msg
    assert staged.file.read_bytes() == content
    assert staged.file.stat().st_mode & 0o777 == 0o640
    assert Path(done["set_aside"]).read_bytes() == b"{}"


@pytest.mark.parametrize("content", [None, b'{"$":"abc', b""], ids=["gone", "damaged", "empty"])
def test_a_file_that_is_no_more_comes_back(nodered: Credentials, content: bytes | None) -> None:
    whole = nodered.file.read_bytes()
    nodered.backup(state="present")
    nodered.file.unlink()
    if content is not None:
        nodered.file.write_bytes(content)
    done = nodered.backup(state="restored")
    assert not done.failed, done.msg
    assert nodered.file.read_bytes() == whole


def test_a_backup_that_was_changed_is_refused(nodered: Credentials) -> None:
    path = Path(nodered.backup(state="present")["backup"]["path"])
    path.write_bytes(path.read_bytes() + b"\n")
    before = nodered.snapshot()
    assert_refused(nodered.backup(state="restored"), "not what it was when it was made", "nothing was changed")
    assert_same(before, nodered.snapshot())


def test_backups_expire(nodered: Credentials) -> None:
    first = nodered.backup(state="present")["backup"]["path"]
    note = Path(first + ".json")
    note.write_text(note.read_text().replace('"expires_at": "20', '"expires_at": "19'))
    second = nodered.backup(state="present", retention_days=30)
    assert second["removed"] == [first]
    left = {path.name for path in nodered.backup_dir.iterdir()}
    name = Path(second["backup"]["path"]).name
    assert {name, name + ".json"} <= left and Path(first).name not in left


# Others that write, and kills


def hooked(name: str, act: Callable[[int], None]) -> Callable[[], None]:
    """Return a step that lets C(act) see how often the module has called a function of C(os) before it does so again."""

    def prepare() -> None:
        real, calls = getattr(os, name), [0]

        def call(*args: Any, **named: Any) -> Any:
            calls[0] += 1
            act(calls[0])
            return real(*args, **named)

        setattr(os, name, call)

    return prepare


def kill_at(number: int) -> Callable[[int], None]:
    return lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None


FSYNCS, RENAMES = 14, 7


@pytest.mark.parametrize(("name", "number"), [*(("fsync", n + 1) for n in range(FSYNCS)), *(("replace", n + 1) for n in range(RENAMES))])
def test_a_kill_at_any_write_is_mended_by_the_same_call(staged: Credentials, name: str, number: int) -> None:
    staged.begin("servos_key_rotate", prepare=[hooked(name, kill_at(number))]).wait()
    assert staged.is_under(OLD_TEXT) or staged.is_under(NEW_TEXT)
    assert_rotated(staged, staged.rotate())
    assert not staged.rotate().changed


def test_the_kills_reach_every_write(staged: Credentials) -> None:
    """None of them comes after the end of a run without a test above."""
    done = staged.begin("servos_key_rotate", prepare=[hooked("fsync", kill_at(FSYNCS + 1)), hooked("replace", kill_at(RENAMES + 1))]).wait()
    assert_rotated(staged, done)


def test_what_the_application_writes_during_the_run_stays(staged: Credentials) -> None:
    written = seal({"node3": {"password": "deployed meanwhile"}}, OLD_TEXT)

    def deploy(unused_count: int) -> None:
        temporary = list(staged.folder.glob(".flows_cred.json.servos-ops-new"))
        if temporary and staged.sealed() != written:
            staged.fill(written)

    refused = staged.run("servos_key_rotate", prepare=[hooked("fsync", deploy)])
    assert_refused(refused, "rewritten by another process during the run", "nothing was changed", "run again")
    assert staged.sealed() == written and staged.env_text() == OLD_TEXT
    assert staged.rotate()["rewrapped"] == 1
    assert staged.opened(NEW_TEXT) == {"node3": {"password": "deployed meanwhile"}}


def test_what_lies_beside_under_the_old_key_is_named(staged: Credentials) -> None:
    beside = staged.folder / ".flows_cred.json.backup"
    beside.write_bytes(staged.file.read_bytes())
    done = staged.rotate()
    assert str(beside) in done.warnings and "may hold values under the old key" in done.warnings
    assert unseal(json.loads(beside.read_bytes())["$"], OLD_TEXT) == CONTENT


# What is refused


def test_a_wrong_secret_is_refused(staged: Credentials) -> None:
    staged.fill(seal(CONTENT, OTHER_TEXT))
    before = staged.snapshot()
    for outcome in (staged.rotate(), staged.rotate(check=True), staged.backup(state="present")):
        assert_refused(outcome, "opens none of the 1 sealed values", "document.$ of the file", "not the key of this database")
    assert_same(before, staged.snapshot())


BAD = {
    "damaged": (b'{"$":"abc', ["not a json file, or damaged", "line 1, column 6", "nothing was changed"]),
    "empty": (b"", ["is an empty file", "nothing was changed"]),
    "not UTF-8": (b'{"$":"\xff"}', ["not UTF-8", "nothing was changed"]),
    "a name twice": (b'{"$":"a","$":"b"}', ["stands twice", "nothing was changed"]),
    "no credentials yet": (b"{}", ["no column $", "nothing was changed"]),
    "not encrypted": (b'{"node1":{"password":"plain-password"}}', ["no column $", "nothing was changed"]),
    "cut in its value": (b'{"$":"0123456789abcdef0123456789abcdef"}', ["none looks sealed", "nothing was changed"]),
    "another value": (json.dumps({"$": seal_gcm(b"x" * 50, b"k" * 32)}).encode(), ["none looks sealed", "nothing was changed"]),
}


@pytest.mark.parametrize(("content", "words"), BAD.values(), ids=BAD)
def test_a_file_that_is_not_what_it_should_be(staged: Credentials, content: bytes, words: list[str]) -> None:
    staged.file.write_bytes(content)
    before = staged.snapshot()
    refused = staged.rotate()
    assert_refused(refused, *words)
    assert "plain-password" not in refused.printed
    assert_same(before, staged.snapshot())


def test_no_file_a_directory_and_another_path(staged: Credentials) -> None:
    before = staged.snapshot()
    assert_refused(staged.rotate(database="json:////nowhere/flows_cred.json"), "there is no file", "it was not created")
    assert_refused(staged.rotate(database=f"json:///{staged.folder}"), "not a regular file", "name the right file")
    assert_refused(staged.rotate(database="json:flows_cred.json"), "relative path", "json:////absolute/path")
    assert_same(before, staged.snapshot())


def test_who_may_not_write_is_told_before(staged: Credentials) -> None:
    staged.file.chmod(0o440)
    before = staged.snapshot()
    assert_refused(staged.run("servos_key_rotate", prepare=[without_override]), "cannot be written", "nothing was changed")
    assert_same(before, staged.snapshot())


def test_who_may_not_read_is_told(staged: Credentials) -> None:
    staged.file.chmod(0)
    assert_refused(staged.run("servos_key_rotate", prepare=[without_override]), "permission denied", "nothing was changed")


def test_a_full_disk_changes_nothing(staged: Credentials) -> None:
    def full(unused_count: int) -> None:
        if list(staged.folder.glob(".flows_cred.json.servos-ops-new")):
            raise OSError(errno.ENOSPC, "No space left on device")

    content = staged.file.read_bytes()
    refused = staged.run("servos_key_rotate", prepare=[hooked("write", full)])
    assert_refused(refused, "no space left", "nothing was changed")
    assert (staged.file.read_bytes(), staged.env_text()) == (content, OLD_TEXT)
    assert_rotated(staged, staged.rotate())


def test_a_secret_of_node_reds_own_goes_first(staged: Credentials) -> None:
    (staged.folder / ".config.runtime.json").write_text(json.dumps({"_credentialSecret": OLD_TEXT}))
    before = staged.snapshot()
    refused = staged.rotate()
    assert_refused(refused, ".config.runtime.json holds _credentialSecret", "deploy a change", "nothing was changed")
    assert_same(before, staged.snapshot())


# Two bytes


def test_no_credentials_at_all_are_rotated_as_well(staged: Credentials) -> None:
    """Of 65,536 wrong keys one gives the same two bytes; neither of these does but for that chance, which is made not to happen."""
    sealed = seal({}, OLD_TEXT)
    while unseal(sealed, NEW_TEXT) is not None:
        sealed = seal({}, OLD_TEXT)
    staged.fill(sealed)
    assert staged.rotate()["rewrapped"] == 1
    assert staged.opened(NEW_TEXT) == {}


def test_two_bytes_that_two_keys_open_are_left_to_a_person(staged: Credentials) -> None:
    staged.fill(seal_two_bytes_for(OLD_TEXT, NEW_TEXT))
    assert [staged.opened(text) for text in (OLD_TEXT, NEW_TEXT)] == [{}, {}]
    before = staged.snapshot()
    assert_refused(staged.rotate(), "more than one key", "document.$ of the file", "nothing was changed")
    assert_same(before, staged.snapshot())


# Discovery, in any JSON file


def test_every_string_of_a_file_is_searched(template: Path, tmp_path: Path) -> None:
    other = Credentials(tmp_path / "other")
    key = b"k" * 32
    values = {name: seal_gcm(name.encode() * 8, key) for name in ("whole", "inside", "deep")}
    document = {"name": "x" * 80, "token": values["whole"], "nested": {"list": [{"pass": values["inside"]}, 1.50, None]}, "n": 12}
    text = json.dumps([document, values["deep"]], indent="\t")
    other.file.write_text(text)
    write_key = other.scratch / "old.key"
    write_key.write_text(key.hex())
    told = {"app": "servos", "env_file": None, "old_key_file": str(write_key), "new_key_file": None, "until": "rewrapped"}
    new_key = other.scratch / "new-raw.key"
    new_key.write_text("a7" * 32)
    done = other.run("servos_key_rotate", **(told | {"new_key_file": str(new_key)}))
    assert not done.failed, done.msg
    assert done["rewrapped"] == 3
    places = {(row["table"], row["column"], row["path"]) for row in done["census"]}
    assert {("document", "token", None), ("document", "nested", "$.list[*].pass"), ("document", "value", None)} <= places
    now = json.loads(other.file.read_text())
    for name, value in zip(values, (now[0]["token"], now[0]["nested"]["list"][0]["pass"], now[1]), strict=True):
        text = text.replace(values[name], value)
    assert other.file.read_text() == text
