# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The database that the real Provara wrote, rotated with keys in files and judged by the manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from installations import assert_refused, reference, write
from provara_installation import NEW_TEXT, OLD_TEXT, Provara

TABLES = ("api_keys", "context_connector_credentials")


def assert_right(provara: Provara, new_key: Path, old_key: Path) -> None:
    verdict = provara.judge(new_key, old_key)
    assert (verdict["exit"], verdict.get("opens_new")) == (0, 132), verdict


def times(provara: Provara) -> list[list[tuple[object, ...]]]:
    return [provara.sql(f"SELECT id, created_at, updated_at FROM {table} ORDER BY id") for table in TABLES]


def test_both_tables_are_rotated_and_nothing_else_is_touched(provara: Provara) -> None:
    before = times(provara)
    told = provara.rotate(check=True)
    done = provara.rotate()
    assert told["rewrapped"] == done["rewrapped"] == 132
    assert_right(provara, provara.new_key, provara.old_key)
    assert times(provara) == before
    seen = provara.snapshot()
    again = provara.rotate()
    assert (again.failed, again.changed) == (False, False), again.msg
    lock = str(provara.state_dir / "lock")
    assert {n: f for n, f in provara.snapshot().items() if n != lock} == {n: f for n, f in seen.items() if n != lock}


def test_what_the_official_tool_left_behind_is_healed_by_the_same_two_keys(provara: Provara) -> None:
    keys = ("--old-key-file", provara.old_key, "--new-key-file", provara.new_key)
    reference("provara/official_loop.py", "--database", provara.database, *keys)
    assert provara.judge(provara.new_key, provara.old_key)["opens_old"] == 12
    before = times(provara)
    assert provara.rotate()["rewrapped"] == 12
    assert_right(provara, provara.new_key, provara.old_key)
    assert times(provara) == before


@pytest.mark.parametrize("count", [1, 60, 119], ids=lambda count: f"{count} of 120")
def test_a_loop_that_broke_off_is_finished(provara: Provara, count: int) -> None:
    provara.sql("CREATE TABLE later AS SELECT * FROM api_keys ORDER BY id LIMIT -1 OFFSET ?", count)
    provara.sql("DELETE FROM api_keys WHERE id IN (SELECT id FROM later)")
    keys = ("--old-key-file", provara.old_key, "--new-key-file", provara.new_key)
    reference("provara/official_loop.py", "--database", provara.database, *keys)
    provara.sql("INSERT INTO api_keys SELECT * FROM later")
    provara.sql("DROP TABLE later")
    assert provara.rotate()["rewrapped"] == 132 - count
    assert_right(provara, provara.new_key, provara.old_key)


PASSPHRASES = {
    "words": "correct horse battery staple",
    "letters": "only-letters-and-dashes-here",
    "64 characters, not hex": "g" * 64,
    "white space at its end": "trailing-blank ",
    "not ASCII": "Schlüssel-für-Zürich-und-Bern",
}


@pytest.mark.parametrize("text", PASSPHRASES.values(), ids=PASSPHRASES)
def test_a_passphrase_is_used_as_provara_uses_it(provara: Provara, text: str) -> None:
    write(provara.new_key, text + "\n")
    done = provara.rotate()
    assert not done.failed, done.msg
    assert text not in done.printed
    assert_right(provara, provara.new_key, provara.old_key)


def test_an_upper_case_hex_key_is_the_same_key(provara: Provara) -> None:
    write(provara.new_key, OLD_TEXT.upper())
    before = provara.snapshot()
    assert_refused(provara.rotate(), "the new key is the active key", "nothing was changed")
    assert provara.snapshot() == before


def test_an_env_file_is_swapped(provara: Provara) -> None:
    env_file = write(provara.folder / ".env", f"PORT=3000\r\nPROVARA_MASTER_KEY='{OLD_TEXT}'\r\n")
    done = provara.rotate(env_file=str(env_file), old_key_file=None, until="swapped")
    assert done["steps"] == ["rewrap", "swap"]
    assert env_file.read_bytes() == f"PORT=3000\r\nPROVARA_MASTER_KEY='{NEW_TEXT}'\r\n".encode()
    assert_right(provara, provara.new_key, provara.old_key)


RETURNING = {
    "words": '"correct horse battery staple"', "signs": "'a $strange; \"one\" # for most readers'", "none": "semi;colon|bar-and-more",
}


@pytest.mark.parametrize("quoted", RETURNING.values(), ids=RETURNING)
def test_an_old_key_that_stood_in_quotes_comes_back_into_them(provara: Provara, quoted: str) -> None:
    text = quoted.strip("'\"")
    phrase = write(provara.folder / "phrase.key", text + "\n")
    assert provara.rotate(new_key_file=str(phrase))["rewrapped"] == 132
    shutil.rmtree(provara.state_dir)
    written = f"PROVARA_MASTER_KEY={quoted}\n"
    env_file = write(provara.folder / ".env", written)
    told = {"env_file": str(env_file), "old_key_file": None, "until": "swapped"}
    assert provara.rotate(**told)["steps"] == ["rewrap", "swap"]
    taken_back = provara.rotate(direction="back", **told | {"new_key_file": None})
    assert not taken_back.failed, taken_back.msg
    assert env_file.read_text() == written
    assert_right(provara, phrase, provara.new_key)


def test_an_old_key_whose_quotes_are_gone_is_refused_before_the_data_is_touched(provara: Provara) -> None:
    phrase = write(provara.folder / "phrase.key", "a $strange one\n")
    assert provara.rotate(new_key_file=str(phrase))["rewrapped"] == 132
    shutil.rmtree(provara.state_dir)
    env_file = write(provara.folder / ".env", "PROVARA_MASTER_KEY='a $strange one'\n")
    told = {"env_file": str(env_file), "old_key_file": None, "until": "swapped"}
    assert provara.rotate(**told)["steps"] == ["rewrap", "swap"]
    write(env_file, f"PROVARA_MASTER_KEY={NEW_TEXT}\n")
    before = provara.snapshot()
    assert_refused(provara.rotate(direction="back", **told | {"new_key_file": None}), "PROVARA_MASTER_KEY", "nothing was changed")
    assert {k: v for k, v in provara.snapshot().items() if "lock" not in k} == {k: v for k, v in before.items() if "lock" not in k}


def test_a_new_key_that_no_env_file_can_hold_is_refused_before_the_data_is_touched(provara: Provara) -> None:
    env_file = write(provara.folder / ".env", f"PROVARA_MASTER_KEY={OLD_TEXT}\n")
    write(provara.new_key, 'a "quoted" $passphrase')
    before = provara.snapshot()
    outcome = provara.rotate(env_file=str(env_file), old_key_file=None, until="swapped")
    assert_refused(outcome, "PROVARA_MASTER_KEY", "characters", "hex or Base64")
    assert provara.snapshot() == before
