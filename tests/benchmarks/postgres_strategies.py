# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ways to rewrite a column of PostgreSQL: without cryptography, and as everybody writes it first."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import psycopg
from measure import Meter

_TABLE = "service_env_vars"


def connect(url: str) -> psycopg.Connection[t.Any]:
    """Open a transaction on a database."""
    return psycopg.connect(url, password=Path(os.environ["BENCH_PASSWORD_FILE"]).read_text())


def floor(url: str) -> Meter:
    """One UPDATE that turns each text by a letter, all of it in the server."""
    with Meter() as meter:
        connection = connect(url)
        connection.execute(f"UPDATE {_TABLE} SET value = substr(value, 2) || left(value, 1)")
        connection.commit()
        connection.close()
    return meter


def batched(url: str) -> Meter:
    """What our writer does, with a function that only turns the text."""
    from ansible_collections.servos.ops.plugins.module_utils._stores.shapes import Rewrite
    from ansible_collections.servos.ops.plugins.module_utils._stores.urls import place_of

    def turned(unused_address: t.Any, cell: t.Any) -> t.Any:
        return cell[1:] + cell[:1]

    with Meter() as meter:
        database = place_of(url, password_path=os.environ["BENCH_PASSWORD_FILE"]).open()
        with database.writing(lock_timeout_s=30) as writer:
            table = next(table for table in writer.tables() if table.name.endswith(_TABLE))
            rewrite = Rewrite(("value",), lambda address, cells: (turned(address, cells[0]),), turned)
            writer.rewrite(table, [rewrite], in_python=False, progress=lambda unused_rows: None)
    return meter


def rows(url: str, renewed: t.Callable[[str], str]) -> Meter:
    """Everything read, and an UPDATE for each row."""
    with Meter() as meter:
        connection = connect(url)
        for row_id, text in connection.execute(f"SELECT id, value FROM {_TABLE}").fetchall():
            connection.execute(f"UPDATE {_TABLE} SET value = %s WHERE id = %s", (renewed(text), row_id))
        connection.commit()
        connection.close()
    return meter


def in_memory(url: str, renewed: t.Callable[[str], str]) -> Meter:
    """Everything read, everything sealed, everything written by executemany."""
    with Meter() as meter:
        connection = connect(url)
        plain = connection.execute(f"SELECT id, value FROM {_TABLE}").fetchall()
        sealed = [(renewed(text), row_id) for row_id, text in plain]
        connection.cursor().executemany(f"UPDATE {_TABLE} SET value = %s WHERE id = %s", sealed)
        connection.commit()
        connection.close()
    return meter
