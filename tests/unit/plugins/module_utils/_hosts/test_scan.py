# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scanning over real sockets: each way in which a server can fail has its reason, and none can hold us up or fill us up."""

from __future__ import annotations

import re
import socket
import struct
import threading

import pytest
from ansible_collections.servos.ops.plugins.module_utils._hosts.scan import PARAMIKO_IMPORT_ERROR, scan_all

ALL = ("ed25519", "ecdsa", "rsa")
GREETING = b"SSH-2.0-hostile\r\n"
needs_paramiko = pytest.mark.skipif(PARAMIKO_IMPORT_ERROR is not None, reason="needs paramiko")


def name_list(*names):
    text = ",".join(names).encode()
    return struct.pack(">I", len(text)) + text


def kexinit(
    host_keys=("ssh-ed25519",), kex=("curve25519-sha256", "curve25519-sha256@libssh.org"), ciphers=("aes128-ctr",), macs=("hmac-sha2-256",)
):
    lists = [kex, host_keys, ciphers, ciphers, macs, macs, ("none",), ("none",), (), ()]
    payload = b"\x14" + b"c" * 16 + b"".join(name_list(*names) for names in lists) + b"\x00" * 5
    padding = 8 - (len(payload) + 5) % 8 + 8
    return struct.pack(">IB", len(payload) + padding + 1, padding) + payload + b"\x00" * padding


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def silent(server, connection):
    server.is_over.wait(20)


def drip(content):
    def talk(server, connection):
        for letter in content:
            server.send(connection, bytes([letter]))
            if server.is_over.wait(0.2):
                return

    return talk


def say(*pieces):
    def talk(server, connection):
        for piece in pieces:
            server.send(connection, piece)
        connection.shutdown(socket.SHUT_WR)
        connection.recv(4096)

    return talk


def without_end(first, piece):
    def talk(server, connection):
        server.send(connection, first)
        server.send_for_ever(connection, piece)

    return talk


def test_a_port_on_which_nothing_listens(refusal):
    assert "refuses the connection" in refusal(free_port())


def test_a_name_that_is_none(refusal):
    assert "cannot be resolved" in refusal(22, host="no-such-host.invalid")


REFUSED = {
    "closes at once": (lambda server, connection: None, "closes the connection without a word"),
    "not SSH": (say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "is not an SSH server"),
    "mail": (say(b"220 mail.example ESMTP\r\n"), "is not an SSH server"),
    "SSH 1": (say(b"SSH-1.5-old\r\n"), "speaks SSH 1"),
    "nonsense after the banner": (say(GREETING, b"\x00" * 100), "impossible length"),
    "closes after the banner": (say(GREETING), "before it offers a key"),
    "SHA-1 only": (say(GREETING, kexinit(["ssh-rsa", "ssh-dss"])), "offers no host key that is accepted here.*SHA-1"),
    "certificates only": (say(GREETING, kexinit(["ssh-ed25519-cert-v01@openssh.com"])), "offers no host key that is accepted here"),
    "security keys only": (say(GREETING, kexinit(["sk-ssh-ed25519@openssh.com"])), "offers no host key that is accepted here"),
    "lines without end": (without_end(b"", b"hello\r\n" * 500), "line after line"),
    "a line without end": (without_end(b"", b"x" * 4096), "is not an SSH server"),
    "a packet without end": (without_end(GREETING + b"\xff\xff\xff\xff", b"x" * 4096), "impossible length"),
}


@pytest.mark.parametrize(("talk", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_each_refusal_has_its_reason(serve, talk, reason, refusal):
    server = serve(talk)
    found = refusal(server.port)
    assert re.search(reason, found)
    assert server.sent < 16 * 1024 * 1024  # what socket buffers hold, and no more
    assert "mail.example" not in found


LATE = {
    "no banner": silent,
    "a banner drop by drop": drip(GREETING * 10),
    "lines drop by drop": drip(b"hello\r\n" * 50),
    "an offer drop by drop": lambda server, connection: (server.send(connection, GREETING), drip(kexinit())(server, connection)),
}


@pytest.mark.parametrize("talk", LATE.values(), ids=list(LATE))
def test_a_slow_server_is_left_at_the_deadline(serve, talk, refusal):
    assert "has not shown its keys after 0.6 seconds" in refusal(serve(talk).port, timeout_s=0.6)


@needs_paramiko
def test_a_server_that_stops_in_the_key_exchange_is_left_at_the_deadline(serve, refusal):
    def talk(server, connection):
        server.send(connection, GREETING + kexinit())
        silent(server, connection)

    assert "has not shown its keys after 0.6 seconds" in refusal(serve(talk).port, timeout_s=0.6)


STRANGE_KEX = {
    "SHA-1 only": (["diffie-hellman-group1-sha1"], r"its list is: diffie-hellman-group1-sha1\)"),
    "post-quantum only": (["sntrup761x25519-sha512@openssh.com", "ext-info-s"], r"its list is: sntrup761x25519-sha512@openssh.com\)"),
    "none": ([], r"its list is: \)"),
    "a hostile list": (["\x1b[31m\u00e9\n" + "x" * 30000], r"its list is: \?\[31m\?\?\?x{190,200}\.\.\.\)"),
}


@needs_paramiko
@pytest.mark.parametrize(("kex", "shown"), STRANGE_KEX.values(), ids=list(STRANGE_KEX))
def test_a_server_with_strange_key_exchanges_is_told_what_to_enable(serve, kex, shown, refusal):
    found = refusal(serve(say(GREETING, kexinit(kex=kex))).port)
    assert re.match(f"offers no key exchange that is accepted here .*{shown}", found)
    assert "curve25519-sha256" in found
    assert "ssh-keyscan" in found
    assert found.isascii()
    assert found.isprintable()


@needs_paramiko
@pytest.mark.parametrize(("lists", "said"), [
    ({"ciphers": ["chacha20-poly1305@openssh.com"]}, "no cipher that is known here .*: chacha20-poly1305@openssh.com.*aes256-gcm"),
    ({"macs": ["umac-128@openssh.com"]}, r"no MAC that is known here .*: umac-128@openssh.com\).*hmac-sha2-256"),
    ({"macs": []}, r"no MAC that is known here .*: \).*hmac-sha2-256"),
], ids=["cipher", "MAC", "no MAC at all"])  # fmt: skip
def test_a_server_with_strange_ciphers_that_proves_no_key_is_told_what_to_enable(serve, lists, said, refusal):
    found = refusal(serve(say(GREETING, kexinit(**lists), struct.pack(">IB", 12, 4) + b"\x1fnonsen" + b"\x00" * 4)).port)
    assert re.search(f"fails the key exchange for ssh-ed25519 .*{said}", found)
    assert "ssh-keyscan" in found


IN_THE_EXCHANGE = {
    "a packet without end": (without_end(GREETING + kexinit() + b"\x7f\xff\xff\xfc", b"x" * 4096), "sends without end"),
    "packets without end": (without_end(GREETING + kexinit(), struct.pack(">IB", 12, 4) + b"\x02\x00\x00\x00\x02ab" + b"\x00" * 4), ""),
    "closes": (say(GREETING, kexinit()), "key exchange"),
    "nonsense": (say(GREETING, kexinit(), struct.pack(">IB", 12, 4) + b"\x1fnonsen" + b"\x00" * 4), "key exchange"),
}


@needs_paramiko
@pytest.mark.parametrize(("talk", "reason"), IN_THE_EXCHANGE.values(), ids=list(IN_THE_EXCHANGE))
def test_a_hostile_key_exchange_ends(serve, talk, reason, refusal):
    server = serve(talk)
    assert reason in refusal(server.port)
    assert server.sent < 16 * 1024 * 1024
    # paramiko's own would keep the process alive.
    assert [one for one in threading.enumerate() if isinstance(one, threading.Timer) and not one.finished.is_set()] == []


def test_many_are_asked_once_each_and_answered_in_their_order(serve):
    good, port = serve(say(b"HTTP/1.1 400\r\n\r\n")), free_port()
    asked = [("127.0.0.1", good.port), ("127.0.0.1", port), ("127.0.0.1", good.port)]
    found = scan_all(asked, key_types=ALL, timeout_s=5, parallel=2)
    assert list(found) == asked[:2]
    assert [str(error)[:7] for error in found.values()] == ["is not ", "refuses"]
    assert good.calls == 1
    assert scan_all([], key_types=ALL, timeout_s=5, parallel=2) == {}
