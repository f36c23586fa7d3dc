# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two control hosts on one database: the controller is killed at a boundary between tasks, or one of the hosts is lost there for good
until the playbook is run again.

    control_hosts.py [--quick] [--at N ...] [--way killed|web1|web2 ...] [--piece K/N] [--jobs J] [--work DIR]

A piece is the Kth of N samples, the same ones each time, which together are the whole.

Right after the fault no value may be without a key on disk; after one more run all hosts are on one new key. Exit 0: all held.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_LIMIT_S = 240
_WAYS = ("killed", "web1", "web2")
# Of a quick run: where the data is rewrapped and nobody has followed.
_QUICK = "before servos.ops.key_share : Bring env file and service to the key that the data is under"


class Site:
    """One installation on two hosts, made anew for each trial."""

    def __init__(self, folder: Path, template: Path) -> None:
        from shared_installations import make_shared

        shutil.rmtree(folder, ignore_errors=True)
        self.folder, self.log, self.mark = folder, folder / "events", folder / "lost"
        self.hosts = make_shared(folder, template, old_text=(template / "old.key").read_text())
        self.old_text = next(iter(self.hosts.values())).old_text
        self.said = ""

    def play(self, *, at: int | str = 0, way: str = "killed") -> int:
        from playbook_runs import environment_of
        from shared_installations import inventory_of_shared

        first = next(iter(self.hosts.values()))
        losable = {
            name: {"ansible_connection": "losable", "losable_mark": str(self.mark) if name == way else str(self.mark) + "-never"}
            for name in self.hosts
        }
        inventory = self.folder / "inventory.json"
        inventory.write_text(json.dumps(inventory_of_shared(self.hosts, of_host=losable, servos_rotation_id="one", servos_lock_timeout=5)))
        self.log.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)
        environment = environment_of(
            first, FAULTS_LOG=str(self.log), FAULTS_CUT_AT=str(at), ANSIBLE_CALLBACK_PLUGINS=str(HERE / "callback_plugins"),
            ANSIBLE_CALLBACKS_ENABLED="cut", ANSIBLE_CONNECTION_PLUGINS=str(HERE / "connection_plugins"),
        )  # fmt: skip
        if way != "killed":
            environment["FAULTS_LOSE"] = str(self.mark)
        with (self.folder / "said").open("wb") as said:
            started = subprocess.Popen(
                [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(inventory), "servos.ops.rotate"],
                env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
            try:
                code = started.wait(_LIMIT_S)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(started.pid, signal.SIGKILL)
        self.said = (self.folder / "said").read_text(errors="replace")
        return code

    def settle(self) -> None:
        """Wait until the work of modules that outlived their controller has ended."""
        deadline, quiet = time.monotonic() + 60, 0
        while quiet < 20 and time.monotonic() < deadline:
            quiet = quiet + 1 if all(_is_free(servos.state_dir / "lock") for servos in self.hosts.values()) else 0
            time.sleep(0.05)

    def complaints(self) -> list[str]:
        from evidence import leaks
        from shared_installations import secrets_of

        found = leaks(self.said, secrets_of(self.hosts))
        return [*(f"printed: {one}" for one in found), *(["a traceback was printed"] if "Traceback" in self.said else [])]

    def now(self) -> list[str]:
        """Every value opens under a key that lies on a disk, and every service that runs reads its values."""
        texts = {path.read_text().strip() for servos in self.hosts.values() for path in servos.state_dir.glob("*.key")}
        texts |= {servos.env_text() for servos in self.hosts.values()}
        lost = sum(not any(_opens(sealed, text) for text in texts) for sealed in self.sealed())
        return [f"LOST: {lost} values open under no key on disk"] if lost else []

    def sealed(self) -> list[str]:
        servos = next(iter(self.hosts.values()))
        return [str(row[0]) for table in ("servers", "builders") for row in servos.sql(f"SELECT ssh_private_key FROM {table}")]

    def end(self) -> list[str]:
        """All hosts run on one new key, the application's own reader finds everything under it, and nothing is left over."""
        problems = []
        new = next(iter(self.hosts.values())).env_text()
        for name, servos in self.hosts.items():
            if (servos.env_text(), servos.process_key_text() if servos.pid() else None) != (new, new):
                problems.append(f"{name} is not on the new key")
            elif servos.call("GET", "/api/servers/1/reveal")[0] != 200:
                problems.append(f"the application on {name} does not read its values")
            if (servos.state_dir / "handover.request").exists():
                problems.append(f"the request of {name} was left")
        if new == self.old_text:
            return [*problems, "the key is the old one"]
        verdict = next(iter(self.hosts.values())).judge(new, self.old_text)
        return problems if verdict["exit"] == 0 else [*problems, f"judge: {verdict}"]

    def tear_down(self) -> None:
        for servos in self.hosts.values():
            servos.tear_down()


def _opens(sealed: str, key_text: str) -> bool:
    from installations import unseal

    return unseal(sealed, base64.b64decode(key_text)) is not None


def _is_free(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def site(folder: Path, template: Path) -> Iterator[Site]:
    made = Site(folder, template)
    try:
        yield made
    finally:
        made.tear_down()


def _undisturbed(folder: Path, template: Path) -> tuple[list[str], list[str]]:
    with site(folder, template) as made:
        code = made.play()
        problems = [] if code == 0 else [f"the undisturbed playbook failed: {made.said[-2000:]}"]
        return made.log.read_text().splitlines(), problems + made.complaints() + made.now() + made.end()


def _trial(folder: Path, template: Path, number: int | str, way: str) -> list[str]:
    with site(folder, template) as made:
        code = made.play(at=number, way=way)
        problems = ["it was not killed"] if way == "killed" and code != -signal.SIGKILL else []
        made.settle()
        problems += made.complaints() + made.now()
        if made.play() != 0:
            problems.append(f"one more run did not finish: {made.said[-3000:]}")
        return problems + made.complaints() + made.now() + made.end()


def _piece(text: str) -> tuple[int, int]:
    which, unused, of = text.partition("/")
    if not (which.isdigit() and of.isdigit() and 1 <= int(which) <= int(of)):
        raise argparse.ArgumentTypeError("a piece is written K/N, with K from 1 to N")
    return int(which), int(of)


def main() -> int:
    parser = argparse.ArgumentParser(description="Kill the controller, or lose a host, while two control hosts are rotated.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--at", type=int, nargs="+", default=[], metavar="N")
    parser.add_argument("--way", nargs="+", default=list(_WAYS), choices=_WAYS)
    parser.add_argument("--piece", type=_piece, default=(1, 1), metavar="K/N")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--work", type=lambda text: Path(text).resolve(), default=ROOT / ".work" / "faults")
    arguments = parser.parse_args()
    sys.path.insert(0, str(HERE.parent / "integration"))
    from installations import OLD, b64
    from rigs import make_template

    work = arguments.work / "control-hosts"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    template = make_template(work / "template", b64(OLD), values=60)
    began = time.monotonic()
    events, problems = ([], []) if arguments.quick else _undisturbed(work / "undisturbed", template)
    failed: dict[str, Any] = {"undisturbed": problems} if problems else {}
    print(f"undisturbed: {problems or len(events)}", flush=True)
    places: list[tuple[int | str, str]] = list(enumerate(events, start=1))
    trials = [(number, said, way) for number, said in places for way in arguments.way if number in (arguments.at or [number])]
    trials = sorted(trials, key=lambda trial: zlib.crc32(repr(trial[::2]).encode()))[arguments.piece[0] - 1 :: arguments.piece[1]]
    if arguments.quick:
        trials = [(_QUICK, "by its name", "killed")]

    def judge(numbered: tuple[int, tuple[int | str, str, str]]) -> None:
        at, (number, said, way) = numbered
        what = f"at {number} ({said}), {way}"
        try:
            found = _trial(work / f"site{at}", template, number, way)
        except Exception as error:  # a trial that cannot be judged has not held
            found = [f"the trial broke: {error!r}"]
        if found:
            failed[what] = found
            print(f"FAILED {what}\n    " + "\n    ".join(found), flush=True)
        else:
            shutil.rmtree(work / f"site{at}", ignore_errors=True)
        print(f"{what}: {'failed' if found else 'held'}", flush=True)

    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(judge, enumerate(trials, start=1)))
    lost = sum(any("LOST" in one for one in found) for found in failed.values())
    print(
        f"\n# Two control hosts\n\n{len(events)} boundaries, {len(trials)} trials in {time.monotonic() - began:.0f} s; {len(failed)} did "
        f"not hold. Trials in which a value was lost: {lost}."
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
