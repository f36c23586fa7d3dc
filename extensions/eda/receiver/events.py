# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This file is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What a checked webhook may say. Pure.

A rulebook's event reaches playbooks as a variable, and rulebooks put parts of it into templates. So nothing of a body is passed on but
its kind, out of a list, and the fields that the rulebook names, where they are plain words or numbers.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import re
import typing as t

BAD_REQUEST, FORBIDDEN = 400, 403
# The schemes that sign an id and the time of sending.
DATED = ("standard", "gitlab")

# Neither braces nor a dollar: no template, and no vault text, which ansible-rulebook would open.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:/@+=,-]{0,199}")
_FIELD = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
_LARGEST = 2**53
_EARLIEST, _LATEST = 0, 4102444800  # 1970 to 2100: what else is there is no time of sending


class RefusedError(Exception):
    """A webhook that is signed as it should be, and says what it may not, or too late. The text goes back to the sender."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Rules(t.NamedTuple):
    """What a body may say. C(kind) is of all events, or C(kind_field) says where it stands."""

    kinds: t.Sequence[str] = ()
    kind: str = ""
    kind_field: str = "kind"
    fields: t.Sequence[str] = ()
    time_field: str = ""
    tolerance_s: float = 300


class Signed(t.NamedTuple):
    """What a scheme signs beside the body, if it does: an id, and a time in seconds since 1970."""

    message_id: str = ""
    sent_at: float | None = None


def rules_of(**told: t.Any) -> Rules:
    """Check the rules that a rulebook gives.

    Raises:
        ValueError: naming the option.
    """
    rules = Rules(**told)
    for name in [*rules.kinds, rules.kind]:
        if name and not _FIELD.fullmatch(name):
            raise ValueError("kinds: a kind is made of letters, digits, '_' and '-'")
    if not rules.kind and not rules.kinds:
        raise ValueError("kinds: name the kinds of events that may come, or give all of them one kind")
    for option, paths in (("kind_field", [rules.kind_field]), ("fields", rules.fields), ("time_field", [rules.time_field])):
        if any(path and not _FIELD.fullmatch(path) for path in paths):
            raise ValueError(f"{option}: a field is named by its keys with dots between them")
    if not 1 <= rules.tolerance_s <= 86400:
        raise ValueError("tolerance: give seconds, from 1 to 86400")
    return rules


def mark_of(body: bytes, scheme: str, signed: Signed) -> str:
    """Return by what a webhook is known again, in hex: its signed id, or its whole body.

    Not the signature: the same body has another one under the other of two secrets.
    """
    what = signed.message_id.encode("utf-8", "surrogateescape") if signed.message_id else hashlib.sha256(body).digest()
    kind = b"id" if signed.message_id else b"body"
    return hashlib.sha256(b"\x00".join((b"servos.ops webhook", scheme.encode(), kind, what))).hexdigest()


def event_of(body: bytes, mark: str, signed: Signed, rules: Rules, *, now: float) -> tuple[dict[str, t.Any], bool]:
    """Return the event for the rulebook, and whether the time of sending was signed.

    Raises:
        RefusedError: no JSON object, a kind or field that may not be, or not fresh.
    """
    told = _parsed(body)
    sent_at = signed.sent_at
    if sent_at is None and rules.time_field:
        sent_at = _moment(_found(told, rules.time_field), rules.time_field)
    if sent_at is not None and abs(now - sent_at) > rules.tolerance_s:
        when = "too long ago" if now > sent_at else "in the future"
        raise RefusedError(FORBIDDEN, f"the webhook was sent {when} (more than {rules.tolerance_s:g} seconds)")
    kind = rules.kind or _found(told, rules.kind_field)
    if not isinstance(kind, str) or (rules.kinds and kind not in rules.kinds):
        raise RefusedError(BAD_REQUEST, f"{rules.kind_field} is none of {', '.join(rules.kinds)}")
    payload: dict[str, t.Any] = {}
    for path in rules.fields:
        value = _found(told, path)
        if value is not None:
            _put(payload, path, _plain(value, path))
    event = {
        "kind": kind, "id": f"evt-{mark[:24]}", "received": _written(now), "sent": None if sent_at is None else _written(sent_at),
        "payload": payload,
    }  # fmt: skip
    return event, sent_at is not None


def _parsed(body: bytes) -> dict[str, t.Any]:
    try:
        told = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        raise RefusedError(BAD_REQUEST, "the body is not a JSON object")
    return told


def _found(told: t.Any, path: str) -> t.Any:
    for step in path.split("."):
        told = told.get(step) if isinstance(told, dict) else None
    return told


def _put(payload: dict[str, t.Any], path: str, value: t.Any) -> None:
    *steps, last = path.split(".")
    for step in steps:
        payload = payload.setdefault(step, {})
    payload[last] = value


def _plain(value: t.Any, path: str) -> t.Any:
    if isinstance(value, bool) or (isinstance(value, str) and _PLAIN.fullmatch(value)):
        return value
    if isinstance(value, int) and abs(value) < _LARGEST:
        return value
    raise RefusedError(BAD_REQUEST, f"{path} is neither a plain word, nor a whole number, nor true or false")


def _moment(value: t.Any, path: str) -> float:
    """Read seconds since 1970, or a date and time with its zone."""
    moment = math.nan
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        moment = float(value) if abs(value) < _LARGEST else math.nan
    elif isinstance(value, str) and len(value) <= 40:
        try:
            read = datetime.datetime.fromisoformat(value.replace("Z", "+00:00"))
            moment = read.timestamp() if read.tzinfo is not None else math.nan
        except (ValueError, OverflowError):
            pass
    if not _EARLIEST <= moment <= _LATEST:
        raise RefusedError(BAD_REQUEST, f"{path} is not a time (seconds since 1970, or as 2026-01-31T12:00:00Z)")
    return moment


def _written(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ("BAD_REQUEST", "DATED", "FORBIDDEN", "RefusedError", "Rules", "Signed", "event_of", "mark_of", "rules_of")
