# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rewrap beside a service that reads a list of keys: it reads and writes all the time, and meets no value that it cannot open."""

from __future__ import annotations

import os
import signal
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fernet_installation import FIRST, NEW, SECOND, VARIABLE, Fernets, unseal
from installations import Servos, assert_refused, write
from module_runs import Outcome
from servers import Server

# What an application does, with the library that Airflow uses.
_SERVICE = """
import os, signal, sqlite3, sys, time
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

database, folder = sys.argv[1:]
ring = MultiFernet([Fernet(text) for text in os.environ["{variable}"].split(",")])
signal.signal(signal.SIGTERM, lambda *unused: (os.unlink(folder + "/pid"), sys.exit(0)))
with open(folder + "/pid.new", "w") as stream:
    stream.write(str(os.getpid()))
os.rename(folder + "/pid.new", folder + "/pid")
turns = 0
while True:
    connection = sqlite3.connect(database, timeout=20, isolation_level=None)
    sealed = "SELECT val FROM variable WHERE is_encrypted UNION ALL SELECT password FROM connection WHERE password IS NOT NULL"
    rows = connection.execute(sealed)
    for (token,) in rows.fetchall():
        try:
            ring.decrypt(token.encode())
        except InvalidToken:
            with open(folder + "/failures", "a") as stream:
                stream.write("one\\n")
    connection.execute("UPDATE variable SET val = ? WHERE id = 1", (ring.encrypt(b"written %d" % turns).decode(),))
    connection.close()
    turns += 1
    with open(folder + "/turns", "a") as stream:
        stream.write(".")
    time.sleep(0.01)
"""


class ServedFernets(Fernets):
    """The same with a service that reads all values, and writes one, without a rest."""

    def __init__(self, folder: Path, keys: Sequence[str]) -> None:
        super().__init__(folder, keys)
        self.pid_file = folder / "pid"
        program = write(folder / "service.py", _SERVICE.replace("{variable}", VARIABLE))
        write(folder / "start", textwrap.dedent(f"""\
            #!/bin/sh
            set -a; . '{self.config}'; set +a
            setsid '{sys.executable}' '{program}' '{self.database}' '{folder}' >> '{folder}/log' 2>&1 < /dev/null &
            while kill -0 $! 2>/dev/null; do [ -s '{self.pid_file}' ] && exit 0; sleep 0.03; done
            exit 1
            """), 0o700)  # fmt: skip
        write(folder / "stop", textwrap.dedent(f"""\
            #!/bin/sh
            kill "$(cat '{self.pid_file}')" || exit 1
            while [ -e '{self.pid_file}' ]; do sleep 0.03; done
            """), 0o700)  # fmt: skip

    start = Server.start
    stop = Server.stop
    pid = Server.pid
    tear_down = Server.tear_down

    def options(self) -> dict[str, Any]:
        commands = {"start": [str(self.folder / "start")], "stop": [str(self.folder / "stop")], "pid_file": str(self.pid_file)}
        return super().options() | {"service_manager": "command", "service_commands": commands}

    def rotate(self, **options: Any) -> Outcome:
        return super().rotate(**{"online": True, "settle_time": 0.1, **options})

    def turns(self) -> int:
        path = self.folder / "turns"
        return path.stat().st_size if path.exists() else 0

    def assert_served(self) -> None:
        """The service goes on, and has met no value that it could not open."""
        before, deadline = self.turns(), time.monotonic() + 20
        while self.turns() < before + 2:
            assert time.monotonic() < deadline, (self.folder / "log").read_text()
            time.sleep(0.02)
        assert not (self.folder / "failures").exists()

    def under(self, text: str) -> int:
        """Count the values that a key opens; the one that the service writes among them."""
        rows = self.sql("SELECT val FROM variable WHERE is_encrypted UNION ALL SELECT password FROM connection WHERE password IS NOT NULL")
        return sum(unseal(token, text) is not None for (token,) in rows)


@pytest.fixture(params=[(FIRST,), (FIRST, SECOND)], ids=["one-key", "two-keys"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServedFernets]:
    made = ServedFernets(tmp_path / "airflow", request.param)
    made.start()
    yield made
    made.tear_down()


def test_the_service_reads_and_writes_all_the_time(served: ServedFernets) -> None:
    assert not served.stage().failed
    done = served.rotate()
    assert not done.failed, done.msg
    assert (done["phase"], done["steps"]) == ("activated", ["rewrap", "swap", "restart", "narrow"])
    assert (served.under(NEW), served.configured()) == (16, NEW)
    served.assert_served()
    again = served.rotate()
    assert (again.failed, again.changed) == (False, False), again.msg
    assert not served.retire().failed
    served.assert_served()
    assert served.lying_about() == {NEW}


def test_it_goes_back_to_the_list_as_it_was(served: ServedFernets) -> None:
    served.stage()
    assert not served.rotate().failed
    done = served.back()
    assert not done.failed, done.msg
    assert served.under(FIRST) == 16
    assert served.config.read_text() == served.written
    served.assert_served()


def killed_at(function: str, name: str) -> Callable[[], None]:
    def prepare() -> None:
        real = getattr(os, function)

        def cut(*arguments: Any, **options: Any) -> Any:
            done = real(*arguments, **options)
            if name in Path(arguments[0]).name:
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        setattr(os, function, cut)

    return prepare


@pytest.mark.parametrize("back", [False, True], ids=["finished", "taken-back"])
@pytest.mark.parametrize("name", ["previous.key", "airflow.env", "record.json"])
def test_killed_on_the_way(served: ServedFernets, name: str, back: bool) -> None:
    served.stage()
    assert served.rotate(prepare=[killed_at("replace", name)]).failed
    done = served.back() if back else served.rotate()
    assert not done.failed, done.msg
    assert served.under(FIRST if back else NEW) == 16
    assert served.configured() == (NEW if not back else served.written.partition(f"{VARIABLE}=")[2].partition("\n")[0])
    served.assert_served()


def test_a_service_that_does_not_come_up_on_two_keys_gets_its_own_back(served: ServedFernets) -> None:
    served.stage()
    start = (served.folder / "start").read_text()
    write(served.folder / "start", start.replace("setsid", f"case \"${VARIABLE}\" in {NEW}*) exit 1;; esac\nsetsid"), 0o700)
    done = served.rotate()
    assert_refused(done, "the service runs on", "again")
    assert served.config.read_text() == served.written
    assert served.under(FIRST) + served.under(SECOND) == 16
    served.assert_served()


def test_one_key_at_a_time_cannot_be_rotated_beside_a_service(servos: Servos) -> None:
    servos.stage()
    refused = servos.rotate(online=True)
    assert_refused(refused, "knows one key at a time", "nothing was changed")
    assert servos.pid() is not None
