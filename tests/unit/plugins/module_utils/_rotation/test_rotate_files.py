# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Staging and rotating as files only, without a service: whatever is refused is refused before any value is touched."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EnvFileError, ServosError
from ansible_collections.servos.ops.plugins.module_utils._rotation import custody
from ansible_collections.servos.ops.plugins.module_utils._rotation.rotate import rotate
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import WalkOptions
from ansible_collections.servos.ops.plugins.module_utils._system.services import Service

KEYS = {"A": b"\xaa" * 32, "S": b"\x5e" * 32, "P": b"\x99" * 32}
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
SCRIPT = "CREATE TABLE t (id INTEGER PRIMARY KEY, c)"
INSERT = "INSERT INTO t VALUES (?, ?)"


@pytest.fixture
def installation(make_installation, make_database, sealed):
    return make_installation(make_database(SCRIPT, [(INSERT, (1, sealed("A", "value")))]), key_bytes=KEYS["A"])


def key(installation, name):
    return installation.parse(KEYS[name].hex(), where="the test")


def walk(installation, new=None, write=True, **options):
    new_key = key(installation, new) if new else None
    return rotate(installation, WalkOptions(**options), old_key=None, new_key=new_key, expect_staged=False, now=NOW, write=write)


def stage(installation, rotation_id="2026", new=None, write=True):
    new_key = key(installation, new) if new else None
    return custody.stage(installation, new_key=new_key, rotation_id=rotation_id, max_age_days=None, allow_empty=False, now=NOW, write=write)


def keys_of_data(installation, reveal, dump):
    return {reveal.cell(row[1])[1] for row in dump(installation.database().path)["t"]}


def test_a_whole_rotation_and_its_end(installation, reveal, dump, mark):
    assert walk(installation, "S")["steps"] == ["rewrap", "swap"]
    assert installation.env_key() == key(installation, "S")
    assert keys_of_data(installation, reveal, dump) == {"S"}
    assert installation.keyring.read("previous") == key(installation, "A")
    assert walk(installation)["changed"] is False
    assert custody.retire(installation, allow_empty=False, now=NOW, write=True)["retired"] == [mark("A")]
    assert [installation.keyring.read(role) for role in ("staged", "previous")] == [None, None]


def test_the_key_is_durable_before_any_value_is_under_it(installation, monkeypatch, reveal, dump):
    class Killed(BaseException):
        pass

    def kill(*arguments, **options):
        assert installation.keyring.read("staged") == key(installation, "S")
        raise Killed

    monkeypatch.setattr("ansible_collections.servos.ops.plugins.module_utils._rotation.data_step.rewrap_tables", kill)
    with pytest.raises(Killed):
        walk(installation, "S")
    monkeypatch.undo()
    assert keys_of_data(installation, reveal, dump) == {"A"}
    assert walk(installation)["phase"] == "activated"


@pytest.mark.parametrize("write", [True, False], ids=["run", "check"])
def test_a_new_key_while_the_last_rotation_is_not_retired_is_refused_before_the_data(installation, reveal, dump, write):
    installation.keyring.write("previous", key(installation, "P"))
    with pytest.raises(ServosError):
        walk(installation, "S", write=write)
    assert keys_of_data(installation, reveal, dump) == {"A"}


def test_the_same_id_rotates_once_even_if_staging_was_killed(installation, monkeypatch):
    class Killed(BaseException):
        pass

    def kill(**facts):
        raise Killed

    monkeypatch.setattr(installation.keyring, "remember", kill)
    with pytest.raises(Killed):
        stage(installation)
    monkeypatch.undo()
    assert stage(installation)["rotation_pending"] is True
    walk(installation)
    custody.retire(installation, allow_empty=False, now=NOW, write=True)
    assert stage(installation)["rotation_pending"] is False


def test_the_same_id_again_is_nothing_to_do(installation):
    assert stage(installation)["rotation_pending"] is True
    walk(installation)
    custody.retire(installation, allow_empty=False, now=NOW, write=True)
    again = stage(installation)
    assert (again["changed"], again["rotation_pending"]) == (False, False)


def test_nothing_that_a_value_needs_is_retired(installation, make_database, sealed):
    installation.keyring.write("previous", key(installation, "P"))
    path = make_database(SCRIPT, [(INSERT, (1, sealed("A", "x"))), (INSERT, (2, sealed("P", "y")))], name="other.db")
    installation.database_url = path
    with pytest.raises(ServosError, match="1 under the previous key"):
        custody.retire(installation, allow_empty=False, now=NOW, write=True)
    assert installation.keyring.read("previous") == key(installation, "P")


def test_nothing_is_retired_while_a_rotation_is_under_way(installation):
    stage(installation, new="S")
    with pytest.raises(ServosError, match="under way"):
        custody.retire(installation, allow_empty=False, now=NOW, write=True)
    assert installation.keyring.read("staged") == key(installation, "S")


def test_a_rollback_brings_everything_back(installation, reveal, dump):
    walk(installation, "S")
    assert walk(installation, back=True)["steps"] == ["rewrap", "swap", "withdraw"]
    assert installation.env_key() == key(installation, "A")
    assert keys_of_data(installation, reveal, dump) == {"A"}
    assert installation.keyring.read("withdrawn") == key(installation, "S")
    assert installation.keyring.read("staged") is None


def test_a_rollback_that_was_killed_before_its_swap_goes_on_although_the_staged_copy_was_removed(installation, monkeypatch, reveal, dump):
    class Killed(BaseException):
        pass

    def kill(key, **options):
        raise Killed

    walk(installation, "S")
    installation.keyring.destroy("staged")
    monkeypatch.setattr(installation, "write_env_key", kill)
    with pytest.raises(Killed):
        walk(installation, back=True)
    monkeypatch.undo()
    walk(installation, back=True)
    assert installation.env_key() == key(installation, "A")
    assert keys_of_data(installation, reveal, dump) == {"A"}


class StoppedService(Service):
    """What a run leaves that was killed between stop and start."""

    def main_pid(self):
        return None


@pytest.mark.parametrize(("kept", "steps"), [("previous", ["restart"]), ("withdrawn", ["restart"]), (None, [])], ids=str)
def test_a_service_that_a_killed_run_left_stopped_is_started_as_long_as_a_key_is_kept(installation, kept, steps):
    installation._manager, installation._service = "command", StoppedService("model", None)
    if kept:
        installation.keyring.write(kept, key(installation, "P"))
    assert walk(installation, write=False)["steps"] == steps


@pytest.mark.parametrize("new", [None, "S"], ids=["made-here", "given"])
def test_check_mode_writes_nothing(installation, tmp_path, new):
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    assert stage(installation, new=new, write=False)["rotation_pending"] is True
    if new:
        assert walk(installation, new, write=False)["rewrapped"] == 1
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()) == before


def test_a_dry_run_says_what_the_run_then_does(installation):
    told, done = walk(installation, "S", write=False), walk(installation, "S")
    assert set(done) - set(told) == {"scrub"}
    assert set(told) <= set(done)
    said = ("changed", "steps", "rewrapped", "tables", "phase_before", "census_before")
    assert {name: told[name] for name in said} == {name: done[name] for name in said}
    assert (told["_after"]["steps"], told["_after"]["rewrapped"]) == ("rewrap, swap", 1)
    assert walk(installation, write=False)["_after"]["steps"] == "none"


def test_a_key_that_the_env_file_could_not_hold_is_refused_first(make_installation, make_database):
    place = make_installation(make_database(SCRIPT), app="provara", env_text="PROVARA_MASTER_KEY=one long passphrase of many\n")
    with pytest.raises(EnvFileError, match="PROVARA_MASTER_KEY has characters that env file readers"):
        place.configuration.require_writable(place.parse("a passphrase with a $ in it", where="the test"))
    place.configuration.require_writable(place.parse("100%-of-a-passphrase", where="the test"))
