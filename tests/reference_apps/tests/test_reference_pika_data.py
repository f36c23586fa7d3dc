# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pika model's data: what is sealed, what a rotation leaves behind at each step, backups, the configured password, the judge.

A number in a test's name is the section of the protocol's description that the test pins: s1 and s2 what is sealed, s6 rotation,
s8 configured password, s9 backup and restore, s11 traps of the initialization.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from Cryptodome.Cipher import ChaCha20_Poly1305
from pikas import NEW, OLD, OTHER, PIKA, Pika, script, write

MakePika = Callable[..., Pika]
OLD_ONLY, NEW_ONLY = {"old"}, {"new"}


def verdict_keys(pika: Pika) -> tuple[str, str, set[str]]:
    """Return the keys of verifier, payload and vault accounts."""
    verdict = pika.judge()
    assert not verdict["mismatches"] and verdict["magic"]
    return verdict["verifier"], verdict["payload"], set(verdict["vaults"].values())


def test_s1_verifier_and_payload_are_sealed_as_described(pika: Pika) -> None:
    row = json.loads((pika.state / "settings/settings.json").read_text())["row"]
    key_bytes = hashlib.sha256(OLD.encode()).digest()
    verifier = base64.b64decode(row["encryption_verifier"])
    opened = ChaCha20_Poly1305.new(key=key_bytes, nonce=verifier[:24]).decrypt_and_verify(verifier[24:-16], verifier[-16:])
    assert opened.startswith(b"PIKA_KEY_VERIFIER_v1|") and len(verifier) == 24 + 21 + 16 + 16
    payload = base64.b64decode(row["sensitive_payload"])
    opened = ChaCha20_Poly1305.new(key=key_bytes, nonce=payload[1:25]).decrypt_and_verify(payload[25:-16], payload[-16:])
    assert payload[0] == 1 and len(json.loads(opened)) == 8


@pytest.mark.parametrize(
    ("version", "sections", "vaults"),
    [("A", {"mounts", "ftp"}, 0), ("B", {"public"}, 0), ("C", {"public"}, 3)], ids=["s2-A", "s2-B", "s2-C"],
)  # fmt: skip
def test_what_is_sealed_depends_on_the_version(make_pika: MakePika, version: str, sections: set[str], vaults: int) -> None:
    pika = make_pika(version=version, secrets=11)
    assert len(pika.judge()["vaults"]) == vaults and pika.is_all_under("old")
    pika.start(unlock=OLD)
    assert sections <= pika.call("GET", "/api/v1/settings").json.keys() - {"oauth2", "ldap", "hooks", "externals"}
    assert pika.rotate().status == 200 and pika.is_all_under("new")


def test_s2_settings_show_whether_a_secret_is_set_and_take_a_new_one(pika: Pika) -> None:
    shown = pika.call("GET", "/api/v1/settings").json
    assert shown["oauth2"]["google6"] == {"address": "example.test", "client_secret_set": True}
    assert pika.call("POST", "/api/v1/settings", {"oauth2": {"google6": {"client_secret": "changed"}}}).status == 200
    assert pika.judge()["mismatches"] == ["oauth2/google6/client_secret"]
    assert pika.call("POST", "/api/v1/settings", {"oauth2": {"google6": {"client_secret": "", "address": "elsewhere"}}}).status == 200
    assert pika.call("GET", "/api/v1/settings").json["oauth2"]["google6"] == {"address": "elsewhere", "client_secret_set": True}


def test_s6_a_rotation_needs_no_restart_and_the_next_start_needs_the_new_key(pika: Pika) -> None:
    fingerprint = pika.judge()["vaults"]
    assert pika.rotate().status == 200
    assert verdict_keys(pika) == ("new", "new", NEW_ONLY) and len(fingerprint) == 3
    assert pika.call("GET", "/api/v1/settings").status == 200
    pika.restart()
    assert pika.status() == {"initialized": True, "unlocked": False}
    assert pika.unlock(OLD).status == 403 and pika.unlock(NEW).status == 200


@pytest.mark.parametrize(
    ("step", "status", "message"),
    [("1", 500, "get settings"), ("2", 500, "sealed payload corrupt or unreadable")], ids=["s6-1", "s6-2"],
)  # fmt: skip
def test_a_failure_before_the_swap_leaves_everything_old(pika: Pika, step: str, status: int, message: str) -> None:
    pika.set_faults(fail_step=step)
    answer = pika.rotate()
    assert answer.status == status and message in answer.message
    assert verdict_keys(pika) == ("old", "old", OLD_ONLY)
    assert pika.status()["unlocked"] and pika.call("GET", "/api/v1/settings").status == 200


def test_s6_a_failed_settings_write_leaves_old_on_disk_and_new_in_memory_until_lock(pika: Pika) -> None:
    pika.set_faults(fail_step="4*1")
    answer = pika.rotate()
    assert answer.status == 500 and answer.message.startswith("rewrap secrets failed: ")
    assert verdict_keys(pika) == ("old", "old", OLD_ONLY)
    assert pika.send("GET", "/api/v1/key/status").status == 500
    assert {pika.unlock(key).status for key in (OLD, NEW)} == {500}
    assert pika.rotate().status == pika.rotate(NEW, OTHER).status == 500
    assert pika.rotate(NEW, NEW).status == 400
    assert pika.call("POST", "/api/v1/key/lock").status == 200
    assert pika.status() == {"initialized": True, "unlocked": False}
    assert pika.unlock(NEW).status == 403 and pika.unlock(OLD).status == 200
    assert pika.rotate().status == 200 and pika.is_all_under("new")


def test_s6_when_lock_fails_too_only_a_restart_helps(pika: Pika) -> None:
    pika.set_faults(fail_step="4*1", lock_fails="500")
    pika.rotate()
    assert pika.call("POST", "/api/v1/key/lock").status == 500
    assert pika.restart(unlock=OLD).rotate().status == 200


def test_s6_a_failed_vault_write_leaves_a_mixture_that_no_rotation_mends(pika: Pika) -> None:
    pika.set_faults(fail_step="5*1")
    answer = pika.rotate()
    assert answer.status == 500 and answer.message.startswith("rewrap server-managed vault keys failed: ")
    assert verdict_keys(pika) == ("new", "new", {"old", "new"})
    assert pika.unlock(NEW).status == 200
    answer = pika.rotate(NEW, OTHER)
    assert answer.status == 500 and "open vault key for user user2" in answer.message
    assert verdict_keys(pika) == ("new", "new", {"old", "new"})


@pytest.mark.parametrize(("moment", "key_name"), [("before", "old"), ("after", "new")], ids=["s6-before", "s6-after"])
def test_a_dropped_connection(pika: Pika, moment: str, key_name: str) -> None:
    pika.set_faults(drop=f"{moment}*1")
    with pytest.raises((http.client.HTTPException, OSError)):
        pika.rotate()
    assert pika.is_all_under(key_name)


@pytest.mark.parametrize(
    ("point", "expected"),
    [("before", ("old", "old", OLD_ONLY)), ("2", ("old", "old", OLD_ONLY)), ("3", ("old", "old", OLD_ONLY)),
     ("4", ("new", "new", OLD_ONLY)), ("5", ("new", "new", {"old", "new"})), ("after", ("new", "new", NEW_ONLY))],
    ids=lambda value: f"s6-die-{value}" if isinstance(value, str) else "-".join(value[:2]),
)  # fmt: skip
def test_a_process_that_dies(pika: Pika, point: str, expected: Any) -> None:
    pika.set_faults(die_step=point)
    with pytest.raises((http.client.HTTPException, OSError)):
        pika.rotate()
    pika.wait_ended()
    assert verdict_keys(pika) == expected
    pika.start(unlock=OLD if expected[0] == "old" else NEW)


def test_s6_two_rotations_at_once_both_pass_and_the_last_writer_wins(make_pika: MakePika) -> None:
    pika = make_pika(vaults=0).start(unlock=OLD)
    pika.set_faults(slow_rotate_ms="200*1")
    statuses: list[int] = []
    slow = threading.Thread(target=lambda: statuses.append(pika.rotate(OLD, NEW).status))
    slow.start()
    pika.wait_until(lambda report: "slow_rotate_ms" not in report["faults"])
    # The second one reads through the live key, which is NEW by now: nobody was told to wait.
    assert pika.rotate(OLD, OTHER).status == 500
    slow.join(20)
    assert statuses == [200] and pika.is_all_under("new")


def test_s6_an_unlock_during_a_rotation_mixes_the_keys(make_pika: MakePika) -> None:
    pika = make_pika(vaults=0).start(unlock=OLD)
    pika.set_faults(slow_rotate_ms="400*1")
    slow = threading.Thread(target=pika.rotate)
    slow.start()
    pika.wait_until(lambda report: "slow_rotate_ms" not in report["faults"])
    assert pika.call("POST", "/api/v1/key/lock").status == 200 and pika.unlock(OLD).status == 200
    slow.join(20)
    assert verdict_keys(pika) == ("new", "old", set())


def test_s6_a_settings_change_during_a_rotation_is_lost(make_pika: MakePika) -> None:
    pika = make_pika(initialized=True, secrets=0, vaults=0).start(unlock=OLD)
    pika.set_faults(slow_rotate_ms="200*1")
    slow = threading.Thread(target=pika.rotate)
    slow.start()
    pika.wait_until(lambda report: "slow_rotate_ms" not in report["faults"])
    assert pika.call("POST", "/api/v1/settings", {"general": {"site": {"title": "changed"}}}).status == 200
    slow.join(20)
    assert "general" not in pika.call("GET", "/api/v1/settings").json


@pytest.mark.parametrize(
    ("reply", "content_type"),
    [("html", "text/html"), ("empty", "application/json"), ("text", "text/plain"), ("other_message", "application/json"),
     ("not_json", "application/json"), ("array", "application/json"), ("303", "text/html"), ("404", "text/html")],
    ids="s6-{}".format,
)  # fmt: skip
def test_strange_replies_come_after_the_rotation(pika: Pika, reply: str, content_type: str) -> None:
    pika.set_faults(rotate_reply=reply)
    answer = pika.rotate()
    assert answer.status == (int(reply) if reply.isdigit() else 200) and answer.headers["Content-Type"].startswith(content_type)
    assert answer.body != b'{"message": "server key rotated"}' and pika.is_all_under("new")


@pytest.mark.parametrize(
    ("initialized", "password", "unlocked", "invalid"),
    [(True, OLD, True, False), (True, NEW, False, True), (False, OLD, True, False)],
    ids=["s8-unlocks", "s8-wrong", "s8-initializes"],
)  # fmt: skip
def test_the_configured_password(make_pika: MakePika, initialized: bool, password: str, unlocked: bool, invalid: bool) -> None:
    pika = make_pika(initialized=initialized, config_password=password).start()
    assert pika.status() == {"initialized": True, "unlocked": unlocked}
    assert pika.send("GET", "/api/v1/info").json.get("encryption_config_invalid", False) is invalid
    assert pika.judge(with_manifest=False)["verifier"] == "old"


def test_s9_a_backup_is_25_bytes_and_what_they_announce(pika: Pika) -> None:
    answer = pika.call("GET", "/api/v1/backup")
    version = pika.call("GET", "/api/v1/backup/info").json["db_version"]
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert f"-v{version}.pikabw" in answer.headers["Content-Disposition"]
    assert answer.body[:9] == b"PIKABW\0\1\0" and int.from_bytes(answer.body[17:25], "big") == version
    assert len(answer.body) == 25 + int.from_bytes(answer.body[9:17], "big")
    backup = pika.folder / "backup"
    backup.write_bytes(answer.body)
    assert pika.judge(backup=backup)["verifier"] == "old"


def test_s9_an_envelope_password_is_a_header(pika: Pika) -> None:
    backup = pika.folder / "backup"
    backup.write_bytes(pika.call("GET", "/api/v1/backup", X_Encryption_Password="envelope").body)
    assert backup.read_bytes()[8] == 1 and b"encryption_verifier" not in backup.read_bytes()
    assert pika.judge(backup=backup, password_file=write(pika.folder / "envelope", "envelope"))["ok"]
    with pytest.raises(AssertionError):
        pika.judge(backup=backup)


def test_s9_since_and_until_divide_the_database(pika: Pika) -> None:
    middle = pika.call("GET", "/api/v1/backup/info").json["db_version"]
    assert pika.rotate().status == 200
    early, late = (pika.call("GET", f"/api/v1/backup?{bound}={middle}").body for bound in ("until", "since"))
    assert b"encryption_verifier" in late and b"encryption_verifier" not in early and b'"users"' in early
    assert pika.call("GET", f"/api/v1/backup?since=1&until={middle}").status == 400
    assert pika.call("GET", "/api/v1/backup?since=x").status == 400


@pytest.mark.parametrize(
    ("fault", "value", "check"),
    [("backup_truncate", 100, lambda body: len(body) == 100), ("backup_truncate", 10, lambda body: len(body) == 10),
     ("backup_reply", "bad_magic", lambda body: body[:6] == b"PIKABX"),
     ("backup_reply", "longer", lambda body: len(body) == 26 + int.from_bytes(body[9:17], "big")),
     ("backup_reply", "empty", lambda body: body == b"")],
    ids=["s9-truncated", "s9-truncated-header", "s9-magic", "s9-longer", "s9-empty"],
)  # fmt: skip
def test_a_bad_backup_comes_with_200(pika: Pika, fault: str, value: Any, check: Callable[[bytes], bool]) -> None:
    pika.set_faults(**{fault: value})
    answer = pika.call("GET", "/api/v1/backup")
    assert answer.status == 200 and check(answer.body)


def test_s9_a_backup_that_is_cut_in_the_middle_of_a_chunked_body(pika: Pika) -> None:
    pika.set_faults(backup_reply="drop")
    with pytest.raises(http.client.IncompleteRead):
        pika.call("GET", "/api/v1/backup")


def test_s9_a_restore_that_wipes_brings_the_old_key_back_and_ends_later_sessions(pika: Pika) -> None:
    backup = pika.call("GET", "/api/v1/backup").body
    assert pika.rotate().status == 200
    later = {"Cookie": pika.login()}
    headers = {"Cookie": pika.cookie, "Content-Type": "application/octet-stream", "X-Pika-Wipe": "true"}
    answer = pika.send("POST", "/api/v1/backup", backup, headers)
    assert (answer.status, answer.json["message"]) == (200, "database wiped and backup restored successfully")
    assert pika.is_all_under("old") and pika.send("GET", "/api/v1/key/status").status == 500
    assert pika.send("POST", "/api/v1/key/lock", headers=later).status == 303
    assert pika.call("POST", "/api/v1/key/lock").status == 200 and pika.unlock(OLD).status == 200


def test_s9_a_restore_merges_by_default(make_pika: MakePika) -> None:
    pika = make_pika().start(unlock=OLD)
    backup = pika.call("GET", "/api/v1/backup").body
    later = {"Cookie": pika.login()}
    answer = pika.send("POST", "/api/v1/backup", backup, later)
    assert (answer.status, answer.json["message"]) == (200, "backup restored successfully")
    assert pika.send("GET", "/api/v1/settings", headers=later).status == 200


@pytest.mark.parametrize(
    ("spoil", "password", "message"),
    [(lambda body: b"X" + body[1:], "", "invalid backup magic"), (lambda body: body[:-1], "", "backup is truncated"),
     (lambda body: body[:20], "", "backup is truncated"), (bytes, "", "backup is encrypted; a password is required"),
     (bytes, "other", "wrong backup password")],
    ids=["s9-magic", "s9-truncated", "s9-header", "s9-no-password", "s9-wrong-password"],
)  # fmt: skip
def test_a_restore_that_is_refused(pika: Pika, spoil: Callable[[bytes], bytes], password: str, message: str) -> None:
    before = pika.judge()
    backup = spoil(pika.call("GET", "/api/v1/backup", X_Encryption_Password="envelope").body)
    headers = {"Cookie": pika.cookie, "X-Pika-Wipe": "true", "X-Encryption-Password": password}
    answer = pika.send("POST", "/api/v1/backup", backup, headers)
    assert (answer.status, answer.message) == (400, message)
    assert pika.judge() == before


def test_s11_secrets_cannot_be_saved_before_the_initialization(make_pika: MakePika) -> None:
    pika = make_pika(initialized=False).start()
    answer = pika.call("POST", "/api/v1/settings", {"oauth2": {"google": {"client_secret": "secret"}}})
    assert answer.status == 500 and "server is locked; cannot persist secret values" in answer.message
    assert pika.call("POST", "/api/v1/settings", {"oauth2": {"google": {"client_id": "plain"}}}).status == 200


def test_s11_an_initialization_over_secrets_fails(make_pika: MakePika) -> None:
    pika = make_pika(initialized=False)
    pika.damage("plain-secrets")
    answer = pika.start().call("POST", "/api/v1/key/initialize", {"key": OLD})
    assert answer.status == 500 and "server is locked; cannot persist secret values" in answer.message
    assert pika.status() == {"initialized": False, "unlocked": False}


def test_s11_a_version_that_forgets_secrets_of_oauth2_alone(make_pika: MakePika) -> None:
    pika = make_pika(only_oauth2=True, secrets=2, vaults=0).start(unlock=OLD)
    pika.set_faults(lose_oauth2_only="on")
    assert pika.call("GET", "/api/v1/settings").json["oauth2"]["google1"]["client_secret_set"] is True
    assert pika.rotate().status == 200
    assert "client_secret_set" not in pika.call("GET", "/api/v1/settings").json["oauth2"]["google1"]
    assert pika.judge()["missing"] == ["ldap/main0/bind_password", "oauth2/google1/client_secret"]


def test_the_state_directory_is_one_process_alone(pika: Pika) -> None:
    second = script("server.py", "--state", pika.state, "--port", "0")
    assert (second.returncode, second.stderr) == (1, "cannot start: the state directory is used by another process\n")


def test_an_unknown_fault_switch_stops_the_start(make_pika: MakePika) -> None:
    with pytest.raises(AssertionError, match="cannot start: unknown fault switch: fail_stop"):
        make_pika().start(faults="fail_stop=4")


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [("payload", ("payload", "none")), ("magic", ("magic", False)),
     ("vault", ("vaults", {"user0": "old", "user1": "old", "user2": "none"}))],
    ids=["payload", "magic", "vault"],
)  # fmt: skip
def test_the_judge_sees_what_was_spoilt(make_pika: MakePika, spoil: str, fault: Any) -> None:
    pika = make_pika()
    pika.damage(spoil)
    verdict = pika.judge()
    assert verdict["ok"] is False and verdict[fault[0]] == fault[1]


def test_the_judge_is_a_program(pika: Pika) -> None:
    judged = script("judge.py", "--state", pika.state, "--key-file", f"old={pika.folder / 'old.key'}", "--manifest", pika.manifest)
    assert judged.returncode == 0 and json.loads(judged.stdout)["ok"] is True


def test_the_judge_cannot_judge_without_a_key_file(pika: Pika, tmp_path: Path) -> None:
    judged = script("judge.py", "--state", pika.state, "--key-file", f"old={tmp_path / 'absent'}")
    assert judged.returncode == 2 and (PIKA / "judge.py").exists()
