# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several keys in one configuration: all of them open, one seals, and none goes before nothing needs it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fernet_installation import FIRST, NEW, OTHER, SECOND, VARIABLE, Fernets, fingerprint, new_text, seal
from installations import assert_refused, assert_same

LIST = f"{FIRST},{SECOND}"


@pytest.fixture(params=["env", "ini"])
def listed(request: pytest.FixtureRequest, tmp_path: Path) -> Fernets:
    """Two keys, and values under each."""
    return Fernets(tmp_path / "host", is_ini=request.param == "ini")


@pytest.fixture
def plain(tmp_path: Path) -> Fernets:
    return Fernets(tmp_path / "host")


def test_values_under_each_key_are_counted_and_brought_over(listed: Fernets) -> None:
    seen = listed.info()
    assert (seen["phase"], seen["env_key"], seen["listed_keys"]) == ("mixed", fingerprint(FIRST), [fingerprint(SECOND)])
    assert (listed.counted("active"), listed.counted("listed"), listed.counted("plain")) == (8, 9, 1)
    assert listed.stage()["rotation_pending"]
    dry = listed.rotate(check=True)
    assert (dry["rewrapped"], dry["steps"]) == (17, ["rewrap", "swap"])
    listed.assert_nothing_lost()
    done = listed.rotate()
    assert (done["rewrapped"], done["phase"], done["sealed_values"]) == (17, "activated", 17)
    listed.assert_all_under(NEW)
    assert listed.config.read_text() == listed.text_with(NEW)
    assert listed.configured() == NEW
    assert listed.kept() == LIST
    assert listed.info()["listed_keys"] == [fingerprint(SECOND)]


def test_a_second_run_changes_nothing(listed: Fernets) -> None:
    listed.stage()
    listed.rotate()
    before = listed.snapshot()
    again = listed.rotate()
    assert (again.changed, again["steps"]) == (False, [])
    assert not listed.stage().changed
    assert_same(before, listed.snapshot())


def test_without_a_rotation_all_comes_under_the_first_key_and_the_list_stays(listed: Fernets) -> None:
    done = listed.rotate()
    assert (done["rewrapped"], done["steps"], done["phase"]) == (9, ["rewrap"], "settled")
    listed.assert_all_under(FIRST)
    assert listed.config.read_text() == listed.written
    assert listed.kept() is None
    assert not listed.rotate().changed


def test_a_rollback_puts_the_whole_list_back(listed: Fernets) -> None:
    listed.stage()
    listed.rotate()
    done = listed.back()
    assert (done["rewrapped"], done["env_key"]) == (17, fingerprint(FIRST))
    assert listed.config.read_text() == listed.written
    listed.assert_all_under(FIRST)
    assert not listed.back().changed
    # The list is in force again: retiring takes the copy of it, and the withdrawn key.
    assert listed.retire()["retired"] == [fingerprint(NEW)]
    assert listed.kept() is None
    assert listed.config.read_text() == listed.written
    listed.stage(OTHER)
    listed.rotate()
    listed.assert_all_under(OTHER)


def test_retiring_destroys_the_list(listed: Fernets) -> None:
    listed.stage()
    listed.rotate()
    assert_refused(listed.stage(OTHER), "retire it first")
    gone = listed.retire()
    assert gone["retired"] == [fingerprint(FIRST), fingerprint(SECOND)]
    assert listed.lying_about() == {NEW}
    assert [path.name for path in listed.state_dir.iterdir() if path.suffix == ".key" or path.name.startswith(".")] == []
    assert not listed.retire().changed
    assert listed.info()["listed_keys"] == []


def test_a_value_that_turns_up_late_under_a_listed_key_is_brought_over_before_the_list_goes(plain: Fernets) -> None:
    plain.stage()
    plain.rotate()
    plain.add("variable", "val", 50, b"from a backup", SECOND, {"key": "late", "is_encrypted": 1})
    assert plain.counted("listed") == 1
    assert_refused(plain.retire(), "1 under the listed key", fingerprint(SECOND), "nothing was destroyed")
    assert plain.kept() == LIST
    assert plain.rotate()["rewrapped"] == 1
    plain.assert_all_under(NEW)
    assert plain.retire().changed


def test_the_time_of_a_token_stays(plain: Fernets) -> None:
    token = seal(b"aged", SECOND, at=1_234_567_890)
    plain.sql("UPDATE variable SET val = ? WHERE id = 1", token)
    plain.stage()
    plain.rotate()
    assert plain.token(("variable", "val", 1))[:12] == token[:12]


def test_a_single_key_is_not_kept_as_a_list(tmp_path: Path) -> None:
    single = Fernets(tmp_path / "host", [FIRST])
    single.stage()
    single.rotate()
    assert (single.kept(), single.configured(), single.info()["listed_keys"]) == (None, NEW, [])
    single.back()
    assert single.config.read_text() == single.written


def test_blanks_around_the_separator_belong_to_no_key(plain: Fernets) -> None:
    plain.config.write_text(plain.text_with(f'"{FIRST}, {SECOND}"'))
    assert plain.info()["listed_keys"] == [fingerprint(SECOND)]
    plain.stage()
    assert plain.rotate()["rewrapped"] == 17
    plain.back()
    assert plain.configured() == f'"{LIST}"'
    plain.assert_all_under(FIRST)


@pytest.mark.parametrize("separator", [";", "|", " "], ids=["semicolon", "bar", "blank"])
def test_a_list_whose_separator_needs_quotes_comes_back_as_it_was_written(tmp_path: Path, separator: str) -> None:
    listed = Fernets(tmp_path / "host")
    written = listed.text_with(f'"{FIRST}{separator}{SECOND}"')
    listed.config.write_text(written)
    profile = {"key_list": separator}
    assert listed.stage(profile=profile)["rotation_pending"]
    assert listed.rotate(profile=profile)["rewrapped"] == 17
    done = listed.back(profile=profile)
    assert not done.failed, done.msg
    assert listed.config.read_text() == written
    listed.assert_all_under(FIRST)


# Refused


def test_keys_that_open_nothing_are_refused(listed: Fernets) -> None:
    listed.config.write_text(listed.text_with(f"{OTHER},{new_text('yet another')}"))
    before = listed.snapshot()
    for outcome in (listed.stage(), listed.rotate(), listed.rotate(check=True)):
        assert_refused(outcome, "opens none of the 17 sealed values", "nothing was changed", fingerprint(OTHER))
    assert_same(before, listed.snapshot())


def test_a_list_that_lacks_a_key_is_refused(listed: Fernets) -> None:
    listed.config.write_text(listed.text_with(FIRST))
    before = listed.snapshot()
    assert_refused(listed.rotate(), "9 of 17 sealed values", "connection.password of id=1", "nothing was changed")
    assert_same(before, listed.snapshot())


def test_a_foreign_value_is_named(plain: Fernets) -> None:
    plain.sql("UPDATE connection SET extra = ? WHERE id = 4", seal(b"foreign", OTHER))
    plain.stage()
    before = plain.snapshot()
    keys = [f"the active key {fingerprint(FIRST)}", f"the listed key {fingerprint(SECOND)}"]
    assert_refused(plain.rotate(), "connection.extra of id=4", *keys)
    assert_same(before, plain.snapshot())


MALFORMED = {
    "trailing": (f"{FIRST},", ["list of 2 keys", "empty"]),
    "two-separators": (f"{FIRST},,{SECOND}", ["list of 3 keys", "empty"]),
    "only-separators": (",", ["empty"]),
    "second-is-no-key": (f"{FIRST},short", ["is not a key", "5 characters"]),
    "empty": ("", ["is empty"]),
}


@pytest.mark.parametrize(("value", "words"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_list_is_refused(listed: Fernets, value: str, words: list[str]) -> None:
    listed.config.write_text(listed.text_with(value))
    before = listed.snapshot()
    for outcome in (listed.info(), listed.stage(), listed.rotate()):
        assert outcome.failed
        assert [word for word in words if word not in outcome.msg] == [] or "is not a key in base64url" in outcome.msg, outcome.msg
    assert_same(before, listed.snapshot())


@pytest.mark.parametrize("ending", ["_CMD", "_SECRET"])
def test_a_key_that_comes_from_elsewhere_is_refused(listed: Fernets, ending: str) -> None:
    name = f"fernet_key{ending.lower()}" if listed.is_ini else f"{VARIABLE}{ending}"
    line = f"fernet_key = {LIST}\n" if listed.is_ini else f"{VARIABLE}={LIST}\n"
    for text in (listed.written.replace(line, line + f"{name}=cat /key\n"), listed.written.replace(line, f"{name}=cat /key\n")):
        listed.config.write_text(text)
        before = listed.snapshot()
        for outcome in (listed.info(), listed.stage(), listed.rotate()):
            assert_refused(outcome, f"sets {name}", "take", "out")
        assert_same(before, listed.snapshot())


def test_another_list_is_never_written_over_the_kept_one(plain: Fernets) -> None:
    plain.stage()
    plain.rotate()
    plain.config.write_text(plain.text_with(f"{NEW},{OTHER}"))
    before = plain.snapshot()
    assert_refused(plain.back(), "listed.key keeps the list", "nothing was changed", "retire it first")
    assert_same(before, plain.snapshot())


def test_a_new_key_with_the_separator_in_it_is_refused(tmp_path: Path) -> None:
    passphrases = {"derivation": "hex_or_sha256", "fields": [], "key_list": ":"}
    plain = Fernets(tmp_path / "host")
    outcome = plain.run("servos_keyring", state="staged", new_key="one:two", profile=passphrases, allow_empty=True)
    assert outcome.failed


# Killed


def killer(function: str, name: str, *, after: bool) -> Callable[[], None]:
    """Return what makes the process end at the first call of a function of C(os) on a file, as by a power cut."""

    def prepare() -> None:
        real = getattr(os, function)

        def cut(*arguments: Any, **options: Any) -> Any:
            is_there = name in Path(arguments[0]).name
            if is_there and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            done = real(*arguments, **options)
            if is_there:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(os, function, cut)

    return prepare


def each(*points: tuple[str, str]) -> Any:
    """Parametrise by function and file, just before it and just after."""
    told = [(function, name, after) for function, name in points for after in (False, True)]
    return pytest.mark.parametrize(("function", "name", "after"), told, ids=[f"{'after' if a else 'before'}-{f}-{n}" for f, n, a in told])


each_of_rotation = each(("replace", "record.json"), ("replace", "previous.key"), ("replace", "listed.key"), ("replace", "airflow.env"))
each_of_rollback = each(("replace", "record.json"), ("replace", "airflow.env"), ("replace", "staged.key"))
each_of_retirement = each(*((f, f"{role}.key") for role in ("listed", "staged", "previous") for f in ("replace", "unlink")))


@pytest.mark.campaign
@each_of_rotation
def test_a_rotation_that_is_killed_is_finished(plain: Fernets, function: str, name: str, after: bool) -> None:
    plain.stage()
    assert plain.rotate(prepare=[killer(function, name, after=after)]).failed
    plain.assert_nothing_lost()
    assert plain.kept() in (None, LIST)
    assert plain.kept() == LIST or plain.configured() == LIST
    assert plain.rotate()["phase"] == "activated"
    plain.assert_all_under(NEW)
    assert plain.kept() == LIST
    plain.retire()
    assert plain.lying_about() == {NEW}


@pytest.mark.campaign
@each_of_rotation
def test_a_rotation_that_is_killed_is_taken_back(plain: Fernets, function: str, name: str, after: bool) -> None:
    plain.stage()
    assert plain.rotate(prepare=[killer(function, name, after=after)]).failed
    assert not plain.back().failed
    plain.assert_all_under(FIRST)
    assert plain.config.read_text() == plain.written


@each_of_rollback
def test_a_rollback_that_is_killed_is_finished(plain: Fernets, function: str, name: str, after: bool) -> None:
    plain.stage()
    plain.rotate()
    assert plain.back(prepare=[killer(function, name, after=after)]).failed
    plain.assert_nothing_lost()
    assert not plain.back().failed
    plain.assert_all_under(FIRST)
    assert plain.config.read_text() == plain.written


@each_of_retirement
def test_a_retirement_that_is_killed_is_finished(plain: Fernets, function: str, name: str, after: bool) -> None:
    plain.stage()
    plain.rotate()
    assert plain.retire(prepare=[killer(function, name, after=after)]).failed
    plain.assert_all_under(NEW)
    assert not plain.info().failed
    assert not plain.retire().failed
    assert plain.lying_about() == {NEW}
    assert not plain.stage(OTHER).failed
    plain.rotate()
    plain.assert_all_under(OTHER)
