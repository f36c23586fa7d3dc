# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""From a database URL to a store."""

from __future__ import annotations

from .._errors import StoreError
from .database import Database, Place, SnapshotForm
from .json_file import JsonFile, JsonSnapshots
from .libsql_server import LibsqlServer
from .libsql_url import SCHEMES, server_of
from .postgres_copy import PostgresDumps
from .postgres_programs import Runner
from .postgres_server import PostgresServer
from .postgres_url import SCHEMES as POSTGRES_SCHEMES
from .postgres_url import address_of
from .sqlite_file import SqliteFile, SqliteSnapshots

_JSON = "json:"
# By the end of the file's name; every form that any place has.
_FORMS: dict[str, SnapshotForm] = {form.suffix: form for form in (SqliteSnapshots(), JsonSnapshots(), PostgresDumps())}


def place_of(
    url: str, *, token_path: str | None = None, password_path: str | None = None, run: Runner | None = None
) -> Place:
    """Return where the database of a URL is, whether there is one or not.

    Args:
        url: V(postgresql://user@host/name), V(libsql://host) or V(https://host) of a server, else see C(path_of).
        token_path: the file with a libSQL server's token, if it asks for one.
        password_path: the file with the password of the role at a PostgreSQL server, if libpq does not find it by itself.
        run: what runs the client programs of a PostgreSQL server, for whoever makes, reads or puts back a snapshot.

    Raises:
        StoreError: the URL is not understood, names a relative path, or holds a token or password.
    """
    if url.partition("://")[0] in POSTGRES_SCHEMES:
        return PostgresServer(address_of(url), password_path, run)
    if url.partition("://")[0] in SCHEMES:
        return LibsqlServer(server_of(url), token_path)
    return JsonFile(path_of(url)) if url.startswith(_JSON) else SqliteFile(path_of(url))


def open_database(url: str) -> Database:
    """Return an existing database that asks for no token."""
    return place_of(url).open()


def form_of(path: str) -> SnapshotForm | None:
    """Return the form of the snapshot that a file is by its name, or None where it is no name of a snapshot."""
    return next((form for suffix, form in _FORMS.items() if path.endswith(suffix)), None)


def open_snapshot(path: str) -> Database:
    """Return a snapshot, or another database file on this host, to read."""
    return (form_of(path) or (JsonSnapshots() if path.endswith(".json") else SqliteSnapshots())).open(path)


def path_of(url: str) -> str:
    """Return the path that a database URL names, whether there is a file or not.

    Args:
        url: V(sqlite:////absolute/path), V(json:////absolute/path), or the absolute path of a SQLite database itself.

    Raises:
        StoreError: another kind of URL, or a relative path.
    """
    if url.startswith("/"):
        return url
    scheme, separator, rest = url.partition(":")
    if not separator or scheme not in ("sqlite", "file", "json"):
        raise StoreError(
            f"the database URL of scheme {scheme!r} is not supported; use postgresql://user@host/name, sqlite:////absolute/path, "
            "json:////absolute/path or libsql://host (database)"
        )
    if scheme == "json" and rest.startswith("//"):  # nobody writes a relative one with three slashes, so they say as much as four
        host, unused_slash, path = rest[2:].partition("/")
        rest = host or "/" + path.lstrip("/")
    # sqlite:///relative and sqlite:////absolute, as SQLAlchemy writes them; file:/absolute, as SQLite does.
    path = rest[3:] if scheme == "sqlite" and rest.startswith("///") else rest
    if not path.startswith("/"):
        raise StoreError(f"the database URL names a relative path; write {scheme}:////absolute/path, with four slashes (database)")
    return path.split("?", 1)[0]


__all__ = ("form_of", "open_database", "open_snapshot", "path_of", "place_of")
