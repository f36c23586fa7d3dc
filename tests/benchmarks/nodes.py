# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P7: host keys of many endpoints against ssh-keyscan, and the life of a secret file against the engine's own start."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t
from pathlib import Path

from borrowed import borrow
from measure import HERE, Cost, Report, Rounds, process
from sshd import Host, sshds

_MODULES = "ansible_collections.servos.ops.plugins.modules"
_LAB = HERE.parent / "lab"
_IMAGE = "servos-ops-box:1"


def run(report: Report, work: Path, *, endpoints: int, starts: int, repeat: int) -> None:
    """Scan and inject."""
    try:
        _host_keys(report, work, endpoints, repeat=repeat)
    except sshds.NoSshd as error:
        report.note("P7", f"no host keys were scanned: {error}")
    subprocess.run([str(_LAB / "engine-up")], check=True, stdin=subprocess.DEVNULL)
    _injection(report, work, "docker", starts)
    with tempfile.TemporaryDirectory(dir=work) as root:
        os.environ.update(borrow("integration/engines.py").podman_environment(Path(root)))
        _injection(report, work, "podman", starts)


def _module(work: Path, module: str, **options: object) -> tuple[Cost, dict[str, t.Any]]:
    arguments = work / "arguments.json"
    arguments.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": {"_ansible_remote_tmp": str(work), **options}}))
    cost, said = process([sys.executable, "-m", f"{_MODULES}.{module}", str(arguments)])
    return cost, json.loads(said)


def _host_keys(report: Report, work: Path, endpoints: int, *, repeat: int) -> None:
    addresses = [f"127.1.{number // 200}.{number % 200 + 1}" for number in range(endpoints)]
    names, pins = work / "endpoints", work / "pins"
    names.write_text("".join(f"{address}\n" for address in addresses))
    with Host(work, addresses=addresses) as host:

        def pinned() -> Cost:
            pins.unlink(missing_ok=True)
            cost, result = _module(work, "servos_hostkey", hosts=addresses, port=host.port, path=str(pins), timeout=60)
            found = {len(entry["presented_keys"]) for entry in result["hosts"]}
            if found != {3} or len(result["hosts"]) != endpoints:
                raise SystemExit(f"servos_hostkey found {found} keys a host")
            return cost

        def scanned() -> Cost:
            # A server that closes first would end it by a signal that it does not handle.
            cost, said = process(["env", "--ignore-signal=PIPE", "ssh-keyscan", "-p", str(host.port), "-T", "60", "-f", str(names)])
            lines = [line for line in said.splitlines() if line and not line.startswith("#")]
            if len(lines) != 3 * endpoints:
                raise SystemExit(f"ssh-keyscan found {len(lines)} keys of {3 * endpoints}")
            return cost

        rounds = Rounds({"servos_hostkey": pinned, "ssh-keyscan": scanned}, repeat=repeat)
    for name in ("servos_hostkey", "ssh-keyscan"):
        report.figure("P7", f"{name}, three key types of each endpoint, sshd on this machine too", endpoints, rounds.cost(name))
    ratio = rounds.ratio("ssh-keyscan", "servos_hostkey", of="wall_s")
    report.held("P7", "ssh-keyscan / servos_hostkey, wall", endpoints, ratio, at_least=5)


def _injection(report: Report, work: Path, engine: str, starts: int) -> None:
    subprocess.run([str(_LAB / "box-image"), engine], check=True, stdin=subprocess.DEVNULL)
    secrets, name = work / "secrets", "servos-ops-bench"
    shutil.rmtree(secrets, ignore_errors=True)
    lives, own = [], []
    try:
        for number in range(starts):
            own.append(_own_start(engine, name))
            unused, result = _module(
                work, "servos_secret_inject", engine=engine, name=name, image=_IMAGE, command=["sleep", "3600"], networks=["none"],
                env={"SECRET": f"value {number}"}, secrets_dir=str(secrets), settle=0, stop_timeout=0,
            )
            lives.append(result["env_file"]["lifetime_s"])
            _remove(engine, name)
    finally:
        _remove(engine, name)
        shutil.rmtree(secrets, ignore_errors=True)
    life, start = statistics.median(lives), statistics.median(own)
    report.note("P7", f"{engine}: the engine's own start (run -d) takes {start:.3f} s, the secret file lives {life:.3f} s, medians")
    report.held("P7", f"{engine}: life of the secret file / the engine's own start", starts, life / start, at_most=1.5)


def _own_start(engine: str, name: str) -> float:
    argv = [engine, "run", "-d", "--name", name, "--network", "none", _IMAGE, "sleep", "3600"]
    started = time.monotonic()
    subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    taken = time.monotonic() - started
    _remove(engine, name)
    return taken


def _remove(engine: str, name: str) -> None:
    now = ["-t", "0"] if engine == "podman" else []
    subprocess.run([engine, "rm", "-f", *now, name], check=False, stdin=subprocess.DEVNULL, capture_output=True)
