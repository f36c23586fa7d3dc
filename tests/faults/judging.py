# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold right after a fault, and what must hold after the one recovery."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import sqlite3
import stat
from pathlib import Path

from readers import Sealed, connected_copy, fragments
from rigs import Rig

_OF_THE_STATE = {"lock", "record.json", "staged.key", "previous.key", "withdrawn.key"}
_BACKUP = re.compile(r"\w+-\d{8}T\d{6}\.\d{6}Z\.db")


class Judge:
    """Judges one installation through one trial, and remembers what it has seen in it."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._expected = self._plaintexts({"env": rig.old_text})
        self._base = {path.relative_to(rig.folder) for path in rig.folder.rglob("*")}
        self._env_mode = rig.env_file.stat().st_mode
        self.begin()

    def begin(self) -> None:
        """Forget the trial before."""
        self._keys_seen = {self._rig.old_text}
        self._values_seen: list[Sealed] = []
        self.look()

    def _values(self) -> list[Sealed]:
        connection = connected_copy(self._rig.database, self._rig.scratch)
        try:
            return list(self._rig.reader.sealed(connection))
        finally:
            connection.close()

    def _plaintexts(self, keys: dict[str, str]) -> dict[str, str | None]:
        """Open every value under whichever key lies on disk; None where none opens it."""
        found: dict[str, str | None] = {}
        for value in self._values():
            opened = (self._rig.reader.opens(value, text) for text in keys.values())
            plaintext = next((one for one in opened if one is not None), None)
            found[value.place] = None if plaintext is None else hashlib.sha256(plaintext).hexdigest()
        return found

    def look(self) -> None:
        """Note which keys and sealed values there are now; their traces are searched for at the end."""
        self._keys_seen |= set(self._rig.keys().values())
        self._values_seen += self._values()

    def now(self) -> list[str]:
        """Say which values have lost their key, or their content; called right after the fault."""
        self.look()
        found = self._plaintexts(self._rig.keys())
        lost = [place for place in self._expected if found.get(place) is None]
        changed = [place for place, known in self._expected.items() if found.get(place) not in (None, known)]
        return [
            *([f"LOST: {len(lost)} values open under no key on disk: {', '.join(lost[:3])}"] if lost else []),
            *([f"LOST: {len(changed)} values have another plaintext: {', '.join(changed[:3])}"] if changed else []),
        ]

    def end(self, wanted: str) -> list[str]:
        """Say what is not as it must be; C(wanted) is V(new), V(old) or V(either) key in force, or V(retired)."""
        rig = self._rig
        self._keys_seen |= set(rig.keys().values())
        in_force = rig.keys().get("env", "")
        problems = []
        if (wanted in ("new", "retired") and in_force == rig.old_text) or (wanted == "old" and in_force != rig.old_text):
            problems.append(f"the env file does not hold the {wanted} key")
        others = self._keys_seen - {in_force}
        connection = connected_copy(rig.database, rig.scratch)
        try:
            for other in sorted(others) or [None]:
                problems += [f"judge: {wrong}" for wrong in rig.reader.verdict(connection, in_force, other)]
        finally:
            connection.close()
        problems += self._remains(in_force, others)
        if not rig.has_service or Path(f"{rig.database}-journal").exists():
            # A service that has not written since its boot has not cleared a cold journal either.
            _write_as_its_application(rig.database)
        problems += self._leftovers(wanted)
        if rig.has_service:
            text = rig.process_key_text()
            if text != in_force:
                problems.append("the service does not run" if text is None else "the service runs on another key")
            else:
                problems += rig.reveals()
        return problems

    def application_is_well(self) -> list[str]:
        """Say whether the application runs and reads its data, as it must after an error that was handled."""
        if not self._rig.has_service:
            return []
        if self._rig.process_key_text() is None:
            return ["the service was left down"]
        return [f"after the error: {complaint}" for complaint in self._rig.reveals()]

    def _remains(self, in_force: str, others: set[str]) -> list[str]:
        """Search the raw files: opened under another key, or pieces of sealed values that were replaced."""
        rig, problems = self._rig, []
        here = [Path(f"{rig.database}{end}") for end in ("", "-wal", "-journal")]
        replaced = [value for value in set(self._values_seen) if rig.reader.opens(value, in_force) is None]
        old = fragments(replaced) - fragments(self._values())
        for path in filter(Path.exists, here):
            content = path.read_bytes()
            whole = sum(rig.reader.found_in(content, other) for other in others)
            pieces = sum(piece in content for piece in old)
            if whole or pieces:
                problems.append(f"REMAINS: {path.name} still holds {whole} sealed values under another key, {pieces} pieces of them")
        return problems

    def _leftovers(self, wanted: str) -> list[str]:
        rig, found = self._rig, []
        backups = {path.name for path in rig.backup_dir.glob("*")} if rig.backup_dir.exists() else set()
        for path in sorted(rig.folder.rglob("*")):
            name = path.relative_to(rig.folder)
            if name in self._base or path in (rig.state_dir, rig.backup_dir):
                continue
            if path.parent == rig.state_dir and path.name in _OF_THE_STATE:
                if stat.S_IMODE(path.stat().st_mode) != 0o600:
                    found.append(f"the mode of {name} is {oct(path.stat().st_mode)}")
                if wanted == "retired" and path.suffix == ".key":
                    found.append(f"{name} was not destroyed")
                continue
            if path.parent == rig.backup_dir:
                whole = path.name.removesuffix(".json")
                if _BACKUP.fullmatch(whole) and {whole, f"{whole}.json"} <= backups:
                    continue
            of_the_database = path.name in (f"{rig.database.name}-wal", f"{rig.database.name}-shm")
            if (of_the_database or path.suffix in (".pid", ".log")) and rig.has_service:
                continue
            found.append(f"LEFTOVER: {name}")
        if rig.env_file.stat().st_mode != self._env_mode:
            found.append(f"the mode of the env file is {oct(rig.env_file.stat().st_mode)}")
        lock = rig.state_dir / "lock"
        if lock.exists():
            descriptor = os.open(lock, os.O_RDWR)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                found.append("the lock is still held")
            finally:
                os.close(descriptor)
        return found


def _write_as_its_application(database: Path) -> None:
    """Let SQLite clear what a kill left of a transaction, as it does when the application writes to its database next."""
    connection = sqlite3.connect(database)
    try:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        connection.execute(f"PRAGMA user_version={version}")
        connection.commit()
    finally:
        connection.close()
