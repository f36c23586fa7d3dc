# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway of Provara against what the real one answers, and its tables against a database of the real one."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from reference_harness import REFERENCE_APPS, free_port, run_script

FIXTURE = REFERENCE_APPS.parent / "fixtures" / "provara" / "provara.db"
OLD, NEW, SECRET = "5e" * 32, "correct horse battery staple", "admin-secret-of-the-tests"
BULLETS = "\u2022" * 8


class Gateway:
    """A database of the tests' own and a gateway process on it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.database, self.port = folder, folder / "provara.db", free_port()
        self.process: subprocess.Popen[str] | None = None
        self.log = ""
        (folder / "old.key").write_text(OLD)
        run_script("provara/schema.py", "init", "--database", self.database, check=True)

    def add(self, name: str, value: str, *more: str) -> None:
        path = self.folder / "value"
        path.write_text(value, encoding="utf-8")
        run_script(
            "provara/schema.py", "add", "--database", self.database, "--key-file", self.folder / "old.key", "--name", name,
            "--value-file", path, *more, check=True,
        )  # fmt: skip

    def start(self, *, key: str = OLD, **more: str) -> bool:
        """Start it, and tell whether it came up."""
        environ = {"PATH": os.environ["PATH"], "DATABASE_URL": f"file:{self.database}", "PORT": str(self.port)}
        environ |= {"PROVARA_ADMIN_SECRET": SECRET} | ({"PROVARA_MASTER_KEY": key} if key else {})
        environ |= {f"PROVARA_{name.upper()}": value for name, value in more.items()}
        command = [sys.executable, str(REFERENCE_APPS / "provara/server.py")]
        self.process = subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                self.stop()
                return False
            try:
                self.send("GET", "/health")
                return True
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the gateway neither listened nor ended")

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.log += self.process.communicate(timeout=20)[1]
            self.process = None

    def send(
        self, method: str, path: str, body: Any = None, *, key: str | None = SECRET, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, None if body is None else json.dumps(body), named | ({"X-Admin-Key": key} if key else {}))
            reply = connection.getresponse()
            return reply.status, dict(reply.headers), reply.read()
        finally:
            connection.close()

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        status, unused_headers, raw = self.send(method, path, body, **options)
        return status, json.loads(raw)

    def masks(self, **options: Any) -> dict[str, str]:
        return {row["name"]: row["maskedValue"] for row in self.call("GET", "/v1/api-keys", **options)[1]["keys"]}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.stop()


def described(path: Path) -> dict[str, Any]:
    """Describe the tables of Provara's that the reference has too, by PRAGMA."""
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    found: dict[str, Any] = {}
    for table in ("api_keys", "context_connector_credentials", "__drizzle_migrations"):
        indexes = {}
        for unused, name, *facts in connection.execute(f"PRAGMA index_list({table})"):
            indexes[name] = (facts, connection.execute(f"PRAGMA index_info({name})").fetchall())
        found[table] = (connection.execute(f"PRAGMA table_info({table})").fetchall(), indexes)
    found["migrations"] = connection.execute("SELECT count(*) FROM __drizzle_migrations").fetchone()
    found["journal"] = connection.execute("PRAGMA journal_mode").fetchone()
    connection.close()
    return found


def test_the_tables_are_those_of_the_real_one(gateway: Gateway) -> None:
    ours, real = described(gateway.database), described(FIXTURE)
    assert ours == real
    assert len(real["api_keys"][0]) == 9 and len(real["context_connector_credentials"][1]) == 3


def test_what_the_real_one_wrote_is_read(tmp_path: Path, gateway: Gateway) -> None:
    gateway.database.write_bytes(FIXTURE.read_bytes())
    gateway.start()
    masks = gateway.masks()
    assert len(masks) == 120 and all(mask.startswith(BULLETS) for mask in masks.values())


def test_health_says_nothing_of_the_key(gateway: Gateway) -> None:
    gateway.start(key="")
    assert gateway.call("GET", "/health", key=None) == (200, {"status": "ok", "mode": "self_hosted"})
    assert gateway.call("GET", "/v1/api-keys/status") == (200, {"configured": False})
    wanted = {"error": {"message": "PROVARA_MASTER_KEY not set", "type": "configuration_error"}}
    assert gateway.call("GET", "/v1/api-keys") == (503, wanted)
    assert gateway.call("POST", "/v1/api-keys", {"name": "A", "provider": "p", "value": "v"}) == (503, wanted)


def test_a_wrong_key_is_healthy_and_shown_with_200(gateway: Gateway) -> None:
    gateway.add("OPENAI_API_KEY", "sk-1234")
    gateway.start(key=NEW)
    assert gateway.call("GET", "/v1/api-keys/status") == (200, {"configured": True})
    assert gateway.masks() == {"OPENAI_API_KEY": "\u2022" * 4 + "(decrypt error)"}
    assert gateway.call("POST", "/v1/providers/reload") == (200, {"reloaded": True, "providers": 0})


def test_a_key_comes_changes_and_goes(gateway: Gateway) -> None:
    gateway.start()
    body = {"name": "OPENAI_API_KEY", "provider": "openai", "value": " sk-abcdef\n"}
    status, told = gateway.call("POST", "/v1/api-keys", body)
    assert (status, told["updated"], told["key"]["maskedValue"]) == (201, False, BULLETS + "cdef")
    status, changed = gateway.call("POST", "/v1/api-keys", body | {"value": "sk-uvwxyz"})
    assert (status, changed["updated"], changed["key"]["id"]) == (200, True, told["key"]["id"])
    listed = gateway.call("GET", "/v1/api-keys")[1]["keys"]
    assert [set(row) for row in listed] == [{"id", "name", "provider", "maskedValue", "createdAt", "updatedAt"}]
    assert listed[0]["maskedValue"] == BULLETS + "wxyz" and listed[0]["createdAt"].endswith(".000Z")
    assert gateway.call("DELETE", f"/v1/api-keys/{told['key']['id']}") == (200, {"deleted": True})
    assert gateway.call("DELETE", f"/v1/api-keys/{told['key']['id']}")[0] == 404
    assert gateway.masks() == {}


@pytest.mark.parametrize("body", [{"name": "A", "provider": "p"}, {"name": "A", "provider": "p", "value": "  "}, []], ids=repr)
def test_an_incomplete_key_is_refused(gateway: Gateway, body: Any) -> None:
    gateway.start()
    status, told = gateway.call("POST", "/v1/api-keys", body)
    assert (status, told["error"]["type"]) == (400, "validation_error")


ENDINGS = {
    "short": ("x", "x"),
    "umlaut": ("a\u00fcb\u00f6c", "\u00fcb\u00f6c"),
    "pair": ("ab\U0001f511c", "b\U0001f511c"),
    "half of a pair": ("\U0001f511cde", "\udd11cde"),
}


@pytest.mark.parametrize(("value", "ending"), ENDINGS.values(), ids=ENDINGS)
def test_the_last_four_are_counted_in_utf_16(gateway: Gateway, value: str, ending: str) -> None:
    gateway.add("A", value)
    gateway.start()
    assert gateway.masks() == {"A": BULLETS + ending}


def test_what_no_header_can_hold_is_stripped_on_load_only(gateway: Gateway) -> None:
    gateway.add("A", "key-\u00fc\u00f6\u00e4")
    gateway.start(faults="mask_stripped")
    assert gateway.masks() == {"A": BULLETS + "key-"}


def test_five_failures_lock_the_right_key_out_too(gateway: Gateway) -> None:
    gateway.start()
    told = [gateway.call("GET", "/v1/api-keys", key=key)[0] for key in ("wrong", "", "wrong", None, "wrong", SECRET)]
    assert told == [401, 401, 401, 401, 401, 429]
    status, headers, unused = gateway.send("GET", "/v1/api-keys")
    assert (status, headers["Retry-After"]) == (429, "60")
    assert gateway.send("GET", "/v1/api-keys", X_Forwarded_For="192.0.2.7")[0] == 200


def test_four_failures_are_forgotten_after_the_right_key(gateway: Gateway) -> None:
    gateway.start()
    told = [gateway.send("GET", "/v1/api-keys", key=key)[0] for key in ("wrong",) * 4 + (SECRET,) + ("wrong",) * 4 + (SECRET,)]
    assert told == [401] * 4 + [200] + [401] * 4 + [200]


def test_without_a_secret_everything_is_open(gateway: Gateway) -> None:
    gateway.start(admin_secret="")
    assert gateway.call("GET", "/v1/api-keys", key=None) == (200, {"keys": []})


SESSIONS = {name: {"tenant": "tenant_1", "role": name} for name in ("owner", "admin", "developer", "viewer")}


@pytest.mark.parametrize(("session", "status"), [("owner", 200), ("admin", 200), ("developer", 403), ("viewer", 403), ("none", 401)])
def test_a_session_sees_its_tenant_alone(gateway: Gateway, session: str, status: int) -> None:
    gateway.add("A", "value-one", "--tenant", "tenant_1")
    gateway.add("B", "value-two", "--tenant", "tenant_2")
    gateway.add("C", "value-three")
    (gateway.folder / "sessions").write_text(json.dumps(SESSIONS))
    gateway.start(mode="multi_tenant", sessions_file=str(gateway.folder / "sessions"))
    seen, told = gateway.call("GET", "/v1/api-keys", key=SECRET, Cookie=f"provara_session={session}")
    assert seen == status
    assert [row["name"] for row in told.get("keys", [])] == (["A"] if status == 200 else [])
    assert gateway.call("GET", "/health")[1]["mode"] == "multi_tenant"


def test_connectors_are_for_the_cloud_and_never_opened(gateway: Gateway) -> None:
    gateway.add("repository", "ghp_1", "--connector", "github_token")
    gateway.start(key=NEW)
    status, told = gateway.call("GET", "/v1/context/credentials")
    assert (status, told["error"]["type"]) == (402, "cloud_only")
    gateway.stop()
    gateway.start(key=NEW, cloud="true")
    status, told = gateway.call("GET", "/v1/context/credentials")
    assert (status, [(row["name"], row["hasSecret"]) for row in told["credentials"]]) == (200, [("repository", True)])


def test_a_writer_who_meets_a_lock_fails_at_once(gateway: Gateway) -> None:
    gateway.start()
    connection = sqlite3.connect(gateway.database, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    assert gateway.send("POST", "/v1/api-keys", {"name": "A", "provider": "p", "value": "v"})[0] == 500
    connection.execute("ROLLBACK")
    connection.close()
    assert gateway.send("POST", "/v1/api-keys", {"name": "A", "provider": "p", "value": "v"})[0] == 201


FAULTS = {"redirect": 307, "html": 200, "text": 200, "broken": 200, "status=500": 500, "slow_ms=10": 200}


@pytest.mark.parametrize(("fault", "status"), FAULTS.items(), ids=FAULTS)
def test_the_faults_of_the_listing(gateway: Gateway, fault: str, status: int) -> None:
    gateway.add("A", "value-one")
    gateway.start(faults=fault)
    seen, headers, raw = gateway.send("GET", "/v1/api-keys")
    kinds = {"redirect": "text/plain", "html": "text/html; charset=UTF-8", "text": "text/plain; charset=UTF-8"}
    assert (seen, headers["Content-Type"]) == (status, kinds.get(fault, "application/json"))
    assert raw.endswith(b"]}") == (fault not in ("redirect", "html", "broken"))


def test_a_body_can_end_in_its_middle(gateway: Gateway) -> None:
    gateway.add("A", "value-one")
    gateway.start(faults="truncated")
    with pytest.raises(HTTPException):
        gateway.send("GET", "/v1/api-keys")


@pytest.mark.parametrize(("faults", "is_up"), [("only_on_key=zz", False), ("not_on_key=zz", True), ("nonsense", False), ("lie=x", False)])
def test_the_faults_of_the_start(gateway: Gateway, faults: str, is_up: bool) -> None:
    assert gateway.start(faults=faults) is is_up
    assert OLD not in gateway.log
