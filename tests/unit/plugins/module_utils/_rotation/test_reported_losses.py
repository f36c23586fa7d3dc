# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways in which an adversarial review lost values, each of them closed."""

from __future__ import annotations

import datetime
import os
import sqlite3

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import ForeignValueError, ServosError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.backups import keep_backups, prune_backups
from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe
from ansible_collections.servos.ops.plugins.module_utils._rotation.rotate import rotate
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import WalkOptions
from Cryptodome.Cipher import AES

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.timezone.utc)
A, S, X = (letter * 64 for letter in "abc")


def sealed(hex_key, text):
    import base64

    nonce = os.urandom(12)
    ciphertext, tag = AES.new(bytes.fromhex(hex_key), AES.MODE_GCM, nonce=nonce).encrypt_and_digest(text.encode())
    return base64.b64encode(nonce + ciphertext + tag).decode()


def opens(hex_key, text):
    import base64

    raw = base64.b64decode(text)
    try:
        AES.new(bytes.fromhex(hex_key), AES.MODE_GCM, nonce=raw[:12]).decrypt_and_verify(raw[12:-16], raw[-16:])
    except ValueError:
        return False
    return True


class Place:
    def __init__(self, folder, name="s"):
        self.database = str(folder / (name + ".db"))
        self.env_file = folder / (name + ".env")
        self.state_dir = folder / (name + "-state")
        connection = sqlite3.connect(self.database)
        connection.execute("CREATE TABLE builders (id INTEGER PRIMARY KEY, ssh_private_key)")
        connection.close()
        self.put_key(A)

    def put_key(self, text):
        self.env_file.write_text("SERVOS_MASTER_KEY=" + text + "\n")

    def installation(self, **options):
        given = {
            "app": "servos", "database": self.database, "env_file": str(self.env_file), "state_dir": str(self.state_dir),
            "service_manager": "none",
        }
        return Installation(dict(given, **options), run=lambda argv: (0, "", ""))

    def insert(self, *cells):
        connection = sqlite3.connect(self.database)
        connection.executemany("INSERT INTO builders (ssh_private_key) VALUES (?)", [(cell,) for cell in cells])
        connection.commit()
        connection.close()

    def cells(self):
        connection = sqlite3.connect(self.database)
        found = [cell for (cell,) in connection.execute("SELECT ssh_private_key FROM builders ORDER BY id")]
        connection.close()
        return found

    def keep(self, role, text):
        keyring = self.installation().keyring
        keyring.write(role, parse_key(text, derivation="raw32", where="test"))

    def rotate(self, *, back=False, until="swapped"):
        options = WalkOptions(until=until, back=back, scrub=False)
        return rotate(self.installation(), options, old_key=None, new_key=None, expect_staged=False, now=NOW, write=True)


@pytest.fixture(name="place")
def _place(tmp_path):
    return Place(tmp_path)


@pytest.mark.parametrize("back", [False, True], ids=["forward", "back"])
def test_a_third_key_in_the_env_file_is_refused_and_takes_no_data(place, back):
    place.insert(sealed(S, "one"))
    place.keep("staged", S)
    place.keep("previous", A)
    place.put_key(X)
    with pytest.raises(ServosError, match="opens no value and is not the"):
        place.rotate(back=back)
    assert all(opens(S, cell) for cell in place.cells())


def test_a_database_behind_a_link_is_read_with_its_log(place, tmp_path):
    connection = sqlite3.connect(place.database)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("INSERT INTO builders (ssh_private_key) VALUES (?)", (sealed(A, "in the log"),))
    connection.commit()
    link = tmp_path / "link.db"
    link.symlink_to(place.database)
    seen = observe(place.installation(database=str(link)))
    connection.close()
    assert sum(seen.sight.sealed.values()) == 1


def test_a_whole_class_under_a_lost_key_is_foreign(place):
    connection = sqlite3.connect(place.database)
    connection.execute("CREATE TABLE notes (id INTEGER PRIMARY KEY, token)")
    connection.execute("INSERT INTO notes VALUES (1, ?)", (sealed(A, "opens"),))
    connection.commit()
    connection.close()
    place.insert(sealed(X, "left behind by an earlier rotation"))
    place.keep("staged", S)
    with pytest.raises(ForeignValueError, match=r"builders\.ssh_private_key of id=1"):
        place.rotate()
    assert [opens(X, cell) for cell in place.cells()] == [True]


@pytest.mark.parametrize(
    "wrapped",
    [lambda text: ('{"k": "' + text + '"}').encode(), lambda text: ' \n["' + text + '"]', lambda text: '{"k": "[\\"' + text + '\\"]"}'],
    ids=["json-in-a-blob", "json-behind-blanks", "json-in-json"],
)
def test_json_in_odd_places_is_found_and_moved(place, wrapped):
    place.insert(wrapped(sealed(A, "odd")), sealed(A, "plain"))
    place.keep("staged", S)
    done = place.rotate()
    assert done["rewrapped"] == done["sealed_values_before"] == 2
    cell = place.cells()[0]
    text = cell.decode() if isinstance(cell, bytes) else cell
    inner = max(text.replace("\\", "").split('"'), key=len)
    assert opens(S, inner)
    assert text == (wrapped(inner).decode() if isinstance(cell, bytes) else wrapped(inner))


def test_a_key_that_a_kill_left_overwritten_is_absent(place):
    place.insert(sealed(A, "one"))
    place.keep("previous", X)
    (place.state_dir / "previous.key").write_bytes(b"\x00" * 64)
    assert observe(place.installation()).phase == "settled"


def test_backups_of_another_database_in_the_same_directory_stay(place, tmp_path):
    other = Place(tmp_path, "other")
    other.put_key(X)
    place.insert(sealed(A, "one"))
    other.insert(sealed(X, "two"))
    backups = str(tmp_path / "backups")
    for seconds, one in enumerate((place, other)):
        moment = NOW + datetime.timedelta(seconds=seconds)
        keep_backups(one.installation(), backup_dir=backups, retention_days=1, allow_empty=False, now=moment, write=True)
    gone = prune_backups(place.installation(), backup_dir=backups, unreadable=True, now=NOW, write=True)
    assert gone["removed"] == []
    assert len([name for name in os.listdir(backups) if name.endswith(".db")]) == 2
