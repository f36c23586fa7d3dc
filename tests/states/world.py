# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A model installation: a real database, env file and state directory; processes that are only entries in a table.

The collection works on it in this process. What is true of it (which plaintext was written where last) is kept beside it
and never read from the collection.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import itertools
import json
import os
import re
import shutil
import sqlite3
import tempfile
import typing as t
from collections.abc import Callable, Iterator

import sealed
from ansible_collections.servos.ops.plugins.module_utils._errors import ServiceError
from ansible_collections.servos.ops.plugins.module_utils._rotation import holders as holders_room
from ansible_collections.servos.ops.plugins.module_utils._rotation import installation as installation_room
from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation
from ansible_collections.servos.ops.plugins.module_utils._system import services as services_room
from ansible_collections.servos.ops.plugins.module_utils._system.processes import Environments
from ansible_collections.servos.ops.plugins.module_utils._system.services import Service
from disk import DISKS, Disk

VARIABLE = "SERVOS_MASTER_KEY"
ROLES = ("staged", "previous", "withdrawn")
KINDS = ("text", "json", "deep", "blob", "hex")
MARKER = "plaintext-"
PROFILE = {
    "fields": [
        {"table": "vault", "column": "secret"},
        {"table": "settings", "column": "document", "path": "$.token"},
        {"table": "settings", "column": "document", "path": "$.more.deep[*]"},
        {"table": "files", "column": "content", "codec": "aes256gcm_raw"},
        {
            "table": "api_keys", "codec": "aes256gcm_hex_columns",
            "columns": {"ciphertext": "encrypted_value", "nonce": "iv", "tag": "auth_tag"},
        },
        {"table": "meta", "column": "value"},
    ],
    "canary": {"row": "canary", "required": True},
}  # fmt: skip
_SCHEMA = """
PRAGMA page_size=1024;
CREATE TABLE vault (id INTEGER PRIMARY KEY, secret);
CREATE TABLE settings (id INTEGER PRIMARY KEY, document);
CREATE TABLE files (id INTEGER PRIMARY KEY, content BLOB);
CREATE TABLE api_keys (id INTEGER PRIMARY KEY, encrypted_value, iv, auth_tag);
CREATE TABLE meta (name TEXT PRIMARY KEY, value);
"""
_INSERT = {
    "text": "INSERT INTO vault (secret) VALUES (?)",
    "json": "INSERT INTO settings (document) VALUES (?)",
    "deep": "INSERT INTO settings (document) VALUES (?)",
    "blob": "INSERT INTO files (content) VALUES (?)",
    "hex": "INSERT INTO api_keys (encrypted_value, iv, auth_tag) VALUES (?, ?, ?)",
    "canary": "INSERT INTO meta VALUES ('canary', ?)",
}
_TABLES = {"text": "vault", "json": "settings", "deep": "settings", "blob": "files", "hex": "api_keys", "canary": "meta"}
_COLUMNS = {"text": "secret", "json": "document", "blob": "content", "hex": "encrypted_value, iv, auth_tag", "canary": "value"}
_EMPTY = {"text": None, "json": '{"token": "", "n": 1.50}', "deep": '{"more": {"deep": [""]}}', "blob": b"", "hex": (None, "", None)}
# Of three columns of hex there is no plain form: whatever stands there and does not open is foreign.
_PLAIN = {"text": "just a note", "json": '{"token": "not sealed"}', "deep": '{"more": {"deep": ["a", null]}}', "blob": b"short"}
_B64 = re.compile(r"[A-Za-z0-9+/]{38,}={0,2}")
_REAL_CONNECT = sqlite3.connect

LOST = b"\x66" * 32  # a key that is in no file and never was

Cells = tuple[t.Any, ...]


class Process:
    """One process of the application: the key of its environment never changes."""

    numbers = itertools.count(50_000_000)  # beyond the kernel's largest process id, so that no real one is meant

    def __init__(self, key_text: str) -> None:
        self.pid = next(self.numbers)
        self.key_text = key_text

    @property
    def key_bytes(self) -> bytes:
        """The key that it seals with."""
        key_bytes = sealed.key_of(self.key_text)
        assert key_bytes is not None
        return key_bytes


class _ModelService(Service):
    """Starts and stops an entry of the world's table of processes."""

    def __init__(self, world: World) -> None:
        super().__init__("model", world.refuse_command)
        self._world = world

    def main_pid(self) -> int | None:
        return self._world.main.pid if self._world.main is not None else None

    def _stop(self, timeout_s: float) -> None:
        self._world.disk.boundary("stop the service")
        self._world.stops += 1
        self._world.main = None
        self._world.disk.after()

    def _start(self, timeout_s: float) -> None:
        self._world.disk.boundary("start the service")
        if not self._world.start_main():
            raise ServiceError("the model service does not start")
        self._world.disk.after()


class _ModelInstallation(Installation):
    """The collection's own, but for the service manager."""

    world: World

    def _build_service(self) -> Service:
        return _ModelService(self.world)


class _Clock:
    """Time for those who wait: it passes when they look."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 0.25
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds


class World:
    """The installation and what is true of it. C(trouble) collects whatever was seen that must never be."""

    def __init__(self, root: str, *, key_text: str, wal: bool = True, has_service: bool = True, profile: t.Any = None) -> None:
        self.root = root
        self.database_path = os.path.join(root, "data", "app.db")
        self.env_path = os.path.join(root, "app.env")
        self.state_dir = os.path.join(root, "state")
        self.backup_dir = os.path.join(root, "backups")
        self.has_service = has_service
        self.profile = PROFILE if profile is None else profile
        self.opener = sealed.Opener()
        self.truth: dict[tuple[str, int], Cells | None] = {}
        self.truth_restored: dict[tuple[str, int], Cells | None] | None = None  # what a backup that is being put back says
        self.main: Process | None = None
        self.forgotten: list[Process] = []
        self.now = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)
        self.refusals = 0
        self.stops = 0
        self.trouble: list[str] = []
        self._numbers = itertools.count(1)
        self._content: tuple[bytes, ...] = ()
        self._stored: dict[tuple[str, int], Cells] = {}
        self._seen: dict[tuple[str, int], Cells] | None = None
        self._needed: set[bytes] = set()
        os.mkdir(os.path.dirname(self.database_path))
        connection = _REAL_CONNECT(self.database_path)
        connection.executescript(_SCHEMA)
        if wal:
            connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
        self.disk = Disk(root, self.database_path)
        self.disk.watch = self.look
        self.write_env(key_text)
        if has_service:
            self.main = Process(key_text)

    @staticmethod
    def refuse_command(argv: list[str]) -> tuple[int, str, str]:
        """Nothing that is done here needs a command."""
        raise AssertionError(f"a command was run: {argv[0]}")

    def installation(self) -> Installation:
        """Return what a new run of a module would make of the options."""
        made = _ModelInstallation(
            {
                "app": "servos", "profile": self.profile, "database": self.database_path, "env_file": self.env_path,
                "state_dir": self.state_dir, "service_manager": "command" if self.has_service else "none",
            },
            run=self.refuse_command,
        )  # fmt: skip
        made.world = self
        return made

    # Keys.

    def write_env(self, key_text: str) -> None:
        """Set the key as an operator with an editor would."""
        with open(self.env_path, "w") as stream:
            stream.write(f"# settings\nPORT=8080\n{VARIABLE}={key_text}\nLAST=1\n")
        self.disk.settle()
        key_bytes = sealed.key_of(key_text)
        assert key_bytes is not None
        self.opener.learn(key_bytes)

    def put_key(self, role: str, key_bytes: bytes) -> None:
        """Put a key file into the state directory."""
        os.makedirs(self.state_dir, mode=0o700, exist_ok=True)
        with open(os.open(os.path.join(self.state_dir, f"{role}.key"), os.O_WRONLY | os.O_CREAT, 0o600), "w") as stream:
            stream.write(key_bytes.hex())
        self.disk.settle()
        self.opener.learn(key_bytes)

    def remove_key(self, role: str) -> None:
        """Remove a key file."""
        os.unlink(os.path.join(self.state_dir, f"{role}.key"))
        self.disk.settle()

    def written_like_env(self, key_bytes: bytes) -> str:
        """Write a key as the one in the env file is written."""
        return key_bytes.hex() if len(self.env_text()) == 64 else base64.b64encode(key_bytes).decode("ascii")

    def env_text(self) -> str:
        """Return the text of the key in the env file."""
        with open(self.env_path) as stream:
            return next((line[len(VARIABLE) + 1 : -1] for line in stream if line.startswith(VARIABLE + "=")), "")

    def keys_on(self, disk: str = "killed") -> dict[str, bytes]:
        """Return the keys by role as they could be read after the run is stopped now."""
        found = {"active": sealed.key_in_env(self.disk.content_on(disk, self.env_path), VARIABLE)}
        for role in ROLES:
            found[role] = sealed.key_in_file(self.disk.content_on(disk, os.path.join(self.state_dir, f"{role}.key")))
        keys = {role: key_bytes for role, key_bytes in found.items() if key_bytes is not None}
        for key_bytes in keys.values():
            self.opener.learn(key_bytes)
        return keys

    # The application.

    def start_main(self) -> bool:
        """Start the service on the env file, unless it refuses: told to, or its canary does not open."""
        self.main = None
        if self.refusals:
            self.refusals -= 1
            return False
        if sealed.key_of(self.env_text()) is None:
            return False
        started = Process(self.env_text())
        canary = next((cells for (kind, unused), cells in self.stored().items() if kind == "canary"), None)
        opened = self.opener.open(canary[0]) if canary else None
        if opened is not None and opened[0] != started.key_bytes:
            return False
        self.main = started
        return True

    def write(self, kind: str, content: str, key_bytes: bytes | None, *, row: int | None = None) -> bool:
        """Store a value as a process with that key does: sealed, or C(empty), C(plain) or C(foreign). False if it is locked out.

        Args:
            row: the row that it replaces.
        """
        return self.fill([(kind, content, key_bytes)], row=row)

    def fill(self, values: t.Iterable[tuple[str, str, bytes | None]], *, row: int | None = None) -> bool:
        """The same for many values, in one transaction."""
        connection = _REAL_CONNECT(self.database_path, timeout=0, isolation_level=None)
        connection.execute("PRAGMA synchronous=OFF")
        said = {}
        try:
            connection.execute("BEGIN IMMEDIATE")
            for kind, content, key_bytes in values:
                if row is not None:
                    connection.execute(f"DELETE FROM {_TABLES[kind]} WHERE rowid = ?", (row,))
                    said[_home(kind), row] = None
                cells = self._cells(kind, content, key_bytes)
                address = connection.execute(_INSERT[kind], cells).lastrowid
                said[_home(kind), t.cast(int, address)] = self.meaning(cells)
            connection.execute("COMMIT")
        except sqlite3.OperationalError:
            return False
        finally:
            connection.close()
        self.truth.update(said)
        self.truth = {address: cells for address, cells in self.truth.items() if cells is not None}
        return True

    def remove_foreign(self) -> None:
        """Remove the rows that hold a value under the lost key."""
        doomed = [address for address, cells in self.stored().items() if any(self.opener.open(word) is None for word in _words(cells))]
        connection = _REAL_CONNECT(self.database_path)
        for kind, row in doomed:
            connection.execute(f"DELETE FROM {_TABLES[kind]} WHERE rowid = ?", (row,))
            self.truth.pop((kind, row), None)
        connection.commit()
        connection.close()

    def _cells(self, kind: str, content: str, key_bytes: bytes | None) -> Cells:
        if content in ("empty", "plain"):
            cells = {"empty": _EMPTY, "plain": _PLAIN}[content][kind]
        else:
            plaintext = f"{MARKER}{next(self._numbers)}-{kind}".encode()
            cells = _sealed(kind, LOST if content == "foreign" else key_bytes, plaintext)
        return cells if isinstance(cells, tuple) else (cells,)

    # What is there.

    def stored(self) -> dict[tuple[str, int], Cells]:
        """Return every row of the database as it would be found after a stop, journals recovered."""
        content = tuple(
            _read(self.database_path + end) if os.path.exists(self.database_path + end) else b"" for end in ("", "-wal", "-journal")
        )
        if content != self._content:
            self._content, self._stored = content, self._read_stored()
        return self._stored

    def _read_stored(self) -> dict[tuple[str, int], Cells]:
        scratch = tempfile.mkdtemp(dir=os.path.dirname(self.root))
        try:
            for end in ("", "-wal", "-journal"):
                if os.path.exists(self.database_path + end):
                    shutil.copyfile(self.database_path + end, os.path.join(scratch, "app.db" + end))
            connection = _REAL_CONNECT(os.path.join(scratch, "app.db"))
            rows = {
                (kind, row[0]): row[1:]
                for kind, columns in _COLUMNS.items()
                for row in connection.execute(f"SELECT rowid, {columns} FROM {_TABLES[kind]}")
            }
            connection.close()
        finally:
            shutil.rmtree(scratch)
        return rows

    def meaning(self, cells: Cells) -> Cells:
        """Return what cells say: what is sealed in them becomes its plaintext, all else stays."""
        if len(cells) == 3:
            found = self.opener.open(cells) if all(cells) else None
            return cells if found is None else (found[1],)
        if isinstance(cells[0], str):
            return tuple(_B64.split(cells[0])) + tuple(self._said(word) for word in _B64.findall(cells[0]))
        found = self.opener.open(cells[0]) if cells[0] else None
        return cells if found is None else (found[1],)

    def _said(self, word: str) -> t.Any:
        found = self.opener.open(word)
        return word if found is None else found[1]

    def census(self) -> dict[bytes | None, int]:
        """Count the sealed values by the key that opens them, None for those that no key opens that was ever seen."""
        counts: dict[bytes | None, int] = {}
        for cells in self.stored().values():
            for word in _words(cells):
                found = self.opener.open(word)
                key_bytes = found[0] if found else None
                counts[key_bytes] = counts.get(key_bytes, 0) + 1
        return counts

    def look(self) -> None:
        """Hold what is there now against what must always be; what is wrong is added to the trouble."""
        last = self.disk.trace[-1] if self.disk.trace else "a rule"
        on = {disk: self.keys_on(disk) for disk in DISKS}
        stored = self.stored()
        if stored is not self._seen:
            self._seen, self._needed = stored, {key_bytes for key_bytes in self.census() if key_bytes is not None}
            said = {address: self.meaning(cells) for address, cells in stored.items()}
            if said == self.truth_restored:
                self.truth, self.truth_restored = dict(said), None
            if said != self.truth:
                wrong = sorted(str(a) for a in set(said) | set(self.truth) if said.get(a) != self.truth.get(a))
                self.trouble.append(f"after {last}: {', '.join(wrong)} does not say what was written last")
        for disk, keys in on.items():
            lost = self._needed - set(keys.values())
            if lost:
                self.trouble.append(f"after {last}, {disk}: {len(lost)} of the keys that values are under is in no file")

    def backups(self) -> set[str]:
        """Return the paths of the backups that are whole: those with a note."""
        names = os.listdir(self.backup_dir) if os.path.isdir(self.backup_dir) else []
        return {os.path.join(self.backup_dir, name) for name in names if name.endswith(".db") and f"{name}.json" in names}

    def leaks(self) -> list[str]:
        """Name the files that hold a key or a plaintext and must not, and those of keys that others may read."""
        found = []
        homes = {self.env_path} | {os.path.join(self.state_dir, f"{role}.key") for role in ROLES}
        homes |= {os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.servos-ops-new") for path in homes}
        forms = [form for key_bytes in self.opener.keys for form in sealed.spellings(key_bytes)]
        for path, (mode, content) in self.disk.tree().items():
            if content is None:
                continue
            if MARKER.encode() in content:
                found.append(f"{path} holds a plaintext")
            has_key = any(form in content for form in forms)
            if has_key and path not in homes:
                found.append(f"{path} holds a key")
            if has_key and path.startswith(self.state_dir) and mode & 0o077:
                found.append(f"{path} may be read by others")
        return found

    def tells(self, text: str) -> bool:
        """Tell whether a text gives a key or a plaintext away."""
        forms = [form for key_bytes in self.opener.keys for form in sealed.spellings(key_bytes)[1:]]
        return MARKER in text or any(form.decode("ascii") in text for form in forms)


def _words(cells: Cells) -> list[t.Any]:
    """Return what looks sealed in the cells of a row."""
    if len(cells) == 3:
        return [cells] if any(cells) else []
    if isinstance(cells[0], str):
        return list(_B64.findall(cells[0]))
    return [cells[0]] if cells[0] and len(cells[0]) >= 28 else []


def _home(kind: str) -> str:
    return "json" if kind == "deep" else kind


def _sealed(kind: str, key_bytes: bytes | None, plaintext: bytes) -> t.Any:
    assert key_bytes is not None
    if kind == "blob":
        return sealed.raw(key_bytes, plaintext)
    if kind == "hex":
        return sealed.columns(key_bytes, plaintext)
    word = sealed.text(key_bytes, plaintext)
    if kind == "json":
        return f'{{"token" : "{word}", "n": 1.50, "token_hint": "sm"}}'
    if kind == "deep":
        return json.dumps({"more": {"deep": [word, "x", sealed.text(key_bytes, plaintext + b"-2")]}})
    return word


def _read(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()


def _root_of_tests() -> str:
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir()


@contextlib.contextmanager
def worlds() -> Iterator[Callable[..., World]]:
    """Lend a maker of worlds in memory; they are removed at the end. Processes are looked up in the newest one."""
    base = tempfile.mkdtemp(prefix="servos-ops-states-", dir=_root_of_tests())
    numbers = itertools.count(1)
    newest: list[World] = []

    def make(*, key_text: str, **facts: t.Any) -> World:
        root = os.path.join(base, str(next(numbers)))
        os.mkdir(root)
        newest[:] = [World(root, key_text=key_text, **facts)]
        return newest[0]

    def running() -> dict[int, str]:
        return {process.pid: process.key_text for process in (newest[0].main, *newest[0].forgotten) if process is not None}

    def variable_of(pid: int, name: str) -> str | None:
        if pid not in running():
            raise ProcessLookupError(pid)
        return running()[pid] if name == VARIABLE else None

    def environments() -> Environments:
        return Environments({pid: f"PATH=/bin\0{VARIABLE}={text}\0".encode() for pid, text in running().items()}, 0)

    patches = [
        (installation_room, "process_variable", variable_of),
        (holders_room, "environments", environments),
        (holders_room, "name_of", lambda unused_pid: "model"),
        (services_room, "time", _Clock()),
    ]
    real = [(room, name, getattr(room, name)) for room, name, unused in patches]
    try:
        for room, name, replaced in patches:
            setattr(room, name, replaced)
        yield make
    finally:
        for room, name, original in real:
            setattr(room, name, original)
        shutil.rmtree(base)
