# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Servers on real sockets that answer a scan as a test tells them to."""

from __future__ import annotations

import concurrent.futures
import contextlib
import socket
import threading

import pytest


class Server:
    """Listens on a port of its own and lets a function talk to each caller; ends with the test."""

    def __init__(self, talk):
        self._talk = talk
        self.sent = 0
        self.calls = 0
        self.is_over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._listen)]
        self._threads[0].start()

    def _listen(self):
        while True:
            try:
                connection, unused = self._listener.accept()
            except OSError:
                return
            self.calls += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection):
        with connection, contextlib.suppress(OSError):
            connection.settimeout(20)
            self._talk(self, connection)

    def send(self, connection, content):
        connection.sendall(content)
        self.sent += len(content)

    def send_for_ever(self, connection, content):
        while not self.is_over.is_set():
            self.send(connection, content)

    def close(self):
        self.is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)


@pytest.fixture
def serve():
    """Return a function that starts a server; it ends with the test."""
    servers = []

    def start(talk):
        servers.append(Server(talk))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture
def refusal():
    """Return a function that scans, in a thread that the test need not wait for, and returns why it failed."""
    # Only here: pytest loads this file before the collection can be imported.
    from ansible_collections.servos.ops.plugins.module_utils._errors import HostKeyError
    from ansible_collections.servos.ops.plugins.module_utils._hosts.scan import scan

    def of(port, timeout_s=5.0, host="127.0.0.1", key_types=("ed25519", "ecdsa", "rsa")):
        pool = concurrent.futures.ThreadPoolExecutor(1)
        try:
            scanned = pool.submit(scan, host, port, key_types=key_types, timeout_s=timeout_s)
            with pytest.raises(HostKeyError) as caught:
                scanned.result(timeout=60)
            return str(caught.value)
        finally:
            pool.shutdown(wait=False)

    return of
