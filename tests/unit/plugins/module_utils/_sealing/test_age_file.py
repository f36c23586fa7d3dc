# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""age files: one that age wrote, and many that another library did, by the format's own text."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re

import pytest
from ansible_collections.servos.ops.plugins.module_utils._sealing import age_file
from Cryptodome.Cipher import ChaCha20_Poly1305
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# Made for this test, by age-keygen and age 1.1.1.
PRIVATE = bytes.fromhex("cba32977cb143920cf121f1f9c2f399c51f76829af0a613907b91df78a8749e1")
RECIPIENT = "age1rjt9z998plx76st0j9wha60pw64072cekyq7wacr264kgd6rnvgq4wepq9"
SSH_RECIPIENT = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICUghYDfnJnCT7WtanjKNhjvzn1y7poBd6Ae/dzD6NV2 x"
RECORDED = b"""\
-----BEGIN AGE ENCRYPTED FILE-----
YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IFgyNTUxOSBVZ2tDei9tQ0RaZkZVS0tS
dVVCczZMbnNHYnpld2ZieWRzZU9MWnBLOVZJClFsVDQrY2ZrM2NydXVEN1JPSnYr
cHRnQkh0QzI3ZmY0VFZaUGRwODU3dmMKLT4gc3NoLWVkMjU1MTkgR0NPbTZBIFR0
WEVRWE1iQlZiZUEzUXI0SzhvVXlwb0FWcllEYVBReWtuNjVjeHpmRXcKV0xsdkJK
UUhnSk1KRzZtRy9ySjVUdng2d0J3QnNqVG1vN1ZLbWhtWDQ1YwotLS0gMlVZRjJP
NGQvcmRTTW9QUEhKNWdaeDRsdzVZQVNESE9DL2RpWHhSZjhKbwpLUvQLpxMEaVVJ
RD0NAWVDV7LjUsChdm+3EwTqydcCT0uE7sRa1UaOHlBk2UuiVTDQOlIleb5X
-----END AGE ENCRYPTED FILE-----
"""


def raw(text):
    return base64.b64decode(b"".join(text.split(b"\n")[1:-2]))


def hkdf(material, salt, info):
    extracted = hmac.new(salt or b"\x00" * 32, material, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()


def chacha(key, nonce, content):
    cipher = ChaCha20_Poly1305.new(key=key, nonce=nonce)
    content, tag = cipher.encrypt_and_digest(content)
    return content + tag


def b64(content):
    return base64.b64encode(content).rstrip(b"=")


def wrapped(text):
    lines = re.findall(rb".{1,64}", text)
    return b"\n".join(lines + ([b""] if not lines or len(lines[-1]) == 64 else [])) + b"\n"


def public(private):
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def seal(content, *recipients, more=(), file_key=None):
    """Write an age file with another library's ChaCha20-Poly1305; C(more) are stanzas that nobody here knows."""
    file_key = file_key or os.urandom(16)
    header = b"age-encryption.org/v1\n"
    for line, body in more:
        header += b"-> " + line + b"\n" + wrapped(b64(body))
    for private in recipients:
        theirs, ephemeral = X25519PrivateKey.from_private_bytes(private).public_key(), X25519PrivateKey.generate()
        share = public(ephemeral)
        salt = share + theirs.public_bytes(Encoding.Raw, PublicFormat.Raw)
        body = chacha(hkdf(ephemeral.exchange(theirs), salt, b"age-encryption.org/v1/X25519"), b"\x00" * 12, file_key)
        header += b"-> X25519 " + b64(share) + b"\n" + wrapped(b64(body))
    header += b"---"
    mac, nonce = hmac.new(hkdf(file_key, b"", b"header"), header, hashlib.sha256).digest(), os.urandom(16)
    return header + b" " + b64(mac) + b"\n" + nonce + chacha(hkdf(file_key, nonce, b"payload"), b"\x00" * 11 + b"\x01", content)


@pytest.mark.parametrize("content", [RECORDED, raw(RECORDED), RECORDED.replace(b"\n", b"\r\n")], ids=["armored", "binary", "CRLF"])
def test_what_age_wrote_opens(content):
    assert age_file.open_age(PRIVATE, content) == b"recorded with age 1.1.1"
    assert [stanza.words[0] for stanza in age_file.stanzas_of(content)] == ["X25519", "ssh-ed25519"]


@pytest.mark.parametrize("size", [0, 1, 44, 65536])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_whichever_recipient_we_are_and_whoever_else_there_is(size, place):
    keys = [os.urandom(32) for unused in range(3)]
    content = os.urandom(size)
    sealed = seal(content, *keys, more=[(b"piv-p256 abc def", os.urandom(32)), (b"odd", os.urandom(96)), (b"none", b"")])
    assert age_file.open_age(keys[place], sealed) == content
    assert len(age_file.stanzas_of(sealed)) == 6
    assert age_file.open_age(os.urandom(32), sealed) is None


@pytest.mark.parametrize("position", range(len(raw(RECORDED))))
def test_a_flipped_bit_anywhere_does_not_open(position):
    content = bytearray(raw(RECORDED))
    content[position] ^= 1
    assert age_file.open_age(PRIVATE, bytes(content)) is None


@pytest.mark.parametrize("size", range(0, len(raw(RECORDED)), 7))
def test_what_was_cut_off_does_not_open(size):
    assert age_file.open_age(PRIVATE, raw(RECORDED)[:size]) is None


@pytest.mark.parametrize(
    "content",
    [b"", b"age", b"-----BEGIN AGE ENCRYPTED FILE-----\n!\n-----END AGE ENCRYPTED FILE-----\n", b"age-encryption.org/v1\n--- x\n",
     b"age-encryption.org/v1\n-> X25519 \xff\n\n--- x\n", seal(b"x" * 65537, PRIVATE)],
    ids=["empty", "a word", "no Base64", "no recipient", "no ASCII", "two chunks"],
)  # fmt: skip
def test_what_is_none_is_none(content):
    assert age_file.open_age(PRIVATE, content) is None


def test_a_share_of_low_order_opens_nothing():
    sealed = seal(b"x", PRIVATE)
    share = re.search(rb"X25519 (\S+)", sealed).group(1)
    assert age_file.open_age(PRIVATE, sealed.replace(share, b64(b"\x00" * 32))) is None


def test_a_public_key_is_written_as_age_does():
    assert age_file.recipient_of(public(X25519PrivateKey.from_private_bytes(PRIVATE))) == RECIPIENT


@pytest.mark.parametrize("text", [RECIPIENT, SSH_RECIPIENT, SSH_RECIPIENT[:-2], "ssh-rsa " + "A" * 372])
def test_recipients_are_taken(text):
    assert age_file.why_no_recipient(text) is None


@pytest.mark.parametrize("position", range(4, len(RECIPIENT)))
def test_one_wrong_letter_is_noticed(position):
    letter = "q" if RECIPIENT[position] != "q" else "p"
    assert "checksum" in age_file.why_no_recipient(RECIPIENT[:position] + letter + RECIPIENT[position + 1 :])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("AGE-SECRET-KEY-1QQQQ", "is secret"), ("age-secret-key-1qqqq", "is secret"), ("AGE-PLUGIN-YUBIKEY-1Q", "is secret"),
        ("", "neither"), ("-o/etc/passwd", "neither"), ("age1", "neither"), ("age1\n", "neither"), (RECIPIENT.upper(), "neither"),
        (SSH_RECIPIENT + "\n-o/x", "neither"), ("ecdsa-sha2-nistp256 " + "A" * 100, "neither"), ("age1qqq", "checksum"),
        (RECIPIENT + "\n", "neither"), (RECIPIENT[:-1], "checksum"),
    ],
)  # fmt: skip
def test_what_is_no_recipient_is_explained_and_not_quoted(text, words):
    reason = age_file.why_no_recipient(text)
    assert words in reason
    assert len(text) < 6 or text not in reason


@pytest.mark.parametrize(("text", "is_native"), [(RECIPIENT, True), (SSH_RECIPIENT, False), ("age1yubikey1qqq", False)])
def test_native_recipients_are_told_apart(text, is_native):
    assert age_file.is_native(text) is is_native


def test_an_ssh_key_is_the_same_whatever_its_comment():
    assert age_file.same_recipient(SSH_RECIPIENT) == age_file.same_recipient(SSH_RECIPIENT[:-2])
