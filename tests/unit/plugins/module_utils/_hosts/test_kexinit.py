# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a server says first, byte by byte: understood where it is SSH, and bounded and named where it is anything else."""

from __future__ import annotations

import io

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import HostKeyError
from ansible_collections.servos.ops.plugins.module_utils._hosts.kexinit import read_offer, read_version


def packet(payload, padding=None, length=None):
    padding = 8 if padding is None else padding
    body = bytes([padding]) + payload + b"\x00" * padding
    return (len(body) if length is None else length).to_bytes(4, "big") + body


def name_list(text):
    return len(text).to_bytes(4, "big") + text


def kexinit(kex=b"curve25519-sha256", keys=b"ssh-ed25519,rsa-sha2-512", rest=b"\x00" * 37):
    return b"\x14" + b"c" * 16 + name_list(kex) + name_list(keys) + rest


def offer(content):
    return read_offer(io.BytesIO(content).read)


VERSIONS = [
    (b"SSH-2.0-OpenSSH_9.2\r\n", "2.0"),
    (b"SSH-2.0-x\n", "2.0"),
    (b"SSH-1.99-old\r\n", "1.99"),
    (b"Welcome\r\nto this host\r\nSSH-2.0-x\r\n", "2.0"),
]


@pytest.mark.parametrize(("said", "version"), VERSIONS, ids=[repr(row[0]) for row in VERSIONS])
def test_a_version_is_read_and_not_a_byte_more(said, version):
    stream = io.BytesIO(said + b"rest")
    assert read_version(stream.read) == version
    assert stream.read() == b"rest"


NO_VERSION = [
    (b"", "without a word"),
    (b"SSH-1.5-ancient\r\n", "SSH 1"),
    (b"SSH-3.0-x\r\n", "version unknown"),
    (b"SSH-2.0", "no SSH version"),
    (b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n", "no SSH version"),
    (b"220 mail.example ESMTP", "no SSH version"),
    (b"\x00" * 10000, "no SSH version"),
    (b"x" * 8192, "no SSH version"),
    (b"line\r\n" * 1000, "line after line"),
]


@pytest.mark.parametrize(("said", "reason"), NO_VERSION, ids=[repr(row[0])[:30] for row in NO_VERSION])
def test_what_is_no_version_is_named_and_bounded(said, reason):
    stream = io.BytesIO(said)
    with pytest.raises(HostKeyError, match=reason) as caught:
        read_version(stream.read)
    assert stream.tell() <= 8193
    assert "mail.example" not in str(caught.value)


def test_an_offer_is_read_in_its_order():
    said = offer(packet(b"\x02ignored") + packet(b"\x04\x00") + packet(kexinit(kex=b"a,b")) + b"rest")
    assert said.key_exchanges == ("a", "b")
    assert said.host_keys == ("ssh-ed25519", "rsa-sha2-512")


def test_ciphers_and_macs_are_read_for_each_direction():
    rest = b"".join(map(name_list, (b"a,b", b"c", b"", b"d"))) + b"\x00" * 21
    said = offer(packet(kexinit(rest=rest)))
    assert (said.ciphers_out, said.ciphers_in, said.macs_out, said.macs_in) == (("a", "b"), ("c",), (), ("d",))


NO_OFFER = {
    "nothing": (b"", "before it offers"),
    "half a length": (b"\x00\x00", "before it offers"),
    "half a packet": (packet(kexinit())[:-1], "before it offers"),
    "no length": (b"\x00" * 64, "impossible length"),
    "a huge length": (b"\xff" * 64, "impossible length"),
    "one above the limit": (packet(b"\x14", length=35001), "impossible length"),
    "text": (b"HTTP/1.1 200 OK\r\n\r\n", "impossible length"),
    "padding beyond the packet": (packet(b"\x14" * 9, padding=200, length=12), "impossible padding"),
    "too little padding": (packet(b"\x14" * 9, padding=3), "impossible padding"),
    "no payload": (packet(b"", padding=8), "impossible padding"),
    "disconnect": (packet(b"\x01\x00\x00\x00\x02too many"), "disconnects"),
    "another message": (packet(b"\x06\x00"), "another packet"),
    "ignore without end": (packet(b"\x02x") * 100, "another packet"),
    "a list beyond the packet": (packet(b"\x14" + b"c" * 16 + b"\x00\x00\xff\xff"), "cannot be read"),
    "a list of 4 GB": (packet(b"\x14" + b"c" * 16 + b"\xff\xff\xff\xff" + b"x" * 30), "cannot be read"),
    "half a cookie": (packet(b"\x14cc"), "cannot be read"),
    "one list only": (packet(b"\x14" + b"c" * 16 + name_list(b"a")), "cannot be read"),
}


@pytest.mark.parametrize(("said", "reason"), NO_OFFER.values(), ids=list(NO_OFFER))
def test_what_is_no_offer_is_named(said, reason):
    with pytest.raises(HostKeyError, match=reason):
        offer(said)
