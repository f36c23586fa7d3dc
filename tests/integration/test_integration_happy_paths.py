# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation that nothing stands in the way of: by database, by API, step by step, dry, and over again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from installations import NEW, OLD, Servos, assert_same, b64, fingerprint

FIELDS = 10  # nine columns and the canary's


def api_options(servos: Servos) -> dict[str, str]:
    return {"method": "api", "api_url": servos.url, "api_token_file": str(servos.token_file)}


def assert_rotated(servos: Servos, *, new_text: str | None = None) -> str:
    """Data, env file and process are on one new key; returns its text."""
    text = servos.env_text()
    assert text != servos.old_text
    assert new_text in (None, text)
    servos.assert_all_under(text, servos.old_text)
    if servos.has_service:
        assert servos.process_key_text() == text
        assert servos.call("GET", "/api/servers/1/reveal")[0] == 200
    return text


@pytest.mark.parametrize("method", ["database", "api"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_rotation_brings_data_env_file_and_process_under_one_new_key(
    make_servos: Callable[..., Servos], journal: str, method: str
) -> None:
    servos = make_servos(journal=journal)
    before_pid = servos.start()
    env_before = servos.env_file.read_text()
    options = api_options(servos) if method == "api" else {}

    assert servos.stage().changed
    done = servos.rotate(health_url=f"{servos.url}/api/health", **options)

    assert done.changed, done.msg
    assert done["rewrapped"] == 61
    assert done["phase"] == "activated"
    assert (done["sealed_values_before"], done["sealed_values"]) == (61, 61)
    text = assert_rotated(servos)
    assert servos.pid() != before_pid
    assert servos.env_file.read_text() == env_before.replace(servos.old_text, text)
    assert servos.sql("PRAGMA journal_mode") == [(journal,)]
    assert {path.name: oct(path.stat().st_mode) for path in servos.state_dir.glob("*.key")} == {
        "staged.key": "0o100600", "previous.key": "0o100600",
    }  # fmt: skip

    before = servos.snapshot()
    again = [servos.stage(), servos.rotate(**options)]
    assert [outcome.changed for outcome in again] == [False, False]
    assert_same(before, servos.snapshot())


def test_act_rotates_in_hex_where_its_env_file_holds_hex(make_servos: Callable[..., Servos]) -> None:
    act = make_servos(product="act", old_text=OLD.hex(), faults="accept_hex")
    act.start()
    act.stage()
    assert act.rotate().changed
    assert len(assert_rotated(act)) == 64


def test_act_rotates_in_hex_by_api(make_servos: Callable[..., Servos]) -> None:
    act = make_servos(product="act", old_text=OLD.hex(), faults="accept_hex")
    act.start()
    act.stage()
    assert act.rotate(**api_options(act)).changed
    assert len(assert_rotated(act)) == 64


def test_a_key_that_is_brought_along_is_used(servos: Servos) -> None:
    assert servos.rotate(new_key_file=str(servos.key_file("new", b64(NEW) + "\n"))).changed
    assert_rotated(servos, new_text=b64(NEW))


@pytest.mark.parametrize("method", ["database", "api"])
def test_check_mode_foretells_the_run_and_leaves_no_trace(servos: Servos, method: str) -> None:
    options = api_options(servos) if method == "api" else {}
    before = servos.snapshot(directory_times=True)

    staging = servos.stage(check=True)
    backup = servos.backup(check=True)
    told = servos.rotate(check=True, expect_staged=True, **options)

    assert_same(before, servos.snapshot(directory_times=True))
    assert (staging.changed, staging["rotation_pending"], staging["staged_key"]) == (True, True, None)
    assert backup.changed
    assert (told.changed, told["steps"], told["rewrapped"]) == (True, ["rewrap", "swap", "restart"], 61)

    servos.stage()
    staged = servos.snapshot(directory_times=True)
    told = servos.rotate(check=True, **options)
    assert_same(staged, servos.snapshot(directory_times=True))
    done = servos.rotate(**options)
    assert (told["steps"], told["rewrapped"]) == (done["steps"], done["rewrapped"])
    assert set(told.result) | {"scrub"} == set(done.result) | {"scrub"}
    rotated = servos.snapshot(directory_times=True)
    assert not servos.rotate(check=True, **options).changed
    assert servos.retire(check=True)["retired"] == [fingerprint(OLD)]
    assert servos.rotate(check=True, direction="back").changed
    assert_same(rotated, servos.snapshot(directory_times=True))


def test_a_diff_shows_counts_and_fingerprints_only(quiet: Servos) -> None:
    quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), rotation_id="one")
    diff = quiet.rotate()["diff"]
    assert f"env_key: {fingerprint(OLD)}\n" in diff["before"]
    assert f"env_key: {fingerprint(NEW)}\n" in diff["after"]
    assert "servers.ssh_private_key: active 8\n" in diff["before"]
    words = {word.strip(",:") for side in diff.values() for line in side.splitlines() for word in line.split()}
    assert [word for word in words if len(word) > 40] == []


def test_the_steps_can_be_taken_one_by_one(servos: Servos) -> None:
    def seen() -> tuple[Any, ...]:
        info = servos.info()
        return info["phase"], info["env_key"], info["process_key"]

    new = servos.key_file("new", b64(NEW))
    old_mark, new_mark = fingerprint(OLD), fingerprint(NEW)
    assert seen() == ("settled", old_mark, old_mark)
    servos.stage(new_key_file=str(new))
    assert seen() == ("staged", old_mark, old_mark)
    assert servos.rotate(until="rewrapped")["steps"] == ["rewrap"]
    assert seen() == ("rewrapped", old_mark, None)
    servos.assert_all_under(b64(NEW), b64(OLD))
    assert servos.env_text() == b64(OLD)
    assert servos.rotate(until="swapped")["steps"] == ["swap"]
    assert seen() == ("swapped", new_mark, None)
    assert servos.rotate(until="activated")["steps"] == ["restart"]
    assert seen() == ("activated", new_mark, new_mark)
    assert not servos.rotate().changed
    assert_rotated(servos, new_text=b64(NEW))


def test_the_keyring_swaps_the_env_file_by_itself(quiet: Servos) -> None:
    quiet.stage()
    quiet.rotate(until="rewrapped")
    assert quiet.run("servos_keyring", state="active", check=True).changed
    assert quiet.env_text() == quiet.old_text
    assert quiet.run("servos_keyring", state="active").changed
    assert not quiet.run("servos_keyring", state="active").changed
    assert_rotated(quiet)


def test_what_was_not_sealed_stays_as_it_was(quiet: Servos) -> None:
    names = [name for (name,) in quiet.sql("SELECT name FROM sqlite_master WHERE type = 'table'")]
    counts = {name: quiet.sql(f"SELECT count(*) FROM {name}") for name in names}
    schema = quiet.sql("SELECT * FROM sqlite_master WHERE type = 'table' ORDER BY name")
    quiet.stage()
    quiet.rotate()
    assert {name: quiet.sql(f"SELECT count(*) FROM {name}") for name in names} == counts
    assert [row[4] for row in quiet.sql("SELECT * FROM sqlite_master WHERE type = 'table' ORDER BY name")] == [row[4] for row in schema]
    assert_rotated(quiet)


def test_nothing_under_the_old_key_is_left_in_the_file_after_scrubbing(servos: Servos) -> None:
    (value,) = servos.sql("SELECT ssh_private_key FROM servers WHERE id = 1")[0]
    servos.stage()
    assert servos.rotate()["scrub"] == {"vacuumed": True, "wal_bytes": 0}
    for path in servos.database.parent.glob("servos.db*"):
        assert value[:60].encode() not in path.read_bytes()
