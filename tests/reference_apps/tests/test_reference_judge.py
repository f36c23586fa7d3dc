# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The judge passes what is right and, more to the point, fails each thing that can be wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import sqlite3
from pathlib import Path

import pytest
from Cryptodome.Cipher import AES
from reference_harness import OLD_KEY, REFERENCE_APPS, Installation, run_script


def seal(plaintext: bytes, key_bytes: bytes) -> str:
    """Seal once more by hand: nonce, ciphertext, tag."""
    cipher = AES.new(key_bytes, AES.MODE_GCM, nonce=b"n" * 12)
    ciphertext, tag = cipher.encrypt_and_digest(plaintext)
    return base64.b64encode(b"n" * 12 + ciphertext + tag).decode()


def test_an_untouched_database_is_right_under_its_key(installation: Installation) -> None:
    code, verdict = installation.judge("old", "new")
    assert (code, verdict["ok"], verdict["opens_new"]) == (0, True, 61)


def test_wrong_keys(installation: Installation) -> None:
    code, verdict = installation.judge("new", "old")
    assert (code, verdict["opens_new"], verdict["opens_old"]) == (1, 0, 61)
    code, verdict = installation.judge("new", "other")
    assert (code, verdict["neither"]) == (1, 61)


SEALED = seal(b"tampered", OLD_KEY)


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        (f"UPDATE registries SET password = '{SEALED}' WHERE id = 1", "plaintext_mismatches"),
        (f"UPDATE servers SET ssh_passphrase = '{SEALED}' WHERE id = 2", "plaintext_mismatches"),
        (f"UPDATE system_settings SET value = '{SEALED}' WHERE key = 'integrity_canary'", "plaintext_mismatches"),
        ("UPDATE registries SET password = 'plain' WHERE id = 1", "neither"),
        ("UPDATE builders SET ssh_passphrase = NULL WHERE id = 1", "missing"),
        ("UPDATE services SET name = name || ' ' WHERE id = 3", "rows_changed"),
        ("UPDATE services SET updated_at = '2026' WHERE id = 3", "rows_changed"),
        ("UPDATE system_settings SET value = '2' WHERE key = 'schema_version'", "rows_changed"),
        ("DELETE FROM git_credentials WHERE id = 2", "missing"),
        ("DELETE FROM system_settings WHERE key = 'integrity_canary'", "missing"),
        ("DROP TABLE storage_providers", "missing"),
        ("CREATE TABLE left_over (id)", "schema_changed"),
        (f"INSERT INTO services VALUES (900, 'x', '{SEALED}', '', '')", "extra_rows"),
    ],
)
def test_each_kind_of_damage_is_found(installation: Installation, statement: str, finding: str) -> None:
    with sqlite3.connect(installation.database) as connection:
        connection.execute(statement)
    connection.close()
    code, verdict = installation.judge("old", "new")
    assert code == 1 and verdict[finding] >= 1 and verdict["details"]


def test_the_journal_accounts_for_rows_added_meanwhile(installation: Installation) -> None:
    installation.start()
    row_id = installation.call("POST", "/api/services", {"value": "added"})[1]["id"]
    right, wrong = (hashlib.sha256(content).hexdigest() for content in (b"added", b"else"))
    journal = installation.folder / "journal"

    def judged(**entry: object) -> tuple[int, dict]:
        journal.write_text(json.dumps({"class": "services", **entry}) + "\n")
        return installation.judge("old", "new", "--journal", journal)

    assert judged(id=row_id, sha256=right)[0] == 0
    assert judged(id=None, sha256=right)[0] == 0
    assert judged(id=row_id, sha256=wrong)[1]["journal_mismatches"] == 1
    assert judged(id=row_id + 1, sha256=right)[1]["missing"] == 1
    assert judged(id=None, sha256=wrong)[1]["extra_rows"] == 1


def test_a_judge_that_cannot_judge_says_so(installation: Installation) -> None:
    assert installation.judge("old", "old")[0] == 2
    installation.database.unlink()
    assert installation.judge("old", "new")[0] == 2
    assert not installation.database.exists()


FIXTURE = REFERENCE_APPS.parent / "fixtures/provara"


@pytest.fixture
def provara(tmp_path: Path) -> Path:
    (tmp_path / "provara.db").write_bytes((FIXTURE / "provara.db").read_bytes())
    (tmp_path / "old").write_text("5e" * 32 + "\n")
    (tmp_path / "new").write_text("a passphrase with a space at its end \n")
    (tmp_path / "other").write_text("other")
    return tmp_path


def judge_provara(folder: Path, key_name: str, old_name: str) -> tuple[int, dict]:
    done = run_script(
        "provara/judge.py", "--database", folder / "provara.db", "--key-file", folder / key_name,
        "--old-key-file", folder / old_name, "--manifest", FIXTURE / "manifest.json",
    )  # fmt: skip
    return done.returncode, json.loads(done.stdout or "{}")


def test_provara_written_by_the_real_program_is_right(provara: Path) -> None:
    code, verdict = judge_provara(provara, "old", "new")
    assert (code, verdict["opens_new"]) == (0, 132)
    assert judge_provara(provara, "new", "old")[1]["opens_old"] == 132
    assert judge_provara(provara, "new", "other")[1]["neither"] == 132


@pytest.mark.parametrize(
    ("statement", "finding"),
    [
        ("UPDATE api_keys SET name = 'x' WHERE id = (SELECT min(id) FROM api_keys)", "rows_changed"),
        ("UPDATE context_connector_credentials SET type = 'x'", "rows_changed"),
        ("DELETE FROM api_keys WHERE id = (SELECT min(id) FROM api_keys)", "missing"),
        ("DROP TABLE context_connector_credentials", "missing"),
        ("UPDATE api_keys SET iv = upper(iv)", "malformed"),
        ("UPDATE api_keys SET auth_tag = iv", "neither"),
        (
            "UPDATE api_keys SET (encrypted_value, iv, auth_tag) = "
            + "(SELECT encrypted_value, iv, auth_tag FROM api_keys WHERE name LIKE '%\\_7' ESCAPE '\\')",
            "plaintext_mismatches",
        ),
        (
            "INSERT INTO api_keys SELECT 'copy', name, provider, encrypted_value, iv, auth_tag, 1, 1, NULL "
            + "FROM api_keys LIMIT 1",
            "extra_rows",
        ),
    ],
)
def test_provara_damage_is_found(provara: Path, statement: str, finding: str) -> None:
    with sqlite3.connect(provara / "provara.db") as connection:
        connection.execute(statement)
    connection.close()
    code, verdict = judge_provara(provara, "old", "new")
    assert code == 1 and verdict[finding] >= 1


def test_provara_official_manner_leaves_the_second_table_behind(provara: Path) -> None:
    arguments = (
        "--database",
        provara / "provara.db",
        "--old-key-file",
        provara / "old",
        "--new-key-file",
        provara / "new",
    )
    done = run_script("provara/official_loop.py", *arguments)
    assert (done.returncode, done.stdout) == (0, "[rotate] rotated 120 of 120 row(s).\n")
    code, verdict = judge_provara(provara, "new", "old")
    assert (code, verdict["opens_new"], verdict["opens_old"]) == (1, 120, 12)
    again = run_script("provara/official_loop.py", *arguments)
    assert again.returncode == 1 and "Decrypt failed for api_keys.id=" in again.stderr
