# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several control hosts when things are not as they should be: one is away, comes later, has a key of its own, or two runs meet."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from evidence import leaks
from installations import NEW, OLD, OTHER, assert_same, b64, fingerprint, seal
from playbook_runs import Played, environment_of
from ports import free_port
from servers import write
from shared_installations import Hosts, assert_all_on, inventory_of_shared, make_shared, play_shared, secrets_of

_ONE = ("-e", "servos_rotation_id=one")
_BARE: dict[str, Any] = {"servos_backup_before_rotation": False}


@pytest.fixture
def hosts(tmp_path: Path, template: Path, request: pytest.FixtureRequest) -> Iterator[Hosts]:
    made = make_shared(tmp_path / "shop", template, request.param)
    try:
        yield made
    finally:
        for servos in made.values():
            servos.tear_down()


def said(done: Played) -> str:
    return " ".join(done.text.split())


def away() -> dict[str, Any]:
    """Describe a host that nobody reaches: nothing listens on its port."""
    return {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": free_port()}


def pair(hosts: Hosts) -> Hosts:
    """Leave the third one out, as if it was not there yet."""
    hosts["web3"].stop()
    return {name: servos for name, servos in hosts.items() if name != "web3"}


def rotated(hosts: Hosts, **variables: Any) -> str:
    """Rotate, which has to succeed; return the new key."""
    done = play_shared(hosts, "rotate", *_ONE, **(_BARE | variables))
    assert done.code == 0, done.text
    new = next(iter(hosts.values())).env_text()
    assert new != b64(OLD)
    assert_all_on(hosts, new, b64(OLD))
    return new


def the_api_of_one_rewraps(hosts: Hosts) -> None:
    of_host = {name: {"servos_api_url": servos.url, "servos_api_token_file": str(servos.token_file)} for name, servos in hosts.items()}
    rotated(hosts, of_host=of_host)
    assert [servos.log.read_text().count("rotation committed") for servos in hosts.values()] == [1, 0]


def one_that_is_away_at_the_beginning(hosts: Hosts) -> None:
    before = {name: servos.snapshot() for name, servos in hosts.items()}
    done = play_shared(hosts, "rotate", *_ONE, of_host={"web2": away()}, **_BARE)
    assert done.code != 0
    assert "web2 of shop did not answer" in said(done) or "web2 of shop is not in this run" in said(done), done.text
    assert "Nothing was changed" in said(done)
    for name, servos in hosts.items():
        after = servos.snapshot()
        request = str(servos.state_dir / "handover.request")
        assert_same(before[name], {path: what for path, what in after.items() if path not in (request, str(servos.state_dir))})


def one_that_is_away_when_keys_are_retired(hosts: Hosts) -> None:
    new = rotated(hosts)
    refused = play_shared(hosts, "retire", of_host={"web2": away()})
    assert refused.code != 0 and "Nothing was destroyed" in said(refused), refused.text
    assert all((servos.state_dir / "previous.key").exists() for servos in hosts.values())
    assert play_shared(hosts, "retire").code == 0
    assert [list(servos.state_dir.glob("*.key")) for servos in hosts.values()] == [[], []]
    assert_all_on(hosts, new, b64(OLD))


def a_third_one_that_comes_later_with_the_key_of_before(hosts: Hosts) -> None:
    """It is brought over as long as that key is known to the others, and refused afterwards."""
    new = rotated(pair(hosts))
    third = hosts["web3"]
    assert (third.env_text(), third.pid()) == (b64(OLD), None)
    done = play_shared(hosts, "rotate", *_ONE, **_BARE)
    assert done.code == 0, done.text
    assert_all_on(hosts, new, b64(OLD))
    assert play_shared(hosts, "retire").code == 0
    third.stop()
    third.edit_env(r"_MASTER_KEY=.*$", f'_MASTER_KEY="{b64(OLD)}"')
    before = {name: servos.pid() for name, servos in hosts.items()}
    refused = play_shared(hosts, "rotate", *_ONE, **_BARE)
    assert refused.code != 0
    assert "does not know; put the same key into both" in said(refused), refused.text
    assert third.env_text() == b64(OLD)
    assert {name: servos.pid() for name, servos in hosts.items()} == before


def two_that_have_staged_keys_of_their_own(hosts: Hosts) -> None:
    for servos, key in zip(hosts.values(), (NEW, OTHER), strict=True):
        servos.stage(new_key_file=str(servos.key_file("own", b64(key))))
    assert rotated(hosts) == b64(NEW)


def two_leaders_of_whom_the_second_has_rewrapped(hosts: Hosts) -> None:
    first, second = hosts.values()
    for servos, key in ((first, NEW), (second, OTHER)):
        servos.stage(new_key_file=str(servos.key_file("own", b64(key))))
    second.rotate(until="rewrapped")
    first.stop()
    refused = play_shared(hosts, "rotate", *_ONE, **_BARE)
    assert refused.code != 0
    assert "61 values are under" in said(refused) and "put this host first in the group" in said(refused), refused.text
    second.assert_all_under(b64(OTHER), b64(OLD))
    assert rotated(dict(reversed(hosts.items()))) == b64(OTHER)


def a_rollback_that_cannot_be(hosts: Hosts) -> None:
    """The one host refuses, and nothing was written: the other one, which was stopped, has to serve again."""
    new = rotated(hosts)
    hosts["web1"].sql("UPDATE servers SET ssh_private_key = ? WHERE id = 2", seal(b"from elsewhere", OTHER))
    refused = play_shared(hosts, "rollback")
    assert refused.code != 0
    assert "opens under no known key" in said(refused) or "open neither" in said(refused), refused.text
    found = {name: (servos.env_text(), servos.pid() and servos.process_key_text()) for name, servos in hosts.items()}
    assert found == dict.fromkeys(hosts, (new, new)), refused.text


def a_rollback_to_a_key_that_one_never_had(hosts: Hosts) -> None:
    two = pair(hosts)
    new = rotated(two)
    hosts["web3"].edit_env(r"_MASTER_KEY=.*$", f'_MASTER_KEY="{new}"')
    hosts["web3"].start()
    before = {name: servos.snapshot()["pid"] for name, servos in hosts.items()}
    refused = play_shared(hosts, "rollback")
    assert refused.code != 0
    assert f"web3 does not hold {fingerprint(OLD)}" in said(refused), refused.text
    assert {name: servos.snapshot()["pid"] for name, servos in hosts.items()} == before
    assert_all_on(hosts, new, b64(OLD))


def two_runs_at_once(hosts: Hosts) -> None:
    first = hosts["web1"]
    before = secrets_of(hosts)
    inventory = write(first.scratch / "shared.json", json.dumps(inventory_of_shared(hosts, servos_lock_timeout=20, **_BARE)))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "servos.ops.rotate"]
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context((first.scratch / f"said{number}").open("w+")) for number in range(2)]
        runs = [
            subprocess.Popen([*command, *_ONE], env=environment_of(first), stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            for output in outputs
        ]
        try:
            for run in runs:
                run.wait(180)
        finally:
            for run in runs:
                run.kill()
                run.wait(10)
        texts = [Path(output.name).read_text() for output in outputs]
    assert leaks("".join(texts), before | secrets_of(hosts)) == []
    assert "Traceback" not in "".join(texts), texts
    done = play_shared(hosts, "rotate", *_ONE, **_BARE)
    assert done.code == 0, done.text
    new = first.env_text()
    assert new != b64(OLD)
    assert_all_on(hosts, new, b64(OLD))


_TWO = ("web1", "web2")
_THREE = (*_TWO, "web3")
# The first and each third one of these run in every test, all of them in a campaign.
_CASES: tuple[tuple[Callable[[Hosts], None], tuple[str, ...]], ...] = (
    (one_that_is_away_at_the_beginning, _TWO),
    (a_rollback_that_cannot_be, _TWO),
    (a_third_one_that_comes_later_with_the_key_of_before, _THREE),
    (the_api_of_one_rewraps, _TWO),
    (two_runs_at_once, _TWO),
    (one_that_is_away_when_keys_are_retired, _TWO),
    (a_rollback_to_a_key_that_one_never_had, _THREE),
    (two_leaders_of_whom_the_second_has_rewrapped, _TWO),
    (two_that_have_staged_keys_of_their_own, _TWO),
)


@pytest.mark.campaign
@pytest.mark.parametrize(("case", "hosts"), _CASES, ids=[case.__name__ for case, unused in _CASES], indirect=["hosts"])
def test_hosts_that_share_a_database(hosts: Hosts, case: Callable[[Hosts], None]) -> None:
    case(hosts)
