# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The writer that did not stop: a second process that nobody thought of goes on sealing with the key that it was started with."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installations import CANARY, NEW, OLD, Servos, assert_refused, assert_same, b64, fingerprint, seal, unseal, wait_until
from playbook_runs import inventory_of, play, write

# A process is known by its environment alone; this one holds it until it is ended.
SLEEPER = "import sys; sys.stdin.read()"


@pytest.fixture
def forgotten() -> Iterator[Callable[..., int]]:
    """Return a function that starts a process with more in its environment, and returns its process id."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**variables: str) -> int:
        started.append(subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, env=os.environ | variables))
        return started[-1].pid

    yield start
    for process in started:
        process.kill()
        process.wait()


def rotated(servos: Servos) -> None:
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    assert servos.rotate()["phase"] == "activated"


def write_under_the_old_key(servos: Servos, plaintext: bytes = b"late") -> int:
    servos.sql("INSERT INTO git_credentials (token, provider, created_at, updated_at) VALUES (?, 1, 1, 1)", seal(plaintext, OLD))
    return int(servos.sql("SELECT max(id) FROM git_credentials")[0][0])


def test_what_a_forgotten_writer_sealed_is_healed_without_a_restart(servos: Servos, forgotten: Callable[..., int]) -> None:
    pid = forgotten(**{servos.env_var: b64(OLD)})
    rotated(servos)
    row, server = write_under_the_old_key(servos), servos.pid()
    assert servos.info()["phase"] == "mixed"
    told = servos.rotate(check=True)
    done = servos.rotate()
    assert (told["rewrapped"], done["rewrapped"], done["steps"]) == (1, 1, ["rewrap"])
    assert servos.pid() == server, "the service was restarted for nothing"
    assert unseal(servos.sql("SELECT token FROM git_credentials WHERE id = ?", row)[0][0], NEW) == b"late"
    assert f"process {pid}" in done.warnings and fingerprint(OLD) in done.warnings and "stop or restart it" in done.warnings
    assert not servos.rotate().changed


@pytest.mark.parametrize(
    "as_held", [b64, bytes.hex, lambda key: b64(key).rstrip("=")], ids=["Base64", "hex", "unpadded"]
)
@pytest.mark.parametrize("variable", ["SERVOS_MASTER_KEY", "ACT_MASTER_KEY"])
def test_retiring_is_refused_while_any_process_runs_with_the_old_key(
    servos: Servos, forgotten: Callable[..., int], variable: str, as_held: Callable[[bytes], str]
) -> None:
    rotated(servos)
    pid = forgotten(**{variable: as_held(OLD)})
    before = servos.snapshot()
    refused = servos.retire()
    assert_refused(refused, f"process {pid}", "previous key", fingerprint(OLD), socket.gethostname(), "nothing was destroyed", "stop or")
    assert_refused(servos.retire(check=True), f"process {pid}")
    assert_same(before, servos.snapshot())
    seen = servos.info()
    assert {"pid": pid, "name": os.path.basename(sys.executable)[:15], "key": fingerprint(OLD), "role": "previous"} in [
        row | {"name": os.path.basename(sys.executable)[:15]} for row in seen["processes"]
    ]
    assert f"process {pid}" in seen.warnings


def test_without_a_service_too_retiring_is_refused_while_a_process_runs_with_the_old_key(
    quiet: Servos, forgotten: Callable[..., int]
) -> None:
    quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))))
    assert quiet.rotate()["phase"] == "activated"
    pid = forgotten(**{quiet.env_var: b64(OLD)})
    assert_refused(quiet.retire(), f"process {pid}", "previous key", fingerprint(OLD), "nothing was destroyed")
    done = play(quiet, "retire", servos_probes=[], servos_verify_application=False, servos_health_url="")
    assert done.code == 2
    assert f"process {pid}" in done.text and "on control with" in done.text, done.text
    assert (quiet.state_dir / "previous.key").exists()


def test_a_process_that_holds_the_new_key_or_another_one_is_none_of_our_business(servos: Servos, forgotten: Callable[..., int]) -> None:
    rotated(servos)
    forgotten(**{servos.env_var: b64(NEW)})
    forgotten(**{servos.env_var: CANARY})
    assert servos.rotate().warnings == ""
    assert servos.retire()["retired"] == [fingerprint(OLD)]


def test_the_withdrawn_key_is_held_by_a_process_as_well(servos: Servos, forgotten: Callable[..., int]) -> None:
    rotated(servos)
    pid = forgotten(**{servos.env_var: b64(NEW)})
    assert f"process {pid}" in servos.rotate(direction="back").warnings
    assert_refused(servos.retire(), f"process {pid}", "withdrawn key", fingerprint(NEW))


def test_what_was_sealed_between_the_rotation_and_the_restart_is_healed(make_servos: Callable[..., Servos]) -> None:
    """The old process seals between the API's reply and its own stop; the model has a switch for that."""
    servos = make_servos(faults="stale_key_writes=old")
    servos.start()
    mark, go_on = servos.scratch / "mark", servos.scratch / "go-on"
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    # The stop waits for the write, as a busy service would.
    stop = servos.folder / "stop"
    text = stop.read_text()
    stop.write_text(text.replace("#!/bin/sh", f"#!/bin/sh\ntouch '{mark}'; until [ -e '{go_on}' ]; do sleep 0.02; done", 1))
    run = servos.begin(
        "servos_key_rotate", method="api", api_url=servos.url, api_token_file=str(servos.token_file), settle_time=0.15, start_timeout=15
    )
    wait_until(mark.exists)
    assert servos.call("POST", "/api/git_credentials", {"value": "in between", "name": "x"})[0] == 201
    go_on.touch()
    done = run.wait()
    assert (done.failed, done["phase"]) == (False, "activated"), done.msg
    verdict = servos.judge(b64(NEW), b64(OLD))
    assert (verdict["opens_new"], verdict["opens_old"], verdict["extra_rows"]) == (62, 0, 1)


def two_hosts(first: Servos, second: Servos) -> str:
    """Write an inventory that adds a second control host, with an installation of its own; returns its path."""
    described = inventory_of(second)["servos_control"]
    host = described["hosts"]["control"] | described["vars"]
    return str(write(first.scratch / "second.json", json.dumps({"servos_control": {"hosts": {"other": host}}})))


def test_the_playbook_retires_on_no_host_while_one_of_them_runs_with_its_old_key(
    make_servos: Callable[..., Servos], forgotten: Callable[..., int]
) -> None:
    first, second = make_servos(), make_servos()
    first.start()
    second.start()
    rotated(first)
    pid = forgotten(**{first.env_var: b64(OLD)})
    before = first.snapshot()
    done = play(first, "retire", "-i", two_hosts(first, second))
    assert done.code == 2
    # The second installation is still on that key, rightly; here it is an old one, on whichever host.
    assert f"process {pid} ({os.path.basename(sys.executable)[:15]}) on control" in done.text, done.text
    assert f"process {second.pid()}" in done.text and "on other with" in done.text, done.text
    assert_same(before, first.snapshot())


def test_the_playbook_retires_nothing_where_a_control_host_was_not_looked_at(servos: Servos) -> None:
    rotated(servos)
    before = servos.snapshot()
    done = play(servos, "retire", "-i", two_hosts(servos, servos), "--limit", "control")
    assert done.code == 2
    assert "The processes of other were not looked at" in done.text and "--limit" in done.text
    assert_same(before, servos.snapshot())
    done = play(servos, "retire", "-i", two_hosts(servos, servos), "--limit", "control", key_retire_hosts=["control"])
    assert done.code == 0, done.text
    assert list(servos.state_dir.glob("*.key")) == []


def test_a_backup_that_is_to_stay_readable_keeps_its_key(servos: Servos) -> None:
    path = servos.backup()["backup"]["path"]
    rotated(servos)
    done = play(servos, "retire", key_retire_backups="protect")
    assert done.code == 2
    assert path in done.text and fingerprint(OLD) in done.text and "nothing was destroyed" in done.text
    assert (servos.state_dir / "previous.key").exists()
    note = json.loads(Path(path + ".json").read_text())
    write(Path(path + ".json"), json.dumps(note | {"expires_at": "2026-01-01T00:00:00Z"}))
    assert play(servos, "retire", key_retire_backups="protect").code == 0
    assert not (servos.state_dir / "previous.key").exists()
