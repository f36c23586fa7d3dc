# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive: which escrowed key opens a database or backup, long after the key itself is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from escrows import Holder, directory_of, escrow_of, new_holder
from installations import NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint, write
from module_runs import Outcome


@pytest.fixture
def ann(quiet: Servos) -> Holder:
    return new_holder(quiet.scratch, "ann")


@pytest.fixture
def backup(quiet: Servos, ann: Holder) -> Path:
    """A backup under OLD, which was escrowed, rotated away to NEW and retired: nothing on the host opens it any more."""
    assert quiet.run("servos_keyring", state="escrowed", escrow=escrow_of(quiet, age_recipients=[ann.recipient])).changed
    path = Path(quiet.backup()["backup"]["path"])
    quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), escrow=escrow_of(quiet, age_recipients=[ann.recipient]))
    assert quiet.rotate()["phase"] == "activated"
    assert quiet.retire().changed
    return path


def look(servos: Servos, **asked: Any) -> Outcome:
    before = servos.snapshot(directory_times=True)
    done = servos.info(census=False, archive={"directory": str(directory_of(servos)), **asked})
    assert_same(before, servos.snapshot(directory_times=True))
    return done


def test_the_note_of_a_backup_names_the_key_and_the_archive_where_it_lies(quiet: Servos, backup: Path) -> None:
    done = look(quiet, of=str(backup))
    digits = fingerprint(OLD)[3:]
    assert done["opens"] == [
        {"fingerprint": fingerprint(OLD), "values": 61, "opened": False, "archived": True, "files": [f"escrow-{digits}.age"]}
    ]
    assert {row["fingerprint"]: row["role"] for row in done["archived_keys"]} == {fingerprint(NEW): "active", fingerprint(OLD): None}
    assert done["unopened_values"] == 60  # the canary alone in its column does not look like much


def test_an_identity_opens_the_archive_and_the_key_the_backup(quiet: Servos, ann: Holder, backup: Path) -> None:
    done = look(quiet, of=str(backup), identity_files=[str(ann.identity)])
    (opens,) = done["opens"]
    assert (opens["fingerprint"], opens["values"], opens["opened"], done["unopened_values"]) == (fingerprint(OLD), 61, True, 0)
    assert all(row["opened"] and row["files"][0]["opens"] for row in done["archived_keys"])


def test_it_works_where_nothing_of_the_installation_is_left(quiet: Servos, ann: Holder, backup: Path) -> None:
    quiet.env_file.unlink()
    quiet.database.unlink()
    shutil.rmtree(quiet.state_dir)
    moved = shutil.move(backup, quiet.scratch / "found.db")
    done = look(quiet, of=str(moved), identity_files=[str(ann.identity)], only=True)
    assert [(row["fingerprint"], row["values"]) for row in done["opens"]] == [(fingerprint(OLD), 61)]
    assert "phase" not in done.result


def test_the_installations_own_database_is_looked_at_without_a_word(quiet: Servos, backup: Path) -> None:
    assert [(row["fingerprint"], row["values"]) for row in look(quiet)["opens"]] == [(fingerprint(NEW), 61)]


def test_a_restored_key_file_is_tried(quiet: Servos, backup: Path) -> None:
    restored = [str(quiet.key_file("restored", b64(OLD))), str(quiet.key_file("other", b64(OTHER)))]
    assert [row["values"] for row in look(quiet, of=str(backup), key_files=restored)["opens"]] == [61]


@pytest.mark.parametrize("combine", [True, False], ids=["combined", "not asked for"])
@pytest.mark.parametrize("present", [2, 1], ids=["enough", "too few"])
def test_shares_are_combined_where_asked_and_enough(quiet: Servos, present: int, combine: bool) -> None:
    holders = [new_holder(quiet.scratch, name) for name in ("ann", "bob", "cy")]
    shares = {"threshold": 2, "recipients": [holder.recipient for holder in holders]}
    quiet.run("servos_keyring", state="escrowed", escrow=escrow_of(quiet, shares=shares))
    identities = [str(holder.identity) for holder in holders[:present]]
    done = look(quiet, identity_files=identities, combine_shares=combine, of=str(quiet.database), only=True)
    (row,) = done["archived_keys"]
    assert [entry["opens"] for entry in row["files"]] == [number <= present for number in (1, 2, 3)]
    assert row["opened"] is (combine and present == 2)
    assert [found["values"] for found in done["opens"]] == ([61] if row["opened"] else [])


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"A", b"B", 1))


@pytest.mark.parametrize("harm", [Path.unlink, spoil], ids=["lost", "changed"])
def test_what_is_no_more_what_it_was_is_named(quiet: Servos, ann: Holder, backup: Path, harm: Callable[[Path], None]) -> None:
    sealed = directory_of(quiet) / f"escrow-{fingerprint(OLD)[3:]}.age"
    harm(sealed)
    done = look(quiet, of=str(backup), identity_files=[str(ann.identity)])
    assert sealed.name in done.warnings
    (entry,) = next(row["files"] for row in done["archived_keys"] if row["fingerprint"] == fingerprint(OLD))
    assert (entry["intact"], entry["opens"]) == (False, None)
    assert done["unopened_values"] == 60


def test_a_backup_that_was_changed_is_not_judged_by_its_note(quiet: Servos, backup: Path) -> None:
    with backup.open("ab") as stream:
        stream.write(b"\0" * 4096)
    done = look(quiet, of=str(backup))
    assert (done["opens"], "sha-256" in done.warnings.lower()) == ([], True)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"directory": "/nonexistent/escrow"}, ["/nonexistent/escrow", "directory"]),
        ({"identity_files": ["/nonexistent/identity"]}, ["/nonexistent/identity", "identity_files"]),
        ({"of": "/nonexistent/servos.db"}, ["/nonexistent/servos.db"]),
        ({"key_files": ["/nonexistent/a.key"]}, ["/nonexistent/a.key"]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_not_there_is_refused(quiet: Servos, ann: Holder, asked: dict[str, Any], words: list[str]) -> None:
    quiet.run("servos_keyring", state="escrowed", escrow=escrow_of(quiet, age_recipients=[ann.recipient]))
    assert_refused(look(quiet, **asked), *words)


def test_a_broken_identity_is_not_quoted(quiet: Servos, ann: Holder, backup: Path) -> None:
    broken = "AGE-SECRET-KEY-1BROKENBUTSTILLNOBODYSBUSINESS"
    identity = write(quiet.scratch / "broken.identity", broken)
    done = look(quiet, of=str(backup), identity_files=[str(identity)])
    assert broken not in done.printed
    assert not any(row["opened"] for row in done["archived_keys"])
