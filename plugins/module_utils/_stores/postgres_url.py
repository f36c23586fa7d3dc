# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The URL of a PostgreSQL database: what libpq is given, and how the database is named where others can read it. Pure.

Source: https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from __future__ import annotations

import typing as t
import urllib.parse

from .._errors import StoreError
from .._system.addresses import is_loopback

SCHEMES = ("postgresql", "postgres")
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
_NAMING = ("host", "hostaddr", "port", "dbname", "service")
_HOW = "write postgresql://user@host:5432/name (database)"


class Address(t.NamedTuple):
    """Where a PostgreSQL database is spoken to.

    C(url) is for libpq and holds no password. C(name) is for people and notes: servers and database, without user and options.
    """

    url: str
    name: str


def address_of(url: str) -> Address:
    """Read the URL of a PostgreSQL database.

    A server that is neither this host nor a socket is spoken to by TLS unless the URL itself says otherwise (V(sslmode)): libpq
    alone would go on in clear where the server, or somebody between, says no.

    Raises:
        StoreError: malformed, without a database, or with a password where everybody can read it.
    """
    scheme, separator, rest = url.partition("://")
    before, unused_mark, query_text = rest.partition("?")
    authority, unused_slash, database = before.partition("/")
    user, at, hosts = authority.rpartition("@")
    if scheme not in SCHEMES or not separator or "#" in url or any(character <= " " for character in url):
        raise StoreError(f"the database URL is malformed; {_HOW}")
    try:
        # libpq takes a plus sign for itself, not for a blank.
        query = urllib.parse.parse_qsl(query_text.replace("+", "%2B"), keep_blank_values=True, strict_parsing=bool(query_text))
    except ValueError:
        raise StoreError(f"the query of the database URL is malformed; {_HOW}") from None
    options = dict(query)
    if ":" in user or "@" in user or any(name in options for name in _SECRETS):
        raise StoreError(
            "the database URL holds a password, which would then stand in inventories, logs and process lists; nothing was sent; take "
            "it out of the URL (database), put it into a file on the managed host, and name that (database_password_file), or use "
            "~/.pgpass or a service there"
        )
    # A slash or question mark in a password ends what libpq takes for host and port.
    if _has_odd_port(hosts) or (":" in authority and "@" in database):
        raise StoreError(
            "what follows a colon in the database URL is no port, which is a number; nothing was sent; "
            f"{_HOW}, and put a password into a file on the managed host (database_password_file)"
        )
    if not database and not options.get("dbname") and not options.get("service"):
        raise StoreError(f"the database URL names no database; {_HOW}")
    if "sslmode" not in options and "service" not in options and not _is_near(hosts, options):
        query.append(("sslmode", "require"))
    text = urllib.parse.urlencode(query, quote_via=urllib.parse.quote)
    named = urllib.parse.urlencode([(name, value) for name, value in query if name in _NAMING], quote_via=urllib.parse.quote, safe="/")
    return Address(
        f"postgresql://{user}{at}{hosts}/{database}{'?' + text if text else ''}",
        f"postgresql://{hosts}/{database}{'?' + named if named else ''}",
    )


def url_with(url: str, *, database: str | None = None, **options: str) -> str:
    """Return the URL of an C(Address) with another database, or with options that replace its own."""
    before, unused_mark, query_text = url.partition("?")
    query = dict(urllib.parse.parse_qsl(query_text.replace("+", "%2B"), keep_blank_values=True))
    if database is not None:
        query.pop("dbname", None)
        scheme, unused_separator, rest = before.partition("://")
        before = f"{scheme}://{rest.partition('/')[0]}/{urllib.parse.quote(database, safe='')}"
    text = urllib.parse.urlencode({**query, **options}, quote_via=urllib.parse.quote)
    return f"{before}{'?' + text if text else ''}"


def _is_near(hosts: str, options: t.Mapping[str, str]) -> bool:
    """Tell whether nothing leaves this host: sockets and loopback addresses only."""
    given = options.get("hostaddr") or options.get("host") or hosts
    return all(_is_socket(name) or is_loopback(name) for name in map(_host_alone, given.split(",")))


def _has_odd_port(hosts: str) -> bool:
    ports = (host.rpartition("]")[2].partition(":")[2] for host in hosts.split(","))
    return any(port and not port.isdigit() for port in ports)


def _host_alone(host: str) -> str:
    host = urllib.parse.unquote(host)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host if host.count(":") > 1 else host.partition(":")[0]


def _is_socket(host: str) -> bool:
    return not host or host.startswith(("/", "@"))


__all__ = ("SCHEMES", "Address", "address_of", "url_with")
