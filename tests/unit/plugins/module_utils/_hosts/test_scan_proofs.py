# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scanning servers that exchange keys for real: each key is proven, or it is none."""

from __future__ import annotations

import contextlib
import io
import socket
import threading

import pytest
from ansible_collections.servos.ops.plugins.module_utils._hosts.scan import PARAMIKO_IMPORT_ERROR, scan

ALL = ("ed25519", "ecdsa", "rsa")
pytestmark = pytest.mark.skipif(PARAMIKO_IMPORT_ERROR is not None, reason="needs paramiko")


@pytest.fixture
def honest():
    """A real key exchange, with an Ed25519 and an ECDSA key."""
    import paramiko
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ed25519

    private = ed25519.Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
    keys = [paramiko.Ed25519Key(file_obj=io.StringIO(private.private_bytes(*form).decode())), paramiko.ECDSAKey.generate()]

    def talk(server, connection, ciphers=None, macs=None, kex=None):
        transport = paramiko.Transport(connection)
        transport._kex_info = dict(transport._kex_info, **{"curve25519-sha256": transport._kex_info["curve25519-sha256@libssh.org"]})
        transport._preferred_kex = kex or transport._preferred_kex
        transport._preferred_ciphers = ciphers or transport._preferred_ciphers
        transport._preferred_macs = macs or transport._preferred_macs
        for key in keys:
            transport.add_server_key(key)
        transport.start_server(event=threading.Event(), server=paramiko.ServerInterface())
        transport.join(20)

    talk.keys = {(key.get_name(), key.get_base64()) for key in keys}
    return talk


def test_an_honest_server_shows_all_its_keys_and_nothing_stays_open(serve, honest):
    server = serve(honest)
    found = scan("127.0.0.1", server.port, key_types=ALL, timeout_s=20)
    assert {tuple(key) for key in found} == honest.keys
    assert server.calls == 2  # two keys, and the offer is read on the first connection


STRANGE = {
    "ciphers": {"ciphers": ("chacha20-poly1305@openssh.com",)},
    "MACs": {"macs": ("umac-128-etm@openssh.com",)},
    "both": {"ciphers": ("chacha20-poly1305@openssh.com", "other"), "macs": ("umac-128-etm@openssh.com",)},
    "key exchange by the name that RFC 8731 gives it": {"kex": ("curve25519-sha256",)},
    "that, and ciphers": {"kex": ("curve25519-sha256",), "ciphers": ("chacha20-poly1305@openssh.com",)},
}


@pytest.mark.parametrize("lists", STRANGE.values(), ids=list(STRANGE))
def test_a_hardened_server_proves_its_keys_too(serve, honest, lists):
    server = serve(lambda server, connection: honest(server, connection, **lists))
    assert {tuple(key) for key in scan("127.0.0.1", server.port, key_types=ALL, timeout_s=20)} == honest.keys


@pytest.mark.parametrize(("wanted", "found"), [("ecdsa", "ecdsa-sha2-nistp256"), ("ed25519", "ssh-ed25519")])
def test_only_the_wanted_types_are_asked_for(serve, honest, wanted, found, refusal):
    server = serve(honest)
    assert [key.key_type for key in scan("127.0.0.1", server.port, key_types=[wanted], timeout_s=20)] == [found]
    assert server.calls == 1
    assert "offers none" in refusal(server.port, key_types=["rsa"])


def pump(receive, target):
    with contextlib.suppress(OSError):
        for piece in iter(lambda: receive(4096), b""):
            target.sendall(piece)
        target.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("turned", [0, 1], ids=["as it is", "one bit turned"])
@pytest.mark.parametrize("lists", [{}, STRANGE["both"]], ids=["usual ciphers", "strange ciphers"])
def test_a_server_whose_signature_does_not_fit_proves_nothing(serve, honest, turned, lists, refusal):
    """A relay in the middle of a real key exchange turns one bit of the signature."""
    true = serve(lambda server, connection: honest(server, connection, **lists))

    def relay(server, connection):
        with socket.create_connection(("127.0.0.1", true.port)) as upstream:
            back = threading.Thread(target=pump, args=(connection.recv, upstream), daemon=True)
            back.start()
            stream = upstream.makefile("rb")
            connection.sendall(stream.readline())
            for unused in range(2):  # the offer, and the reply that is signed
                length = stream.read(4)
                packet = bytearray(stream.read(int.from_bytes(length, "big")))
                packet[-packet[0] - 10] ^= turned if packet[1] == 31 else 0
                connection.sendall(length + packet)
            pump(stream.read1, connection)  # which first gives what came together with the reply

    port = serve(relay).port
    if turned:
        assert "fails the key exchange" in refusal(port, timeout_s=20)
    else:
        assert {tuple(key) for key in scan("127.0.0.1", port, key_types=ALL, timeout_s=20)} == honest.keys


def test_a_hostile_banner_on_the_second_connection_ends(serve, honest, refusal):
    def talk(server, connection):
        if server.calls == 1:
            honest(server, connection)
        else:
            server.send_for_ever(connection, b"x" * 4096)

    server = serve(talk)
    assert "sends without end" in refusal(server.port)
    assert server.sent < 16 * 1024 * 1024
