# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The libSQL server behaves as sqld was seen to."""

from __future__ import annotations

import http.client
import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reference_harness import REFERENCE_APPS

TOKEN = "a-token"


class Server:
    """A server on a database with one table of one row, which expires and robs quickly."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "x.db"
        with sqlite3.connect(self.database) as connection:
            connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, c)")
            connection.execute("INSERT INTO t VALUES (1, 'old')")
        connection.close()
        (folder / "token").write_text(TOKEN)
        argv = [sys.executable, REFERENCE_APPS / "libsql/server.py", "--database", self.database, "--token-file", folder / "token"]
        argv += ["--expiry", "0.3", "--transaction", "0.1"]
        self._process = subprocess.Popen([str(word) for word in argv], stdout=subprocess.PIPE)
        self._port = json.loads(self._process.stdout.readline())["port"]  # type: ignore[union-attr]

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._process.stdout.close()  # type: ignore[union-attr]

    def post(self, document: Any, *, path: str = "/v2/pipeline", token: str = TOKEN) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        try:
            connection.request("POST", path, json.dumps(document), {"Authorization": f"Bearer {token}"})
            reply = connection.getresponse()
            content = reply.read()
            return reply.status, json.loads(content) if reply.getheader("Content-Type") == "application/json" else content.decode()
        finally:
            connection.close()

    def execute(self, sql: str, *, baton: str | None = None) -> tuple[str | None, Any]:
        status, document = self.post({"baton": baton, "requests": [{"type": "execute", "stmt": {"sql": sql}}]})
        assert status == 200, document
        return document["baton"], document["results"][0]

    def cell(self) -> str:
        return str(sqlite3.connect(self.database).execute("SELECT c FROM t").fetchone()[0])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.stop()


def test_a_transaction_lasts_over_requests_and_is_seen_after_its_commit(server: Server) -> None:
    baton, unused = server.execute("BEGIN IMMEDIATE")
    baton, unused = server.execute("UPDATE t SET c = 'new'", baton=baton)
    assert server.cell() == "old"
    server.execute("COMMIT", baton=baton)
    assert server.cell() == "new"


def test_a_baton_is_good_once(server: Server) -> None:
    first, unused = server.execute("SELECT 1")
    server.execute("SELECT 1", baton=first)
    assert server.post({"baton": first, "requests": []}) == (400, "Received a baton that has already been used")


def test_a_stream_that_expired_is_undone(server: Server) -> None:
    baton, unused = server.execute("BEGIN IMMEDIATE")
    baton, unused = server.execute("UPDATE t SET c = 'new'", baton=baton)
    time.sleep(0.5)
    status, document = server.post({"baton": baton, "requests": []})
    assert (status, document["code"]) == (400, "STREAM_EXPIRED")
    assert server.cell() == "old"


def test_who_waits_for_the_lock_robs_an_old_transaction(server: Server) -> None:
    robbed, unused = server.execute("BEGIN IMMEDIATE")
    robbed, unused = server.execute("UPDATE t SET c = 'new'", baton=robbed)
    assert server.execute("BEGIN IMMEDIATE")[1]["type"] == "ok"
    robbed, told = server.execute("UPDATE t SET c = 'late'", baton=robbed)
    assert told["error"]["code"] == "TRANSACTION_TIMEOUT"
    assert server.cell() == "old"


def test_a_batch_heeds_its_conditions(server: Server) -> None:
    steps = [
        {"stmt": {"sql": "SELECT nothing"}},
        {"stmt": {"sql": "UPDATE t SET c = 'new'"}, "condition": {"type": "ok", "step": 0}},
    ]
    unused, document = server.post({"requests": [{"type": "batch", "batch": {"steps": steps}}]})
    result = document["results"][0]["response"]["result"]
    assert (result["step_results"], result["step_errors"][1]) == ([None, None], None)
    assert server.cell() == "old"


def test_cells_are_typed_and_broken_text_is_not_read(server: Server) -> None:
    unused, told = server.execute("SELECT NULL, 9007199254740993, 0.5, 9e999, 'ü', x'ff'")
    row = told["response"]["result"]["rows"][0]
    assert [cell.get("value", cell.get("base64")) for cell in row] == [None, "9007199254740993", 0.5, None, "ü", "/w"]
    request = {"type": "execute", "stmt": {"sql": "SELECT CAST(x'ff' AS TEXT)"}}
    assert server.post({"requests": [request]})[0] == 500


def test_another_token_or_path_is_declined(server: Server) -> None:
    assert server.post({"requests": []}, token="another")[0] == 401
    assert server.post({"requests": []}, path="/v9/pipeline")[0] == 404


def test_a_drop_comes_before_or_after_the_act(server: Server) -> None:
    update = {"requests": [{"type": "execute", "stmt": {"sql": "UPDATE t SET c = 'new'"}}]}
    server.post({"fault": "drop_before"}, path="/control")
    with pytest.raises((OSError, http.client.HTTPException)):
        server.post(update)
    assert server.cell() == "old"
    server.post({"fault": "drop_after"}, path="/control")
    with pytest.raises((OSError, http.client.HTTPException)):
        server.post(update)
    assert server.cell() == "new"
