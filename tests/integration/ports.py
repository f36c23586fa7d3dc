# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports that stay one test run's own between the time they are chosen and the time a server listens on them."""

from __future__ import annotations

import errno
import random
import socket

_FIRST, _LAST = 12000, 31999  # below those that Linux gives to outgoing connections, which would take one away
_claims: list[socket.socket] = []


def free_port(address: str = "127.0.0.1") -> int:
    """Return a port that nobody listens on at this address, and that no other run of tests is given while this one lasts.

    The claim is the name of an abstract socket: one process can have it, and it goes with that process.
    """
    for unused in range(1000):
        port = random.randint(_FIRST, _LAST)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0servos.ops tests, port {port}")
            with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
                probe.bind((address, port))
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
            continue
        _claims.append(claim)
        return port
    raise AssertionError(f"no port is free at {address}")
