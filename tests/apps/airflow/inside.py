# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs in Airflow's own environment: writes secrets, reads them back, and says which value opens, all with Airflow's code.

usage: inside.py write PREFIX | read | rotate
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from airflow.cli.commands.rotate_fernet_key_command import rotate_fernet_key
from airflow.models import Connection, Trigger, Variable
from airflow.models.connection_test import ConnectionTestRequest
from airflow.utils.session import create_session
from sqlalchemy import select


def write(prefix: str) -> None:
    """Store one of everything that Airflow seals, through its models; names begin with C(prefix)."""
    with create_session() as session:
        for number, text in enumerate(("plain words", "", "zwölf Boxkämpfer", json.dumps({"token": "x" * 3000}), "a,b%c$d")):
            session.add(Variable(key=f"{prefix}_variable_{number}", val=f"{prefix} {text}" if text else text))
        session.add(
            Connection(
                conn_id=f"{prefix}_both", conn_type="http", host="example.org", login="someone", password=f"{prefix} password",
                extra=json.dumps({"token": f"{prefix} extra"}),
            )
        )
        session.add(Connection(conn_id=f"{prefix}_password", conn_type="http", password=f"{prefix} password alone"))
        session.add(Connection(conn_id=f"{prefix}_neither", conn_type="http"))
        session.add(Trigger(classpath="airflow.providers.standard.triggers.temporal.TimeDeltaTrigger", kwargs={"moment": prefix}))
        session.add(
            ConnectionTestRequest(
                connection_id=f"{prefix}_tested", conn_type="http", password=f"{prefix} tested", extra=json.dumps({"k": prefix})
            )
        )


READERS: dict[Any, dict[str, Callable[[Any], Any]]] = {
    Variable: {"val": lambda row: row.val},
    Connection: {"password": lambda row: row.password, "extra": lambda row: row.extra},
    ConnectionTestRequest: {"password": lambda row: row.password, "extra": lambda row: row.extra},
    Trigger: {"kwargs": lambda row: row.kwargs},
}


def opened(kind: Any, row_id: Any, reader: Callable[[Any], Any]) -> Any:
    """Load one row and open one value; a row whose secret does not open may not even load."""
    try:
        with create_session() as session:
            return reader(session.get(kind, row_id))
    except Exception as error:
        return f"!{type(error).__name__}"


def read() -> dict[str, Any]:
    """Return everything by name; what does not open is none, or the name of the error."""
    found = {}
    for kind, readers in READERS.items():
        with create_session() as session:
            ids = session.scalars(select(kind.id).order_by(kind.id)).all()
        found.update({f"{kind.__tablename__} {row_id} {name}": opened(kind, row_id, of) for row_id in ids for name, of in readers.items()})
    return found


if __name__ == "__main__":
    if sys.argv[1] == "write":
        write(sys.argv[2])
    elif sys.argv[1] == "rotate":
        rotate_fernet_key(argparse.Namespace())
    else:
        sys.stdout.write("\n" + json.dumps(read()) + "\n")
