# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The programs pg_dump and pg_restore: the right pair of them, told no secret in its arguments, and what they answer.

Sources: https://www.postgresql.org/docs/current/app-pgdump.html, https://www.postgresql.org/docs/current/app-pgrestore.html,
https://www.postgresql.org/docs/current/libpq-pgpass.html
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import shutil
import typing as t

from .._errors import StoreBusyError, StoreError
from .._system.memory_file import memory_file, path_in_child
from .postgres_connection import password_of
from .postgres_url import Address, url_with

# argv and the descriptors that the program keeps; exit code, output and errors.
Runner = t.Callable[[t.List[str], t.Sequence[int]], t.Tuple[int, str, str]]

_FOLDERS = ("/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(\S*)")
_QUOTED_DATA = re.compile(r'(ERROR:[^"]*?): ".*')
_HINTS = (
    ("policy", "connect as the owner of the tables or as a role with BYPASSRLS"),
    ("permission denied to create extension", "connect as a role that may create that extension"),
    ("permission denied for large object", "grant the role SELECT ON LARGE OBJECT, or connect as the owner"),
    ("permission denied", "grant the role SELECT on every table and sequence, or connect as their owner"),
    ("must be owner", "connect as the owner of the tables"),
    ("must be able to SET ROLE", "connect as a member of the role that owns the tables"),
    ("must be member of role", "connect as a member of the role that owns the tables"),
    ("other objects depend on it", "drop what depends on it and is not in the backup, or restore into an empty database"),
    ("does not appear to be a valid archive", "choose another backup"),
    ("unsupported version", "install the client programs of the version that made it"),
    ("server closed the connection", "see to the server, then run the same command again"),
)  # fmt: skip


class PostgresPrograms:
    """Runs the client programs against one database."""

    def __init__(self, address: Address, password_path: str | None, run: Runner | None) -> None:
        self.address = address
        self.password_path = password_path
        self._run = run

    def folder_for(self, server_major: int) -> str:
        """Return the folder with the pair of programs that fits a server best.

        That is the server's own version, since what a newer pg_restore sends, an older server may not know; else what PATH has, else
        the newest.

        Raises:
            StoreError: there is none, or all are older than the server.
        """
        found: list[tuple[int, str]] = []
        for folder in dict.fromkeys(_folders(server_major)):
            version = self._version_in(folder)
            if version is None:
                continue
            if version[0] >= server_major:
                return folder
            found.append((version[0], f"pg_dump {version[1]} in {folder}"))
        package = f"Debian, Ubuntu: postgresql-client-{server_major}; RHEL, Fedora: postgresql{server_major} or postgresql"
        if found:
            raise StoreError(
                f"the server of {self.address.name} is PostgreSQL {server_major}, and the newest client programs on this host are older "
                f"({max(found)[1]}), which cannot dump it; nothing was changed; install the package of that version ({package})"
            )
        raise StoreError(
            f"a backup of {self.address.name} needs pg_dump and pg_restore on the managed host, and they are not there; nothing was "
            f"changed; install the package ({package})"
        )

    def call(
        self, program: str, *argv: str, url: str | None = None, use_list: str | None = None, kept: t.Sequence[int] = ()
    ) -> tuple[int, str, str]:
        """Run a program; with C(url) on that database, with C(use_list) on these lines of an archive's list. It keeps
        the descriptors C(kept).

        The password, if it comes from a file, reaches it as a password file that lies in memory.
        """
        if self._run is None:
            raise StoreError(
                f"no program can be run for {self.address.name} here; nothing was changed; "
                "this is a fault of servos.ops: report it"
            )
        arguments, descriptors = [program, *argv], list(kept)
        with contextlib.ExitStack() as stack:
            if use_list is not None:
                descriptors.append(stack.enter_context(memory_file(use_list.encode("utf-8", "surrogateescape"))))
                arguments.append(f"--use-list={path_in_child(descriptors[-1])}")
            if url is not None:
                if self.password_path is not None:
                    line = f"*:*:*:*:{_escaped(password_of(self.password_path))}\n"
                    descriptors.append(stack.enter_context(memory_file(line.encode("utf-8"))))
                    url = url_with(url, passfile=path_in_child(descriptors[-1]))
                arguments += ["--no-password", f"--dbname={url}"]
            try:
                return self._run(arguments, descriptors)
            except OSError as error:
                raise StoreError(
                    f"cannot run {program}: {os.strerror(error.errno or 0)}; nothing was changed; "
                    "see to that, then run again"
                ) from None

    def _version_in(self, folder: str) -> tuple[int, str] | None:
        if not all(os.access(os.path.join(folder, name), os.X_OK) for name in ("pg_dump", "pg_restore")):
            return None
        code, output, unused_errors = self.call(os.path.join(folder, "pg_dump"), "--version")
        match = _VERSION.search(output)
        return (int(match.group(1)), match.group(1) + match.group(2)) if code == 0 and match else None


def refusal(what: str, errors: str, *, room_on: str | None = None) -> StoreError:
    """Say why a program failed. Its lines may quote rows (DETAIL, CONTEXT), so only the first error's own words are shown."""
    said = _first_error(errors)
    if "No space left on device" in said or "Disk quota exceeded" in said:
        disk = f"no space is left on the disk of {room_on}" if room_on and "ERROR:" not in said else "the server has no space left"
        return StoreError(f"{what} failed: {disk}; nothing was changed; make room and run again")
    if "lock timeout" in said:
        return StoreBusyError(f"{what} failed: a table stayed locked by another session; nothing was changed; end that, then run again")
    hint = next((hint for sign, hint in _HINTS if sign in said), "see to that, then run again")
    return StoreError(f"{what} failed: {said}; nothing was changed; {hint}")


def _first_error(errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    found = next((line.partition("error:")[2].strip() for line in lines if "error:" in line), lines[0] if lines else "without a word")
    return _QUOTED_DATA.sub(r"\1", found)[:400]


def _folders(major: int) -> list[str]:
    on_path = shutil.which("pg_dump")
    every = [path for pattern in _FOLDERS for path in glob.glob(pattern.format(major="*"))]
    newest_first = sorted(every, key=lambda path: int("0" + "".join(filter(str.isdigit, path))), reverse=True)
    return [pattern.format(major=major) for pattern in _FOLDERS] + ([os.path.dirname(on_path)] if on_path else []) + newest_first


def _escaped(password: str) -> str:
    return password.replace("\\", "\\\\").replace(":", "\\:")


__all__ = ("PostgresPrograms", "Runner", "refusal")
