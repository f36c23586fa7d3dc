# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HPKE against another library's: each opens what the other sealed."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyFormatError
from ansible_collections.servos.ops.plugins.module_utils._sealing import hpke

PRIVATE = bytes(range(1, 33))
PUBLIC = hpke.public_key_of(PRIVATE)
MESSAGES = [b"", b"x", "Zürich\n".encode() * 40, bytes(range(256)) * 64]
INFOS = [b"", b"what it is for"]
sizes = pytest.mark.parametrize("plaintext", MESSAGES, ids=["empty", "one byte", "text", "16 KiB"])
infos = pytest.mark.parametrize("info", INFOS, ids=["no info", "info"])


@sizes
@infos
def test_opened_by_another_library(other_hpke, plaintext, info):
    sealed = hpke.seal_to(PUBLIC, plaintext, info=info, entropy=os.urandom)
    assert other_hpke.open(PRIVATE, sealed, info) == plaintext


@sizes
@infos
def test_sealed_by_another_library(other_hpke, plaintext, info):
    assert hpke.open_sealed(PRIVATE, other_hpke.seal(PUBLIC, plaintext, info), info=info) == plaintext


def test_no_two_messages_are_alike():
    sealed = {hpke.seal_to(PUBLIC, b"the same", info=b"", entropy=os.urandom) for unused in range(20)}
    assert len({message[:32] for message in sealed}) == 20


SEALED = hpke.seal_to(PUBLIC, b"secret", info=b"info", entropy=os.urandom)


def test_it_opens_for_whom_it_was_sealed():
    assert hpke.open_sealed(PRIVATE, SEALED, info=b"info") == b"secret"


@pytest.mark.parametrize(
    ("private", "message", "info"),
    [
        (bytes(range(2, 34)), SEALED, b"info"),
        (PRIVATE, SEALED, b"other info"),
        (PRIVATE, SEALED[:-1], b"info"),
        (PRIVATE, SEALED[:40] + bytes([SEALED[40] ^ 1]) + SEALED[41:], b"info"),
        (PRIVATE, bytes([SEALED[0] ^ 1]) + SEALED[1:], b"info"),
        (PRIVATE, b"\x00" * 32 + SEALED[32:], b"info"),
        (PRIVATE, SEALED[:20], b"info"),
        (PRIVATE, b"", b"info"),
    ],
    ids=["another key", "another info", "cut", "changed text", "changed key", "low order", "too short", "empty"],
)
def test_nothing_else_opens(private, message, info):
    assert hpke.open_sealed(private, message, info=info) is None


@pytest.mark.parametrize("public", [b"", b"short", b"\x00" * 32, b"x" * 33], ids=["empty", "short", "low order", "long"])
def test_no_key_to_seal_to(public):
    with pytest.raises(KeyFormatError, match="not an X25519 key"):
        hpke.seal_to(public, b"secret", info=b"", entropy=os.urandom)
