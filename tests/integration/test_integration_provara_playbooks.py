# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks on Provara with a gateway that lists its rows before and after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from installations import assert_same
from provara_gateway import NEW, OLD, ServedProvara, begin_of_hash

Make = Callable[..., ServedProvara]
PLAINTEXTS = {"OPENAI_API_KEY": "sk-first", "MISTRAL_API_KEY": "second", "repository": "ghp_connector"}


def test_a_rotation_from_rehearsal_to_retirement(served: ServedProvara) -> None:
    rehearsed = served.play("rehearse", "-e", "servos_rotation_id=1")
    assert rehearsed.code == 0, rehearsed.text
    before = served.snapshot()
    checked = served.play("rotate", "-e", "servos_rotation_id=1", "--check")
    assert checked.code == 0, checked.text
    assert_same(before, served.snapshot())
    assert "api_keys: 2 scanned, 2 would be rewrapped, 0 already under the new key" in checked.text
    assert "context_connector_credentials: 1 scanned, 1 would be rewrapped" in checked.text

    done = served.play("rotate", "-e", "servos_rotation_id=1")
    assert done.code == 0, done.text
    assert "api_keys: 2 scanned, 2 were rewrapped, 0 already under the new key" in done.text
    assert served.env_text() == served.process_key_text() == NEW
    assert served.plaintexts(NEW) == PLAINTEXTS
    assert served.post("OPENAI_API_KEY", "sk-after") == 200

    again = served.play("rotate", "-e", "servos_rotation_id=1")
    assert (again.code, again.stats["changed"]) == (0, 0), again.text
    assert "api_keys: 2 scanned, 0 were rewrapped, 2 already under the new key" in again.text
    retired = served.play("retire")
    assert retired.code == 0, retired.text
    assert not (served.state_dir / "previous.key").exists()


def test_a_rotation_is_taken_back_with_what_was_written_since(served: ServedProvara) -> None:
    assert served.play("rotate", "-e", "servos_rotation_id=1").code == 0
    assert served.post("OPENAI_API_KEY", "sk-after") == 200
    back = served.play("rollback")
    assert back.code == 0, back.text
    assert served.env_text() == served.process_key_text() == OLD
    assert served.plaintexts(OLD) == PLAINTEXTS | {"OPENAI_API_KEY": "sk-after"}


BEFORE = {
    "runs on another key": ("", NEW, "decrypt error"),
    "leaves a row out": ("lie=left_out", OLD, "is not listed"),
    "redirects": ("redirect", OLD, "not followed"),
}


@pytest.mark.parametrize(("faults", "runs_on", "reason"), BEFORE.values(), ids=BEFORE)
def test_a_gateway_that_fails_before_stops_the_run_and_nothing_is_changed(
    make_served: Make, faults: str, runs_on: str, reason: str
) -> None:
    provara = make_served()
    provara.set_environ(key_text=runs_on, faults=faults)
    provara.start()
    provara.set_environ(key_text=OLD, faults=faults)
    before = provara.snapshot()
    done = provara.play("rotate", "-e", "servos_rotation_id=1", servos_service_manager="none", servos_service_commands=None)
    assert done.code != 0
    assert reason in done.text
    assert "Nothing was staged" in done.text
    assert_same(before, provara.snapshot())
    assert not provara.state_dir.exists()


def test_a_run_that_was_cut_short_goes_on_although_the_gateway_reads_nothing(served: ServedProvara) -> None:
    assert served.turn(until="rewrapped")["phase"] == "rewrapped"
    served.start()
    assert not served.info()["listing"]["ok"]
    done = served.play("rotate", "-e", "servos_rotation_id=1")
    assert done.code == 0, done.text
    assert served.process_key_text() == NEW
    assert served.plaintexts(NEW) == PLAINTEXTS


def test_a_gateway_that_fails_after_fails_the_run_and_the_rollback_is_named(make_served: Make) -> None:
    provara = make_served(faults=f"not_on_key={begin_of_hash('another')}")
    provara.start()
    # The env file is read at each start: the fault comes with the new key's process.
    provara.set_environ(key_text=OLD, faults="lie=decrypt_error")
    done = provara.play("rotate", "-e", "servos_rotation_id=1")
    assert done.code != 0
    assert "decrypt error" in done.text
    assert "servos.ops.rollback" in done.text
    assert provara.plaintexts(NEW) == PLAINTEXTS
    provara.set_environ(key_text=NEW)
    back = provara.play("rollback")
    assert back.code == 0, back.text
    assert provara.plaintexts(OLD) == PLAINTEXTS


def test_a_gateway_that_does_not_start_on_the_new_key_is_brought_back(make_served: Make) -> None:
    provara = make_served(faults=f"not_on_key={begin_of_hash(NEW)}")
    provara.start()
    done = provara.play("rotate", "-e", "servos_rotation_id=1", servos_start_timeout=3)
    assert done.code != 0
    assert "rewrapped back" in done.text
    assert provara.plaintexts(OLD) == PLAINTEXTS
    assert provara.env_text() == provara.process_key_text() == OLD
    assert provara.info()["listing"]["ok"]


def test_without_probe_and_listing_the_run_says_what_is_wanted(served: ServedProvara) -> None:
    done = served.play("rotate", "-e", "servos_rotation_id=1", servos_listing=None)
    assert done.code != 0
    assert "servos_listing" in done.text
    assert "Nothing was changed" in done.text
