# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The URL of a libSQL server: whom we speak to, and how it is named where others can read it.

Source: https://github.com/tursodatabase/libsql/blob/main/docs/HRANA_3_SPEC.md, and the URLs of the libSQL clients.
"""

from __future__ import annotations

import typing as t
import urllib.parse

from .._errors import StoreError
from .._system.addresses import is_loopback

SCHEMES = ("libsql", "https", "http", "wss", "ws")
_TOKEN_NAMES = ("authtoken", "token", "auth_token", "jwt")


class Server(t.NamedTuple):
    """Where a libSQL database is spoken to.

    C(path) is what stands before the protocol's own paths, without a slash at its end. C(name) is for people and notes: it is the
    same however the URL was written, and holds neither token nor query.
    """

    is_tls: bool
    host: str
    port: int
    path: str

    @property
    def name(self) -> str:
        """Name it in messages, and in the notes of backups."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        shown_port = "" if self.port == (443 if self.is_tls else 80) else f":{self.port}"
        return f"libsql://{host}{shown_port}{self.path}"


def server_of(url: str) -> Server:
    """Read the URL of a libSQL database.

    Raises:
        StoreError: malformed, plain HTTP to another host, or a token where everybody can read it.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port
        query = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise StoreError("the database URL is malformed; write libsql://host or https://host (database)") from None
    if any(name.lower() in _TOKEN_NAMES for name, unused in query) or parts.username or parts.password:
        raise StoreError(
            "the database URL holds a token, which would then stand in inventories, logs and notes; nothing was sent; "
            "take it out of the URL (database), put it into a file on the managed host, and name that (database_token_file)"
        )
    if not host or parts.fragment or any(character <= " " for character in url):
        raise StoreError("the database URL is malformed; write libsql://host or https://host (database)")
    is_tls = parts.scheme in ("libsql", "https", "wss")
    for name, value in query:
        if name != "tls" or parts.scheme != "libsql" or value not in ("0", "1"):
            raise StoreError("the database URL has a query that is not understood; only libsql://host?tls=0 has one (database)")
        is_tls = value == "1"
    if not is_tls and not is_loopback(host):
        raise StoreError(
            f"the database at {host} would be spoken to in plain HTTP, and its token would cross the network in clear; "
            "nothing was sent; use libsql:// or https:// (database)"
        )
    return Server(is_tls, host, port or (443 if is_tls else 80), parts.path.rstrip("/"))


__all__ = ("SCHEMES", "Server", "server_of")
