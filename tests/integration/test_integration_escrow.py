# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A key is in escrow before any data is under it; its holders open it with the plain tools."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from escrows import Holder, combine, directory_of, escrow_of, fake_age, new_holder, new_ssh_holder
from evidence import leaks
from installations import NEW, OLD, Servos, assert_refused, b64, fingerprint
from module_runs import ModuleRun
from provara_installation import OLD_TEXT, Provara
from servers import write


def test_every_recipient_opens_the_staged_key_alone(quiet: Servos) -> None:
    ann, bob = new_holder(quiet.scratch, "ann"), new_ssh_holder(quiet.scratch, "bob")
    new_key = quiet.key_file("new", b64(NEW))
    done = quiet.stage(new_key_file=str(new_key), escrow=escrow_of(quiet, age_recipients=[ann.recipient, bob.recipient]))

    assert done.changed and done["rotation_pending"]
    assert done["escrow"]["missing"] == []
    sealed = directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.age"
    assert ann.open(sealed) == bob.open(sealed) == b64(NEW)
    assert new_holder(quiet.scratch, "eve").cannot_open(sealed)
    assert oct(directory_of(quiet).stat().st_mode)[-3:] == "700"
    assert {oct(path.stat().st_mode)[-3:] for path in directory_of(quiet).iterdir()} == {"600"}
    quiet.assert_all_under(b64(OLD))

    again = quiet.stage(rotation_id="one", escrow=escrow_of(quiet, age_recipients=[ann.recipient, bob.recipient]))
    assert not again.changed and again["rotation_pending"]
    assert quiet.rotate()["phase"] == "activated"
    assert quiet.retire().changed
    assert ann.open(sealed) == b64(NEW)


def test_so_many_shares_open_the_key_and_no_holder_another_ones(quiet: Servos) -> None:
    holders = [new_holder(quiet.scratch, name) for name in ("ann", "bob", "cy", "di")]
    shares = {"threshold": 3, "recipients": [holder.recipient for holder in holders]}
    done = quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), escrow=escrow_of(quiet, shares=shares))

    assert done["escrow"]["missing"] == []
    paths = [directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.share-{number}.age" for number in (1, 2, 3, 4)]
    texts = [holder.open(path) for holder, path in zip(holders, paths, strict=True)]
    assert {combine(texts[:3], 3), combine(texts[1:], 3)} == {NEW.hex()}
    assert combine(texts[:2], 2) != NEW.hex()
    assert all(holders[0].cannot_open(path) for path in paths[1:])
    note = json.loads((directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.json").read_text())
    assert (note["threshold"], len(note["files"]), note["fingerprint"]) == (3, 4, fingerprint(NEW))


def test_the_key_in_force_is_escrowed_without_a_rotation(servos: Servos) -> None:
    ann = new_holder(servos.scratch, "ann")
    before = servos.pid()
    escrow = escrow_of(servos, age_recipients=[ann.recipient])
    assert servos.run("servos_keyring", state="escrowed", escrow=escrow, check=True).changed
    assert not directory_of(servos).exists()
    assert servos.run("servos_keyring", state="escrowed", escrow=escrow).changed
    assert ann.open(directory_of(servos) / f"escrow-{fingerprint(OLD)[3:]}.age") == b64(OLD)
    assert not servos.run("servos_keyring", state="escrowed", escrow=escrow).changed
    assert (servos.pid(), servos.info()["phase"]) == (before, "settled")


def test_escrowed_says_to_whom(quiet: Servos) -> None:
    assert_refused(quiet.run("servos_keyring", state="escrowed"), "escrow", "missing")


def test_a_passphrase_is_escrowed_as_it_stands_and_shared_as_the_key_that_it_is(provara: Provara) -> None:
    ann, bob = new_holder(provara.folder, "ann"), new_holder(provara.folder, "bob")
    escrow = {
        "directory": str(provara.folder / "escrow"), "age_recipients": [ann.recipient],
        "shares": {"threshold": 2, "recipients": [ann.recipient, bob.recipient]},
    }
    passphrase = "correct.horse.battery.staple"
    env_file = write(provara.folder / "provara.env", f"PROVARA_MASTER_KEY={OLD_TEXT}\n")
    options = {
        "app": "provara", "database": f"sqlite:///{provara.database}", "state_dir": str(provara.state_dir), "service_manager": "none",
        "env_file": str(env_file), "new_key_file": str(write(provara.folder / "passphrase", passphrase + "\n")),
    }
    done = ModuleRun("servos_keyring", {**options, "state": "staged", "escrow": escrow}).wait()
    assert done["escrow"]["missing"] == [], done.printed
    stem = provara.folder / "escrow" / f"escrow-{done['staged_key'][3:]}"
    assert ann.open(Path(f"{stem}.age")) == passphrase
    texts = [holder.open(Path(f"{stem}.share-{number}.age")) for number, holder in ((1, ann), (2, bob))]
    assert combine(texts, 2) == hashlib.sha256(passphrase.encode()).hexdigest()


def test_age_is_told_recipients_and_gets_the_key_on_its_standard_input_only(quiet: Servos, holders: list[Holder]) -> None:
    log = quiet.scratch / "seen.log"
    real, path = shutil.which("age"), os.environ["PATH"]
    script = f"""printf '%s\\n' "$@" >> {log}; env >> {log}; ulimit -c >> {log}; PATH={path}; exec {real} "$@\""""
    folder = fake_age(quiet.scratch / "bin", script)

    def prepare() -> None:
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, resource.getrlimit(resource.RLIMIT_CORE)[1]))

    done = stage_all(quiet, holders, prepare)
    assert done["escrow"]["missing"] == [], done.printed
    seen = log.read_text()
    assert all(holder.recipient in seen for holder in holders) and "LC_ALL=C.UTF-8" in seen
    assert set(filter(str.isdigit, seen.splitlines())) == {"0"}, "age may leave a core file"
    staged = (quiet.state_dir / "staged.key").read_text()
    texts = [holder.open(path) for holder, path in zip(holders, sorted(directory_of(quiet).glob("*.share-*")), strict=True)]
    halves = {f"{line} of {number}": line.split("-")[1] for number, text in enumerate(texts) for line in text.splitlines()[1:]}
    assert leaks(seen + done.printed, {"staged": staged, **halves}) == []


class Killed(NamedTuple):
    """At which of the writes that a stage with age and three shares makes, and on which side of it."""

    number: int
    is_after: bool

    def prepare(self) -> None:
        rename, seen = os.replace, []

        def killing(source: Any, target: Any, **more: Any) -> None:
            seen.append(target)
            if len(seen) == self.number and not self.is_after:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target, **more)
            if len(seen) == self.number and self.is_after:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = killing  # in the module's process, and the one that does its work


# The promise, the key, its record, the age file, three shares, the note.
WRITES = 8
MOMENTS = [Killed(number, is_after) for number in range(1, WRITES + 1) for is_after in (False, True)]


@pytest.fixture
def holders(quiet: Servos) -> list[Holder]:
    return [new_holder(quiet.scratch, name) for name in ("ann", "bob", "cy")]


def stage_all(quiet: Servos, holders: list[Holder], prepare: Callable[[], None] | None = None) -> Any:
    recipients = [holder.recipient for holder in holders]
    escrow = escrow_of(quiet, age_recipients=recipients, shares={"threshold": 2, "recipients": recipients})
    run = quiet.begin("servos_keyring", state="staged", rotation_id="one", escrow=escrow, prepare=[prepare] if prepare else ())
    return run.wait()


def test_the_writes_are_as_many_as_are_killed(quiet: Servos, holders: list[Holder]) -> None:
    assert not stage_all(quiet, holders, Killed(WRITES + 1, False).prepare).failed, "there are more"


@pytest.mark.parametrize("moment", MOMENTS, ids=lambda moment: f"{'after' if moment.is_after else 'before'} write {moment.number}")
def test_a_kill_at_any_write_is_finished_by_the_same_call(quiet: Servos, holders: list[Holder], moment: Killed) -> None:
    assert stage_all(quiet, holders, moment.prepare).failed
    quiet.assert_all_under(b64(OLD))
    is_whole = moment == Killed(WRITES, True)
    if (quiet.state_dir / "staged.key").exists() and not is_whole:
        assert_refused(quiet.rotate(), "escrow", "state=staged")
        quiet.assert_all_under(b64(OLD))

    done = stage_all(quiet, holders)
    assert (done.changed, done["escrow"]["missing"]) == (not is_whole, [])
    staged = (quiet.state_dir / "staged.key").read_text()
    stem = f"escrow-{done['staged_key'][3:]}"
    assert holders[0].open(directory_of(quiet) / f"{stem}.age") == staged
    texts = [holder.open(directory_of(quiet) / f"{stem}.share-{number}.age") for number, holder in enumerate(holders, start=1)]
    assert combine(texts[1:], 2) == base64.b64decode(staged).hex()
    assert {path.name.split(".")[0] for path in directory_of(quiet).iterdir()} == {stem}, "something else is left"
    assert quiet.rotate()["phase"] == "activated"
    quiet.assert_all_under(staged, b64(OLD))
