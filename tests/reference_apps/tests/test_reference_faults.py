# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each fault switch does what it says, to the reply and to the database."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time

import pytest
from reference_harness import NEW_KEY, OLD_KEY, OTHER_KEY, ROTATE_PATH, Installation, b64

KEYS = {"old_key": b64(OLD_KEY), "new_key": b64(NEW_KEY)}


def test_hex_key_trap_of_the_published_pages(installation: Installation) -> None:
    """By default the endpoint takes hex, as one page shows, and the start refuses it, as the other says."""
    installation.start()
    assert installation.rotate(new_key_text=NEW_KEY.hex())[0] == 200
    installation.stop()
    assert installation.start(key_text=NEW_KEY.hex()) == 1
    assert installation.start(key_text=b64(NEW_KEY)) is None


def test_strict_base64_refuses_hex_at_the_endpoint(installation: Installation) -> None:
    installation.start(faults="strict_base64")
    assert installation.rotate(new_key_text=NEW_KEY.hex()) == (400, {"error": "invalid key format"})
    assert installation.is_untouched()


def test_accept_hex_starts_on_a_hex_key(installation: Installation) -> None:
    assert installation.start(key_text=OLD_KEY.hex(), faults="accept_hex") is None


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "content"),
    [
        ("no_endpoint", 404, "application/json", b"not found"),
        ("method_not_allowed", 405, "application/json", b"method not allowed"),
        ("spa_catchall", 200, "text/html; charset=utf-8", b"<!doctype html>"),
        ("redirect", 307, "text/plain", b""),
        ("canary_missing", 500, "application/json", b"Integrity canary not found"),
    ],
)
def test_faults_that_prevent_a_rotation(
    installation: Installation, fault: str, status: int, content_type: str, content: bytes
) -> None:
    installation.start(faults=fault)
    found_status, body, headers = installation.send("POST", ROTATE_PATH, KEYS)
    assert (found_status, headers["Content-Type"]) == (status, content_type)
    assert content in body
    assert installation.is_untouched()


def test_following_the_redirect_leaves_a_trace(installation: Installation) -> None:
    installation.start(faults="redirect")
    location = installation.send("POST", ROTATE_PATH, KEYS)[2]["Location"]
    assert installation.call("POST", location, KEYS)[0] == 200
    assert installation.judge()[0] == 0


def test_skip_builders_leaves_a_class_behind(installation: Installation) -> None:
    installation.start(faults="skip_builders")
    assert installation.rotate()[1]["rotated"]["builders"] == 0
    code, verdict = installation.judge()
    assert code == 1 and verdict["opens_old"] > 0
    assert all("builders" in detail for detail in verdict["details"])


@pytest.mark.parametrize(("choice", "opened_by"), [("old", OLD_KEY), ("new", NEW_KEY)])
def test_stale_key_writes(installation: Installation, choice: str, opened_by: bytes) -> None:
    installation.start(faults=f"stale_key_writes={choice}")
    installation.rotate()
    before = installation.judge()[1]
    assert installation.call("POST", "/api/registries", {"value": "written in the window"})[0] == 201
    after = installation.judge()[1]
    grown = "opens_old" if opened_by == OLD_KEY else "opens_new"
    assert after[grown] == before[grown] + 1
    assert after["extra_rows"] == 1


@pytest.mark.parametrize(("fault", "key_name"), [("commit_then_drop", "new"), ("drop_before_commit", "old")])
def test_a_lost_reply(installation: Installation, fault: str, key_name: str) -> None:
    installation.start(faults=fault)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        installation.rotate()
    assert installation.judge(key_name, "old" if key_name == "new" else "new")[0] == 0


def test_empty_reply_is_a_success_without_a_body(installation: Installation) -> None:
    installation.start(faults="empty_reply")
    assert installation.send("POST", ROTATE_PATH, KEYS)[:2] == (200, b"")
    assert installation.judge()[0] == 0


def test_slow_ms_holds_the_rotation_and_a_second_one_is_told_so(installation: Installation) -> None:
    installation.start(faults="slow_ms=700")
    replies = []
    first = threading.Thread(target=lambda: replies.append(installation.rotate()))
    started_at = time.monotonic()
    first.start()
    time.sleep(0.3)
    assert installation.rotate() == (409, {"error": "rotation in progress"})
    assert installation.call("GET", "/api/servers/1/reveal")[0] == 200
    first.join(timeout=10)
    assert replies[0][0] == 200 and time.monotonic() - started_at >= 0.7


def test_a_stop_lets_a_rotation_under_way_finish(installation: Installation) -> None:
    installation.start(faults="slow_ms=500")
    replies = []
    client = threading.Thread(target=lambda: replies.append(installation.rotate()))
    client.start()
    time.sleep(0.2)
    assert installation.stop() == 0
    client.join(timeout=10)
    assert replies[0][0] == 200 and installation.judge()[0] == 0


@pytest.mark.parametrize("variant", ["200", "400", "401", "422", "500"])
def test_status_variant(installation: Installation, variant: str) -> None:
    installation.start(faults=f"status_variant={variant}")
    assert installation.rotate(b64(OTHER_KEY)) == (int(variant), {"error": "Old master key incorrect"})


def test_status_variant_text(installation: Installation) -> None:
    installation.start(faults="status_variant=text")
    status, body, headers = installation.send("POST", ROTATE_PATH, {**KEYS, "old_key": b64(OTHER_KEY)})
    assert (status, body, headers.get_content_type()) == (422, b"Old master key incorrect", "text/plain")


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("message", {"message": "Old master key incorrect"}),
        ("detail", {"detail": "Old master key incorrect"}),
        ("nested", {"error": {"message": "Old master key incorrect"}}),
    ],
)
def test_error_shape(installation: Installation, shape: str, expected: object) -> None:
    installation.start(faults=f"error_shape={shape}")
    assert installation.rotate(b64(OTHER_KEY)) == (422, expected)


def test_require_restart(installation: Installation) -> None:
    installation.start(faults="require_restart")
    assert installation.rotate()[0] == 200
    assert installation.call("GET", "/api/servers/1/reveal") == (503, {"error": "restart required"})
    assert installation.call("GET", "/api/health")[0] == 200
    installation.stop()
    assert installation.start(key_text=b64(NEW_KEY), faults="require_restart") is None
    assert installation.call("GET", "/api/servers/1/reveal")[0] == 200


def test_echo_keys_in_errors_and_in_success_but_never_in_the_log(installation: Installation) -> None:
    installation.start(faults="echo_keys")
    assert b64(OTHER_KEY) in installation.rotate(b64(OTHER_KEY))[1]["error"]
    assert installation.rotate()[1]["received"] == KEYS
    installation.stop()
    assert b64(OLD_KEY) not in installation.log and b64(OTHER_KEY) not in installation.log


def test_fail_start_once(installation: Installation) -> None:
    assert installation.start(faults="fail_start_once") == 1
    assert installation.start(faults="fail_start_once") is None


def test_fail_start_on_key(installation: Installation) -> None:
    prefix = hashlib.sha256(OLD_KEY).hexdigest()[:12]
    assert installation.start(faults=f"fail_start_on_key={prefix}") == 1
    assert installation.start(faults="fail_start_on_key=0000") is None


@pytest.mark.parametrize("faults", ["no_such_switch", "slow_ms=soon", "strict_base64,accept_hex", "stale_key_writes"])
def test_a_mistyped_fault_stops_the_start(installation: Installation, faults: str) -> None:
    assert installation.start(faults=faults) == 1
