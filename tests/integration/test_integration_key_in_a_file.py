# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Processes whose key cannot be seen: they read it from a file, or have overwritten the environment they were started with."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fernet_installation import FIRST, NEW, VARIABLE, Fernets, fingerprint
from installations import assert_refused, assert_same, write

LIST_OF_ONE = [FIRST]
# Overwrites its environment as setproctitle does; Source: proc(5), env_start and env_end of /proc/PID/stat.
HIDING = """
import ctypes, time
fields = open("/proc/self/stat", "rb").read().rpartition(b")")[2].split()
start, end = int(fields[47]), int(fields[48])
ctypes.memset(start, 0, end - start)
"""


class Served(Fernets):
    """The same with a process of its own, which sleeps."""

    def __init__(self, folder: Path, *, is_ini: bool = False, hides: bool = False, override: str = "") -> None:
        super().__init__(folder, LIST_OF_ONE, is_ini=is_ini)
        self.pid_file = folder / "pid"
        script = write(folder / "serve.py", (HIDING if hides else "import time") + textwrap.dedent(f"""
            import os
            with open({str(self.pid_file)!r} + ".new", "w") as stream:
                stream.write(str(os.getpid()))
            os.replace({str(self.pid_file)!r} + ".new", {str(self.pid_file)!r})
            time.sleep(600)
            """))  # fmt: skip
        source = f"export {override}" if is_ini and override else "" if is_ini else f"set -a; . {shlex.quote(str(self.config))}; set +a"
        write(folder / "start", textwrap.dedent(f"""\
            #!/bin/sh
            {source or ':'}
            rm -f '{self.pid_file}'
            setsid '{sys.executable}' '{script}' > /dev/null 2>&1 < /dev/null &
            while kill -0 $! 2>/dev/null; do [ -s '{self.pid_file}' ] && exit 0; sleep 0.03; done
            exit 1
            """), 0o700)  # fmt: skip
        write(folder / "stop", f'#!/bin/sh\nkill "$(cat {shlex.quote(str(self.pid_file))})"\n', 0o700)

    def options(self) -> dict[str, Any]:
        commands = {"start": [str(self.folder / "start")], "stop": [str(self.folder / "stop")], "pid_file": str(self.pid_file)}
        return super().options() | {"service_manager": "command", "service_commands": commands}

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def start(self) -> None:
        assert os.spawnv(os.P_WAIT, str(self.folder / "start"), ["start"]) == 0

    def tear_down(self) -> None:
        if self.pid_file.exists() and str(self.folder).encode() in Path(f"/proc/{self.pid()}/cmdline").read_bytes():
            os.kill(self.pid(), signal.SIGKILL)


@pytest.fixture
def make_served(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    made: list[Served] = []

    def make(**options: Any) -> Served:
        made.append(Served(tmp_path / "host", **options))
        made[-1].start()
        return made[-1]

    yield make
    for served in made:
        served.tear_down()


KINDS = {"reads-a-file": {"is_ini": True, "hides": False}, "hides-its-environment": {"is_ini": False, "hides": True}}
each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_kind
def test_it_is_restarted_and_known_by_its_start(make_served: Callable[..., Served], kind: dict[str, bool]) -> None:
    served = make_served(**kind)
    seen = served.info()
    assert (seen["process_key"], seen["process_evidence"]) == (fingerprint(FIRST), "start")
    old_pid = served.pid()
    served.stage()
    done = served.rotate(settle_time=0.1)
    assert (done["phase"], done["process_key"], served.pid() != old_pid) == ("activated", fingerprint(NEW), True)
    served.assert_all_under(NEW)
    assert not served.rotate().changed
    assert served.retire().changed


@each_kind
def test_one_that_is_older_than_the_swap_is_restarted_and_keeps_the_old_key_until_then(
    make_served: Callable[..., Served], kind: dict[str, bool]
) -> None:
    served = make_served(**kind)
    old_pid = served.pid()
    served.stage()
    served.rotate(until="swapped", service_manager="none", service_commands=None)
    seen = served.info()
    assert (seen["phase"], seen["process_key"]) == ("swapped", "mk:unknown")
    assert_refused(served.retire(), "mk:unknown", "nothing was destroyed")
    assert served.rotate(settle_time=0.1)["phase"] == "activated"
    assert served.pid() != old_pid


@each_kind
def test_another_line_of_the_file_may_change_while_no_rotation_is_under_way(
    make_served: Callable[..., Served], kind: dict[str, bool]
) -> None:
    served = make_served(**kind)
    with served.config.open("a") as stream:
        stream.write("\n")
    before = served.pid()
    assert served.info()["process_key"] == fingerprint(FIRST)
    assert not served.rotate().changed
    assert served.pid() == before


def test_an_environment_that_can_be_seen_is_read(make_served: Callable[..., Served]) -> None:
    seen = make_served(is_ini=False, hides=False).info()
    assert (seen["process_key"], seen["process_evidence"]) == (fingerprint(FIRST), "environment")


@pytest.mark.parametrize("ending", ["", "_CMD", "_SECRET"])
def test_a_process_that_overrides_the_file_is_refused(make_served: Callable[..., Served], ending: str) -> None:
    served = make_served(is_ini=True, hides=False, override=f"{VARIABLE}{ending}={NEW}")
    before = served.snapshot()
    for outcome in (served.info(), served.stage(), served.rotate()):
        assert_refused(outcome, f"process {served.pid()} of the service was started with {VARIABLE}{ending}", "overrides fernet_key")
    assert_same(before, served.snapshot())


def test_the_first_key_of_a_process_with_a_list_counts(make_served: Callable[..., Served]) -> None:
    served = make_served(is_ini=False, hides=False)
    os.kill(served.pid(), signal.SIGKILL)
    served.config.write_text(served.text_with(f"{FIRST},{NEW}"))
    served.start()
    seen = served.info()
    assert (seen["process_key"], seen["listed_keys"]) == (fingerprint(FIRST), [fingerprint(NEW)])
    assert [(found["pid"], found["role"]) for found in seen["processes"]] == [(served.pid(), "active")]
