# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""From where a PostgreSQL server can be reached, as it says itself.

Sources: https://www.postgresql.org/docs/current/view-pg-hba-file-rules.html,
https://www.postgresql.org/docs/current/runtime-config-connection.html
"""

from __future__ import annotations

import contextlib
import typing as t

from .._errors import StoreError
from .postgres_connection import connect, translated
from .postgres_url import Address

# As long as a line cannot be read the server goes on with the rules that it had, and these are not to be seen.
_UNREAD = "SELECT line_number FROM pg_hba_file_rules WHERE error IS NOT NULL ORDER BY line_number LIMIT 5"
_RULES = """SELECT line_number, type, coalesce(address, ''), coalesce(netmask, ''), auth_method FROM pg_hba_file_rules
WHERE error IS NULL ORDER BY line_number"""


class Reach(t.NamedTuple):
    """C(listens) is the server's setting; C(rules) are (line, type, address, netmask, method), or C(unseen) says why not.

    C(unread_lines) are those that the server cannot read itself.
    """

    listens: str
    rules: list[tuple[t.Any, ...]]
    unseen: str
    unread_lines: tuple[int, ...] = ()


def reach_of(address: Address, password_path: str | None) -> Reach:
    """Ask a server where it listens and whom it admits; the latter only a superuser, or who was granted it, may read.

    Raises:
        StoreError: it cannot be asked at all.
    """
    connection = connect(address, password_path)
    with contextlib.closing(connection), translated(address):
        listens = connection.execute("SELECT current_setting('listen_addresses')").fetchone()[0]
        try:
            with translated(address):
                rules = connection.execute(_RULES).fetchall()
                unread = tuple(line for (line,) in connection.execute(_UNREAD).fetchall())
        except StoreError:
            return Reach(listens, [], "this role may not read pg_hba_file_rules")
    return Reach(listens, rules, "", unread)


__all__ = ("Reach", "reach_of")
