# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The application's own rotation endpoint, and every way in which it may answer, refuse, lie or fall silent."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from installations import (
    CANARY,
    OLD,
    OTHER,
    REFERENCE,
    USER_TOKEN,
    Servos,
    assert_refused,
    assert_same,
    b64,
    free_port,
    seal,
    wait_until,
    write,
)


def by_api(servos: Servos, **options: object) -> dict[str, object]:
    return {"method": "api", "api_url": servos.url, "api_token_file": str(servos.token_file), **options}


def assert_finished(servos: Servos) -> None:
    text = servos.env_text()
    assert servos.process_key_text() == text != servos.old_text
    servos.assert_all_under(text, servos.old_text)


REFUSALS: dict[str, tuple[str, list[str]]] = {
    "no endpoint": ("no_endpoint", ["404", "no rotation endpoint", "method=database"]),
    "method not allowed": ("method_not_allowed", ["405", "no rotation endpoint", "method=database"]),
    "a web page for every path": ("spa_catchall", ["web page", "no rotation endpoint", "method=database"]),
    "a redirect": ("redirect", ["307", "redirect", "not followed", "api_url"]),
    "no canary": ("canary_missing", ["500", "Integrity canary not found", "do not initialize it again"]),
    "no canary, as text": ("canary_missing,status_variant=text", ["Integrity canary not found", "do not initialize it again"]),
    "no canary, with 200": ("canary_missing,status_variant=200", ["200", "Integrity canary not found"]),
    "no canary, nested": ("canary_missing,error_shape=nested", ["Integrity canary not found"]),
    "no canary, as detail": ("canary_missing,status_variant=400,error_shape=detail", ["400", "Integrity canary not found"]),
    "no canary, and both keys": ("canary_missing,echo_keys", ["Integrity canary not found"]),
    "dropped before the commit": ("drop_before_commit", ["broke after the request", "nothing was changed", "run again, which is safe"]),
}


@pytest.mark.parametrize(("faults", "words"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_leaves_everything_as_it_was(make_servos: Callable[..., Servos], faults: str, words: list[str]) -> None:
    servos = make_servos(faults=faults)
    servos.start()
    servos.stage()
    before = servos.snapshot()
    assert_refused(servos.rotate(**by_api(servos)), servos.url, *words)
    assert servos.log.read_text().count("rotation committed") == 0
    after = servos.snapshot()
    if "drop" in faults:  # what a rolled back transaction leaves in the log is the application's
        wal = str(servos.database) + "-wal"
        before.pop(wal), after.pop(wal)
    assert_same(before, after)
    servos.assert_all_under(b64(OLD))


def test_a_run_after_a_refusal_finishes(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(faults="drop_before_commit")
    servos.start()
    servos.stage()
    assert servos.rotate(**by_api(servos)).failed
    servos.set_faults("")
    servos.stop()
    servos.start()
    assert servos.rotate(**by_api(servos))["phase"] == "activated"
    assert_finished(servos)


VARIANTS = [(status, shape) for status in ("200", "400", "401", "422", "500") for shape in ("error", "message", "detail", "nested")]


@pytest.mark.campaign
@pytest.mark.parametrize(("variant", "shape"), [*VARIANTS, ("text", "error")])  # a plain text has no shape
def test_a_wrong_old_key_is_told_by_its_text_whatever_the_status(
    make_servos: Callable[..., Servos], variant: str, shape: str
) -> None:
    servos = make_servos(faults=f"status_variant={variant},error_shape={shape},echo_keys")
    servos.start()
    servos.stage()
    # A canary under a third key that is known here: the census has nothing against it, the application has.
    write(servos.state_dir / "withdrawn.key", b64(OTHER))
    servos.sql("UPDATE system_settings SET value = ? WHERE key = 'integrity_canary'", seal(CANARY.encode(), OTHER))
    before = servos.snapshot()
    outcome = servos.rotate(**by_api(servos))
    assert_refused(outcome, servos.url, "Old master key incorrect", "another key than the env file holds", "servos_key_info")
    assert_same(before, servos.snapshot())


UNKNOWN = {
    "committed, then silent": "commit_then_drop",
    "committed, with an empty reply": "empty_reply",
}


@pytest.mark.parametrize("faults", UNKNOWN.values(), ids=UNKNOWN)
def test_a_lost_reply_is_resolved_by_the_census_in_the_same_run(make_servos: Callable[..., Servos], faults: str) -> None:
    servos = make_servos(faults=faults)
    servos.start()
    servos.stage()
    outcome = servos.rotate(**by_api(servos))
    assert not outcome.failed, outcome.msg
    assert "census shows that it has rotated" in outcome.warnings
    assert servos.log.read_text().count("rotation requested") == 1
    assert_finished(servos)


@pytest.mark.parametrize("slow_ms", [1200, 2500])
def test_a_reply_that_does_not_come_in_time_is_resolved_by_looking(make_servos: Callable[..., Servos], slow_ms: int) -> None:
    """Whatever is said about the outcome must still be true when the slow request has ended."""
    servos = make_servos(faults=f"slow_ms={slow_ms}")
    servos.start()
    servos.stage()
    outcome = servos.rotate(**by_api(servos, api_timeout=0.4))
    wait_until(lambda: "rotation committed" in servos.log.read_text() or outcome.changed, timeout_s=8)
    time.sleep(0.2)
    if outcome.failed:
        assert "nothing was changed" not in outcome.msg, "it was, a moment later"
        assert_refused(outcome, servos.url, "api_timeout")
        assert servos.rotate(**by_api(servos))["phase"] == "activated"
    assert_finished(servos)
    assert servos.log.read_text().count("rotation requested") == 1


def test_keys_that_are_echoed_are_not_passed_on(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(faults="echo_keys")
    servos.start()
    servos.stage()
    assert servos.rotate(**by_api(servos)).changed  # every run is searched for keys
    assert_finished(servos)


def test_a_class_that_the_endpoint_leaves_behind_is_rewrapped(make_servos: Callable[..., Servos]) -> None:
    servos = make_servos(faults="skip_builders")
    servos.start()
    servos.stage()
    outcome = servos.rotate(**by_api(servos))
    assert "left" in outcome.warnings
    assert outcome["rewrapped"] == 61
    assert_finished(servos)


def test_the_endpoint_is_called_once_and_never_in_check_mode(servos: Servos) -> None:
    servos.stage()
    servos.rotate(check=True, **by_api(servos))
    assert "rotation requested" not in servos.log.read_text()
    servos.rotate(**by_api(servos))
    servos.rotate(**by_api(servos))
    assert servos.log.read_text().count("rotation requested") == 1


@pytest.mark.parametrize("key", ["old", "new"])
def test_what_is_written_between_rotation_and_restart_is_healed(make_servos: Callable[..., Servos], key: str) -> None:
    servos = make_servos(faults=f"stale_key_writes={key},slow_ms=300")
    servos.start()
    servos.stage()
    journal, report = servos.scratch / "journal", servos.scratch / "report"
    argv = ["--url", servos.url, "--token-file", servos.token_file, "--journal", journal, "--report", report, "--interval-ms", "5"]
    traffic = subprocess.Popen([sys.executable, str(REFERENCE / "servos/traffic.py"), *map(str, argv), "--duration", "30"])
    try:
        wait_until(lambda: journal.exists() and journal.read_text().count("\n") > 3)
        outcome = servos.rotate(**by_api(servos))
        time.sleep(0.3)
    finally:
        traffic.terminate()
        traffic.wait(20)
    assert not outcome.failed, outcome.msg
    servos.assert_all_under(servos.env_text(), b64(OLD), "--journal", journal)
    expected = 61 + sum(1 for line in journal.read_text().splitlines() if '"acked"' in line)
    assert outcome["sealed_values"] <= expected
    assert outcome["rewrapped"] + outcome["healed"] > 61, "nothing was written while it mattered"


def test_a_token_that_is_refused_is_told_from_the_keys(servos: Servos) -> None:
    servos.stage()
    before = servos.snapshot()
    for text, status in (("not-the-token-of-anyone", "401"), (USER_TOKEN, "403")):
        path = write(servos.scratch / "token", text)
        outcome = servos.rotate(**by_api(servos, api_token_file=str(path)))
        assert_refused(outcome, status, "token", "api_token_file", "keys are not at fault")
        assert text not in outcome.printed
    assert_same(before, servos.snapshot())


TOKENS = {
    "empty": "", "two lines": "first-line-of-it\nsecond-line-of-it\n",
    "not ASCII": "tökèn-of-nobody\x7f", "a control": "tok\x01en-of-nobody",
    "Cyrillic": "ключ-администратора",
}  # fmt: skip


@pytest.mark.parametrize("text", TOKENS.values(), ids=TOKENS)
def test_a_token_file_that_holds_no_token_is_refused(servos: Servos, text: str) -> None:
    servos.stage()
    path = write(servos.scratch / "token", text)
    before = servos.snapshot()
    outcome = servos.rotate(**by_api(servos, api_token_file=str(path)))
    assert outcome.failed
    assert not any(part in outcome.printed for part in text.split("\n") if part)
    assert "token" in outcome.msg
    assert_same(before, servos.snapshot())


WRONG_OPTIONS: dict[str, tuple[dict[str, object], list[str]]] = {
    "no token file": ({"api_token_file": None}, ["api_token_file", "nothing was changed"]),
    "no URL": ({"api_url": None}, ["api_url", "nothing was changed"]),
    "token file missing": ({"api_token_file": "/nonexistent/token"}, ["/nonexistent/token", "no such file", "api_token_file"]),
    "plain HTTP to another host": ({"api_url": "http://192.0.2.1:8080"}, ["192.0.2.1", "plain HTTP", "https"]),
    "another scheme": ({"api_url": "ftp://127.0.0.1"}, ["https://"]),
    "no certificates": ({"api_url": "https://127.0.0.1:1", "api_ca_file": "/nonexistent/ca.pem"}, ["/nonexistent/ca.pem", "api_ca_file"]),
}


@pytest.mark.parametrize(("options", "words"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_wrong_options_of_the_api_are_refused(servos: Servos, options: dict[str, object], words: list[str]) -> None:
    servos.stage()
    before = servos.snapshot()
    told = {name: value for name, value in (by_api(servos) | options).items() if value is not None}
    assert_refused(servos.rotate(**told), *words)
    assert_same(before, servos.snapshot())


def test_nobody_listening_changes_nothing(servos: Servos) -> None:
    servos.stage()
    port = free_port()
    before = servos.snapshot()
    outcome = servos.rotate(**by_api(servos, api_url=f"http://127.0.0.1:{port}"))
    assert_refused(outcome, f"http://127.0.0.1:{port}", "no connection", "nothing was sent")
    assert_same(before, servos.snapshot())


def test_a_service_that_is_stopped_is_started_for_the_call(servos: Servos) -> None:
    servos.stop()
    servos.stage()
    assert servos.rotate(**by_api(servos))["phase"] == "activated"
    assert_finished(servos)


def test_provara_has_no_endpoint(servos: Servos) -> None:
    servos.stage()
    before = servos.snapshot()
    outcome = servos.rotate(**by_api(servos), profile={"rotate_path": None})
    assert_refused(outcome, "no rotation endpoint", "method=database")
    assert_same(before, servos.snapshot())
