# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An application that nobody has seen: its profile is drafted from database and key, pasted, and its key rotated with it."""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from evidence import leaks, snapshot_of
from installations import assert_refused, write
from invented_applications import APPLICATIONS, Invented, passphrase, seal_box, seal_hkdf, unseal_box, unseal_hkdf
from module_runs import ModuleRun, Outcome

PLAINTEXTS = [json.dumps({"user": f"user {number}", "password": "zwölf"}).encode() for number in range(12)]


class Site:
    """A database, an env file and two keys of an invented application."""

    def __init__(self, folder: Path, old: str, new: str) -> None:
        self.folder, self.database, self.old, self.new = folder, folder / "app.db", old, new
        self.env_file = write(folder / "app.env", f"PORT=80\nAPP_SECRET='{old}'\n")
        self.new_file = write(folder / "new.key", new + "\n")
        self.sql("CREATE TABLE users (id TEXT PRIMARY KEY, mail TEXT, password_hash TEXT)")
        for number in range(9):
            self.sql("INSERT INTO users VALUES (?, ?, ?)", str(uuid.uuid4()), f"user{number}@example.org", "$2b$12$" + os.urandom(26).hex())

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def fill(self, application: Invented, table: str = "vault") -> None:
        columns = ", ".join(application.columns)
        self.sql(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, label TEXT, {columns})")
        for number, plaintext in enumerate(PLAINTEXTS):
            cells = application.seal(self.old, plaintext)
            self.sql(f"INSERT INTO {table} VALUES ({', '.join('?' * (2 + len(cells)))})", number, f"label {number}", *cells)

    def run(self, name: str, *, check: bool = False, **options: Any) -> Outcome:
        common = {"app": "custom", "database": f"sqlite:///{self.database}", "service_manager": "none"}
        outcome = ModuleRun(name, {**common, **options}, check=check).wait(timeout_s=180)
        assert leaks(outcome.printed, {"old key": self.old, "new key": self.new}) == []
        assert "********" not in outcome.printed, "only the masking hid a key"
        assert "Traceback" not in outcome.printed, outcome.printed[-900:]
        return outcome

    def discover(self, **options: Any) -> Outcome:
        return self.run("servos_key_info", discover=True, **{"env_file": str(self.env_file), "env_var": "APP_SECRET", **options})

    def rotate(self, profile: dict[str, Any], **options: Any) -> Outcome:
        where = {"env_file": str(self.env_file), "state_dir": str(self.folder / "rotation")}
        return self.run("servos_key_rotate", profile=profile, new_key_file=str(self.new_file), until="swapped", **where, **options)

    def opened(self, application: Invented, key_text: str, table: str = "vault") -> list[bytes | None]:
        rows = self.sql(f"SELECT {', '.join(application.columns)} FROM {table} ORDER BY id")
        return [opened(application, key_text, row) for row in rows]


def opened(application: Invented, key_text: str, cells: tuple[Any, ...]) -> bytes | None:
    try:
        return application.unseal(key_text, cells)
    except Exception:
        return None


def as_pasted(text: str, folder: Path) -> dict[str, Any]:
    """What Ansible makes of the text in a file of variables."""
    loaded = DataLoader().load_from_file(str(write(folder / "vars.yml", text)))
    return json.loads(json.dumps(loaded["servos_profile"]))


@pytest.mark.parametrize("application", APPLICATIONS.values(), ids=APPLICATIONS)
def test_a_draft_that_is_pasted_rotates_the_key(application: Invented, tmp_path: Path) -> None:
    site = Site(tmp_path, application.new_key(), application.new_key())
    site.fill(application)
    before = snapshot_of(tmp_path)
    found = site.discover()
    assert not found.failed, found.msg
    assert snapshot_of(tmp_path) == before
    assert [(row["table"], tuple(row["columns"]), row["opened"] == row["samples"]) for row in found["draft_fields"]] == [
        ("vault", application.columns, True)
    ]
    assert found["draft_fields"][0]["proven"] is application.is_proven
    assert ("a guess" in found["draft_yaml"]) is not application.is_proven
    profile = as_pasted(found["draft_yaml"], tmp_path)
    assert profile == found["draft"]
    assert (profile["name"], profile["env_var"]) == ("app", "APP_SECRET")
    assert site.opened(application, site.new) == [None] * 12, "the reader says no where it should"

    rotated = site.rotate(profile)
    assert not rotated.failed, rotated.msg
    assert rotated["rewrapped"] == 12
    assert site.opened(application, site.new) == PLAINTEXTS
    assert site.opened(application, site.old) == [None] * 12
    assert f"APP_SECRET='{site.new}'" in site.env_file.read_text()


def test_places_in_json_and_a_second_layout_come_under_one_derivation(tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    pieces = Invented(("secret",), passphrase, seal_hkdf, unseal_hkdf)
    site.fill(pieces)
    site.sql("CREATE TABLE boxes (id INTEGER PRIMARY KEY, sealed BLOB)")
    for number, plaintext in enumerate(PLAINTEXTS):
        site.sql("INSERT INTO boxes VALUES (?, ?)", number, *seal_box(site.old, plaintext))
    site.sql("CREATE TABLE hooks (id INTEGER PRIMARY KEY, config TEXT)")
    for number, plaintext in enumerate(PLAINTEXTS):
        document = {"url": "https://example.org", "auth": {"token": seal_hkdf(site.old, plaintext)[0]}}
        site.sql("INSERT INTO hooks VALUES (?, ?)", number, json.dumps(document))
    found = site.discover()
    places = [(row["table"], row["column"], row["path"]) for row in found["draft_fields"]]
    assert places == [("boxes", "sealed", None), ("hooks", "config", "$.auth.token"), ("vault", "secret", None)]
    assert found["draft"]["derivation"] == {"kdf": "raw", "text": "utf8"}
    assert site.rotate(found["draft"])["rewrapped"] == 36
    assert site.opened(pieces, site.new) == PLAINTEXTS
    assert [unseal_box(site.new, row) for row in site.sql("SELECT sealed FROM boxes")] == PLAINTEXTS
    tokens = [json.loads(text)["auth"]["token"] for (text,) in site.sql("SELECT config FROM hooks")]
    assert [unseal_hkdf(site.new, (token,)) for token in tokens] == PLAINTEXTS


def test_look_alikes_are_named_and_not_ignored(tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    site.fill(APPLICATIONS["secretbox in a blob, SHA-256"])
    found = site.discover()
    looks = {(row["table"], row["column"]): row["looks_like"] for row in found["draft_unopened"]}
    assert looks == {("users", "id"): "UUID", ("users", "password_hash"): "hash of a password"}
    assert "ignore" not in found["draft"]
    assert "# only if they are not sealed" in found["draft_yaml"]


def test_a_column_in_which_a_part_opens_is_said(tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    application = APPLICATIONS["HKDF and ChaCha20 in pieces"]
    site.fill(application)
    site.sql("UPDATE vault SET secret = ? WHERE id = 1", *application.seal(site.new, b"under another key"))
    site.sql("UPDATE vault SET secret = ? WHERE id = 2", str(uuid.uuid4()))
    found = site.discover()
    assert (found["draft_fields"][0]["opened"], found["draft_fields"][0]["samples"]) == (6, 8)
    assert "6 of 8 samples open" in found["draft_yaml"]
    assert "6 of 8 samples open" in found.warnings


def test_a_canary_is_proposed(tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    site.sql("CREATE TABLE settings (name TEXT PRIMARY KEY, value BLOB)")
    site.sql("INSERT INTO settings VALUES ('integrity_canary', ?)", *seal_box(site.old, b"alive"))
    found = site.discover()
    assert found["draft"]["canary"] == {"row": "canary", "required": True}
    assert not site.rotate(found["draft"]).failed


def test_the_key_can_come_from_a_file_of_its_own(tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    site.fill(APPLICATIONS["secretbox in a blob, SHA-256"])
    found = site.discover(env_file=None, env_var=None, key_file=str(write(tmp_path / "key", site.old + "\n")), profile={"name": "ledger"})
    assert (found["draft"]["name"], found["draft"]["env_var"]) == ("ledger", "THE_VARIABLE_OF_THE_KEY")
    assert "name the variable" in found["draft_yaml"]
    assert yaml.safe_load(found["draft_yaml"])["servos_profile"] == found["draft"]


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "no database": ({"database": None}, ["needs a database", "database"]),
    "no key": ({"env_file": None}, ["needs the key", "key_file"]),
    "no variable": ({"env_var": None}, ["by the names it could be: APP_SECRET", "env_var"]),
    "another variable": ({"env_var": "APP_KEY"}, ["does not set APP_KEY", "env_var"]),
    "no env file": ({"env_file": "/nowhere/app.env"}, ["/nowhere/app.env", "key_file"]),
    "another key": ({"env_var": "PORT"}, ["no value opens under this key", "vault.sealed", "docs/profiles.md"]),
    "no such database": ({"database": "sqlite:////nowhere/app.db"}, ["no database /nowhere/app.db"]),
}


@pytest.mark.parametrize(("options", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_drafted_is_refused(options: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    site.fill(APPLICATIONS["secretbox in a blob, SHA-256"])
    assert_refused(site.discover(**options), *words)


def test_what_there_was_no_time_for_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path, passphrase(), passphrase())
    site.fill(APPLICATIONS["secretbox in a blob, SHA-256"])
    assert_refused(site.discover(discover_seconds=0), "no time for users, vault", "discover_seconds")
