# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup is whole, or it is none."""

from __future__ import annotations

import struct

import pytest
from ansible_collections.servos.ops.plugins.module_utils._apps import pika_backup
from ansible_collections.servos.ops.plugins.module_utils._apps.pika_session import Pika
from ansible_collections.servos.ops.plugins.module_utils._errors import ApiError

PAYLOAD = bytes(range(256)) * 4000
WHOLE = b"PIKABW\x00\x01" + b"\x00" + struct.pack(">QQ", len(PAYLOAD), 42) + PAYLOAD


def receive(server, body, **options):
    server.headers, server.body = {"Content-Type": "application/octet-stream"}, body
    pieces = []
    return pika_backup.receive_backup(Pika(server.url, timeout_s=5), pieces.append, **options), b"".join(pieces)


def test_a_whole_one_arrives_as_it_is(server):
    seen = []
    header, content = receive(server, WHOLE, begin=seen.append)
    assert content == WHOLE
    assert seen == [header]
    assert header == (False, len(PAYLOAD), 42)
    assert header.whole_bytes == len(WHOLE)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", "no backup"),
        (WHOLE[:24], "no backup"),
        (b"PIKABX" + WHOLE[6:], "does not begin as one"),
        (WHOLE[:25], "not whole"),
        (WHOLE[:-1], "not whole"),
        (WHOLE + b"x", "not whole"),
    ],
    ids=["empty", "half-a-header", "wrong-magic", "header-only", "one-byte-short", "one-byte-long"],
)
def test_what_is_none(server, body, text):
    with pytest.raises(ApiError, match=text):
        receive(server, body)


@pytest.mark.parametrize(("status", "kind"), [(200, "text/html"), (200, "application/json"), (500, "application/json")], ids=str)
def test_an_answer_that_is_no_file(server, status, kind):
    server.status, server.headers, server.body = status, {"Content-Type": kind}, WHOLE
    pieces = []
    with pytest.raises(ApiError, match="no backup"):
        pika_backup.receive_backup(Pika(server.url, timeout_s=5), pieces.append)
    assert pieces == []


def test_an_envelope_is_seen():
    assert pika_backup.parse_header(b"PIKABW\x00\x01\x01" + bytes(16), where="x").is_encrypted
