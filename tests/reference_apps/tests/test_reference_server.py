# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The server without faults: each endpoint, the start checks, the stale key, the environment others observe."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from reference_harness import NEW_KEY, OLD_KEY, OTHER_KEY, ROTATE_PATH, USER_TOKEN, Installation, b64

CLASSES = (
    "servers",
    "builders",
    "services",
    "environments",
    "git_credentials",
    "registries",
    "storage_providers",
    "ssh_passphrases",
)


def first_id(installation: Installation, class_name: str) -> str:
    return str(installation.call("GET", f"/api/{class_name}")[1]["ids"][0])


def test_every_class_can_be_listed_and_revealed(installation: Installation) -> None:
    installation.start()
    assert installation.call("GET", "/api/health", token="none") == (200, {"status": "ok"})
    for class_name in CLASSES:
        status, reply = installation.call("GET", f"/api/{class_name}/{first_id(installation, class_name)}/reveal")
        assert status == 200 and reply["value"]
    assert installation.call("GET", "/api/servers/999/reveal") == (404, {"error": "not found"})
    assert installation.call("GET", "/api/nothing") == (404, {"error": "not found"})
    assert installation.call("POST", "/api/ssh_passphrases", {"value": "x"})[0] == 405


@pytest.mark.parametrize("class_name", CLASSES[:-1])
def test_a_created_value_is_revealed(installation: Installation, class_name: str) -> None:
    installation.start()
    status, reply = installation.call("POST", f"/api/{class_name}", {"value": "ключ\n鍵"})
    assert status == 201
    assert installation.call("GET", f"/api/{class_name}/{reply['id']}/reveal") == (200, {"value": "ключ\n鍵"})


def test_a_rotation_reencrypts_everything_and_the_process_keeps_the_old_key(installation: Installation) -> None:
    installation.start()
    status, reply = installation.rotate()
    assert (status, reply["status"]) == (200, "ok")
    assert sum(reply["rotated"].values()) == 60 and sorted(reply["rotated"]) == sorted(CLASSES)
    code, verdict = installation.judge()
    assert (code, verdict["opens_new"]) == (0, 61)
    assert installation.call("GET", "/api/servers/1/reveal") == (500, {"error": "decryption failed"})
    assert installation.rotate() == (422, {"error": "Old master key incorrect"})
    assert installation.stop() == 0
    assert installation.start(key_text=b64(OLD_KEY)) == 1
    assert installation.start(key_text=b64(NEW_KEY)) is None
    assert installation.call("GET", "/api/servers/1/reveal")[0] == 200


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"old_key": "short", "new_key": b64(NEW_KEY)}, 400, "invalid key format"),
        ({"old_key": b64(OLD_KEY), "new_key": b64(NEW_KEY) + "\n"}, 400, "invalid key format"),
        ({"old_key": b64(OLD_KEY), "new_key": OLD_KEY.hex().upper()}, 400, "old_key and new_key are identical"),
        ({"old_key": b64(OTHER_KEY), "new_key": b64(NEW_KEY)}, 422, "Old master key incorrect"),
        ({"old_key": b64(OLD_KEY)}, 400, "invalid request body"),
        ({"old_key": b64(OLD_KEY), "new_key": 1}, 400, "invalid request body"),
        (None, 400, "invalid request body"),
    ],
    ids=["format", "line-end", "identical-bytes", "old-incorrect", "field-missing", "not-text", "no-body"],
)
def test_a_refused_rotation_changes_nothing(installation: Installation, body: object, status: int, error: str) -> None:
    installation.start()
    assert installation.call("POST", ROTATE_PATH, body) == (status, {"error": error})
    assert installation.is_untouched()


def test_tokens(installation: Installation) -> None:
    installation.start()
    assert installation.call("POST", ROTATE_PATH, {}, token="wrong") == (401, {"error": "unauthorized"})
    assert installation.call("POST", ROTATE_PATH, {}, token=USER_TOKEN) == (403, {"error": "admin required"})
    assert installation.call("GET", ROTATE_PATH)[0] == 405


def test_a_removed_canary_is_missed_by_the_rotation_and_by_the_start(installation: Installation) -> None:
    installation.start()
    with sqlite3.connect(installation.database) as connection:
        connection.execute("DELETE FROM system_settings WHERE key = 'integrity_canary'")
    connection.close()
    assert installation.rotate() == (500, {"error": "Integrity canary not found"})
    installation.stop()
    assert installation.start() == 1
    assert "Integrity canary not found" in installation.log


@pytest.mark.parametrize(
    ("key_text", "reason"),
    [
        ("", "SERVOS_MASTER_KEY is not set"),
        ("marker-not-base64!", "not valid Base64"),
        (b64(OLD_KEY[:16]), "16 bytes"),
        (OLD_KEY.hex(), "48 bytes"),
        (b64(OTHER_KEY), "canary does not open"),
    ],
    ids=["absent", "not-base64", "short", "hex", "other-key"],
)
def test_an_unusable_key_stops_the_start_and_is_not_shown(
    installation: Installation, key_text: str, reason: str
) -> None:
    assert installation.start(key_text=key_text) == 1
    assert reason in installation.log
    assert not key_text or key_text not in installation.log


def test_a_missing_database_is_not_created(installation: Installation) -> None:
    installation.database.rename(installation.folder / "elsewhere.db")
    assert installation.start() == 1
    assert not installation.database.exists()


def test_an_env_file_becomes_the_environment_of_the_same_process(installation: Installation) -> None:
    values = installation.environment(key_text=b64(OLD_KEY), prefix="ACT")
    env_file, pid_file = installation.folder / "act.env", installation.folder / "pid"
    lines = ["# a comment", f"ACT_MASTER_KEY={b64(OTHER_KEY)}", 'export GREETING="it\'s \\"quoted\\""', "; another", ""]
    lines += [f"{name}='{value}'" for name, value in values.items()]
    env_file.write_text("\r\n".join(lines), newline="")
    arguments = ("--product", "act", "--env-file", str(env_file), "--pid-file", str(pid_file))
    assert installation.start(*arguments, env={"ACT_MASTER_KEY": "inherited"}) is None
    assert installation.call("GET", "/api/servers/1/reveal")[0] == 200
    assert installation.process is not None and int(pid_file.read_text()) == installation.process.pid
    initial = Path(f"/proc/{installation.process.pid}/environ").read_bytes().split(b"\0")
    assert f"ACT_MASTER_KEY={b64(OLD_KEY)}".encode() in initial
    assert b'GREETING=it\'s "quoted"' in initial
    assert sum(entry.startswith(b"ACT_MASTER_KEY=") for entry in initial) == 1
    assert installation.stop() == 0
    assert not pid_file.exists()


def test_a_broken_env_file_line_is_named_but_not_quoted(installation: Installation) -> None:
    env_file = installation.folder / "servos.env"
    env_file.write_text("# fine\nmarker line without assignment\n")
    assert installation.start("--env-file", str(env_file)) == 1
    assert "line 2" in installation.log and "marker" not in installation.log
