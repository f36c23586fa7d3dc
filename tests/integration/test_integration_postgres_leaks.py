# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation on PostgreSQL that says all it can, to a server that logs all it is told: no key and no plaintext is in any of it."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import pytest
from evidence import leaks
from installations import OLD, b64
from postgres_fixtures import make_site, new_key
from postgres_servers import Cluster, running_cluster
from postgres_site import PostgresSite


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster(log_statement="all", log_min_duration_statement="0", log_parameter_max_length="-1") as running:
        yield running


def test_nothing_secret_is_told_or_logged(make_site: Callable[..., PostgresSite], cluster: Cluster) -> None:
    site = make_site()
    done = site.play("rotate", "-vvv", "--diff", "-e", "servos_rotation_id=told", servos_verify_application=False)
    assert done.returncode == 0, done.stdout[-3000:]
    assert (site.opens(OLD), site.opens(new_key(site))) == (0, 20)
    log = (cluster.folder / "log").read_text(errors="replace")
    assert "UPDATE ONLY" in log
    assert leaks(log, {"the old key": b64(OLD), "the new key": b64(new_key(site))}) == []
    plaintexts = [b"t%d" % number for number in range(10)] + [b"j%d" % number for number in range(10)]
    found = [text for text in plaintexts if base64.b64encode(text).decode() in log or f"'{text.decode()}'" in log]
    assert found == []
    assert site.password not in log


__all__ = ("make_site",)  # fixtures that are made elsewhere
