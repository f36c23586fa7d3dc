# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P4: the tools of other projects, themselves: C(airflow rotate-fernet-key) and C(ansible-vault rekey).

Airflow lies where `make apps` installs it, or is installed there now; where that fails, the table says so.
"""

from __future__ import annotations

import base64
import functools
import os
import shutil
import sqlite3
import subprocess
import sys
import typing as t
from pathlib import Path

import data
from cryptography.fernet import Fernet
from measure import HERE, Cost, Report, Rounds, process, strategy
from sqlite_limits import module_call

_FOLDER = HERE.parent.parent / ".work" / "apps" / "airflow"
_AIRFLOW = _FOLDER / "venv" / "bin" / "airflow"
_INSTALLATION_S = 600
_VARIABLES = 20_000
_FILES = 20


def run(report: Report, work: Path, *, repeat: int) -> None:
    """Measure both."""
    setup = HERE.parent / "apps" / "airflow" / "setup"
    installed = subprocess.run(
        [str(setup), str(_FOLDER), os.path.realpath(sys.executable)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        check=False, timeout=_INSTALLATION_S,
    )
    if installed.returncode == 0:
        _airflow(report, work, repeat=repeat)
    else:
        last = (installed.stderr.strip().splitlines() or [f"exit code {installed.returncode}"])[-1]
        report.note("P4", f"airflow rotate-fernet-key was not measured, since Airflow cannot be installed: {last}")
    _ansible_vault(report, work, repeat=repeat)


def _airflow(report: Report, work: Path, *, repeat: int) -> None:
    home = work / "airflow"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    settings = {
        "AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'run.db'}",
    }
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    keys = _key_files(home, old, new)
    try:
        _airflow_itself(settings, old, "db", "migrate")
        empty, full = home / "empty.db", home / "full.db"
        (home / "run.db").rename(empty)
        shutil.copyfile(empty, full)
        _fill(full, old)

        def theirs(source: Path) -> Cost:
            data.fresh_copy(source, home / "run.db")
            return _airflow_itself(settings, f"{new},{old}", "rotate-fernet-key")

        def ours() -> Cost:
            return module_call(data.fresh_copy(full, home / "run.db"), keys, app="airflow")

        def our_rewrap() -> Cost:
            return strategy("rewrap", str(data.fresh_copy(full, home / "run.db")), *keys, "airflow")

        runs = {
            "start": functools.partial(theirs, empty), "airflow": functools.partial(theirs, full), "module": ours, "rewrap": our_rewrap,
        }
        seen = Rounds(runs, repeat=repeat)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report.figure("P4", "airflow rotate-fernet-key on no variables: its own start", 0, seen.cost("start"))
    report.figure("P4", "airflow rotate-fernet-key, variables, whole process", _VARIABLES, seen.cost("airflow"))
    report.figure("P4", "our rewrap of the same database", _VARIABLES, seen.cost("rewrap"))
    report.figure("P4", "our whole module call on it (two censuses, scrub), as a process", _VARIABLES, seen.cost("module"))
    for of, name in (("cpu_s", "CPU"), ("wall_s", "wall")):
        ratio = seen.ratio("airflow", "rewrap", of=of)
        report.held("P4", f"airflow rotate-fernet-key / our rewrap, {name}", _VARIABLES, ratio, at_least=5)
        ratio = seen.ratio("airflow", "module", of=of)
        report.held("P4", f"airflow rotate-fernet-key / our module call, {name}", _VARIABLES, ratio)


def _airflow_itself(settings: t.Mapping[str, str], keys: str, *argv: str) -> Cost:
    return process([str(_AIRFLOW), *argv], **settings, AIRFLOW__CORE__FERNET_KEY=keys)[0]


def _key_files(folder: Path, old: str, new: str) -> data.Keys:
    for name, text in (("old.key", old), ("new.key", new)):
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
    return data.Keys(str(folder / "old.key"), str(folder / "new.key"))


def _fill(path: Path, key: str) -> None:
    fernet = Fernet(key)
    rows = ((f"variable_{number}", fernet.encrypt(text).decode(), True) for number, text in enumerate(data.plaintexts(_VARIABLES)))
    connection = sqlite3.connect(path)
    with connection:
        connection.executemany("INSERT INTO variable (key, val, is_encrypted) VALUES (?, ?, ?)", rows)
    connection.close()


def _ansible_vault(report: Report, work: Path, *, repeat: int) -> None:
    folder = work / "vaults"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name in ("old", "new"):
        (folder / name).write_text(base64.b64encode(os.urandom(24)).decode())
    names = [str(folder / f"file{number}") for number in range(_FILES)]
    old, new = ("--vault-password-file", str(folder / "old")), ("--new-vault-password-file", str(folder / "new"))

    def rekeyed(count: int) -> Cost:
        for name, plaintext in zip(names[:count], data.plaintexts(count)):
            Path(name).write_bytes(plaintext)
        subprocess.run(["ansible-vault", "encrypt", *old, *names[:count]], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        return process(["ansible-vault", "rekey", *old, *new, *names[:count]])[0]

    try:
        seen = Rounds({"one": lambda: rekeyed(1), "all": lambda: rekeyed(_FILES)}, repeat=repeat)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report.figure("P4", "ansible-vault rekey, one file", 1, seen.cost("one"))
    report.figure("P4", "ansible-vault rekey, all files in one call", _FILES, seen.cost("all"))
