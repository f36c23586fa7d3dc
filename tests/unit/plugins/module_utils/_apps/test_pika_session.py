# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Logging in: what is a login and what only looks like one, where the password goes, and who may work on the key."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps.http_base import Answer
from ansible_collections.servos.ops.plugins.module_utils._apps.pika_session import Pika, judge_login
from ansible_collections.servos.ops.plugins.module_utils._errors import ApiError

URL = "https://h/login/pass/local"


def answer(status, document=None, *, cookies=None, kind="application/json", headers=None):
    return Answer(status, kind, document, json.dumps(document), "", headers or {}, cookies or {})


@pytest.mark.parametrize(
    ("cookies", "chosen"),
    [
        ({"pika_session": "a", "auth_success": "1"}, "pika_session=a"),
        ({"auth_success": "1", "renamed": "b"}, "renamed=b"),
        ({"renamed": "b", "pika_session": "a"}, "pika_session=a"),
    ],
    ids=["usual", "renamed", "both"],
)
def test_a_session_is_a_cookie(cookies, chosen):
    assert judge_login(answer(200, {"strategy": "local", "redirect_path": ""}, cookies=cookies), url=URL) == chosen


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (answer(200, {"phase": "totp_required", "totp_session_id": "x", "strategy": "local"}), "one-time code"),
        (answer(200, {"strategy": "local"}), "opened no session"),
        (answer(200, {"strategy": "local"}, cookies={"auth_success": "1"}), "opened no session"),
        (answer(200, None, cookies={"pika_session": "a"}, kind="text/html"), "opened no session"),
        (answer(401, {"error": "invalid_credentials"}), "password is wrong"),
        (answer(400, {"error": "bad_request"}), "refused"),
        (answer(404, {"error": "unknown_strategy"}), "no such way"),
        (answer(429, {"error": "rate_limited"}, headers={"retry-after": "42"}), "in 42 s"),
        (answer(307), "redirect"),
        (answer(303), "redirect"),
        (answer(503, {"message": "limiter store unavailable"}), "just now"),
    ],
    ids=[
        "totp", "no-cookie", "readable-cookie-only", "web-page", "wrong-password", "bad-request", "unknown-strategy", "too-many",
        "redirect-307", "redirect-303", "limiter-store",
    ],
)  # fmt: skip
def test_what_is_no_login(said, text):
    with pytest.raises(ApiError, match=text):
        judge_login(said, url=URL)


def ways(*urls):
    names = ["local", "second", "third"]
    return {"strategies": [{"name": name, "kind": "password", "url": url} for name, url in zip(names, urls)]}


def server_with(server, info):
    def act(handler):
        is_info = handler.path.endswith("/login/info")
        body = json.dumps(info if is_info else {"strategy": "local"}).encode()
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        if not is_info:
            handler.send_header("Set-Cookie", "pika_session=a; Path=/")
        handler.end_headers()
        handler.wfile.write(body)

    server.act = act


@pytest.mark.parametrize(
    ("base", "info", "strategy", "path"),
    [
        ("", ways("/login/pass/local"), None, "/login/pass/local"),
        ("", ways("/login/pass/local", "/login/pass/second"), "second", "/login/pass/second"),
        ("", {}, None, "/login/pass/local"),
        ("", {}, "ldap", "/login/pass/ldap"),
        ("", {"strategies": [{"name": "mine", "kind": "password", "url": "/login/pass/mine"}]}, None, "/login/pass/mine"),
        ("", {"strategies": [{"name": "sso", "kind": "oauth2", "url": "https://elsewhere"}]}, None, "/login/pass/local"),
        ("/pika", ways("/pika/login/pass/local"), None, "/pika/login/pass/local"),
        ("/pika", ways("/login/pass/local"), None, "/pika/login/pass/local"),
    ],
    ids=["local", "named", "nothing-said", "named-and-nothing-said", "renamed", "others-only", "base-path-in-it", "base-path-not-in-it"],
)
def test_where_the_password_goes(server, base, info, strategy, path):
    server_with(server, info)
    Pika(server.url + base, timeout_s=5).log_in(username="u", password="p", strategy=strategy)
    method, asked, headers, body = server.seen[-1]
    assert (method, asked, headers["content-type"]) == ("POST", path, "application/json")
    assert json.loads(body.decode()) == {"username": "u", "password": "p"}


@pytest.mark.parametrize("url", ["https://elsewhere.example/login", "//elsewhere.example/login", "login/pass/local"], ids=str)
def test_the_password_goes_to_no_other_host(server, url):
    server_with(server, ways(url))
    with pytest.raises(ApiError, match="another host"):
        Pika(server.url, timeout_s=5).log_in(username="u", password="p", strategy=None)
    assert [method for method, unused_path, unused_headers, unused_body in server.seen] == ["GET"]


def test_a_strategy_that_is_not_there_is_not_tried(server):
    server_with(server, ways("/login/pass/local"))
    with pytest.raises(ApiError, match="local"):
        Pika(server.url, timeout_s=5).log_in(username="u", password="p", strategy="ldap")
    assert len(server.seen) == 1


def test_the_session_is_sent_and_ended(server):
    server_with(server, ways("/login/pass/local"))
    pika = Pika(server.url, timeout_s=5)
    pika.log_in(username="u", password="p", strategy=None)
    pika.send("GET", "/api/v1/info")
    assert server.seen[-1][2]["cookie"] == "pika_session=a"
    assert pika.log_out() is None
    assert server.seen[-1][:2] == ("POST", "/logout")
    pika.send("GET", "/api/v1/info")
    assert "cookie" not in server.seen[-1][2]


INFO = {"name": "pika", "version": "v1", "permissions": []}


@pytest.mark.parametrize("info", [{"permissions": ["settings.manage"]}, {"is_superadmin": True}], ids=["capability", "superadmin"])
def test_who_may_work_on_the_key(server, info):
    server.body = json.dumps(dict(INFO, **info)).encode()
    assert Pika(server.url, timeout_s=5).require_manager()["version"] == "v1"


@pytest.mark.parametrize(
    ("info", "token", "text"),
    [
        ({"user": "u"}, False, "lacks the capability settings.manage"),
        ({}, False, "does not take the session"),
        ({"user": "token", "permissions": ["files.read"]}, True, "no token can"),
        ({"is_superadmin": "yes", "user": "u"}, False, "lacks the capability"),
    ],
    ids=["no-capability", "nobody", "token", "not-quite-superadmin"],
)
def test_who_may_not(server, info, token, text):
    server.body = json.dumps(dict(INFO, **info)).encode()
    pika = Pika(server.url, timeout_s=5)
    if token:
        pika.use_token("pika_" + "0" * 64)
    with pytest.raises(ApiError, match=text):
        pika.require_manager()
