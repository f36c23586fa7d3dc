# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: Node-RED with three nodes that have credentials, running."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from node_red import CREDENTIALS, Guarded, NodeRed


@pytest.fixture
def make_nodered(tmp_path: Path) -> Iterator[Callable[..., NodeRed]]:
    """Return a function that makes an installation; what runs is ended afterwards."""
    made: list[NodeRed] = []
    guarded = Guarded()

    def make(secret: str | None) -> NodeRed:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made.append(NodeRed(tmp_path / f"host{len(made)}", port, guarded, secret))
        return made[-1]

    yield make
    for nodered in made:
        nodered.tear_down()
    guarded.close()


@pytest.fixture
def nodered(make_nodered: Callable[..., NodeRed]) -> NodeRed:
    """One that runs, with a secret of its user's, and has written its credentials."""
    nodered = make_nodered(f"a-secret-of-words,{secrets.token_hex(8)}")
    nodered.start()
    nodered.deploy(credentials=CREDENTIALS)
    assert nodered.call("/probe") == (200, "welcome")
    return nodered
