# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes: the application reads a value back, and only that counts; what it says is never repeated."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps.probe import run_probe, run_probes

FORBID = ["decryption failed", "decrypt error"]


def probe(server, **options):
    return dict(
        {
            "name": "a key",
            "url": server.url + "/reveal",
            "status": 200,
            "forbid": FORBID,
            "html": False,
            "token_file": None,
            "ca_file": None,
        },
        **options,
    )


ROWS = [
    ("value", 200, "application/json", b'{"value": "SECRET"}', {}, True, ""),
    ("plain-text", 200, "text/plain", b"SECRET", {}, True, ""),
    ("other-status", 500, "application/json", b"SECRET", {}, False, "answered 500, expected 200"),
    ("wanted-status", 404, "text/plain", b"SECRET", {"status": 404}, True, ""),
    ("forbidden", 200, "application/json", b'{"error": "Decryption Failed", "x": "SECRET"}', {}, False, "decryption failed"),
    ("forbidden-in-capitals", 200, "text/plain", b"DECRYPT ERROR SECRET", {}, False, "decrypt error"),
    ("nothing-forbidden", 200, "text/plain", b"decryption failed", {"forbid": []}, True, ""),
    ("empty", 200, "text/plain", b" \n", {}, False, "with nothing"),
    ("web-page", 200, "text/html; charset=utf-8", b"<html>SECRET</html>", {}, False, "a web page"),
    ("web-page-wanted", 200, "text/html", b"<html>SECRET</html>", {"html": True}, True, ""),
    ("redirect", 302, "text/plain", b"SECRET", {}, False, "answered 302"),
]


@pytest.mark.parametrize(
    ("status", "content_type", "body", "options", "ok", "reason"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_table(server, status, content_type, body, options, ok, reason):
    server.status, server.headers, server.body = status, {"Content-Type": content_type}, body
    found = run_probe(probe(server, **options), token=None, timeout_s=5)
    assert (found["name"], found["ok"], found["status"]) == ("a key", ok, status)
    assert reason in found["reason"]
    assert bool(found["reason"]) is not ok
    assert "SECRET" not in str(found)
    assert len(server.seen) == 1


def test_no_answer_is_a_failed_probe(server):
    server.act = lambda handler: handler.connection.close()
    found = run_probe(probe(server), token=None, timeout_s=1)
    assert (found["ok"], found["status"]) == (False, None)
    assert "broke" in found["reason"]


def test_the_token_comes_from_its_file(server, tmp_path):
    (tmp_path / "token").write_bytes(b"  t0ken\r\n")
    (found,) = run_probes([probe(server, token_file=str(tmp_path / "token"))], timeout_s=5)
    assert found["ok"]
    assert server.seen[0][2]["authorization"] == "Bearer t0ken"


@pytest.mark.parametrize("content", [None, b"", b" \n"], ids=["missing", "empty", "blank"])
def test_a_token_that_cannot_be_read_is_a_failed_probe_and_others_go_on(server, tmp_path, content):
    if content is not None:
        (tmp_path / "token").write_bytes(content)
    found = run_probes([probe(server, token_file=str(tmp_path / "token")), probe(server, name="second")], timeout_s=5)
    assert [(one["name"], one["ok"]) for one in found] == [("a key", False), ("second", True)]
    assert str(tmp_path / "token") in found[0]["reason"]
    assert len(server.seen) == 1


def test_a_token_that_is_not_ascii_is_a_failed_probe(server, tmp_path):
    (tmp_path / "token").write_bytes(b"S3CRET\xff")
    found = run_probes([probe(server, token_file=str(tmp_path / "token"))], timeout_s=5)
    assert [one["ok"] for one in found] == [False]
    assert "S3CRET" not in found[0]["reason"]
