# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An escrow that cannot be, a program that lies, a disk that is full: nothing of the data is touched, and the next step is named."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from escrows import Holder, directory_of, escrow_of, fake_age, new_holder
from installations import NEW, OLD, Servos, assert_refused, assert_same, b64, fingerprint
from module_runs import Outcome, without_override

MISSPELLED = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8q"
# A plug-in that nobody has, and a checksum that fits.
PLUGGED = "age1none1qpzry9x8gf2tvdw0s3jn54khce6mua7l4ynp7c"
IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"


@pytest.fixture
def ann(quiet: Servos) -> Holder:
    return new_holder(quiet.scratch, "ann")


def stage(servos: Servos, *prepare: Callable[[], None], check: bool = False, **asked: Any) -> Outcome:
    """Stage NEW; what a program on PATH or a limit makes of it is set up by C(prepare) in the module's process."""
    run = servos.begin(
        "servos_keyring", state="staged", new_key_file=str(servos.key_file("new", b64(NEW))), escrow=escrow_of(servos, **asked),
        check=check, prepare=prepare,
    )
    return run.wait()


def path_of(folder: Path) -> Callable[[], None]:
    def prepare() -> None:
        os.environ["PATH"] = str(folder)

    return prepare


REFUSED = {
    "nobody": ({}, ["age_recipients", "shares", "vault_file"]),
    "a misspelled recipient": ({"age_recipients": ["@ann", MISSPELLED]}, ["recipient 2", "age_recipients", "checksum"]),
    "no recipient at all": ({"age_recipients": ["ann@example.org"]}, ["recipient 1", "age1", "ssh"]),
    "an identity": ({"age_recipients": [IDENTITY]}, ["recipient 1", "secret", "age-keygen -y"]),
    "an option of age": ({"age_recipients": ["-o/tmp/x"]}, ["recipient 1"]),
    "one recipient twice": ({"age_recipients": ["@ann", "@ann"]}, ["recipient 2", "twice"]),
    "one of one": ({"shares": {"threshold": 1, "recipients": ["@ann"]}}, ["threshold", "2 or more", "age_recipients"]),
    "more than there are": ({"shares": {"threshold": 2, "recipients": ["@ann"]}}, ["threshold", "1 recipients"]),
    "a share for one holder twice": ({"shares": {"threshold": 2, "recipients": ["@ann", "@ann"]}}, ["shares", "twice"]),
    "in the state directory": ({"directory": "@state/escrow", "age_recipients": ["@ann"]}, ["state directory", "escrow.directory"]),
    "the state directory": ({"directory": "@state", "age_recipients": ["@ann"]}, ["state directory", "escrow.directory"]),
    "a vault file without the controller": ({"vault_file": "/tmp/vault.yml"}, ["vault_file", "action plugin"]),
}


@pytest.mark.parametrize(("asked", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("check", [True, False], ids=["check", "real"])
def test_what_cannot_be_meant_is_refused_before_a_key_is_made(
    quiet: Servos, ann: Holder, asked: dict[str, Any], words: list[str], check: bool
) -> None:
    filled = fill(asked, {"@ann": ann.recipient, "@state": str(quiet.state_dir)})
    before = quiet.snapshot()
    done = stage(quiet, check=check, **filled)
    assert_refused(done, "nothing was changed", *words)
    assert IDENTITY not in done.printed
    assert_same(before, quiet.snapshot())


def fill(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: fill(inner, names) for name, inner in value.items()}
    if isinstance(value, list):
        return [fill(inner, names) for inner in value]
    for name, text in names.items():
        value = value.replace(name, text) if isinstance(value, str) else value
    return value


def assert_refused_and_finished(quiet: Servos, ann: Holder, done: Outcome, *words: str) -> None:
    """The data is as it was, the staged key may not be used, and the same call in better times finishes the job."""
    assert_refused(done, *words)
    assert b64(NEW) not in done.printed
    quiet.assert_all_under(b64(OLD))
    assert quiet.env_text() == b64(OLD)
    if (quiet.state_dir / "staged.key").exists():
        refused = quiet.rotate()
        assert_refused(refused, "escrow", "state=staged", fingerprint(NEW))
        quiet.assert_all_under(b64(OLD))
    done = stage(quiet, age_recipients=[ann.recipient])
    assert done.changed and done["escrow"]["missing"] == []
    assert ann.open(directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.age") == b64(NEW)
    assert quiet.rotate()["phase"] == "activated"


# {age} is the real one. A liar gets the key on its standard input, as age does.
LIARS = {
    "seals another text": ('cat >/dev/null; echo something else | {age} "$@"', ["opens to something else"]),
    "cuts the end off": ('{age} "$@" | head -c 300', ["does not open"]),
    "drops the last line": ('{age} "$@" | head -n -1', ["does not open"]),
    "says nothing": ("cat >/dev/null", ["does not open"]),
    "does not seal": ("cat", ["does not open"]),
    "seals to the last recipient only": ('while [ $# -gt 2 ]; do shift; done; {age} --encrypt --armor "$@"', ["not sealed to all"]),
    "fails": ("cat >/dev/null; echo out of luck >&2; exit 3", ["out of luck"]),
}
# Before a key is made, age is tried on a text of no worth.
HONEST_AT_FIRST = '[ -e "$0.tried" ] || { touch "$0.tried"; exec {age} "$@"; }'


@pytest.mark.parametrize(("script", "words"), LIARS.values(), ids=LIARS)
@pytest.mark.parametrize("is_honest_at_first", [False, True], ids=["always", "once the key is made"])
def test_an_age_that_lies_is_caught(quiet: Servos, ann: Holder, script: str, words: list[str], is_honest_at_first: bool) -> None:
    real = str(shutil.which("age"))
    lines = ["PATH=/usr/bin:/bin", HONEST_AT_FIRST if is_honest_at_first else ":", script]
    folder = fake_age(quiet.scratch / "bin", "\n".join(lines).replace("{age}", real))
    before = quiet.snapshot()
    done = stage(quiet, path_of(folder), age_recipients=[ann.recipient])
    if not is_honest_at_first:
        assert_same(before, quiet.snapshot())
        words = [*words, "nothing was changed"]
    else:
        assert list(directory_of(quiet).iterdir()) == [], "what does not open was left there"
        assert (quiet.state_dir / "staged.key").exists()
        words = [*words, "no data was touched"]
    assert_refused_and_finished(quiet, ann, done, *words)


def test_an_age_that_lies_later_leaves_the_sound_escrow_of_before(quiet: Servos, ann: Holder) -> None:
    assert stage(quiet, age_recipients=[ann.recipient]).changed
    folder = fake_age(
        quiet.scratch / "bin",
        "PATH=/usr/bin:/bin\n" + HONEST_AT_FIRST.replace("{age}", str(shutil.which("age"))) + "\ncat >/dev/null",
    )
    bob = new_holder(quiet.scratch, "bob")
    assert_refused(stage(quiet, path_of(folder), age_recipients=[ann.recipient, bob.recipient]), "does not open", "no data was touched")
    assert ann.open(directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.age") == b64(NEW)
    assert_refused(quiet.rotate(), "escrow")


def test_a_disk_that_lies_is_caught(quiet: Servos, ann: Holder) -> None:
    def prepare() -> None:
        rename = os.replace

        def cutting(source: Any, target: Any, **more: Any) -> None:
            rename(source, target, **more)
            if str(target).endswith(".age"):
                os.truncate(target, os.path.getsize(target) - 60)

        os.replace = cutting  # in the module's process

    done = stage(quiet, prepare, age_recipients=[ann.recipient])
    assert list(directory_of(quiet).iterdir()) == [], "what does not open was left there"
    assert_refused_and_finished(quiet, ann, done, "read back from its disk", "does not open", "no data was touched")


def test_without_age_nothing_is_made(quiet: Servos, ann: Holder) -> None:
    before = quiet.snapshot()
    (quiet.scratch / "bin").mkdir()
    done = stage(quiet, path_of(quiet.scratch / "bin"), age_recipients=[ann.recipient])
    assert not (quiet.state_dir / "staged.key").exists()
    assert_same(before, quiet.snapshot())
    assert_refused_and_finished(quiet, ann, done, "age", "install the package age", "nothing was changed")


def test_a_plug_in_that_is_missing_is_named(quiet: Servos, ann: Holder) -> None:
    before = quiet.snapshot()
    done = stage(quiet, age_recipients=[ann.recipient, PLUGGED])
    assert_same(before, quiet.snapshot())
    assert_refused_and_finished(quiet, ann, done, "age did not seal", "age-plugin-none", "nothing was changed")


def test_a_directory_of_somebody_elses_is_refused(quiet: Servos, ann: Holder) -> None:
    directory_of(quiet).parent.mkdir(exist_ok=True)
    directory_of(quiet).mkdir()
    os.chown(directory_of(quiet), 65534, 65534)
    done = stage(quiet, age_recipients=[ann.recipient])
    assert not (quiet.state_dir / "staged.key").exists()
    os.chown(directory_of(quiet), 0, 0)
    assert_refused_and_finished(quiet, ann, done, str(directory_of(quiet).name), "65534")


def test_a_directory_that_cannot_be_written_is_refused_before_a_key_is_made(quiet: Servos, ann: Holder) -> None:
    directory_of(quiet).mkdir()
    directory_of(quiet).chmod(0o500)
    done = stage(quiet, without_override, age_recipients=[ann.recipient])
    assert not (quiet.state_dir / "staged.key").exists()
    directory_of(quiet).chmod(0o700)
    assert_refused_and_finished(quiet, ann, done, "cannot be written", "nothing was changed")


@pytest.fixture
def full_disk(quiet: Servos) -> Iterator[Path]:
    """The escrow directory on a file system of its own, on which a page is free."""
    directory_of(quiet).mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k,mode=700", "tmpfs", str(directory_of(quiet))], timeout=30, check=True)
    try:
        yield directory_of(quiet)
    finally:
        subprocess.run(["umount", str(directory_of(quiet))], timeout=30, check=True)


def test_a_full_disk_leaves_the_data_alone(quiet: Servos, ann: Holder, full_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"):
        (full_disk / "filler").write_bytes(b"x" * 65536)
    done = stage(quiet, age_recipients=[ann.recipient])
    assert [path.name for path in full_disk.iterdir()] == ["filler"]
    (full_disk / "filler").unlink()
    assert_refused_and_finished(quiet, ann, done, "no space left", "run again")


def test_an_escrow_that_is_lost_before_the_rotation_stops_it(quiet: Servos, ann: Holder) -> None:
    assert stage(quiet, age_recipients=[ann.recipient]).changed
    sealed = directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.age"
    sealed.write_bytes(sealed.read_bytes()[:-40])
    assert_refused_and_finished(quiet, ann, quiet.rotate(), "age missing", str(directory_of(quiet).name))


def test_the_way_back_needs_no_escrow(quiet: Servos, ann: Holder) -> None:
    assert stage(quiet, age_recipients=[ann.recipient]).changed
    shutil.rmtree(directory_of(quiet))
    assert_refused(quiet.rotate(), "escrow")
    assert quiet.rotate(direction="back")["phase"] == "settled"


def test_check_mode_says_what_would_be_made_and_makes_nothing(quiet: Servos, ann: Holder) -> None:
    before = quiet.snapshot(directory_times=True)
    done = stage(quiet, check=True, age_recipients=[ann.recipient])
    assert (done.changed, done["escrow"]["missing"], done["escrow"]["files"]) == (True, ["age"], [])
    assert quiet.rotate(check=True, expect_staged=True).changed
    assert_same(before, quiet.snapshot(directory_times=True))


def test_other_recipients_are_another_escrow(quiet: Servos, ann: Holder) -> None:
    bob = new_holder(quiet.scratch, "bob")
    assert stage(quiet, age_recipients=[ann.recipient]).changed
    assert stage(quiet, age_recipients=[bob.recipient]).changed
    sealed = directory_of(quiet) / f"escrow-{fingerprint(NEW)[3:]}.age"
    assert bob.open(sealed) == b64(NEW) and ann.cannot_open(sealed)
    assert not stage(quiet, age_recipients=[bob.recipient]).changed
