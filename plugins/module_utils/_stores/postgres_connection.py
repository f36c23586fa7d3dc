# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Connections to a PostgreSQL server by psycopg 3, and what its refusals mean to a person.

Sources: https://www.psycopg.org/psycopg3/docs/, https://www.postgresql.org/docs/current/errcodes-appendix.html,
https://www.postgresql.org/docs/current/runtime-config-client.html
"""

from __future__ import annotations

import contextlib
import typing as t

from .._errors import FileError, StoreBusyError, StoreError, StoreLostError
from .._system import files
from .postgres_url import Address

_MINIMUM_SERVER = 120000  # joins by the row's place, which a rewrap lives on, are quick from 12 on
_CONNECT_TIMEOUT_S = 10
# Where the other end vanished (a power cut, a firewall) each side learns it in two minutes: by default it is hours, in which the
# server would hold our locks against the next run.
_KEPT_ALIVE = {"keepalives_idle": "60", "keepalives_interval": "10", "keepalives_count": "6"}
_TID_OID = 27
_LOST = ("08", "57P01", "57P02", "57P03")
# Rows that a policy hides end a read instead of being passed over.
_SESSION = (
    "SET client_encoding = 'UTF8'; SET row_security = off; SET client_min_messages = error; SET default_transaction_deferrable = off"
)
# No limit of the role's ends a long transaction half-way, or a session that waits; some came with PostgreSQL 14 and 17.
_NO_LIMITS = f"""SELECT set_config(name, value, false) FROM pg_settings JOIN (VALUES ('statement_timeout', '0'),
('transaction_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'),
{", ".join(f"('tcp_{name}', '{value}')" for name, value in _KEPT_ALIVE.items())}) AS wanted (name, value) USING (name)"""
_BEFORE_LOGIN = (
    ("password authentication failed", "see to user and password (the URL's user, database_password_file, ~/.pgpass)"),
    ("no password supplied", "name a file with the password on the managed host (database_password_file), or use ~/.pgpass there"),
    ("does not support SSL", "let the server offer TLS; or, where the network is trusted, write sslmode=disable into the URL"),
    ("certificate", "see to sslmode, sslrootcert and the name in the URL"),
    ("SSL", "see to sslmode and sslrootcert in the URL"),
    ("pg_hba.conf", "let the server's pg_hba.conf admit this user from this host"),
    ("Peer authentication", "name the user that the module runs as, or connect over TCP with a password"),
    ("does not exist", "name the right database, and a role that is there (database)"),
    ("too many c", "wait, or raise the server's limit of connections"),
    ("starting up", "wait until the server is up, then run the same command again"),
    ("", "see that the server runs and can be reached from this host (database)"),
)


class Tid(bytes):
    """Where a row lies in its table, as the server sends it (type tid, 6 bytes)."""


def driver() -> t.Any:
    """Return psycopg; loaded only where a database of this kind is named.

    Raises:
        StoreError: it is not installed, or too old.
    """
    try:
        import psycopg
        import psycopg.adapt
    except ImportError as error:
        raise StoreError(
            f"a PostgreSQL database needs the Python library psycopg 3 with libpq on the managed host ({str(error).splitlines()[0]}); "
            "nothing was changed; install it (Debian, Ubuntu: package python3-psycopg; Fedora: python3-psycopg3; else pip: "
            "psycopg[binary]) for the Python that Ansible uses there"
        ) from None
    return psycopg


def connect(address: Address, password_path: str | None, *, lock_timeout_s: float = 30.0, autocommit: bool = True) -> t.Any:
    """Open a session with what every one of ours needs.

    Raises:
        StoreError: no server, a pooler, refused, too old, or text of no known encoding; nothing was changed.
    """
    library = driver()
    given = {name: value for name, value in _KEPT_ALIVE.items() if f"{name}=" not in address.url}
    if password_path:
        given["password"] = password_of(password_path)
    try:
        connection = library.connect(
            address.url, autocommit=autocommit, connect_timeout=_CONNECT_TIMEOUT_S, application_name="servos.ops", **given
        )
    except library.Error as error:
        raise _refused_login(address, error) from None
    try:
        with translated(address):
            _prepare(library, connection, address, lock_timeout_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(library: t.Any, connection: t.Any, address: Address, lock_timeout_s: float) -> None:
    if connection.info.server_version < _MINIMUM_SERVER:
        found = connection.info.server_version // 10000
        raise StoreError(f"the server of {address.name} is PostgreSQL {found}; nothing was changed; upgrade it to 12 at least")
    encoding = connection.info.parameter_status("server_encoding")
    if encoding == "SQL_ASCII":
        raise StoreError(
            f"the database {address.name} has the encoding SQL_ASCII, so that nobody knows what its text is; nothing was changed; "
            "move it into a database in UTF8 first"
        )
    # A pooler answers with a number of its own, and may give each transaction another session: without our settings, beside our locks.
    if connection.execute("SELECT pg_backend_pid()").fetchone()[0] != connection.info.backend_pid:
        raise StoreError(
            f"a pooler (such as PgBouncer) stands before the server of {address.name}, and locks and settings of a session cannot be "
            "relied on there; nothing was changed; name the server itself (database)"
        )
    for statement in (*_SESSION.split("; "), _NO_LIMITS):
        connection.execute(statement)
    connection.execute("SELECT set_config('lock_timeout', %s, false)", (f"{max(1, int(lock_timeout_s * 1000))}ms",))

    class TidLoader(library.adapt.Loader):  # type: ignore[name-defined, misc, unused-ignore]
        """Keeps a place as it came."""

        format = library.pq.Format.BINARY

        def load(self, data: t.Any) -> Tid:
            return Tid(data)

    class TidDumper(library.adapt.Dumper):  # type: ignore[name-defined, misc, unused-ignore]
        """Gives a place back as it came."""

        oid = _TID_OID
        format = library.pq.Format.BINARY

        def dump(self, obj: t.Any) -> bytes:
            return bytes(obj)

    connection.adapters.register_loader(_TID_OID, TidLoader)
    connection.adapters.register_dumper(Tid, TidDumper)


@contextlib.contextmanager
def translated(address: Address, *, lock_timeout_s: float | None = None) -> t.Iterator[None]:
    """Turn what the driver raises into one error that names the thing and the next step; nothing was committed then.

    Raises:
        StoreBusyError: a lock was not to be had, or somebody else came between.
        StoreLostError: the connection broke.
        StoreError: everything else that the server refuses.
    """
    library = driver()
    try:
        yield
    except library.Error as error:
        raise meant(error, address, lock_timeout_s) from None


def meant(error: t.Any, address: Address, lock_timeout_s: float | None = None) -> StoreError:
    """Say what an error of an open session means."""
    state = getattr(error, "sqlstate", None) or ""
    said = _first_line(getattr(error.diag, "message_primary", None) or str(error))
    where = f"the database {address.name}"
    if not state or state.startswith(_LOST):
        return StoreLostError(f"the connection to {where} was lost ({said}); nothing was changed; run the same command again")
    if state == "55P03":
        waited = f" for {lock_timeout_s:g} s" if lock_timeout_s is not None else ""
        return StoreBusyError(f"{where} stayed locked{waited} ({said}); nothing was changed; stop the other writer or raise lock_timeout")
    if state == "40P01":
        return StoreBusyError(f"{where} ended a deadlock with another session by refusing ours; nothing was changed; run again")
    if state == "40001":
        return StoreBusyError(
            f"a row of {where} was changed by somebody else during the run ({said}); nothing was changed by us; run the same command again"
        )
    if state == "42501":
        return StoreError(
            f"{where} refuses this role ({said}); nothing was changed; connect as the owner of the tables, or grant it: SELECT on every "
            "table, UPDATE on those with sealed values"
        )
    if state == "25006":
        return StoreError(f"{where} is read-only ({said}): a replica, or set so; nothing was changed; name the primary (database)")
    if state in ("53100", "53200"):
        return StoreError(f"the server of {where} has no room left ({said}); nothing was changed; make room there and run again")
    return StoreError(f"{where} refused: {said} ({state}); nothing was changed; see to that, then run again")


def require_writable(connection: t.Any, address: Address) -> None:
    """Refuse a replica, and whatever else takes no writes, before a transaction is begun.

    Raises:
        StoreError: naming which of both.
    """
    replica, read_only = connection.execute("SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')").fetchone()
    if replica:
        raise StoreError(f"the database {address.name} is a read-only replica; nothing was changed; name the primary (database)")
    if read_only == "on":
        raise StoreError(
            f"the database {address.name} is read-only for this role (default_transaction_read_only); nothing was changed; name another"
        )


def password_of(path: str) -> str:
    """Return the password in a file on this host, without the line's end.

    Raises:
        StoreError: no such file, or an empty one.
    """
    try:
        content = files.read_file(path, limit_bytes=64 * 1024)
    except FileError as error:
        raise StoreError(f"{error}; nothing was changed; name a file that holds the database's password (database_password_file)") from None
    try:
        password: str | None = content.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        password = None
    if not password or any(character in password for character in "\0\r\n"):
        raise StoreError(f"{path} holds no password in one line; nothing was changed; put the database's there (database_password_file)")
    return password


def _refused_login(address: Address, error: t.Any) -> StoreError:
    said = " ".join(str(error).split())
    hint = next(hint for sign, hint in _BEFORE_LOGIN if sign in said)
    return StoreError(f"cannot connect to the database {address.name}: {said[:400]}; nothing was changed; {hint}")


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0][:200]


__all__ = ("Tid", "connect", "driver", "meant", "password_of", "require_writable", "translated")
