# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This plugin_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a webhook's signature is, and whether one is right. Pure.

Whatever a sender can influence is a verdict, never an exception: what is missing or malformed is refused like what is wrong.

Sources: https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries,
https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md,
https://docs.gitlab.com/user/project/integrations/webhooks/ (GitLab's signing tokens are Standard Webhooks), RFC 2104.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import typing as t

GITHUB, GITLAB, GITLAB_TOKEN, STANDARD, HEX, BASE64 = "github", "gitlab", "gitlab_token", "standard", "hex", "base64"
SCHEMES = (GITHUB, GITLAB, GITLAB_TOKEN, STANDARD, HEX, BASE64)
HEADERS = {GITHUB: "X-Hub-Signature-256", GITLAB_TOKEN: "X-Gitlab-Token", HEX: "X-Signature", BASE64: "X-Signature"}
TOLERANCE_S = 300

_ID, _TIMESTAMP, _SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
_STANDARD_PREFIX = "whsec_"
_DIGEST_BYTES = 32
_MOST_SIGNATURES = 16  # a sender who changes his secret sends two
_LONGEST_HEADER = 4096
_HEX = re.compile(r"[0-9a-fA-F]{64}")
_SECONDS = re.compile(r"[0-9]{1,12}")


class WebhookError(Exception):
    """What the author of a playbook has to mend; never what a sender can bring about."""


class Verdict(t.NamedTuple):
    """Whether a webhook is from who knows a secret, fresh where its scheme says when it was sent; and if not, why not."""

    accepted: bool
    reason: str


def verdict(
    body: bytes, headers: t.Mapping[str, t.Any], secrets: t.Sequence[str], *, scheme: str, header: str | None = None, now: float,
    tolerance_s: float = TOLERANCE_S,
) -> Verdict:
    """Judge a webhook by its body, byte by byte as it was received, and its headers.

    Each secret is tried, whatever the ones before it said, so that time tells nothing of which one is right.

    Args:
        secrets: one, or both while one replaces the other.
        header: the name of the header for V(hex) and V(base64), where it is not C(X-Signature).
        now: seconds since 1970.

    Raises:
        WebhookError: unknown scheme, or secrets that are none.
    """
    keys = _keys(secrets, scheme)
    given = {str(name).lower(): value for name, value in headers.items()}
    if scheme in (STANDARD, GITLAB):
        return _standard(body, given, keys, now, tolerance_s)
    name = header or HEADERS[scheme]
    text = _text(given.get(name.lower()))
    if not text:
        return Verdict(False, f"the signature is missing (header {name})")
    if scheme == GITLAB_TOKEN:
        return _matched([text.encode("utf-8", "surrogateescape")], keys)
    if scheme == GITHUB:
        algorithm, unused, text = text.partition("=")
        if algorithm != "sha256":
            return Verdict(False, "the signature is not of the algorithm sha256")
    sent = _unbase64(text) if scheme == BASE64 else bytes.fromhex(text) if _HEX.fullmatch(text) else None
    if sent is None or len(sent) != _DIGEST_BYTES:
        return Verdict(False, "the signature is malformed, or of a wrong length")
    return _matched([sent], [_digest(key, body) for key in keys])


def signed(
    body: bytes, secret: str, *, scheme: str, header: str | None = None, message_id: str | None = None, timestamp: int | None = None
) -> dict[str, str]:
    """Return the headers that a sender adds to a webhook.

    Raises:
        WebhookError: unknown scheme, a secret that is none, or no id and time where the scheme signs them.
    """
    (key,) = _keys([secret], scheme)
    if scheme in (STANDARD, GITLAB):
        if not message_id or "." in message_id or timestamp is None:
            raise WebhookError(f"the scheme {scheme} signs an id without dots and the time of sending; give both (id, timestamp)")
        digest = _digest(key, _standard_message(message_id, str(timestamp), body))
        return {_ID: message_id, _TIMESTAMP: str(timestamp), _SIGNATURE: f"v1,{base64.b64encode(digest).decode()}"}
    name = header or HEADERS[scheme]
    if scheme == GITLAB_TOKEN:
        return {name: secret}
    digest = _digest(key, body)
    return {name: base64.b64encode(digest).decode() if scheme == BASE64 else ("sha256=" if scheme == GITHUB else "") + digest.hex()}


def body_bytes(body: t.Any, *, is_base64: bool = False) -> bytes:
    """Return a body as it was received. Text is UTF-8; what UTF-8 cannot carry comes as base64.

    Raises:
        WebhookError: it was parsed, so that nobody knows its bytes any more; or it is not base64.
    """
    if isinstance(body, str):
        raw = body.encode("utf-8", "surrogateescape")
    elif isinstance(body, (bytes, bytearray)):
        raw = bytes(body)
    else:
        raise WebhookError("the body was parsed, and a signature is of its bytes; give the text as it was received")
    if not is_base64:
        return raw
    try:
        return base64.b64decode(raw, validate=True)
    except binascii.Error:
        raise WebhookError("the body is not base64; give it as it was received, or leave out body_is_base64") from None


def _standard(body: bytes, given: t.Mapping[str, t.Any], keys: t.Sequence[bytes], now: float, tolerance_s: float) -> Verdict:
    message_id, sent_at, text = (_text(given.get(name)) for name in (_ID, _TIMESTAMP, _SIGNATURE))
    missing = [name for name, value in ((_ID, message_id), (_TIMESTAMP, sent_at), (_SIGNATURE, text)) if not value]
    if missing:
        return Verdict(False, f"the signature is missing (header {', '.join(missing)})")
    # With a dot in it, an id could be another one's with a part of the time.
    if "." in message_id or not _SECONDS.fullmatch(sent_at):
        return Verdict(False, "the webhook's id or time is malformed")
    candidates = [part.partition(",") for part in text.split(" ")[:_MOST_SIGNATURES]]
    candidates = [candidate for candidate in candidates if candidate[0] == "v1"]
    if not candidates:
        return Verdict(False, "the signature is not of the version v1 (HMAC-SHA256)")
    sent = [digest for digest in (_unbase64(value) for unused_version, unused_comma, value in candidates) if digest is not None]
    if not sent or any(len(digest) != _DIGEST_BYTES for digest in sent):
        return Verdict(False, "the signature is malformed, or of a wrong length")
    message = _standard_message(message_id, sent_at, body)
    found = _matched(sent, [_digest(key, message) for key in keys])
    if found.accepted and not abs(now - int(sent_at)) <= tolerance_s:  # what is no number lets nobody in
        when = "too long ago" if now > int(sent_at) else "in the future"
        return Verdict(False, f"the webhook was sent {when} ({sent_at}, now {now:.0f})")
    return found


def _standard_message(message_id: str, sent_at: str, body: bytes) -> bytes:
    return f"{message_id}.{sent_at}.".encode("utf-8", "surrogateescape") + body


def _matched(sent: t.Sequence[bytes], expected: t.Sequence[bytes]) -> Verdict:
    matches = 0
    for one in sent:
        for other in expected:
            matches += hmac.compare_digest(one, other)
    return Verdict(True, "the signature is right") if matches else Verdict(False, "the signature does not match")


def _digest(key: bytes, message: bytes) -> bytes:
    return hmac.new(key, message, hashlib.sha256).digest()


def _keys(secrets: t.Sequence[str], scheme: str) -> list[bytes]:
    if scheme not in SCHEMES:
        raise WebhookError(f"there is no scheme {scheme}; choose one of {', '.join(SCHEMES)}")
    if isinstance(secrets, (str, bytes)) or not secrets or not all(isinstance(secret, str) and secret for secret in secrets):
        raise WebhookError("a webhook is judged by one secret at least, and none of them is empty; give the sender's (secret)")
    if scheme not in (STANDARD, GITLAB):
        return [secret.encode("utf-8", "surrogateescape") for secret in secrets]
    decoded = [_unbase64(secret[len(_STANDARD_PREFIX) :] if secret.startswith(_STANDARD_PREFIX) else secret) for secret in secrets]
    keys = [key for key in decoded if key]
    if len(keys) != len(secrets):
        raise WebhookError(
            f"a secret of the scheme {scheme} is base64 behind {_STANDARD_PREFIX}, and one that was given is not; "
            "give it as the sender shows it"
        )
    return keys


def _text(value: t.Any) -> str:
    """Return a header's value; a header that came twice, or is no text or very long, is none."""
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return text.strip() if isinstance(text, str) and len(text) <= _LONGEST_HEADER else ""


def _unbase64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None


__all__ = ("GITHUB", "HEADERS", "SCHEMES", "TOLERANCE_S", "Verdict", "WebhookError", "body_bytes", "signed", "verdict")
