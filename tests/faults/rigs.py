# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Installations that are put back to a known state before each trial: ServOS and ACT with a server, Provara without."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from installations import Servos, reference
from nursery import Nursery
from provara_installation import FIXTURE, OLD_TEXT
from readers import ProvaraReader, Reader, ServosReader
from servers import TOKEN, write

PROBED = ("servers", "git_credentials", "registries")


def make_template(folder: Path, key_text: str, *, values: int) -> Path:
    """Make a database of the ServOS model under a key, and its manifest."""
    folder.mkdir(parents=True)
    common = ("--database", folder / "servos.db", "--key-file", write(folder / "old.key", key_text))
    reference("servos/schema.py", "init", *common)
    reference("servos/schema.py", "fill", *common, "--values", values, "--manifest", folder / "manifest.json")
    return folder


class Rig:
    """What a trial needs of an installation, whichever application it is."""

    folder: Path
    scratch: Path
    database: Path
    env_file: Path
    state_dir: Path
    backup_dir: Path
    env_var: str
    old_text: str
    has_service: bool
    reader: Reader
    method: dict[str, Any]
    probes: list[dict[str, str]]
    health_url: str | None = None
    options: Callable[..., dict[str, Any]]  # describes the installation to a module

    def _saved(self, state: str) -> Path:
        return self.folder.with_name(f"{self.folder.name}-state-{state}")

    @property
    def temporary(self) -> Path:
        """Where modules put their private copies, so that one that is left is seen."""
        return self.folder / "tmp"

    def save(self, state: str) -> None:
        """Keep the folder as it is now under a name; what serves it must be stopped."""
        shutil.rmtree(self._saved(state), ignore_errors=True)
        shutil.copytree(self.folder, self._saved(state), symlinks=True)

    def has(self, state: str) -> bool:
        return self._saved(state).exists()

    def reset(self, state: str = "base") -> None:
        """Stop all that runs, and put the folder back."""
        self.power_off()
        shutil.rmtree(self.folder)
        shutil.copytree(self._saved(state), self.folder, symlinks=True)

    def keep(self, name: str) -> Path:
        """Keep what a failed trial left."""
        target = self.folder.with_name("kept") / re.sub(r"[^\w.-]+", "-", name)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(self.folder, target, symlinks=True)
        return target

    def keys(self) -> dict[str, str]:
        """Read every key that lies in the env file or in the state directory."""
        found = {}
        with contextlib.suppress(IndexError, OSError):
            lines = self.env_file.read_text().splitlines()
            pattern = rf"(?:export )?{self.env_var}=(['\"]?)(.*)\1\s*"
            found["env"] = [match[2] for match in map(re.compile(pattern).fullmatch, lines) if match][-1]
        for path in self.state_dir.glob("*.key"):
            text = path.read_bytes().decode("utf-8", "replace").strip("\0\n")
            if text:
                found[path.stem] = text
        return found

    def start(self) -> int | None:
        return None

    def pid(self) -> int | None:
        return None

    def power_off(self) -> None:
        """End everything at once, as a power cut does."""

    def settle_orphans(self) -> None:
        """Wait for commands whose caller was killed."""

    def process_key_text(self) -> str | None:
        return None

    def reveals(self) -> list[str]:
        """Let the running application read values back; return complaints."""
        return []


class ServosRig(Servos, Rig):
    """ServOS or ACT, with the reference server as its service."""

    def __init__(self, folder: Path, template: Path, nursery: Nursery, knock: Path, *, product: str, journal: str, method: str) -> None:
        self._nursery, self._knock = nursery, knock
        Servos.__init__(
            self, folder, template, journal="delete", product=product, old_text=(template / "old.key").read_text(),
        )
        prepare_database(self.database, "servers", journal)
        self.reader = ServosReader(self.manifest)
        self.health_url = f"{self.url}/api/health"
        self.probes = [
            {"name": name, "url": f"{self.url}/api/{name}/1/reveal", "token_file": str(self.token_file)} for name in PROBED
        ]
        self.method = {"method": "database"}
        if method == "api":
            self.method = {"method": "api", "api_url": self.url, "api_token_file": str(self.token_file), "api_timeout": 5}
        self.temporary.mkdir()
        self.save("base")

    def write_scripts(self, *, before_start: str = "", after_stop: str = "", instead_of_stop: str = "") -> None:
        words = " ".join(f"'{word}'" for word in (self._nursery.path, self.env_file, self.product, self.pid_file, self.log))
        write(self.folder / "start", textwrap.dedent(f"""\
            #!/bin/sh
            {before_start or ':'}
            exec '{self._knock}' {words}
            """), 0o700)
        stop = f"""kill "$(cat '{self.pid_file}')" || exit 1
            while [ -e '{self.pid_file}' ]; do sleep 0.01; done"""
        write(self.folder / "stop", textwrap.dedent(f"""\
            #!/bin/sh
            {instead_of_stop or stop}
            {after_stop or ':'}
            """), 0o700)

    def start(self) -> int | None:
        return Servos.start(self)

    def pid(self) -> int | None:
        pid = Servos.pid(self)
        with contextlib.suppress(OSError):
            if pid and Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] != b"Z":
                return pid
        return None

    def process_key_text(self) -> str | None:
        return Servos.process_key_text(self) if self.pid() else None

    def _commands(self) -> list[int]:
        mark, found = str(self.folder).encode() + b"/", []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if int(entry) != os.getpid() and mark in Path(f"/proc/{entry}/cmdline").read_bytes():
                    found.append(int(entry))
        return found

    def power_off(self) -> None:
        commands = self._commands()
        while commands:
            for pid in commands:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
            commands = self._commands()
        self._nursery.kill_servers()
        self.pid_file.unlink(missing_ok=True)  # as a directory in /run is empty after a boot

    def settle_orphans(self) -> None:
        deadline = time.monotonic() + 15
        while self._commands() and time.monotonic() < deadline:
            time.sleep(0.005)

    def reveals(self) -> list[str]:
        complaints = []
        for name in PROBED:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            try:
                connection.request("GET", f"/api/{name}/1/reveal", headers={"Authorization": f"Bearer {TOKEN}"})
                reply = connection.getresponse()
                reply.read()
                if reply.status != 200:
                    complaints.append(f"the application answers {reply.status} for {name} 1")
            except OSError as error:
                complaints.append(f"the application does not answer: {error.strerror or type(error).__name__}")
            finally:
                connection.close()
        return complaints


class ProvaraRig(Rig):
    """Provara's own database and an env file. The collection has no API of Provara's, and the fixture brings no server."""

    def __init__(self, folder: Path, *, journal: str) -> None:
        folder.mkdir(parents=True)
        (folder / "var").mkdir()
        self.folder, self.scratch = folder, folder.with_name(f"{folder.name}-scratch")
        self.scratch.mkdir()
        self.database, self.has_service = folder / "provara.db", False
        shutil.copy(FIXTURE / "provara.db", self.database)
        prepare_database(self.database, "api_keys", journal)
        self.env_var, self.old_text = "PROVARA_MASTER_KEY", OLD_TEXT
        self.env_file = write(folder / ".env", f"PORT=3000\n{self.env_var}={OLD_TEXT}\n")
        self.state_dir, self.backup_dir = folder / "var" / "rotation", folder / "var" / "backups"
        self.reader = ProvaraReader(FIXTURE / "manifest.json")
        self.method, self.probes = {"method": "database"}, []
        self.temporary.mkdir()
        self.save("base")

    def options(self, **overrides: Any) -> dict[str, Any]:
        told = {
            "app": "provara", "database": f"sqlite:///{self.database}", "env_file": str(self.env_file),
            "state_dir": str(self.state_dir), "service_manager": "none",
        }  # fmt: skip
        return {name: value for name, value in (told | overrides).items() if value is not None}


def prepare_database(database: Path, table: str, journal: str) -> None:
    """Set the journal mode, and leave sealed values in free pages, as an application does that deletes rows.

    They lie under the old key, and only a scrub takes them away. In a process of its own, lest its locks stay in this one.
    """
    code = """if True:
        import sqlite3, sys
        path, table, journal = sys.argv[1:]
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA secure_delete=OFF")
        connection.execute(f"CREATE TABLE deleted AS SELECT * FROM {table}")
        connection.commit()
        connection.execute("DROP TABLE deleted")
        connection.commit()
        connection.execute(f"PRAGMA journal_mode={journal}")
        connection.close()
    """
    subprocess.run([sys.executable, "-c", code, database, table, journal], check=True)
