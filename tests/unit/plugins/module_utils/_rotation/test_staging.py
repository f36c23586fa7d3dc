# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which key is staged, and when none is: what is on disk afterwards, and what is refused."""

from __future__ import annotations

import datetime
import os
import pathlib

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyFormatError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation import custody

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
HEX = {name: byte * 32 for name, byte in {"A": "aa", "S": "5e", "B": "b0"}.items()}


def key(name):
    return parse_key(HEX[name], derivation="raw32", where="x")


@pytest.fixture
def make(make_installation, make_database, sealed):
    def made(**options):
        database = make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c)", [("INSERT INTO t VALUES (1, ?)", (sealed("A", "x"),))])
        return make_installation(database, key_bytes=bytes.fromhex(HEX["A"]), **options)

    return made


def stage(installation, *, new_key=None, rotation_id=None, write=True):
    return custody.stage(
        installation, new_key=new_key, rotation_id=rotation_id, max_age_days=None, allow_empty=False, now=NOW, write=write
    )


def kept(installation):
    """What lies in the state directory, by name."""
    folder = pathlib.Path(installation.keyring.state_dir)
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def test_a_key_that_is_brought_along_is_staged(make):
    installation = make()
    done = stage(installation, new_key=key("B"))
    assert (done["changed"], done["rotation_pending"]) == (True, True)
    assert pathlib.Path(installation.keyring.path_of("staged")).read_text().strip() == HEX["B"]


def test_check_mode_makes_no_key(make):
    installation = make()
    before = kept(installation)
    done = stage(installation, rotation_id="2026", write=False)
    assert (done["changed"], done["rotation_pending"]) == (True, True)
    assert kept(installation) == before


@pytest.mark.parametrize("rotation_id", [None, "2026"])
def test_the_key_in_force_is_no_new_key(make, rotation_id):
    installation = make()
    before = kept(installation)
    with pytest.raises(KeyFormatError, match=r"the new key is the active key mk:[0-9a-f]{16}; nothing was changed"):
        stage(installation, new_key=key("A"), rotation_id=rotation_id)
    assert kept(installation) == before


def test_the_key_that_an_earlier_run_put_in_force_is_left_there(make):
    installation = make()
    installation.keyring.remember(finished_key=key("A").fingerprint)
    before = kept(installation)
    done = stage(installation, new_key=key("A"))
    assert (done["changed"], done["rotation_pending"], done["reason"]) == (False, False, "the given key is in force")
    assert kept(installation) == before


def test_a_rotation_under_way_is_not_begun_again(make):
    installation = make(staged=bytes.fromhex(HEX["S"]))
    for new_key in (None, key("S")):
        done = stage(installation, new_key=new_key, rotation_id="2026")
        assert (done["changed"], done["rotation_pending"]) == (False, True)
    assert pathlib.Path(installation.keyring.path_of("staged")).read_text().strip() == HEX["S"]


def test_another_key_than_the_one_of_a_rotation_under_way_is_refused(make):
    installation = make(staged=bytes.fromhex(HEX["S"]))
    before = kept(installation)
    with pytest.raises(KeyFormatError) as caught:
        stage(installation, new_key=key("B"), rotation_id="2026")
    assert [name for name in ("S", "B") if key(name).fingerprint not in str(caught.value)] == []
    assert kept(installation) == before


def test_who_was_killed_between_the_key_and_its_record_finds_the_record_written(make):
    installation = make(staged=bytes.fromhex(HEX["S"]))
    assert "new_key" not in installation.keyring.record()
    stage(installation, rotation_id="2026", write=False)
    assert "new_key" not in installation.keyring.record()
    stage(installation, rotation_id="2026")
    assert installation.keyring.record()["new_key"] == key("S").fingerprint


def test_keys_are_private(make):
    installation = make()
    stage(installation, rotation_id="2026")
    assert os.stat(installation.keyring.path_of("staged")).st_mode & 0o777 == 0o600
