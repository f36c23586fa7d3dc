# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Container engines that are really there, a tiny image, and a way to stop a run at any call of the engine.

What a test believes of a container comes from the engine itself, asked here without the collection.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from module_runs import ModuleRun, Outcome
from shared_docker import LAB, docker_for_tests

BOX, BOX2 = "servos-ops-box:1", "servos-ops-box:2"
# Ends at once when it is told to, which a bare sleep does not as a container's first process.
LASTING = ["/bin/sh", "-c", 'trap "exit 0" TERM; sleep 86400 & wait']

# Podman as root without systemd, on cgroups of version 1 that are partly read-only: crun wants more than that, runc does not.
_CONTAINERS_CONF = """
[containers]
netns = "none"
log_driver = "k8s-file"
default_sysctls = []
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_WRAPPER = """#!/bin/sh
folder={folder}
case $1 in container|image|network) verb="$1-$2" ;; *) verb=$1 ;; esac
echo "$verb" >>"$folder/verbs"
call=$(grep -c -x -- "$verb" "$folder/verbs")
cat /proc/$$/cmdline >>"$folder/cmdlines"
cat /proc/$$/environ >>"$folder/environs"
fault() {{
  [ "$(cat "$folder/fault" 2>/dev/null)" = "$verb:$call:$1:stall" ] && {{ : >"$folder/reached"; sleep 60; }}
  if [ "$(cat "$folder/fault" 2>/dev/null)" = "$verb:$call:$1:worker" ]; then
    worker=$(cut -d ' ' -f 4 "/proc/$PPID/stat")
    : >"$folder/reached"
    kill -9 "$worker"
  fi
  [ "$(cat "$folder/fault" 2>/dev/null)" = "$verb:$call:$1:fail" ] && {{ echo "Error: made to fail" >&2; exit 125; }}
}}
fault before
{real} "$@"
code=$?
fault after
exit $code
"""


class EngineUnderTest:
    """One engine, and what a test wants to know from it."""

    def __init__(self, command: str, root: Path | None) -> None:
        self.command = command
        self.root = root
        self.real = shutil.which(command) or command

    def run(self, *words: Any, check: bool = True) -> str:
        done = subprocess.run([self.real, *map(str, words)], capture_output=True, timeout=120, check=False)
        if check and done.returncode:
            raise AssertionError(f"{self.command} {words[0]}: {done.stderr!r}")
        return done.stdout.decode()

    def names(self, prefix: str) -> list[str]:
        """List the containers whose names begin so."""
        return sorted(name for name in self.run("ps", "-a", "--format", "{{.Names}}").split() if name.startswith(prefix))

    def inspect(self, name: str) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.run("container", "inspect", name))[0]
        return shown

    def status(self, name: str) -> str:
        return str(self.inspect(name)["State"]["Status"])

    def environment(self, name: str) -> dict[str, str]:
        """Return the environment that a process gets in the container, as one tells it."""
        out = self.run("exec", name, "cat", "/proc/1/environ")
        return dict(entry.split("=", 1) for entry in out.split("\x00") if "=" in entry)

    def remove(self, name: str) -> None:
        words = ["rm", "-f", "-v"] + (["-t", "0"] if self.command == "podman" else [])
        self.run(*words, name, check=False)


class Injecting:
    """A module's options for one container of a test, and the folders that it uses."""

    def __init__(self, engine: EngineUnderTest, folder: Path, memory: Path) -> None:
        self.engine = engine
        self.name = f"inj-{uuid.uuid4().hex[:12]}"
        self.secrets_dir = folder / "secrets"
        self.mount_dir = memory / "secrets"
        self.faults = folder / "faults"
        self.options: dict[str, Any] = {
            "engine": engine.command, "name": self.name, "image": BOX, "command": LASTING, "networks": ["none"], "settle": 0.2,
            "secrets_dir": str(self.secrets_dir), "mount_dir": str(self.mount_dir), "stop_timeout": 5,
        }

    def start(self, *, check: bool = False, **options: Any) -> ModuleRun:
        return ModuleRun("servos_secret_inject", dict(self.options, **options), check=check)

    def run(self, *, check: bool = False, **options: Any) -> Outcome:
        return self.start(check=check, **options).wait()

    def names(self) -> list[str]:
        return self.engine.names(self.name)

    def env_files(self) -> list[str]:
        return [name for name in os.listdir(self.secrets_dir) if name.endswith(".env")] if self.secrets_dir.exists() else []

    def files(self) -> list[Path]:
        """List every file below the folders of secrets."""
        return [path for root in (self.secrets_dir, self.mount_dir) for path in root.rglob("*") if path.is_file()]

    def fault(self, verb: str, call: int, moment: str, kind: str) -> None:
        """Make a call of the engine stall or fail, or kill the worker that made it."""
        for left in ("verbs", "reached"):
            (self.faults / left).unlink(missing_ok=True)
        (self.faults / "fault").write_text(f"{verb}:{call}:{moment}:{kind}\n")

    def no_fault(self) -> None:
        (self.faults / "fault").unlink(missing_ok=True)

    def reached(self) -> bool:
        return (self.faults / "reached").exists()

    def wait_reached(self, run: ModuleRun, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not self.reached():
            if time.monotonic() > deadline:
                run.kill_all()
                raise AssertionError("the engine's call was not reached")
            time.sleep(0.005)

    def stall_at(self, verb: str, call: int, moment: str, **options: Any) -> ModuleRun:
        """Start a run, and come back when it hangs at a call of the engine."""
        self.fault(verb, call, moment, "stall")
        run = self.start(**options)
        self.wait_reached(run)
        return run

    def kill_at(self, verb: str, call: int, moment: str, **options: Any) -> None:
        """Start a run, and kill it and all that it started at a call of the engine."""
        run = self.stall_at(verb, call, moment, **options)
        run.kill_all()
        run.wait()

    def verbs(self) -> list[str]:
        return (self.faults / "verbs").read_text().split()


_WATCH = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from evidence import leaks
secrets, found, looks = json.loads(sys.stdin.readline()), set(), 0
print("looking", flush=True)
while os.getppid() == int(sys.argv[2]) and not os.path.exists(sys.argv[3]):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as stream:
                found.update(leaks(stream.read(), secrets))
        except OSError:
            pass
    looks += 1
print(json.dumps([looks, sorted(found)]))
"""


class Watcher:
    """Looks at every argument list on the host, again and again, for what must not be there. A process of its own."""

    def __init__(self, secrets: dict[str, str], folder: Path) -> None:
        self.found: list[str] = []
        self.looks = 0
        self._stop = folder / "watched"
        self._secrets = secrets

    def __enter__(self) -> Watcher:
        words = [sys.executable, "-c", _WATCH, str(Path(__file__).parent), str(os.getpid()), str(self._stop)]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(self._secrets) + "\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "looking\n"
        return self

    def __exit__(self, *unused: object) -> None:
        self._stop.touch()
        told, unused_errors = self._process.communicate(timeout=60)
        self.looks, self.found = json.loads(told)


def podman_environment(root: Path) -> dict[str, str]:
    """Set Podman up in a folder of its own; return the variables that make it use that."""
    (root / "containers.conf").write_text(_CONTAINERS_CONF)
    (root / "storage.conf").write_text(f'[storage]\ndriver = "vfs"\nrunroot = "{root}/run"\ngraphroot = "{root}/graph"\n')
    return {"CONTAINERS_CONF": str(root / "containers.conf"), "CONTAINERS_STORAGE_CONF": str(root / "storage.conf")}


@pytest.fixture(scope="session", params=["docker", "podman"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineUnderTest]:
    """An engine that answers and has the image. One that cannot be had is a failure."""
    if request.param == "docker":
        with docker_for_tests(BOX):
            yield EngineUnderTest("docker", None)
        return
    root = tmp_path_factory.mktemp("podman")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in podman_environment(root).items():
            patch.setenv(name, value)
        subprocess.run([LAB / "box-image", "podman"], check=True, capture_output=True, timeout=600)
        yield EngineUnderTest("podman", root)
        subprocess.run([LAB / "box-image", "podman", "down"], check=True, capture_output=True, timeout=60)


@pytest.fixture
def injecting(
    engine: EngineUnderTest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Injecting]:
    """A container's name and folders of its own; what has that name is removed afterwards."""
    folder = tmp_path_factory.mktemp("inject")
    memory = Path("/dev/shm") / f"servos-ops-{uuid.uuid4().hex[:8]}"
    memory.mkdir(mode=0o700)
    made = Injecting(engine, folder, memory)
    made.faults.mkdir()
    wrapper = made.faults / engine.command
    wrapper.write_text(_WRAPPER.format(folder=made.faults, real=engine.real))
    wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{made.faults}:{os.environ['PATH']}")
    yield made
    made.no_fault()
    for name in made.names():
        engine.remove(name)
    shutil.rmtree(memory, ignore_errors=True)
