# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every write below one folder, counted; the run can be stopped before any of them; and what is on the disk then.

A stopped run leaves one of three disks:

=========  ==========================================================================================================
killed     all that was written is there; only the process is gone
power cut  nothing is there that was not fsynced: content of a file by fsync of the file, its name by fsync of its folder
torn       every name is there, and no content that was not fsynced
=========  ==========================================================================================================

A real disk lies somewhere between the last two. SQLite's own files are taken at their word: what it committed is there.
Unwinding the Python stack cannot mend anything either: every later write is refused, and the disk is put back to what it
was at the moment of the stop.
"""

from __future__ import annotations

import contextlib
import copy
import os
import shutil
import sqlite3
import typing as t
from collections.abc import Callable, Iterator

DISKS = ("killed", "power cut", "torn")
_OUR_STATEMENTS = ("BEGIN", "COMMIT", "UPDATE", "VACUUM")
_REAL = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "rename", "unlink", "mkdir", "rmdir")}
_REAL_CONNECT = sqlite3.connect

Tree = dict[str, tuple[int, bytes | None]]


class Stopped(BaseException):
    """The run ends here, as if its process were gone."""


class _Folder:
    """Stands for a directory where a file has its own token."""

    def __deepcopy__(self, unused_memo: object) -> _Folder:
        return self


_FOLDER = _Folder()


class _Token:
    """One file, whatever its name is."""

    def __init__(self, content: bytes) -> None:
        self.content = content


class Disk:
    """One folder. C(watch) is called after every write of the run, and C(at) before the write of that number."""

    def __init__(self, root: str, database: str) -> None:
        self.root = root
        self._database = database
        self._live: dict[str, _Token | _Folder] = {}
        self._durable: dict[str, dict[str, _Token | _Folder]] = {}
        self.watch: Callable[[], None] = lambda: None
        self._left: Tree | None = None
        self._stop: tuple[str, int] | None = None
        self._at: dict[int, Callable[[], None]] = {}
        self._is_busy = False
        self.trace: list[str] = []

    def settle(self) -> None:
        """Take all that is there as durable."""
        self._live, self._durable = {}, {self.root: {}}
        for folder, folders, files in os.walk(self.root):
            self._durable[folder] = {}
            for name in folders:
                self._live[os.path.join(folder, name)] = self._durable[folder][name] = _FOLDER
            for name in files:
                path = os.path.join(folder, name)
                if not self._is_databases(path):
                    self._live[path] = self._durable[folder][name] = _Token(_content(path))

    def _is_databases(self, path: str) -> bool:
        return path.startswith(self._database)

    def content_on(self, disk: str, path: str) -> bytes | None:
        """Return the content that a file would have if the run were stopped now."""
        if disk == "killed":
            return _content(path) if os.path.exists(path) else None
        found = self._live.get(path) if disk == "torn" else self._durable_token(path)
        return found.content if isinstance(found, _Token) else None

    def _durable_token(self, path: str) -> _Token | _Folder | None:
        folder, name = os.path.split(path)
        if folder != self.root and self._durable_token(folder) is not _FOLDER:
            return None
        return self._durable.get(folder, {}).get(name)

    def tree(self, disk: str = "killed") -> Tree:
        """Return every file that would be there: mode and content, None for a folder."""
        found: Tree = {}
        names = set(self._live) | {os.path.join(folder, name) for folder, inside in self._durable.items() for name in inside}
        for folder, folders, files in os.walk(self.root):
            names.update(os.path.join(folder, name) for name in (*folders, *files))
        for path in sorted(names):
            if path.endswith("-shm"):
                continue
            mode = os.stat(path).st_mode & 0o777 if os.path.exists(path) else 0o600
            if disk == "killed" or self._is_databases(path):
                if os.path.exists(path):
                    found[path] = (mode, None if os.path.isdir(path) else _content(path))
                continue
            token = self._live.get(path) if disk == "torn" else self._durable_token(path)
            if token is not None:
                found[path] = (mode, token.content if isinstance(token, _Token) else None)
        return found

    def saved(self) -> t.Any:
        """Return all there is, and what of it is durable, for C(reset)."""
        return self.tree(), copy.deepcopy((self._live, self._durable))

    def reset(self, saved: t.Any) -> None:
        """Take everything back."""
        self.restore(saved[0])
        self._live, self._durable = saved[1]

    def restore(self, tree: Tree) -> None:
        """Make the folder what it was; all of that is durable."""
        for entry in os.scandir(self.root):
            shutil.rmtree(entry.path) if entry.is_dir() else os.unlink(entry.path)
        for path, (mode, content) in tree.items():
            if content is None:
                os.mkdir(path)
            else:
                with open(path, "wb") as stream:
                    stream.write(content)
            os.chmod(path, mode)
        self.settle()

    def boundary(self, what: str) -> None:
        """Something is about to be written, or the service to be stopped or started."""
        if self._left is not None:
            raise Stopped
        self.trace.append(what)
        number = len(self.trace)
        if number in self._at:
            self._outside(self._at[number])
        if self._stop is not None and self._stop[1] == number:
            self._left = self.tree(self._stop[0])
            raise Stopped

    def _outside(self, act: Callable[[], None]) -> None:
        """Do something as somebody else: it is not counted."""
        self._is_busy = True
        try:
            act()
        finally:
            self._is_busy = False

    def after(self) -> None:
        """Something was written."""
        self._outside(self.watch)

    @contextlib.contextmanager
    def run(self, *, stop: tuple[str, int] | None = None, at: dict[int, Callable[[], None]] | None = None) -> Iterator[None]:
        """Count the writes of the block; stop it before one of them, on one of the three disks.

        Raises:
            Stopped: it was stopped; the disk is as it was then.
        """
        self._stop, self._at, self._left, self.trace = stop, at or {}, None, []
        patched = {name: getattr(self, f"_{name}") for name in _REAL}
        for name, function in patched.items():
            setattr(os, name, function)
        sqlite3.connect = self._connect
        try:
            yield
            if stop is not None and stop[1] == len(self.trace) + 1:
                self._left = self.tree(stop[0])  # at the very end: all was done, and the answer is lost
        finally:
            for name, function in _REAL.items():
                setattr(os, name, function)
            sqlite3.connect = _REAL_CONNECT
            left, self._left, self._stop, self._at = self._left, None, None, {}
            if left is not None:
                self.restore(left)
        if left is not None:
            raise Stopped

    def _ours(self, path: t.Any) -> str | None:
        if self._is_busy:
            return None
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        path = os.path.abspath(path)
        return path if path == self.root or path.startswith(self.root + "/") else None

    def _open(self, path: t.Any, flags: int, mode: int = 0o777, **options: t.Any) -> int:
        ours = self._ours(path) if flags & os.O_CREAT and not os.path.lexists(path) else None
        if ours is None:
            return _REAL["open"](path, flags, mode, **options)
        self.boundary(f"create {os.path.basename(ours)}")
        descriptor = _REAL["open"](path, flags, mode, **options)
        if not self._is_databases(ours):
            self._live[ours] = _Token(b"")
        self.after()
        return descriptor

    def _write(self, descriptor: int, content: t.Any) -> int:
        ours = self._ours(descriptor)
        if ours is None:
            return _REAL["write"](descriptor, content)
        self.boundary(f"write {os.path.basename(ours)}")
        written = _REAL["write"](descriptor, content)
        self.after()
        return written

    def _fsync(self, descriptor: int) -> None:
        ours = self._ours(descriptor)
        if ours is None:
            return
        self.boundary(f"fsync {os.path.basename(ours)}")
        token = self._live.get(ours)
        if isinstance(token, _Token):
            token.content = _content(ours)
        elif os.path.isdir(ours):
            self._durable[ours] = {os.path.basename(path): what for path, what in self._live.items() if os.path.dirname(path) == ours}
        self.after()

    def _replace(self, source: t.Any, target: t.Any, **options: t.Any) -> None:
        ours = self._ours(source)
        if ours is None:
            return _REAL["replace"](source, target, **options)
        self.boundary(f"rename {os.path.basename(ours)} to {os.path.basename(target)}")
        _REAL["replace"](source, target, **options)
        if ours in self._live:
            self._live[os.path.abspath(target)] = self._live.pop(ours)
        self.after()
        return None

    _rename = _replace

    def _unlink(self, path: t.Any, **options: t.Any) -> None:
        ours = self._ours(path) if os.path.lexists(path) else None
        if ours is None:
            return _REAL["unlink"](path, **options)
        self.boundary(f"unlink {os.path.basename(ours)}")
        _REAL["unlink"](path, **options)
        self._live.pop(ours, None)
        self.after()
        return None

    def _mkdir(self, path: t.Any, mode: int = 0o777, **options: t.Any) -> None:
        ours = self._ours(path)
        if ours is None:
            return _REAL["mkdir"](path, mode, **options)
        self.boundary(f"mkdir {os.path.basename(ours)}")
        _REAL["mkdir"](path, mode, **options)
        self._live[ours] = _FOLDER
        self._durable[ours] = {}
        self.after()
        return None

    def _rmdir(self, path: t.Any, **options: t.Any) -> None:
        ours = self._ours(path)
        if ours is None:
            return _REAL["rmdir"](path, **options)
        self.boundary(f"rmdir {os.path.basename(ours)}")
        _REAL["rmdir"](path, **options)
        self._live.pop(ours, None)
        self.after()
        return None

    def _connect(self, database: t.Any, *arguments: t.Any, **options: t.Any) -> sqlite3.Connection:
        """A connection whose commits are counted; and which does not wait for the real disk."""
        if self._is_busy:
            return _REAL_CONNECT(database, *arguments, **options)
        disk = self

        class Watched(sqlite3.Connection):
            def execute(self, sql: str, *parameters: t.Any) -> sqlite3.Cursor:
                if sql.startswith("PRAGMA synchronous"):
                    sql = "PRAGMA synchronous=OFF"
                if not sql.startswith(_OUR_STATEMENTS) and "wal_checkpoint" not in sql:
                    return super().execute(sql, *parameters)
                disk.boundary(sql.split()[0] if "PRAGMA" not in sql else "checkpoint")
                done = super().execute(sql, *parameters)
                disk.after()
                return done

            def backup(self, target: sqlite3.Connection, **options: t.Any) -> None:
                disk.boundary("copy")
                super().backup(target, **options)
                disk.after()

        connection = _REAL_CONNECT(database, *arguments, factory=Watched, **options)
        with contextlib.suppress(sqlite3.OperationalError):  # read-only, and a journal is to be recovered first
            sqlite3.Connection.execute(connection, "PRAGMA synchronous=OFF")
        return connection


def _content(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read()
