# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An installation of the ServOS model in one folder: database, env file, server, and how a module is told of them."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from Cryptodome.Cipher import AES
from evidence import Snapshot, differences, leaks, snapshot_of
from module_runs import ModuleRun, Outcome
from ports import free_port
from servers import REFERENCE, TOKEN, Server, write

# Keys of this process alone: what runs with an old key is looked for on the whole host, and tests may run side by side.
OLD, NEW, OTHER = (hashlib.sha256(f"servos.ops integration {os.getpid()} {name}".encode()).digest() for name in ("old", "new", "other"))
CANARY = "servos-integrity-canary-v1"
USER_TOKEN = "integration-user-token"


def b64(key_bytes: bytes) -> str:
    return base64.b64encode(key_bytes).decode()


def fingerprint(key_bytes: bytes) -> str:
    """Spell the name under which a key may be shown, from its definition and not from the collection."""
    return "mk:" + hashlib.sha256(b"servos.ops master key fingerprint v1\x00" + key_bytes).hexdigest()[:16]


def seal(plaintext: bytes, key_bytes: bytes) -> str:
    """Seal as the model does, with another library than the collection's."""
    nonce = os.urandom(12)
    content, tag = AES.new(key_bytes, AES.MODE_GCM, nonce=nonce).encrypt_and_digest(plaintext)
    return b64(nonce + content + tag)


def unseal(sealed: str, key_bytes: bytes) -> bytes | None:
    raw = base64.b64decode(sealed)
    try:
        return AES.new(key_bytes, AES.MODE_GCM, nonce=raw[:12]).decrypt_and_verify(raw[12:-16], raw[-16:])
    except ValueError:
        return None


def reference(script: str, *argv: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run one of the reference applications' scripts."""
    return subprocess.run(
        [sys.executable, str(REFERENCE / script), *map(str, argv)], capture_output=True, text=True, timeout=60, check=check
    )


class Servos(Server):
    """One installation. C(old_text) is the key as it stood in the env file at first."""

    def __init__(
        self, folder: Path, template: Path, *, journal: str = "wal", has_service: bool = True, product: str = "servos",
        old_text: str = b64(OLD), faults: str = "", database_dir: Path | None = None,
    ) -> None:
        self.folder, self.product, self.old_text, self.has_service = folder, product, old_text, has_service
        folder.mkdir(parents=True)
        (folder / "var").mkdir()
        self.scratch = folder.parent / f"{folder.name}-scratch"  # what the tests write for themselves
        self.scratch.mkdir()
        self.database = (database_dir or folder) / "servos.db"
        shutil.copy(template / "servos.db", self.database)
        if journal == "wal":
            self.sql("PRAGMA journal_mode=wal")
        self.manifest = template / "manifest.json"
        self.env_file, self.pid_file, self.log = (folder / f"servos.{end}" for end in ("env", "pid", "log"))
        self.state_dir, self.backup_dir = folder / "var" / "rotation", folder / "var" / "backups"
        write(folder / "tokens", f"{TOKEN}\n{USER_TOKEN}\n")
        self.token_file = write(folder / "token", f"{TOKEN}\n")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env_var = f"{product.upper()}_MASTER_KEY"
        write(self.env_file, self._env_text(old_text, faults))
        self.write_scripts()

    def _env_text(self, key_text: str, faults: str) -> str:
        return textwrap.dedent(f"""\
            # as its installer writes it
            XX_DATABASE={self.database}
            XX_LISTEN=127.0.0.1:{self.port}
            # openssl rand -base64 32
            XX_MASTER_KEY="{key_text}"
            XX_ADMIN_TOKEN_FILE={self.folder / 'tokens'}
            XX_FAULTS={faults}
            """).replace("XX_", f"{self.product.upper()}_")

    # Files and data

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.database, timeout=10)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def edit_env(self, pattern: str, replacement: str) -> None:
        """Replace what stands in the env file."""
        changed, count = re.subn(pattern, lambda _: replacement, self.env_file.read_text(), flags=re.M)
        assert count, pattern
        self.env_file.write_text(changed)

    def set_faults(self, faults: str) -> None:
        self.edit_env(r"_FAULTS=.*$", f"_FAULTS={faults}")

    def env_text(self) -> str:
        """Return the key text in the env file; a later line wins."""
        found = re.findall(rf"^(?:export )?{self.env_var}=['\"]?([^'\"\s]*)['\"]?\s*$", self.env_file.read_text(), re.M)
        return found[-1]

    def key_file(self, name: str, text: str) -> Path:
        return write(self.scratch / f"{name}.key", text)

    def secrets(self) -> dict[str, str]:
        """Collect every key that lies about, by where it was found."""
        found = {"old key": self.old_text, "canary": CANARY, "token": TOKEN}
        for path in filter(Path.is_file, [*self.scratch.glob("*.key"), *self.state_dir.glob("*.key")]):
            found[str(path)] = path.read_bytes().decode("utf-8", "replace").strip()
        with contextlib.suppress(OSError, IndexError, UnicodeDecodeError):
            found["env file"] = self.env_text()
        return {name: text for name, text in found.items() if len(text) >= 16}

    def snapshot(self, *, directory_times: bool = False) -> Snapshot:
        """Describe the whole installation, and which process serves it.

        A run that acts holds a lock, whose file says when; C(directory_times) is for check mode, which takes none.
        """
        seen = snapshot_of(*sorted({self.folder, self.database.parent}), directory_times=directory_times)
        if not directory_times:
            seen.pop(str(self.state_dir / "lock"), None)
        return dict(seen, pid=(self.pid(),))

    def judge(self, new_text: str, old_text: str | None = None, *more: object) -> dict[str, Any]:
        """Let the application's own reader say whether everything is under C(new_text) and as the manifest has it."""
        new = write(self.scratch / "judge-new", new_text)
        old = ("--old-key-file", write(self.scratch / "judge-old", old_text)) if old_text else ()
        done = reference(
            "servos/judge.py", "--database", self._recovered(), "--key-file", new, *old, "--manifest", self.manifest, *more, check=False
        )
        for name in ("judge-new", "judge-old"):
            (self.scratch / name).unlink(missing_ok=True)
        return json.loads(done.stdout or "{}") | {"exit": done.returncode, "stderr": done.stderr}

    def _recovered(self) -> Path:
        """Return the database, or a recovered copy where a crash left a journal, which a reader cannot roll back."""
        journal = self.database.with_name("servos.db-journal")
        if not journal.exists():
            return self.database
        copy = self.scratch / "recovered.db"
        shutil.copy(self.database, copy)
        shutil.copy(journal, f"{copy}-journal")
        connection = sqlite3.connect(copy)
        connection.execute("PRAGMA user_version").fetchall()
        connection.close()
        return copy

    def assert_all_under(self, new_text: str, old_text: str | None = None, *more: object) -> None:
        verdict = self.judge(new_text, old_text, *more)
        assert verdict["exit"] == 0, verdict

    # Modules

    def options(self, **overrides: Any) -> dict[str, Any]:
        """Describe the installation to a module; None takes an option out."""
        told: dict[str, Any] = {
            "app": self.product, "database": f"sqlite:///{self.database}", "env_file": str(self.env_file),
            "state_dir": str(self.state_dir), "service_manager": "none",
        }
        if self.has_service:
            commands = {"start": [str(self.folder / "start")], "stop": [str(self.folder / "stop")], "pid_file": str(self.pid_file)}
            told |= {"service": self.product, "service_manager": "command", "service_commands": commands}
        return {name: value for name, value in (told | overrides).items() if value is not None}

    def begin(self, module: str, *, check: bool = False, prepare: Sequence[Callable[[], None]] = (), **options: Any) -> ModuleRun:
        """Start a module and come back at once."""
        return ModuleRun(module, self.options(**options), check=check, prepare=prepare)

    def run(self, module: str, **options: Any) -> Outcome:
        """Run a module to its end; no key may stand in anything that it prints."""
        secrets = self.secrets()
        outcome = self.begin(module, **options).wait()
        assert leaks(outcome.printed, secrets | self.secrets()) == [], outcome.printed
        assert "********" not in outcome.printed, "only the masking hid a key"
        assert "Traceback" not in outcome.printed, outcome.printed[-700:]
        return outcome

    def stage(self, **options: Any) -> Outcome:
        if not {"rotation_id", "max_age_days", "new_key", "new_key_file"} & set(options):
            options["rotation_id"] = "one"
        return self.run("servos_keyring", state="staged", **options)

    def rotate(self, **options: Any) -> Outcome:
        defaults = {"settle_time": 0.15, "stop_timeout": 10, "start_timeout": 10, "lock_timeout": 5}
        return self.run("servos_key_rotate", **(defaults | options))

    def info(self, **options: Any) -> Outcome:
        return self.run("servos_key_info", **options)

    def backup(self, **options: Any) -> Outcome:
        return self.run("servos_backup", backup_dir=str(self.backup_dir), **options)

    def retire(self, **options: Any) -> Outcome:
        return self.run("servos_keyring", state="retired", **options)


def assert_refused(outcome: Outcome, *words: str) -> None:
    """The module failed with one message of its own that says each of the words, in any letter case."""
    assert outcome.failed, outcome.printed
    said = _without_test_names(outcome.msg)
    missing = [word for word in words if _without_test_names(word) not in said]
    assert not missing, f"{missing} not in: {outcome.msg}"


def _without_test_names(text: str) -> str:
    """Take out the part of paths that pytest makes from the names of tests, lest a word of theirs be found there."""
    return re.sub(r"/\S*?/pytest-of-[^/]+/[^/]+/[^/]+/", "/", text).lower()


def assert_same(before: Snapshot, after: Snapshot) -> None:
    assert differences(before, after) == []


def wait_until(is_true: Callable[[], Any], *, timeout_s: float = 15) -> Any:
    """Poll until something holds, and return it."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = is_true()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it did not happen in time")
