# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A dashboard edit while a rotation is under way, through a gateway that is not stopped: what was acknowledged is never lost."""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from installations import wait_until
from module_runs import ModuleRun
from provara_gateway import NEW, ServedProvara

_UTILS = "ansible_collections.servos.ops.plugins.module_utils"


def stalling(room: str, name: str, folder: Path, *, after: bool) -> Callable[[], None]:
    """Return what makes a function of the collection, in the process that it is called in, wait before or after its work."""

    def prepare() -> None:
        place = importlib.import_module(f"{_UTILS}.{room}")
        owner, unused_dot, last = name.rpartition(".")
        holder = getattr(place, owner) if owner else place
        real = getattr(holder, last)

        def wait() -> None:
            (folder / "reached").touch()
            deadline = time.monotonic() + 60
            while not (folder / "go").exists() and time.monotonic() < deadline:
                time.sleep(0.01)

        def stalled(*args: Any, **more: Any) -> Any:
            if not after:
                wait()
            result = real(*args, **more)
            if after:
                wait()
            return result

        setattr(holder, last, stalled)

    return prepare


def begin(provara: ServedProvara, prepare: Callable[[], None]) -> ModuleRun:
    """Start a rotation beside the gateway, with nobody to stop it."""
    quick = {"service": None, "service_manager": "none", "service_commands": None, "lock_timeout": 20, "new_key_file": str(provara.new_key)}
    return ModuleRun("servos_key_rotate", provara.options(**quick), prepare=[prepare])


# Where the run stands, and whether the gateway can write there: who meets the transaction's lock is told so at once.
MOMENTS = {
    "after the census, before the lock": ("_rotation.window", "rewrap_data", False, True),
    "in the transaction, before the rows are read": ("_rotation.data_step", "rewrap_tables", False, False),
    "in the transaction, after the rows were written": ("_rotation.data_step", "rewrap_tables", True, False),
    "after the commit, before the env file": ("_rotation.window", "rewrap_data", True, True),
    "after the env file": ("_rotation.window", "Window.swap", True, True),
    "after the last look": ("_rotation.walk", "Walk._heal", True, True),
}
EDITS = {"a key is changed": "OPENAI_API_KEY", "a key is added": "GROQ_API_KEY"}


@pytest.mark.campaign
@pytest.mark.parametrize("name", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize(("room", "function", "after", "is_taken"), MOMENTS.values(), ids=MOMENTS)
def test_an_edit_is_kept_or_refused_and_never_lost(
    served: ServedProvara, room: str, function: str, after: bool, is_taken: bool, name: str
) -> None:
    run = begin(served, stalling(room, function, served.scratch, after=after))
    wait_until((served.scratch / "reached").exists, timeout_s=30)
    assert (served.post(name, "sk-edited") in (200, 201)) is is_taken
    (served.scratch / "go").touch()
    outcome = served.judged(run.wait())
    assert not outcome.failed, outcome.msg

    # The gateway still has the old key, so what came late is under that one until it is restarted and the next run has looked.
    served.stop()
    served.start()
    assert not served.turn(new_key_file=None).failed
    wanted = {"OPENAI_API_KEY": "sk-first", "MISTRAL_API_KEY": "second", "repository": "ghp_connector"}
    assert served.plaintexts(NEW) == (wanted | {name: "sk-edited"} if is_taken else wanted)
    assert served.info()["listing"]["ok"]


def test_edits_without_a_pause_are_kept_if_they_were_acknowledged(served: ServedProvara) -> None:
    acknowledged: dict[str, str] = {}
    is_over = threading.Event()

    def edit() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            name = f"KEY_{number % 5}"
            if served.post(name, f"value-{number}") in (200, 201):
                acknowledged[name] = f"value-{number}"

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        wait_until(lambda: len(acknowledged) == 5)
        outcomes = [served.turn(service=None, service_manager="none", service_commands=None, lock_timeout=20) for unused in range(3)]
    finally:
        is_over.set()
        editor.join()
    # It says so when the gateway is quicker than the last look.
    assert {outcome.msg for outcome in outcomes if "some process still seals with the old key" not in outcome.msg} <= {""}
    served.stop()
    served.start()
    assert not served.turn(new_key_file=None).failed
    found = served.plaintexts(NEW)
    assert {name: found.get(name) for name in acknowledged} == acknowledged
