# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster a test module, and installations on it: fixtures to import by name."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from installations import OLD, b64
from module_runs import Outcome
from postgres_servers import Cluster, running_cluster
from postgres_site import PostgresSite


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as running:
        yield running


@pytest.fixture
def make_site(template: Path, cluster: Cluster, tmp_path: Path) -> Iterator[Callable[..., PostgresSite]]:
    made: list[PostgresSite] = []

    def make(**options: str) -> PostgresSite:
        made.append(PostgresSite(tmp_path / f"site{len(made)}", cluster, **options))
        return made[-1]

    yield make
    for site in made:
        site.tear_down()


@pytest.fixture
def site(make_site: Callable[..., PostgresSite]) -> PostgresSite:
    """An installation in which a rotation is begun."""
    made = make_site()
    assert not made.run("servos_keyring", state="staged", rotation_id="t").failed
    return made


def rotate(site: PostgresSite, **options: Any) -> Outcome:
    """Rewrap and swap, waiting for locks for a short while only."""
    return site.run("servos_key_rotate", **{"until": "swapped", "lock_timeout": 2.0, **options})


def new_key(site: PostgresSite) -> bytes:
    """Return the key that is staged, or that has become the active one."""
    return base64.b64decode((site.state_dir / "staged.key").read_text().strip())


def assert_rotated(site: PostgresSite) -> None:
    assert (site.opens(OLD), site.opens(new_key(site))) == (0, 20)
    assert b64(new_key(site)) in site.env_file.read_text()


def assert_untouched(site: PostgresSite, outcome: Outcome, *words: str) -> None:
    """The run was refused in these words, and data and env file are as they were."""
    missing = [word for word in ("nothing was changed", *words) if word not in outcome.msg]
    assert (outcome.failed, missing) == (True, []), outcome.msg
    assert site.opens(OLD) == 20
    assert b64(OLD) in site.env_file.read_text()


__all__ = ("assert_rotated", "assert_untouched", "cluster", "make_site", "new_key", "rotate", "site")
