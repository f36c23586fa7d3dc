# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""From a database URL to a store."""

from __future__ import annotations

from .._errors import StoreError
from .sqlite import SqliteDatabase


def open_database(url: str) -> SqliteDatabase:
    """Return the store of an existing database; see C(path_of)."""
    return SqliteDatabase(path_of(url))


def path_of(url: str) -> str:
    """Return the path that a database URL names, whether there is a file or not.

    Args:
        url: V(sqlite:////absolute/path), or the absolute path itself.

    Raises:
        StoreError: another kind of URL, or a relative path.
    """
    if url.startswith("/"):
        return url
    scheme, separator, rest = url.partition(":")
    if not separator or scheme not in ("sqlite", "file"):
        raise StoreError(f"the database URL of scheme {scheme!r} is not supported; use sqlite:////absolute/path (database)")
    # sqlite:///relative and sqlite:////absolute, as SQLAlchemy writes them; file:/absolute, as SQLite does.
    path = rest[3:] if scheme == "sqlite" and rest.startswith("///") else rest
    if not path.startswith("/"):
        raise StoreError("the database URL names a relative path; write sqlite:////absolute/path, with four slashes (database)")
    return path.split("?", 1)[0]


__all__ = ("open_database", "path_of")
