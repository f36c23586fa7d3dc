# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Scratch databases beside the real one: made empty, used, dropped; a left-over of a killed run is dropped by the next.

Sources: https://www.postgresql.org/docs/current/sql-createdatabase.html, https://www.postgresql.org/docs/current/sql-dropdatabase.html
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import time
import typing as t

from .._errors import StoreError
from .postgres_connection import connect, driver, translated
from .postgres_tables import quoted
from .postgres_url import Address, url_with

PREFIX = "servos_ops_scratch_"
_OWN_NAME = re.compile(r"[a-z0-9_]{1,32}")
_FORCE_SINCE = 130000
_PROVIDERS_SINCE = 150000
_DROP_TRIES = 50
_DROP_TURN_S = 0.1
_NOTE = "a scratch copy made by servos.ops; it may be dropped"
# What this role may not make, and nothing else in the database needs: not even a scratch copy does.
_OTHERS_EXTENSIONS = """
WITH members AS (SELECT refobjid AS extension, classid, objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e')
SELECT e.extname FROM pg_extension e JOIN pg_available_extension_versions v ON v.name = e.extname AND v.version = e.extversion
WHERE v.superuser AND NOT coalesce((to_jsonb(v) ->> 'trusted')::bool, false) AND e.extconfig IS NULL
AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
AND NOT EXISTS (
  SELECT FROM members m JOIN pg_depend d ON d.refclassid = m.classid AND d.refobjid = m.objid
  WHERE m.extension = e.oid AND d.deptype = 'n' AND NOT EXISTS (
    SELECT FROM pg_depend o WHERE o.classid = d.classid AND o.objid = d.objid AND (
      o.deptype = 'e' OR o.deptype IN ('i', 'a') AND (o.refclassid, o.refobjid) IN (SELECT classid, objid FROM members))))
"""
# The same text compares and sorts in the same way; a limit or setting of the database may decide how a name is found.
_CREATE = """
SELECT format('CREATE DATABASE %%I ALLOW_CONNECTIONS false TEMPLATE template0 ENCODING %%L LC_COLLATE %%L LC_CTYPE %%L', %(name)s::text,
pg_encoding_to_char(encoding), datcollate, datctype), current_setting('search_path'), current_user, rolsuper OR rolcreatedb
FROM pg_database, pg_roles WHERE datname = current_database() AND rolname = current_user
"""
# A number of seconds and a random end: a name that nobody chose. One with a session is in use.
_LEFT = """
SELECT datname FROM pg_database d WHERE datname ~ '^servos_ops_scratch_[0-9]{10}_[0-9a-f]{8}$' AND pg_has_role(datdba, 'USAGE')
AND substr(datname, 20, 10)::bigint < %s AND NOT EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid)
"""
_UNUSED_S = 60
_NOTE_OF = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s"


def named_scratch(identity: str, name: str) -> str:
    """Return the name of the scratch database that a user knows by a short one; each database has its own.

    Raises:
        StoreError: that is no such name.
    """
    if not _OWN_NAME.fullmatch(name):
        raise StoreError(
            f"{name} cannot be a scratch database; nothing was changed; a backup of a PostgreSQL database is restored into one on its "
            "server, so give it a short name of a-z, 0-9 and _ (target), such as rehearsal"
        )
    return f"{PREFIX}{name}_{hashlib.sha256(identity.encode('utf-8')).hexdigest()[:8]}"


def address_of_scratch(address: Address, database: str, *, name: str | None = None) -> Address:
    """Return the address of a scratch database on the same server."""
    return Address(url_with(address.url, database=database), name or url_with(address.name, database=database))


@contextlib.contextmanager
def scratch_database(address: Address, password_path: str | None, *, purpose: str) -> t.Iterator[Address]:
    """Lend an empty database on the same server, and drop it afterwards, whatever happens.

    Raises:
        StoreError: it cannot be made.
    """
    database = f"{PREFIX}{int(time.time()):010}_{secrets.token_hex(4)}"
    _drop_left(address, password_path)
    try:
        create_scratch(address, password_path, database)
        scratch = address_of_scratch(address, database, name=f"{purpose} ({database})")
        with contextlib.closing(connect(scratch, password_path)):  # while somebody is connected, nobody takes it for a left-over
            yield scratch
    finally:
        with contextlib.suppress(StoreError):  # what cannot be dropped now goes with the next run
            drop_scratch(address, password_path, database)


def create_scratch(address: Address, password_path: str | None, database: str) -> None:
    """Make an empty database that sorts, and finds names, as the real one does.

    Raises:
        StoreError: this role may not, or the server refuses.
    """
    connection = connect(address, password_path)
    with contextlib.closing(connection), translated(address):
        statement, path, role, may = connection.execute(_CREATE, {"name": database}).fetchone()
        if not may:
            raise StoreError(
                f"the role {role} may not make a database on the server of {address.name}, and a backup is proven by restoring it into "
                f"one; nothing was changed; let an administrator run: ALTER ROLE {quoted(role)} CREATEDB"
            )
        with_provider = " LOCALE_PROVIDER libc" if connection.info.server_version >= _PROVIDERS_SINCE else ""
        connection.execute(statement + with_provider)
        connection.execute(f"COMMENT ON DATABASE {quoted(database)} IS '{_NOTE}'")
        # Its functions come without their grants: whoever may enter could call those that act as their owner.
        connection.execute(f"REVOKE ALL ON DATABASE {quoted(database)} FROM PUBLIC")
        connection.execute(f"ALTER DATABASE {quoted(database)} ALLOW_CONNECTIONS true")
        connection.execute(f"ALTER DATABASE {quoted(database)} SET synchronous_commit = off")
        if path:
            connection.execute(f"ALTER DATABASE {quoted(database)} SET search_path = {path}")


def others_extensions(address: Address, password_path: str | None) -> list[str]:
    """List the extensions that only a superuser can make, which this role is not, and on which nothing else in the database rests."""
    connection = connect(address, password_path)
    with contextlib.closing(connection), translated(address):
        return [name for (name,) in connection.execute(_OTHERS_EXTENSIONS).fetchall()]


def has_scratch(address: Address, password_path: str | None, database: str) -> bool:
    """Tell whether there is a database of that name."""
    connection = connect(address, password_path)
    with contextlib.closing(connection), translated(address):
        return connection.execute(_NOTE_OF, (database,)).fetchone() is not None


def drop_scratch(address: Address, password_path: str | None, database: str) -> bool:
    """Drop a scratch database, and end who is connected to it. Returns whether it was there.

    Raises:
        StoreError: it is not ours, or the server refuses.
    """
    library = driver()
    connection = connect(address, password_path)
    with contextlib.closing(connection), translated(address):
        found = connection.execute(_NOTE_OF, (database,)).fetchone()
        if found is None:
            return False
        if not database.startswith(PREFIX) or found[0] not in (_NOTE, None):
            raise StoreError(f"the database {database} is no scratch copy of ours; nothing was changed; drop it yourself if it may go")
        forced = " WITH (FORCE)" if connection.info.server_version >= _FORCE_SINCE else ""
        for turn in range(_DROP_TRIES):
            try:
                connection.execute(f"DROP DATABASE IF EXISTS {quoted(database)}{forced}")
                break
            except library.errors.ObjectInUse:
                if turn == _DROP_TRIES - 1:
                    raise
                time.sleep(_DROP_TURN_S)
    return True


def _drop_left(address: Address, password_path: str | None) -> None:
    connection = connect(address, password_path)
    with contextlib.closing(connection), translated(address):
        left = [name for (name,) in connection.execute(_LEFT, (int(time.time()) - _UNUSED_S,)).fetchall()]
        for name in left:
            with contextlib.suppress(driver().Error):  # somebody else has just dropped it, or is using it
                connection.execute(f"DROP DATABASE {quoted(name)}")


__all__ = ("address_of_scratch", "create_scratch", "drop_scratch", "has_scratch", "named_scratch", "others_extensions", "scratch_database")
