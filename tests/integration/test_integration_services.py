# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services that are unknown, do not stop, or do not come up on the new key."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from installations import NEW, OLD, Servos, assert_refused, assert_same, b64, fingerprint, write
from playbook_runs import play


def fails_on(key_bytes: bytes) -> str:
    return f"fail_start_on_key={hashlib.sha256(key_bytes).hexdigest()[:16]}"


def assert_as_before(servos: Servos, env_before: bytes) -> None:
    """Everything is under the old key, and the service runs on it."""
    assert servos.env_file.read_bytes() == env_before
    assert servos.process_key_text() == servos.old_text
    servos.assert_all_under(servos.old_text, b64(NEW))
    assert servos.call("GET", "/api/servers/1/reveal")[0] == 200


def test_an_unknown_unit_is_refused(quiet: Servos) -> None:
    before = quiet.snapshot()
    for module in (quiet.info, quiet.stage, quiet.rotate):
        outcome = module(service_manager="systemd", service="no-such-unit")
        assert_refused(outcome, "no-such-unit", "systemd", "service_manager")
    assert_same(before, quiet.snapshot())


def test_a_machine_without_systemctl_is_told_so(quiet: Servos, tmp_path: Path) -> None:
    def without_commands() -> None:
        os.environ["PATH"] = str(tmp_path)

    before = quiet.snapshot()
    for module in (quiet.info, quiet.rotate):
        outcome = module(service_manager="systemd", service="servos", prepare=[without_commands])
        assert_refused(outcome, "systemctl", "no command", "service_manager")
    assert_same(before, quiet.snapshot())


INCOMPLETE = {
    "no commands": ({}, ["service_commands", "stop", "start"]),
    "no stop": ({"start": ["/bin/true"], "pid_file": "/x"}, ["service_commands", "stop"]),
    "no pid": ({"start": ["/bin/true"], "stop": ["/bin/true"]}, ["service_commands", "pid_file", "pid"]),
}


@pytest.mark.parametrize(("commands", "words"), INCOMPLETE.values(), ids=INCOMPLETE)
def test_incomplete_commands_are_refused(servos: Servos, commands: dict, words: list[str]) -> None:
    before = servos.snapshot()
    for module in (servos.info, servos.stage, servos.rotate):
        assert_refused(module(service_commands=commands), *words)
    assert_same(before, servos.snapshot())


def commands_of(servos: Servos, **others: list[str]) -> dict:
    return servos.options()["service_commands"] | others


STOPS = {
    "does nothing": (["/bin/true"], ["did not stop within 0.5 s", "stop_timeout"]),
    "fails": (["/bin/false"], ["command to stop", "/bin/false", "exit code 1"]),
    "does not come back": (["/bin/sleep", "30"], ["command to stop", "/bin/sleep", "0.5 s"]),
    "is not there": (["/nonexistent/stop"], ["/nonexistent/stop"]),
    "may not be run": (["/dev/null"], ["/dev/null"]),
}


@pytest.mark.parametrize(("stop", "words"), STOPS.values(), ids=STOPS)
def test_a_service_that_does_not_stop_is_left_running(servos: Servos, stop: list[str], words: list[str]) -> None:
    servos.stage()
    before, log = servos.snapshot(), servos.log.read_text()
    outcome = servos.rotate(stop_timeout=0.5, service_commands=commands_of(servos, stop=stop))
    assert_refused(outcome, "servos", *words)
    assert_same(before, servos.snapshot())
    assert servos.log.read_text() == log, "it was started although it ran"


def test_a_stop_command_that_fails_on_a_stopped_service_does_not_matter(servos: Servos) -> None:
    servos.stage()
    servos.stop()
    assert subprocess.run([servos.folder / "stop"], check=False, capture_output=True).returncode == 1
    outcome = servos.rotate()
    assert not outcome.failed, outcome.msg
    assert servos.process_key_text() == servos.env_text() != b64(OLD)
    servos.assert_all_under(servos.env_text(), b64(OLD))


@pytest.mark.parametrize("is_lazy", [False, True], ids=["start fails", "start says nothing"])
@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_service_that_does_not_come_up_on_the_new_key_is_brought_back(
    make_servos: Callable[..., Servos], journal: str, is_lazy: bool
) -> None:
    servos = make_servos(journal=journal, faults=fails_on(NEW))
    servos.start()
    env_before = servos.env_file.read_bytes()
    new = servos.key_file("new", b64(NEW))
    servos.stage(new_key_file=str(new))
    if is_lazy:
        script = (servos.folder / "start").read_text()
        write(servos.folder / "start", script[: script.index("while kill")], 0o700)

    outcome = servos.rotate(start_timeout=2.5)

    assert_refused(
        outcome, "servos", "61 values were rewrapped back", "env file was put back", f"runs on {fingerprint(OLD)} again",
        str(servos.state_dir), "run again",
    )  # fmt: skip
    assert_as_before(servos, env_before)
    assert (servos.state_dir / "staged.key").read_text() == b64(NEW)
    assert servos.info()["phase"] == "staged"

    servos.set_faults("")
    assert servos.stage(new_key_file=str(new))["rotation_pending"]
    assert servos.rotate()["phase"] == "activated"
    assert servos.process_key_text() == servos.env_text() == b64(NEW)
    servos.assert_all_under(b64(NEW), b64(OLD))


def test_a_start_that_fails_for_the_api_is_brought_back_too(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(faults=fails_on(NEW))
    servos.start()
    env_before = servos.env_file.read_bytes()
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    outcome = servos.rotate(method="api", api_url=servos.url, api_token_file=str(servos.token_file))
    assert_refused(outcome, "61 values were rewrapped back", f"runs on {fingerprint(OLD)} again")
    assert_as_before(servos, env_before)


def test_a_health_check_that_is_never_passed_is_refused_before_the_stop(servos: Servos) -> None:
    servos.stage()
    before = servos.snapshot()
    outcome = servos.rotate(health_url=f"{servos.url}/api/servers/1/reveal")  # 401: no token
    assert_refused(outcome, "/api/servers/1/reveal", "does not answer 200", "nothing was changed", "health_url")
    assert_same(before, servos.snapshot())


def test_a_service_that_fails_for_good_leaves_both_keys_and_says_where(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos()
    servos.start()
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    outcome = servos.rotate(service_commands=commands_of(servos, start=["/bin/false"]), start_timeout=1)
    assert_refused(outcome, "bringing everything back failed", str(servos.state_dir), "nothing is lost")
    servos.assert_all_under(b64(OLD), b64(NEW))
    assert servos.env_text() == b64(OLD)
    assert servos.rotate()["phase"] == "activated"
    assert servos.process_key_text() == b64(NEW)


def test_a_service_that_was_stopped_and_fails_on_the_new_key_is_told_so(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(faults=fails_on(NEW))
    servos.stage(new_key_file=str(servos.key_file("new", b64(NEW))))
    outcome = servos.rotate(start_timeout=2)
    assert outcome.failed
    servos.assert_all_under(b64(OLD), b64(NEW))
    assert servos.env_text() == b64(OLD)


# C1: one page shows keys in hex, another has the server demand Base64


def test_a_new_key_in_hex_does_not_take_down_a_server_that_wants_base64(servos: Servos) -> None:
    env_before = servos.env_file.read_bytes()
    servos.stage(new_key_file=str(servos.key_file("new", NEW.hex())))
    outcome = servos.rotate()
    assert servos.process_key_text() == servos.env_text()
    if outcome.failed:
        assert_refused(outcome, "61 values were rewrapped back", "reencode_on_failed_start")
        assert_as_before(servos, env_before)
    else:
        assert servos.env_text() == b64(NEW)
        servos.assert_all_under(b64(NEW), b64(OLD))


def test_the_other_encoding_is_tried_where_that_is_asked_for(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(old_text=OLD.hex())  # a server that has not been restarted since the first page was followed
    servos.stage()
    outcome = servos.rotate(reencode_on_failed_start=True)
    assert not outcome.failed, outcome.msg
    assert "in hex" in outcome.warnings
    assert "in base64" in outcome.warnings
    assert len(servos.env_text()) == 44
    assert servos.process_key_text() == servos.env_text()
    servos.assert_all_under(servos.env_text(), OLD.hex())
    assert not servos.rotate().changed


def test_a_way_back_that_fails_after_that_leaves_the_service_as_it_ran(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(old_text=OLD.hex())
    servos.stage()
    assert servos.rotate(reencode_on_failed_start=True)["phase"] == "activated"
    text, env_before = servos.env_text(), servos.env_file.read_bytes()
    outcome = servos.rotate(direction="back")  # to a key in hex, which the server does not read
    assert_refused(outcome, "61 values were rewrapped back", "reencode_on_failed_start", "runs on")
    assert servos.env_file.read_bytes() == env_before
    assert servos.process_key_text() == text
    servos.assert_all_under(text, OLD.hex())
    done = play(servos, "rollback", servos_reencode_on_failed_start=True)
    assert done.code == 0, done.text
    servos.assert_all_under(b64(OLD), text)


def test_without_that_the_server_and_its_hex_key_are_named(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(old_text=OLD.hex())
    servos.stage()
    outcome = servos.rotate()
    assert_refused(outcome, "servos", "reencode_on_failed_start")
    servos.assert_all_under(OLD.hex(), (servos.state_dir / "staged.key").read_text())
    assert servos.env_text() == OLD.hex()
