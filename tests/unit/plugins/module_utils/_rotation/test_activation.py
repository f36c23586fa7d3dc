# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key comes into force only when all data is under it, and an old one goes only when nothing is to be opened by it any more."""

from __future__ import annotations

import datetime
import os
import pathlib

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyMissingError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation import backups, custody
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import Keys

HEX = {"A": "aa" * 32, "S": "5e" * 32, "P": "99" * 32}
RAW = {name: bytes.fromhex(text) for name, text in HEX.items()}
NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
INSERT = "INSERT INTO t VALUES (?, ?)"


def key(name):
    return parse_key(HEX[name], derivation="raw32", where="x")


@pytest.fixture
def make(make_installation, make_database, sealed):
    def made(*under, **options):
        rows = [(INSERT, (number, sealed(name, "x"))) for number, name in enumerate(under)]
        return make_installation(make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c)", rows), key_bytes=RAW["A"], **options)

    return made


def on_disk(installation):
    state = pathlib.Path(installation.keyring.state_dir)
    files = [pathlib.Path(installation.env_file), *(state.iterdir() if state.is_dir() else [])]
    return {path.name: path.read_bytes() for path in files}


def test_the_staged_key_comes_into_force_and_the_one_before_is_kept(make):
    installation = make("S", "S", staged=RAW["S"])
    before = on_disk(installation)
    assert custody.activate(installation, write=False)["changed"] is True
    assert on_disk(installation) == before
    assert custody.activate(installation, write=True)["changed"] is True
    assert pathlib.Path(installation.env_file).read_text() == f"SERVOS_MASTER_KEY={HEX['S']}\n"
    assert pathlib.Path(installation.keyring.path_of("previous")).read_text().strip() == HEX["A"]
    assert custody.activate(installation, write=True)["changed"] is False


@pytest.mark.parametrize(("under", "count"), [("AS", "1 of 2"), ("AA", "2 of 2")])
def test_a_key_that_some_values_are_not_under_does_not_come_into_force(make, under, count):
    installation = make(*under, staged=RAW["S"])
    before = on_disk(installation)
    with pytest.raises(KeyMissingError, match=f"{count} values are not under the staged key {key('S').fingerprint} yet"):
        custody.activate(installation, write=True)
    assert on_disk(installation) == before


def test_a_key_goes_when_no_backup_that_is_to_be_readable_needs_it(make, tmp_path):
    installation, folder = make("P"), str(tmp_path / "backups")
    installation.keyring.write("previous", key("P"))
    (tmp_path / "app.env").write_text(f"SERVOS_MASTER_KEY={HEX['P']}\n")
    backups.keep_backups(installation, backup_dir=folder, retention_days=30, allow_empty=False, now=NOW, write=True)
    # As if all had been rotated since.
    (tmp_path / "app.env").write_text(f"SERVOS_MASTER_KEY={HEX['A']}\n")
    os.unlink(str(tmp_path / "app.db"))
    installation = make("A")

    def retire(days, readable_backups):
        now = NOW + datetime.timedelta(days=days)
        return custody.retire(installation, allow_empty=False, now=now, write=True, readable_backups=readable_backups)

    before = on_disk(installation)
    with pytest.raises(KeyMissingError) as caught:
        retire(29, folder)
    assert custody.retire(installation, allow_empty=False, now=NOW, write=False)["retired"] == [key("P").fingerprint]
    assert [word for word in (folder, key("P").fingerprint, "nothing was destroyed") if word not in str(caught.value)] == []
    assert on_disk(installation) == before
    assert retire(31, folder)["retired"] == [key("P").fingerprint]
    assert not os.path.exists(installation.keyring.path_of("previous"))


@pytest.mark.parametrize(("role", "said"), [("previous", "the previous key mk:"), ("withdrawn", "the withdrawn key mk:")])
def test_no_rotation_begins_while_a_key_of_the_last_one_is_kept(make, role, said):
    installation = make("A")
    installation.keyring.write(role, key("P"))
    before = on_disk(installation)
    with pytest.raises(KeyMissingError, match=said):
        custody.stage(installation, new_key=None, rotation_id="2026", max_age_days=None, allow_empty=False, now=NOW, write=True)
    assert on_disk(installation) == before


def test_no_rotation_begins_while_the_list_of_the_last_one_is_kept():
    keys = Keys(active=key("A"), staged=None, previous=None, withdrawn=None, dropped=[key("P")])
    with pytest.raises(KeyMissingError, match="is still kept in /var/lib/servos/keyring; retire it first"):
        custody.refuse_unretired(keys, "/var/lib/servos/keyring")
