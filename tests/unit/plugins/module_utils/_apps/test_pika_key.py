# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each answer of Pika means: every row of its table of errors, with and without the class word behind the message."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps import pika_key
from ansible_collections.servos.ops.plugins.module_utils._apps.http_base import Answer
from ansible_collections.servos.ops.plugins.module_utils._apps.pika_session import Pika
from ansible_collections.servos.ops.plugins.module_utils._errors import ApiError, UnknownOutcomeError


def answer(status, message=None, *, kind="application/json", text=None, **headers):
    document = {"message": message} if message is not None else None
    text = text if text is not None else json.dumps(document)
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    return Answer(status, kind, document, text, headers.get("location", ""), {name.replace("_", "-"): v for name, v in headers.items()})


ROWS = [
    pytest.param("initialize", 200, "server initialized and unlocked", "done", id="initialized"),
    pytest.param("unlock", 200, "server unlocked", "done", id="unlocked"),
    pytest.param("lock", 200, "server locked", "done", id="locked"),
    pytest.param("rotate", 200, "server key rotated", "done", id="rotated"),
    pytest.param("rotate", 200, "server unlocked", "unclear", id="the-answer-to-another-call"),
    pytest.param("rotate", 400, 'invalid character \'x\' looking for "beginning": of value\nbad request', "malformed", id="malformed-json"),
    pytest.param("unlock", 400, "key is required: bad request", "no_key", id="empty-key"),
    pytest.param("initialize", 409, "server is already initialized: conflict", "initialized", id="initialize-with-a-verifier"),
    pytest.param(
        "unlock", 400, "server is not initialized; call /api/v1/key/initialize first: bad request", "not_initialized", id="unlock-too-early"
    ),
    pytest.param("unlock", 403, "invalid server key: forbidden", "wrong_key", id="wrong-key"),
    pytest.param("unlock", 403, "verifier format mismatch: forbidden", "no_verifier", id="no-magic"),
    pytest.param("rotate", 400, "old and new keys are required: bad request", "no_key", id="rotate-empty-key"),
    pytest.param("rotate", 400, "new key must differ from old key: bad request", "same_key", id="rotate-same-key"),
    pytest.param("rotate", 400, "server is not initialized: bad request", "not_initialized", id="rotate-too-early"),
    pytest.param("rotate", 403, "invalid old key: forbidden", "wrong_key", id="rotate-wrong-key"),
    pytest.param("rotate", 403, 'capability "settings.manage" required: forbidden', "no_capability", id="no-capability"),
    pytest.param(
        "unlock", 500, "get settings: sealed payload corrupt or unreadable under the live key: internal", "unreadable", id="unreadable"
    ),
    pytest.param("rotate", 500, "rewrap secrets failed: disk full: internal", "not_resealed", id="step-4"),
    pytest.param(
        "rotate", 500, "rewrap server-managed vault keys failed: a: internal", "vaults_not_resealed", id="step-5"
    ),
    pytest.param(
        "rotate", 500, "read server-managed vault keys: open vault key for user 7: internal", "vaults_unreadable", id="vault-does-not-open"
    ),
    pytest.param("rotate", 500, "anything else: internal", "unclear", id="another-500"),
    pytest.param("rotate", 413, "request body too large", "too_large", id="body-too-large"),
    pytest.param("rotate", 404, "route not found: not found", "no_such_call", id="no-route"),
    pytest.param("rotate", 503, "session store unavailable: unavailable", "unclear", id="503-without-the-header"),
]


@pytest.mark.parametrize(("call", "status", "message", "meaning"), ROWS)
def test_each_row_of_the_table(call, status, message, meaning):
    assert pika_key.judge(answer(status, message), call) == meaning


@pytest.mark.parametrize(("call", "status", "message", "meaning"), ROWS)
def test_the_class_word_may_be_missing(call, status, message, meaning):
    bare = message.rpartition(":")[0] or message
    assert pika_key.judge(answer(status, bare), call) == meaning


OTHERS = [
    pytest.param(answer(503, "Server is locked.", x_pika_locked="true"), "locked", id="lock-gate"),
    pytest.param(answer(429, text='{"error": "rate_limited", "message": "x"}', retry_after="60"), "too_many", id="too-many"),
    pytest.param(answer(401, text='{"error": "unauthorized"}'), "no_login", id="bad-token"),
    pytest.param(answer(303, text="", kind="", location="/"), "no_login", id="redirect-303"),
    pytest.param(answer(307, text="", kind="", location="/"), "no_login", id="redirect-307"),
    pytest.param(
        answer(503, kind="text/plain", text="cluster: no leader available, retry shortly"), "no_leader", id="no-leader"
    ),
    pytest.param(answer(502, kind="text/plain", text="cluster: leader forward failed"), "unclear", id="forward-failed"),
    pytest.param(answer(200, kind="text/html", text="<html>"), "unclear", id="web-page"),
    pytest.param(answer(200, kind="text/plain", text='{"message": "server key rotated"}'), "unclear", id="json-that-is-text"),
    pytest.param(answer(200, text='["server key rotated"]'), "unclear", id="array"),
    pytest.param(answer(200, text='{"message": ["server key rotated"]}'), "unclear", id="message-is-a-list"),
    pytest.param(answer(200, text=""), "unclear", id="nothing"),
    pytest.param(answer(403, "invalid server key: forbidden", kind="text/html"), "unclear", id="403-of-a-proxy"),
]


@pytest.mark.parametrize(("said", "meaning"), OTHERS)
def test_what_is_told_by_more_than_its_message(said, meaning):
    assert pika_key.judge(said, "rotate") == meaning


@pytest.mark.parametrize(
    ("meaning", "kind"),
    [
        ("wrong_key", ApiError), ("no_login", ApiError), ("locked", ApiError), ("too_many", ApiError), ("no_leader", ApiError),
        ("not_resealed", UnknownOutcomeError), ("vaults_not_resealed", UnknownOutcomeError), ("vaults_unreadable", UnknownOutcomeError),
        ("unreadable", UnknownOutcomeError), ("unclear", UnknownOutcomeError),
    ],
)  # fmt: skip
def test_only_what_is_known_to_have_done_nothing_says_so(meaning, kind):
    made = pika_key.refusal(Pika("https://h", timeout_s=35), "rotate", answer(500, "S3CRET quoted"), meaning)
    assert (isinstance(made, UnknownOutcomeError), made.facts) == (kind is UnknownOutcomeError, {"pika_answer": meaning})
    assert "S3CRET" not in str(made)


@pytest.mark.parametrize(("headers", "when"), [({"retry_after": "61"}, "in 61 s"), ({}, "in 15 minutes")], ids=["told", "not-told"])
def test_who_tried_too_often_is_told_when_to_come_back(headers, when):
    assert when in str(pika_key.refusal(Pika("https://h", timeout_s=35), "unlock", answer(429, "x", **headers), "too_many"))


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b'{"initialized": false, "unlocked": false}', "uninitialized"),
        (b'{"initialized": true, "unlocked": false}', "locked"),
        (b'{"initialized": true, "unlocked": true}', "unlocked"),
    ],
    ids=["uninitialized", "locked", "unlocked"],
)
def test_status_in_one_word(server, body, name):
    server.body = body
    assert pika_key.key_status(Pika(server.url, timeout_s=5)).name == name


def test_a_status_that_fails_inside_is_unreadable(server):
    server.status, server.body = 500, b'{"message": "get settings: sealed payload corrupt or unreadable: internal"}'
    assert pika_key.key_status(Pika(server.url, timeout_s=5)).name == "unreadable"


@pytest.mark.parametrize(
    "body", [b"{}", b'{"initialized": 1, "unlocked": 1}', b"[]", b"<html>", b'{"initialized": true}', b""], ids=ascii
)
def test_a_status_that_is_none_is_no_pika(server, body):
    server.body = body
    with pytest.raises(ApiError, match="no Pika"):
        pika_key.key_status(Pika(server.url, timeout_s=5))


def test_no_redirect_is_followed_with_keys(server, trap):
    server.status, server.headers = 307, {"Location": trap.url}
    with pytest.raises(ApiError) as caught:
        pika_key.rotate(Pika(server.url, timeout_s=5), old_text="old", new_text="new")
    assert caught.value.facts == {"pika_answer": "no_login"}
    assert trap.seen == []
