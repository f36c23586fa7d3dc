# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Pika model's endpoints: replies and refusals of the key calls, lock gate, sign-in, information, limiter.

A number in a test's name is the section of the protocol's description that the test pins: s3 endpoints, s4 lock gate, s5
authentication, s10 health and information.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from pikas import ADMIN, ADMIN_PASSWORD, MANAGER, NEW, OLD, OTHER, PASSWORDS, PLAIN, TOKEN, TOTP, Pika, totp_code

KEY = "/api/v1/key/"
JSON = {"Content-Type": "application/json"}
MakePika = Callable[..., Pika]


def test_s3_status_has_exactly_two_fields_and_needs_nobody(make_pika: MakePika) -> None:
    pika = make_pika(initialized=False).start()
    assert pika.status() == {"initialized": False, "unlocked": False}
    assert pika.call("POST", KEY + "initialize", {"key": OLD}).json == {"message": "server initialized and unlocked"}
    assert pika.status() == {"initialized": True, "unlocked": True}
    assert pika.call("POST", KEY + "lock").json == {"message": "server locked"}
    assert pika.status() == {"initialized": True, "unlocked": False}
    assert pika.unlock(OLD).json == {"message": "server unlocked"}
    assert pika.unlock(OLD).json == {"message": "server unlocked"}
    assert pika.rotate().json == {"message": "server key rotated"}


@pytest.mark.parametrize(
    ("call", "body", "status", "message"),
    [
        ("initialize", {"key": ""}, 400, "key is required: bad request"),
        ("initialize", {}, 400, "key is required: bad request"),
        ("initialize", {"key": NEW}, 409, "server is already initialized: conflict"),
        ("unlock", {"key": ""}, 400, "key is required: bad request"),
        ("unlock", {"key": NEW}, 403, "invalid server key: forbidden"),
        ("unlock", {"key": OLD + "\n"}, 403, "invalid server key: forbidden"),
        ("rotate", {"current_key": "", "new_key": NEW}, 400, "old and new keys are required: bad request"),
        ("rotate", {"current_key": OLD}, 400, "old and new keys are required: bad request"),
        ("rotate", {"current_key": OLD, "new_key": OLD}, 400, "new key must differ from old key: bad request"),
        ("rotate", {"current_key": NEW, "new_key": NEW}, 400, "new key must differ from old key: bad request"),
        ("rotate", {"current_key": OTHER, "new_key": NEW}, 403, "invalid old key: forbidden"),
    ],
    ids=["s3-initialize-empty", "s3-initialize-missing", "s3-initialize-again", "s3-unlock-empty", "s3-unlock-wrong",
         "s3-unlock-line-end", "s3-rotate-empty", "s3-rotate-missing", "s3-rotate-same", "s3-rotate-same-and-wrong",
         "s3-rotate-wrong"],
)  # fmt: skip
def test_refusals_of_an_unlocked_server(patient_pika: Pika, call: str, body: Any, status: int, message: str) -> None:
    answer = patient_pika.call("POST", KEY + call, body)
    assert (answer.status, answer.json) == (status, {"message": message})
    assert patient_pika.is_all_under("old")


@pytest.mark.parametrize("call", ["initialize", "unlock", "rotate"], ids="s3-{}".format)
@pytest.mark.parametrize("body", [b"{key: 1}", b"", b'["a"]', b'{"key":1,"current_key":1}'], ids=["syntax", "empty", "array", "number"])
def test_malformed_json(patient_pika: Pika, call: str, body: bytes) -> None:
    answer = patient_pika.send("POST", KEY + call, body, {**JSON, "Cookie": patient_pika.login()})
    assert answer.status == 400
    assert answer.json["message"].rpartition("\n")[2] == "bad request" and "code" not in answer.json


@pytest.mark.parametrize(
    ("call", "body", "message"),
    [
        ("unlock", {"key": OLD}, "server is not initialized; call /api/v1/key/initialize first"),
        ("rotate", {"current_key": OLD, "new_key": NEW}, "server is not initialized"),
        ("rotate", {"current_key": OLD, "new_key": OLD}, "new key must differ from old key"),
    ],
    ids=["s3-unlock", "s3-rotate", "s3-rotate-same-key-first"],
)
def test_before_initialize(make_pika: MakePika, call: str, body: Any, message: str) -> None:
    pika = make_pika(initialized=False).start()
    answer = pika.call("POST", KEY + call, body)
    assert (answer.status, answer.message) == (400, message)
    assert pika.call("POST", KEY + "lock").status == 200


def test_s3_a_verifier_without_the_magic(make_pika: MakePika) -> None:
    pika = make_pika()
    pika.damage("magic")
    answer = pika.start().unlock(OLD)
    assert (answer.status, answer.message) == (403, "verifier format mismatch")


@pytest.mark.parametrize(("version", "has_request_id"), [("A", False), ("B", True), ("C", True)], ids=["s3-A", "s3-B", "s3-C"])
def test_an_unreadable_payload_is_500_with_a_request_id_from_b_on(make_pika: MakePika, version: str, has_request_id: bool) -> None:
    pika = make_pika(version=version)
    pika.damage("payload")
    pika.start(unlock=OLD)
    answer = pika.rotate()
    assert answer.status == 500 and "settings: sealed payload corrupt or unreadable" in answer.message
    assert ("request_id" in answer.json) == has_request_id
    assert pika.send("GET", KEY + "status").status == 500
    assert pika.judge(with_manifest=False)["verifier"] == "old"


def test_s3_a_vault_account_that_does_not_open_stops_a_rotation_before_any_change(make_pika: MakePika) -> None:
    pika = make_pika()
    pika.damage("vault")
    before = pika.start(unlock=OLD).judge()
    answer = pika.rotate()
    assert (answer.status, answer.message) == (500, "read server-managed vault keys: open vault key for user user2")
    assert pika.judge() == before and pika.unlock(OLD).status == 200


def test_s3_a_body_that_is_too_large(patient_pika: Pika) -> None:
    answer = patient_pika.call("POST", KEY + "unlock", {"key": "x" * (1 << 24)})
    assert (answer.status, answer.json) == (413, {"message": "request body too large"})


def test_s3_a_body_that_is_not_said_to_be_json_binds_nothing(patient_pika: Pika) -> None:
    answer = patient_pika.call("POST", KEY + "unlock", {"key": OLD}, Content_Type="text/plain")
    assert (answer.status, answer.message) == (400, "key is required")


def test_s3_the_limiter_sleeps_and_then_refuses(make_pika: MakePika) -> None:
    pika = make_pika(sleep_scale=0.0001).start(unlock=OLD)
    codes = [pika.unlock(NEW).status for unused in range(30)]
    assert codes == [403] * 30
    assert pika.report()["slept_s"] == 1 + 2 + 4 + 8 + 15 * 24
    answer = pika.unlock(OLD)
    assert answer.status == 429 and answer.json["error"] == "rate_limited" and int(answer.headers["Retry-After"]) > 800
    assert pika.rotate(OTHER, NEW).status == 403


def test_s3_the_limiter_counts_logins_by_username_too(make_pika: MakePika) -> None:
    pika = make_pika(sleep_scale=0.0001).start()
    body = json.dumps({"username": PLAIN, "password": "wrong"}).encode()
    codes = [pika.send("POST", "/login/pass/local", body, JSON).status for unused in range(16)]
    assert codes == [401] * 15 + [429]
    assert pika.login(ADMIN)


def test_s3_version_a_has_no_limiter(make_pika: MakePika) -> None:
    pika = make_pika(version="A").start(unlock=OLD)
    assert {pika.unlock(NEW).status for unused in range(32)} == {403}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", KEY + "initialize", 503), ("POST", KEY + "rotate", 503), ("POST", KEY + "lock", 503),
        ("GET", "/api/v1/settings", 503), ("GET", "/api/v1/backup/info", 503), ("GET", "/api/v1/cluster/status", 503),
        ("GET", "/data/file", 503), ("GET", "/api/v1/nothing", 503),
        ("GET", "/api/v1/info", 200), ("GET", KEY + "status", 200), ("GET", "/healthz", 200), ("GET", "/", 200),
        ("GET", "/login/info", 200), ("POST", "/logout", 204), ("GET", "/api/v1/me", 303), ("POST", KEY + "unlock", 303),
    ],
    ids=lambda value: f"s4-{value}" if isinstance(value, str) and value.startswith("/") else None,
)  # fmt: skip
def test_the_lock_gate_stands_before_authentication(locked_pika: Pika, method: str, path: str, status: int) -> None:
    answer = locked_pika.send(method, path)
    assert answer.status == status
    assert (answer.headers["X-Pika-Locked"] == "true") == (status == 503)
    if status == 503:
        assert answer.json["code"] == "server_locked" and answer.json["message"].startswith("Server is locked. ")


@pytest.fixture(scope="module")
def locked_pika(tmp_path_factory: pytest.TempPathFactory) -> Any:
    pika = Pika(tmp_path_factory.mktemp("locked") / "pika").start()
    yield pika
    pika.stop()


@pytest.mark.parametrize(("version", "status"), [("A", 503), ("B", 200)], ids=["s4-A", "s4-B"])
def test_raw_is_gated_in_the_first_version_only(make_pika: MakePika, version: str, status: int) -> None:
    assert make_pika(version=version).start().send("GET", "/raw/file").status == status


def test_s4_a_503_of_another_cause_has_no_header(make_pika: MakePika) -> None:
    pika = make_pika().start(unlock=OLD)
    pika.set_faults(session_store="down*1")
    answer = pika.rotate()
    assert (answer.status, answer.headers["X-Pika-Locked"]) == (503, None) and "code" not in answer.json
    assert pika.unlock(OLD).status == 200


def test_s5_login_sets_the_cookie_and_says_so_in_json(patient_pika: Pika) -> None:
    body = json.dumps({"username": ADMIN, "password": ADMIN_PASSWORD}).encode()
    answer = patient_pika.send("POST", "/login/pass/local", body, JSON)
    assert (answer.status, answer.json) == (200, {"strategy": "local", "redirect_path": ""})
    cookies = answer.headers.get_all("Set-Cookie")
    assert len(cookies) == 2 and cookies[1].startswith("auth_success=")
    assert cookies[0].startswith("pika_session=") and "HttpOnly" in cookies[0] and "Secure" not in cookies[0]


def test_s5_a_form_is_answered_with_html(patient_pika: Pika) -> None:
    body = f"username={ADMIN}&password={ADMIN_PASSWORD}".encode()
    answer = patient_pika.send("POST", "/login/pass/local", body, {"Content-Type": "application/x-www-form-urlencoded"})
    assert answer.status == 200 and answer.headers["Content-Type"].startswith("text/html") and answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("/login/pass/local", {"username": ADMIN, "password": "wrong"}, 401, "invalid_credentials"),
        ("/login/pass/local", {"username": ADMIN}, 400, "bad_request"),
        ("/login/pass/ldap", {"username": ADMIN, "password": ADMIN_PASSWORD}, 404, "unknown_strategy"),
        ("/login/register/local", {"username": "second", "password": "second"}, 409, "user_exists"),
    ],
    ids=["s5-wrong-password", "s5-no-password", "s5-unknown-strategy", "s5-register-again"],
)
def test_refused_logins(patient_pika: Pika, path: str, body: Any, status: int, error: str) -> None:
    answer = patient_pika.send("POST", path, json.dumps(body).encode(), JSON)
    assert (answer.status, answer.json, answer.headers["Set-Cookie"]) == (status, {"error": error}, None)


def test_s5_the_path_of_the_page_is_the_browsers_application(patient_pika: Pika) -> None:
    body = json.dumps({"username": ADMIN, "password": ADMIN_PASSWORD}).encode()
    answer = patient_pika.send("POST", "/login/password", body, JSON)
    assert (answer.status, answer.headers["Set-Cookie"]) == (200, None) and answer.body.startswith(b"<!doctype html>")


def test_s5_a_renamed_strategy_is_found_in_the_login_information(make_pika: MakePika) -> None:
    pika = make_pika(strategy="staff", base_path="/pika").start()
    (entry,) = pika.send("GET", "/login/info").json["strategies"]
    assert (entry["name"], entry["kind"], entry["url"]) == ("staff", "password", "/pika/login/pass/staff")
    body = json.dumps({"username": ADMIN, "password": ADMIN_PASSWORD}).encode()
    assert pika.send("POST", "/login/pass/local", body, JSON).status == 404
    assert pika.send("POST", "/login/pass/staff", body, JSON).status == 200


def test_s5_the_second_factor_takes_a_second_request_and_burns_on_a_wrong_code(patient_pika: Pika) -> None:
    def ask(**fields: str) -> Any:
        return patient_pika.send("POST", "/login/pass/local", json.dumps(fields).encode(), JSON)

    first = ask(username=TOTP, password=PASSWORDS[TOTP])
    assert (first.status, first.json["phase"], first.headers["Set-Cookie"]) == (200, "totp_required", None)
    assert first.json["strategy"] == "local" and first.json["expires_in"] > 0
    half_id = first.json["totp_session_id"]
    wrong = f"{(int(totp_code()) + 1) % 10**6:06d}"
    assert ask(totp_session_id=half_id, code=wrong).status == 401
    assert ask(totp_session_id=half_id, code=totp_code()).status == 401
    half_id = ask(username=TOTP, password=PASSWORDS[TOTP]).json["totp_session_id"]
    assert ask(totp_session_id=half_id, code=totp_code()).headers["Set-Cookie"].startswith("pika_session=")


def test_s5_the_first_admin_registers_and_is_signed_in(make_pika: MakePika) -> None:
    pika = make_pika(initialized=False, empty=True).start()
    assert pika.send("GET", "/login/info").json["signup_first"] is True
    assert pika.send("GET", "/api/v1/info").json["setup_required"] is True
    body = json.dumps({"username": ADMIN, "password": ADMIN_PASSWORD}).encode()
    answer = pika.send("POST", "/login/register/local", body, JSON)
    pika.cookie = answer.headers["Set-Cookie"].partition(";")[0]
    assert pika.call("GET", "/api/v1/info").json["is_superadmin"] is True
    assert pika.send("POST", "/login/register/local", body, JSON).status == 409
    assert "signup_first" not in pika.send("GET", "/login/info").json


def test_s5_logout_is_204_and_ends_the_session(patient_pika: Pika) -> None:
    cookie = {"Cookie": patient_pika.login()}
    assert patient_pika.send("GET", "/api/v1/settings", headers=cookie).status == 200
    assert patient_pika.send("POST", "/logout", headers=cookie).status == 204
    assert patient_pika.send("GET", "/api/v1/settings", headers=cookie).status == 303


@pytest.mark.parametrize("call", ["unlock", "lock", "rotate", "initialize"], ids="s5-{}".format)
@pytest.mark.parametrize("caller", ["token", "account"])
def test_a_caller_without_the_capability_is_403(patient_pika: Pika, call: str, caller: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"} if caller == "token" else {"Cookie": patient_pika.login(PLAIN)}
    answer = patient_pika.send("POST", KEY + call, b'{"key":"x","current_key":"x","new_key":"y"}', {**JSON, **headers})
    assert (answer.status, answer.message) == (403, 'capability "settings.manage" required')


def test_s5_a_token_reads_files_and_a_bad_one_is_401(patient_pika: Pika) -> None:
    assert patient_pika.send("GET", "/data/x", headers={"Authorization": f"Bearer {TOKEN}"}).status == 200
    answer = patient_pika.send("GET", "/data/x", headers={"Authorization": "Bearer pika_" + "0" * 64})
    assert answer.status == 401 and answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize(
    ("version", "redirect", "status"), [("A", "", 307), ("B", "", 307), ("C", "", 303), ("C", "307", 307)],
    ids=["s5-A", "s5-B", "s5-C", "s5-C-older-library"],
)  # fmt: skip
def test_without_a_session_a_request_is_sent_to_the_page(make_pika: MakePika, version: str, redirect: str, status: int) -> None:
    pika = make_pika(version=version, base_path="/pika", redirect=redirect).start(unlock=OLD)
    answer = pika.send("POST", KEY + "rotate", b'{"current_key":"a","new_key":"b"}', {**JSON, "Cookie": "pika_session=gone"})
    assert (answer.status, answer.headers["Location"]) == (status, "/pika/")
    assert pika.send("POST", "/", b"{}", JSON).body.startswith(b"<!doctype html>")


def test_s10_health_says_ok_locked_or_not(locked_pika: Pika) -> None:
    answer = locked_pika.send("GET", "/healthz")
    assert (answer.status, answer.body) == (200, b"OK")


@pytest.mark.parametrize(("version", "status"), [("A", 404), ("B", 200)], ids=["s10-A", "s10-B"])
def test_health_is_at_the_root_too_from_b_on(make_pika: MakePika, version: str, status: int) -> None:
    pika = make_pika(version=version, base_path="/pika").start()
    assert pika.send("GET", "/healthz").status == 200
    pika.base_path = ""
    assert pika.send("GET", "/healthz").status == status
    assert pika.send("GET", "/api/v1/info").status == 404


def test_s10_information_shows_permissions_and_works_while_locked(locked_pika: Pika) -> None:
    nobody = locked_pika.send("GET", "/api/v1/info").json
    assert (nobody["auth_enabled"], nobody["builtin_auth"], nobody["permissions"]) == (True, True, [])
    admin = locked_pika.call("GET", "/api/v1/info").json
    assert admin["is_superadmin"] and admin["user"] == ADMIN and "settings.manage" in admin["permissions"]
    assert locked_pika.call("GET", "/api/v1/info", name=MANAGER).json["permissions"] == ["settings.manage"]
    assert "settings.manage" not in locked_pika.call("GET", "/api/v1/info", name=PLAIN).json["permissions"]


def test_s10_tls_is_self_signed_and_makes_the_cookie_secure(make_pika: MakePika) -> None:
    pika = make_pika(tls=True).start(unlock=OLD)
    body = json.dumps({"username": ADMIN, "password": ADMIN_PASSWORD}).encode()
    assert "Secure" in pika.send("POST", "/login/pass/local", body, JSON).headers["Set-Cookie"]


def test_the_report_finds_a_secret_in_a_url_and_a_key_in_a_strange_place(pika: Pika) -> None:
    assert (pika.report()["secrets_in_urls"], pika.report()["secrets_astray"]) == ([], [])
    pika.send("GET", "/data/x?key=" + OLD.replace(" ", "%20"))
    pika.send("POST", "/", json.dumps({"current_key": OLD}).encode(), JSON)
    assert (pika.report()["secrets_in_urls"], pika.report()["secrets_astray"]) == (["/data/x"], ["/"])
