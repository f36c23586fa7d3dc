# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures: a database of the ServOS model, made once, and installations around copies of it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("installations", "provara_installation", "provara_gateway", "playbook_runs")

# E402: what is rewritten has to be named before it is imported.
from engines import engine, injecting  # noqa: E402
from hostkey_runs import sshd, store  # noqa: E402
from hostkey_sites import Site  # noqa: E402
from installations import OLD, Servos, b64, reference  # noqa: E402
from module_runs import MODULES  # noqa: E402
from pika_sites import PikaSite  # noqa: E402
from pikas import OLD as PIKA_OLD  # noqa: E402
from pikas import Pika  # noqa: E402
from provara_gateway import ServedProvara  # noqa: E402
from provara_installation import Provara  # noqa: E402
from sshds import NoSshd, find, make_keys  # noqa: E402


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of what breaks one request after the other, run every third, unless SERVOS_CAMPAIGNS asks for all (`make faults` does)."""
    if os.environ.get("SERVOS_CAMPAIGNS"):
        return
    seen: dict[str, int] = {}
    left_out = []
    for item in items:
        if item.get_closest_marker("campaign") is not None:
            name = item.nodeid.partition("[")[0]
            seen[name] = seen.get(name, -1) + 1
            if seen[name] % 3:
                left_out.append(item)
    # What somebody asks for by name is run.
    if left_out and not any("[" in argument for argument in config.args):
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in set(left_out)]


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database of 60 values under OLD, the canary, and its manifest."""
    for name in MODULES:  # once, for all the processes that are copies of this one
        importlib.import_module(f"ansible_collections.servos.ops.plugins.modules.{name}")
    folder = tmp_path_factory.mktemp("template")
    (folder / "old.key").write_text(b64(OLD))
    common = ("--database", folder / "servos.db", "--key-file", folder / "old.key")
    reference("servos/schema.py", "init", *common)
    reference("servos/schema.py", "fill", *common, "--values", 60, "--manifest", folder / "manifest.json")
    return folder


@pytest.fixture
def make_servos(template: Path, tmp_path: Path) -> Iterator[Callable[..., Servos]]:
    """Return a function that sets up an installation; whatever runs in it is stopped afterwards."""
    made: list[Servos] = []

    def make(**options: Any) -> Servos:
        made.append(Servos(tmp_path / f"host{len(made)}", template, **options))
        return made[-1]

    yield make
    for installation in made:
        installation.tear_down()


@pytest.fixture
def servos(make_servos: Callable[..., Servos]) -> Servos:
    """An installation that runs, on a write-ahead log."""
    installation = make_servos()
    installation.start()
    return installation


@pytest.fixture
def quiet(make_servos: Callable[..., Servos]) -> Servos:
    """An installation without a service: the database and the env file alone."""
    return make_servos(has_service=False, journal="delete")


@pytest.fixture
def provara(template: Path, tmp_path: Path) -> Provara:
    """A copy of the database that the real Provara wrote."""
    return Provara(tmp_path / "provara")


@pytest.fixture
def make_pika_site(tmp_path: Path) -> Iterator[Callable[..., PikaSite]]:
    """Return a function that starts a Pika and describes the host beside it; all are stopped afterwards."""
    made: list[Pika] = []

    def make(
        *, unlock: str = PIKA_OLD, key: str = PIKA_OLD, env_key: str | None = None, faults: str = "", **options: Any
    ) -> PikaSite:
        made.append(Pika(tmp_path / f"pika{len(made)}", **options))
        made[-1].start(unlock=unlock, faults=faults)
        made[-1].forget_requests()
        return PikaSite(tmp_path / f"host{len(made)}", made[-1], key=key, env_key=env_key)

    yield make
    for pika in made:
        pika.stop()


@pytest.fixture
def pika_site(make_pika_site: Callable[..., PikaSite]) -> PikaSite:
    """An unlocked Pika under the old key."""
    return make_pika_site()


@pytest.fixture
def make_served(template: Path, tmp_path: Path) -> Iterator[Callable[..., ServedProvara]]:
    """Return a function that sets Provara up with a gateway; what runs is stopped afterwards."""
    made: list[ServedProvara] = []

    def make(**options: Any) -> ServedProvara:
        made.append(ServedProvara(tmp_path / f"provara{len(made)}", **options))
        return made[-1]

    yield make
    for each in made:
        each.tear_down()


@pytest.fixture
def served(make_served: Callable[..., ServedProvara]) -> ServedProvara:
    """Provara with a gateway that runs."""
    made = make_served()
    made.start()
    return made


@pytest.fixture(scope="session")
def has_sshd() -> None:
    """Skip what needs an sshd where there is none."""
    try:
        find()
    except NoSshd as reason:
        if os.geteuid() == 0:  # root can have one unpacked, so there it is a failure: nothing would be tested, and nobody told
            raise
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def genuine(tmp_path_factory: pytest.TempPathFactory, has_sshd: None) -> Path:
    """The host keys of the servers that are meant."""
    return make_keys(tmp_path_factory.mktemp("genuine") / "keys")


@pytest.fixture(scope="session")
def impostor(tmp_path_factory: pytest.TempPathFactory, has_sshd: None) -> Path:
    """The host keys of servers that stand in their place."""
    return make_keys(tmp_path_factory.mktemp("impostor") / "keys")


@pytest.fixture
def site(tmp_path: Path, genuine: Path, impostor: Path) -> Iterator[Site]:
    """A controller and two nodes; connections that were kept open are closed afterwards."""
    made = Site(tmp_path, genuine, impostor)
    yield made
    made.tear_down()


__all__ = ("engine", "injecting", "sshd", "store")  # fixtures that are made elsewhere
