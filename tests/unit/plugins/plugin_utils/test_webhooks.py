# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks' signatures: the vectors of those who wrote the schemes, openssl as a judge, and what nobody may get past."""

from __future__ import annotations

import base64
import shutil
import subprocess

import pytest
from ansible_collections.servos.ops.plugins.plugin_utils import _webhooks as webhooks

GITHUB_SECRET, GITHUB_BODY = "It's a Secret to Everybody", b"Hello, World!"
GITHUB = {"X-Hub-Signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"}
SVIX_SECRET, SVIX_BODY, SVIX_AT = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}', 1614265330
SVIX = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": str(SVIX_AT),
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}  # fmt: skip
OTHER = "v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="


def github(headers=None, secrets=(GITHUB_SECRET,), body=GITHUB_BODY, **options):
    return webhooks.verdict(body, GITHUB if headers is None else headers, secrets, **{"scheme": "github", "now": 0.0, **options})


def standard(now=SVIX_AT, headers=(), secrets=(SVIX_SECRET,), body=SVIX_BODY, scheme="standard"):
    return webhooks.verdict(body, {**SVIX, **dict(headers)}, secrets, scheme=scheme, now=now)


def test_the_vectors_of_the_specifications():
    assert github().accepted
    assert standard().accepted
    assert standard(scheme="gitlab").accepted
    assert webhooks.signed(GITHUB_BODY, GITHUB_SECRET, scheme="github") == GITHUB
    assert webhooks.signed(SVIX_BODY, SVIX_SECRET, scheme="standard", message_id=SVIX["webhook-id"], timestamp=SVIX_AT) == SVIX


@pytest.mark.parametrize("body", [b"", b"\x00\xff\xfe", "Zoë".encode(), b"x" * 100_000], ids=["empty", "bytes", "utf8", "long"])
@pytest.mark.parametrize("scheme", ["github", "hex", "base64"])
def test_openssl_agrees(tmp_path, body, scheme):
    if shutil.which("openssl") is None:
        pytest.fail("openssl is needed as a judge")
    (tmp_path / "body").write_bytes(body)
    command = ["openssl", "dgst", "-sha256", "-hmac", "of the test", "-binary", str(tmp_path / "body")]
    digest = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=20).stdout
    shown = {"github": f"sha256={digest.hex()}", "hex": digest.hex(), "base64": base64.b64encode(digest).decode()}[scheme]
    headers = webhooks.signed(body, "of the test", scheme=scheme)
    assert list(headers.values()) == [shown]
    assert webhooks.verdict(body, headers, ["of the test"], scheme=scheme, now=0.0).accepted
    assert not webhooks.verdict(body + b"\n", headers, ["of the test"], scheme=scheme, now=0.0).accepted


def changed(text, place):
    return text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]


RIGHT = GITHUB["X-Hub-Signature-256"]
REFUSED = {
    "no header": ({}, "missing"),
    "empty": ({"X-Hub-Signature-256": ""}, "missing"),
    "blank": ({"X-Hub-Signature-256": "  "}, "missing"),
    "no text": ({"X-Hub-Signature-256": 7}, "missing"),
    "twice": ({"X-Hub-Signature-256": [RIGHT, RIGHT]}, "missing"),
    "endless": ({"X-Hub-Signature-256": "sha256=" + "a" * 5000}, "missing"),
    "sha1": ({"X-Hub-Signature-256": "sha1=" + "a" * 40}, "algorithm"),
    "sha512": ({"X-Hub-Signature-256": "sha512=" + "a" * 128}, "algorithm"),
    "no algorithm": ({"X-Hub-Signature-256": RIGHT[7:]}, "algorithm"),
    "capital algorithm": ({"X-Hub-Signature-256": "SHA256=" + RIGHT[7:]}, "algorithm"),
    "short": ({"X-Hub-Signature-256": RIGHT[:-1]}, "malformed"),
    "long": ({"X-Hub-Signature-256": RIGHT + "0"}, "malformed"),
    "no hex": ({"X-Hub-Signature-256": RIGHT[:-1] + "g"}, "malformed"),
    "blanks inside": ({"X-Hub-Signature-256": RIGHT[:20] + " " + RIGHT[21:]}, "malformed"),
    "other digits": ({"X-Hub-Signature-256": RIGHT[:-1] + "\u0667"}, "malformed"),
    "first digit": ({"X-Hub-Signature-256": changed(RIGHT, 7)}, "not match"),
    "last digit": ({"X-Hub-Signature-256": changed(RIGHT, 70)}, "not match"),
    "the old header": ({"X-Hub-Signature": RIGHT}, "missing"),
}


@pytest.mark.parametrize(("headers", "word"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_the_signature_is_refused(headers, word):
    found = github(headers)
    assert (found.accepted, word in found.reason) == (False, True), found.reason
    assert GITHUB_SECRET not in found.reason


@pytest.mark.parametrize(
    "headers", [{"x-hub-signature-256": RIGHT}, {"X-HUB-SIGNATURE-256": RIGHT.encode()}, {"X-Hub-Signature-256": [RIGHT]},
                {"X-Hub-Signature-256": "sha256=" + RIGHT[7:].upper()}],
    ids=["lower", "bytes", "listed", "capital digits"],
)  # fmt: skip
def test_forms_of_the_same_header(headers):
    assert github(headers).accepted


STANDARDS = {
    "too old": ({}, SVIX_AT + 301, "too long ago"),
    "not yet": ({}, SVIX_AT - 301, "in the future"),
    "no id": ({"webhook-id": ""}, SVIX_AT, "missing (header webhook-id)"),
    "no time": ({"webhook-timestamp": None}, SVIX_AT, "missing (header webhook-timestamp)"),
    "no signature": ({"webhook-signature": ""}, SVIX_AT, "missing (header webhook-signature)"),
    "another id": ({"webhook-id": "msg_other"}, SVIX_AT, "not match"),
    "another time": ({"webhook-timestamp": str(SVIX_AT + 1)}, SVIX_AT, "not match"),
    "a dot in the id": ({"webhook-id": f"{SVIX['webhook-id']}.1"}, SVIX_AT, "malformed"),
    "a time that is none": ({"webhook-timestamp": "1614265330.5"}, SVIX_AT, "malformed"),
    "a time that never comes": ({"webhook-timestamp": "9" * 400}, SVIX_AT, "malformed"),
    "a negative time": ({"webhook-timestamp": "-1"}, SVIX_AT, "malformed"),
    "another version": ({"webhook-signature": SVIX["webhook-signature"].replace("v1,", "v1a,")}, SVIX_AT, "version"),
    "no version": ({"webhook-signature": SVIX["webhook-signature"][3:]}, SVIX_AT, "version"),
    "short": ({"webhook-signature": "v1,AAAA"}, SVIX_AT, "malformed"),
    "no base64": ({"webhook-signature": "v1,!!!!"}, SVIX_AT, "malformed"),
    "only after many others": ({"webhook-signature": " ".join([OTHER] * 20 + [SVIX["webhook-signature"]])}, SVIX_AT, "not match"),
}


@pytest.mark.parametrize(("headers", "now", "word"), STANDARDS.values(), ids=STANDARDS)
def test_standard_webhooks_that_are_refused(headers, now, word):
    found = standard(now, headers)
    assert (found.accepted, word in found.reason) == (False, True), found.reason


@pytest.mark.parametrize("now", [SVIX_AT - 300, SVIX_AT, SVIX_AT + 300])
def test_standard_webhooks_that_are_fresh(now):
    assert standard(now).accepted


def test_a_sender_who_changes_his_secret_signs_twice():
    assert standard(headers={"webhook-signature": f"{OTHER} {SVIX['webhook-signature']}"}).accepted


def test_both_secrets_are_valid_while_one_replaces_the_other():
    assert github(secrets=["the new one", GITHUB_SECRET]).accepted
    assert github(webhooks.signed(GITHUB_BODY, "the new one", scheme="github"), ["the new one", GITHUB_SECRET]).accepted
    assert not github(secrets=["the new one"]).accepted
    assert standard(secrets=["whsec_AAAAAAAAAAAAAAAA", SVIX_SECRET]).accepted


def test_every_secret_is_tried_whatever_the_one_before_said(monkeypatch):
    asked = []
    compare = webhooks.hmac.compare_digest
    monkeypatch.setattr(webhooks.hmac, "compare_digest", lambda one, other: asked.append(1) or compare(one, other))
    github(secrets=[GITHUB_SECRET, "a", "b"])
    first = len(asked)
    github(secrets=["a", "b", GITHUB_SECRET])
    github(secrets=["a", "b", "c"])
    assert (first, len(asked)) == (3, 9)


def test_a_token_that_comes_itself():
    headers = webhooks.signed(b"", "glpat", scheme="gitlab_token")
    assert headers == {"X-Gitlab-Token": "glpat"}
    assert webhooks.verdict(b"whatever", {"x-gitlab-token": "glpat"}, ["other", "glpat"], scheme="gitlab_token", now=0.0).accepted
    assert not webhooks.verdict(b"whatever", {"x-gitlab-token": "glpa"}, ["glpat"], scheme="gitlab_token", now=0.0).accepted


MISTAKES = {
    "no secret": ({"secrets": []}, "one secret at least"),
    "an empty secret": ({"secrets": [""]}, "none of them is empty"),
    "one of them empty": ({"secrets": [GITHUB_SECRET, ""]}, "none of them is empty"),
    "a text instead of a list": ({"secrets": "secret"}, "one secret at least"),
    "none": ({"secrets": [None]}, "one secret at least"),
    "an unknown scheme": ({"scheme": "sha1"}, "choose one of github"),
    "a secret that is not base64": ({"scheme": "standard", "secrets": ["whsec_*"]}, "is base64 behind whsec_"),
    "one of them not base64": ({"scheme": "standard", "secrets": [SVIX_SECRET, "whsec_*"]}, "is base64 behind whsec_"),
    "a prefix alone": ({"scheme": "standard", "secrets": ["whsec_"]}, "is base64 behind whsec_"),
}


@pytest.mark.parametrize(("options", "words"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_of_the_author_are_errors(options, words):
    with pytest.raises(webhooks.WebhookError, match=words):
        github(**options)


@pytest.mark.parametrize("text", ["AAAA", base64.b64encode(b"x" * 33).decode(), "=", "*" * 44])
def test_base64_that_is_no_digest(text):
    found = webhooks.verdict(b"", {"X-Signature": text}, ["s"], scheme="base64", now=0.0)
    assert (found.accepted, "malformed" in found.reason) == (False, True)


def test_who_knows_no_secret_is_not_told_of_the_clock():
    assert standard(SVIX_AT + 9999, {"webhook-id": "msg_other"}).reason == "the signature does not match"


def test_bodies():
    assert webhooks.body_bytes("Zoë") == "Zoë".encode()
    assert webhooks.body_bytes(b"\xff\x00") == b"\xff\x00"
    assert webhooks.body_bytes(b"\xff".decode("utf-8", "surrogateescape")) == b"\xff"
    assert webhooks.body_bytes("/wA=", is_base64=True) == b"\xff\x00"
    with pytest.raises(webhooks.WebhookError, match="was parsed"):
        webhooks.body_bytes({"a": 1})
    with pytest.raises(webhooks.WebhookError, match="not base64"):
        webhooks.body_bytes("/wA=\n", is_base64=True)


@pytest.mark.parametrize(("message_id", "timestamp"), [(None, 1), ("", 1), ("a.b", 1), ("a", None)])
def test_what_a_scheme_signs_has_to_be_given(message_id, timestamp):
    with pytest.raises(webhooks.WebhookError, match="signs an id without dots"):
        webhooks.signed(b"", SVIX_SECRET, scheme="standard", message_id=message_id, timestamp=timestamp)


def test_a_tolerance_that_is_no_number_lets_nothing_in():
    found = webhooks.verdict(SVIX_BODY, SVIX, [SVIX_SECRET], scheme="standard", now=SVIX_AT, tolerance_s=float("nan"))
    assert found.accepted is False
