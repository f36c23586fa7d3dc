# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each answer of the rotation endpoint means: done, not done, or unknown. SERVOS.md, C2, C6 and C9."""

from __future__ import annotations

import contextlib
import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps.http_base import Answer
from ansible_collections.servos.ops.plugins.module_utils._apps.servos import judge_rotation_answer, post_rotation
from ansible_collections.servos.ops.plugins.module_utils._errors import ApiError, UnknownOutcomeError

DONE, NOT_DONE, UNKNOWN = "done", ApiError, UnknownOutcomeError
URL = "https://control.example.org/api/maintenance/rotate-key"
OLD_WRONG, NO_CANARY = "Old master key incorrect", "Integrity canary not found"


def answer(status, body, content_type="application/json", location=""):
    text = body if isinstance(body, str) else json.dumps(body)
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    return Answer(status, content_type, document, text, location)


def judged(reply, encoding="hex"):
    try:
        judge_rotation_answer(reply, url=URL, encoding=encoding)
    except ApiError as error:
        return type(error), str(error)
    return DONE, ""


ROWS = [
    ("200-json", answer(200, {"status": "ok", "rotated": {"servers": 3}}), DONE, ""),
    ("200-empty-object", answer(200, {}), DONE, ""),
    ("201", answer(201, {"status": "ok"}), DONE, ""),
    ("202", answer(202, {"status": "ok"}), DONE, ""),
    ("200-json-as-text", answer(200, {"status": "ok"}, "text/plain"), DONE, ""),
    ("200-html", answer(200, "<!doctype html><title>ServOS</title>", "text/html"), NOT_DONE, "no rotation endpoint"),
    ("200-json-called-html", answer(200, {"status": "ok"}, "text/html"), NOT_DONE, "no rotation endpoint"),
    ("200-html-without-a-type", answer(200, " \n<html></html>", ""), NOT_DONE, "no rotation endpoint"),
    ("200-old-key-wrong", answer(200, {"error": OLD_WRONG}), NOT_DONE, "under another key"),
    ("200-no-canary", answer(200, {"message": NO_CANARY}), NOT_DONE, "do not initialize"),
    ("200-other-error", answer(200, {"error": "something"}), UNKNOWN, "an error in its body"),
    ("422-old-key-wrong", answer(422, {"error": OLD_WRONG}), NOT_DONE, "under another key"),
    ("500-old-key-wrong", answer(500, {"error": {"message": OLD_WRONG.upper()}}), NOT_DONE, "under another key"),
    ("401-old-key-wrong", answer(401, {"detail": "Error: " + OLD_WRONG.lower() + "."}), NOT_DONE, "under another key"),
    ("400-old-key-wrong-text", answer(400, OLD_WRONG, "text/plain"), NOT_DONE, "under another key"),
    ("500-no-canary", answer(500, {"error": NO_CANARY}), NOT_DONE, "do not initialize"),
    ("404-no-canary-nested", answer(404, {"error": {"code": 1, "message": NO_CANARY}}), NOT_DONE, "do not initialize"),
    ("400", answer(400, {"error": "invalid key format"}), NOT_DONE, "key_encoding=base64"),
    ("422", answer(422, {"error": "bad"}), NOT_DONE, "key_encoding=base64"),
    ("401", answer(401, {"error": "unauthorized"}), NOT_DONE, "api_token_file"),
    ("403", answer(403, {"error": "admin required"}), NOT_DONE, "api_token_file"),
    ("404", answer(404, "not found", "text/plain"), NOT_DONE, "no rotation endpoint"),
    ("405", answer(405, ""), NOT_DONE, "no rotation endpoint"),
    ("501", answer(501, ""), NOT_DONE, "no rotation endpoint"),
    ("409", answer(409, {"error": "rotation in progress"}), NOT_DONE, "not now"),
    ("423", answer(423, ""), NOT_DONE, "not now"),
    ("429", answer(429, ""), NOT_DONE, "not now"),
    ("503", answer(503, ""), NOT_DONE, "not now"),
    ("301", answer(301, "", location="https://other/"), NOT_DONE, "not followed"),
    ("307", answer(307, "", location="https://other/"), NOT_DONE, "not followed"),
    ("308-nowhere", answer(308, ""), NOT_DONE, "nowhere"),
    ("500", answer(500, {"error": "internal"}), UNKNOWN, "500"),
    ("502", answer(502, "<html>Bad Gateway</html>", "text/html"), UNKNOWN, "502"),
    ("504", answer(504, ""), UNKNOWN, "504"),
    ("418", answer(418, ""), UNKNOWN, "418"),
    ("100", answer(100, ""), UNKNOWN, "100"),
]
# SERVOS.md F13-F17: neither the status nor the body of a success is stated; C2 asks for JSON "or at least non-HTML".
SILENT = [
    ("204", answer(204, "", "")),
    ("200-nothing", answer(200, "", "")),
    ("200-text", answer(200, "rotated", "text/plain")),
    ("200-json-list", answer(200, [])),
    ("200-json-true", answer(200, "true")),
    ("200-json-cut-off", answer(200, '{"status": "ok", ')),
]


@pytest.mark.parametrize(("reply", "kind", "said"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_every_answer(reply, kind, said):
    found = judged(reply)
    assert found[0] == kind
    assert said in found[1]
    assert kind == DONE or str(reply.status) in found[1]


@pytest.mark.parametrize("reply", [row[1] for row in SILENT], ids=[row[0] for row in SILENT])
def test_a_success_that_says_nothing_is_unknown(reply):
    assert judged(reply)[0] == UNKNOWN


@pytest.mark.parametrize(("encoding", "other"), [("hex", "base64"), ("base64", "hex")])
def test_the_other_encoding_is_suggested_and_not_sent(encoding, other):
    kind, said = judged(answer(400, {}), encoding)
    assert kind == ApiError
    assert f"in {encoding}; nothing was sent again" in said
    assert f"key_encoding={other}" in said


ECHO = "aa" * 32
BODIES = [
    {"error": ECHO},
    {"error": {"message": ECHO}},
    {"detail": OLD_WRONG + " " + ECHO},
    {"message": NO_CANARY + ECHO},
    ECHO,
    {"old_key": ECHO},
]


@pytest.mark.parametrize("body", BODIES, ids=["error", "nested", "old-key", "canary", "text", "other"])
@pytest.mark.parametrize("status", [200, 400, 401, 404, 409, 422, 500, 503])
def test_no_answer_is_repeated(status, body):
    assert ECHO not in judged(answer(status, body))[1]


def rotate(server, **options):
    return post_rotation(
        options.pop("base", server.url),
        path="/api/maintenance/rotate-key",
        token="t0ken",
        old_text="aa" * 32,
        new_text="bb" * 32,
        encoding="hex",
        timeout_s=5,
        ca_path=None,
    )


@pytest.mark.parametrize("slash", ["", "/"])
def test_one_post_with_exactly_two_fields(server, slash):
    assert rotate(server, base=server.url + slash) is None
    ((method, path, headers, body),) = server.seen
    assert (method, path, headers["authorization"]) == ("POST", "/api/maintenance/rotate-key", "Bearer t0ken")
    assert json.loads(body.decode("ascii")) == {"old_key": "aa" * 32, "new_key": "bb" * 32}


@pytest.mark.parametrize("status", [200, 400, 404, 409, 500, 502, 503])
def test_nothing_is_ever_sent_twice(server, status):
    server.status = status
    with contextlib.suppress(ApiError):
        rotate(server)
    assert len(server.seen) == 1
