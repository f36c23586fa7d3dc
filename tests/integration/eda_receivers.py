# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source as ansible-rulebook runs it, in this process or in one that can be killed, and a sender that is none of ours."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ansible_collections.servos.ops.plugins.module_utils import _errors
from by_path import load
from ports import free_port
from servers import write

ROOT = Path(_errors.__file__).resolve().parents[2]
SOURCE = ROOT / "extensions/eda/plugins/event_source/signed_webhook.py"
PATIENCE_S = 20
# Runs the source with a queue that takes nothing, as a rulebook that is busy.
BUSY = """
import asyncio, json, runpy, sys
class Queue:
    async def put(self, event):
        await asyncio.Event().wait()
asyncio.run(runpy.run_path(sys.argv[1])["main"](Queue(), json.loads(sys.argv[2])))
"""


def new_secret() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


class Sender:
    """Signs by the specification of Standard Webhooks, and sends as anybody can."""

    def __init__(self, port: int, secret: str) -> None:
        self.port, self.secret = port, secret

    def headers(self, body: bytes, *, message_id: str | None = None, at: float | None = None) -> dict[str, str]:
        message_id, at = message_id or f"msg_{uuid.uuid4().hex}", int(time.time() if at is None else at)
        key_bytes = base64.b64decode(self.secret.removeprefix("whsec_"))
        digest = hmac.new(key_bytes, f"{message_id}.{at}.".encode() + body, hashlib.sha256).digest()
        return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}

    def post(
        self, body: bytes, headers: dict[str, str], *, path: str = "/", method: str = "POST", context: ssl.SSLContext | None = None
    ) -> tuple[int, Any]:
        """Return the status and what stands in the body."""
        if context is None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        else:
            connection = http.client.HTTPSConnection("localhost", self.port, timeout=PATIENCE_S, context=context)
        try:
            connection.request(method, path, body, headers)
            reply = connection.getresponse()
            raw = reply.read()
            return reply.status, json.loads(raw) if raw.startswith(b"{") else raw
        finally:
            connection.close()

    def send(self, body: Any, *, context: ssl.SSLContext | None = None, **signed: Any) -> tuple[int, Any]:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.post(raw, self.headers(raw, **signed), context=context)


def wait_for_port(port: int, is_dead: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline and not is_dead():
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


class Running:
    """One source on its way, with a queue of ours behind it. C(options) are what a rulebook would say."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.port = options.setdefault("port", free_port())
        self.secret = new_secret()
        self.secrets = folder / "secrets"
        if not self.secrets.exists():
            write(self.secrets, self.secret + "\n")
        self.secret = self.secrets.read_text().split()[0]
        self.receipts = folder / "receipts"
        told = {"secret_file": str(self.secrets), "receipts_file": str(self.receipts), "kinds": ["key_leaked", "operator_left"]}
        self.options = {**told, **options}
        self.sender = Sender(self.port, self.secret)
        self.events: list[dict[str, Any]] = []
        self.offset_s = 0.0  # by how much the receiver's clock is wrong
        self.error: BaseException | None = None
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Running:
        self._thread.start()
        wait_for_port(self.port, lambda: not self._thread.is_alive())
        return self

    def fails(self) -> str:
        """Return why it does not start."""
        self._thread.start()
        self._thread.join(PATIENCE_S)
        assert self.error is not None, "it runs"
        return str(self.error)

    def stop(self) -> None:
        if self._thread.ident is None:
            return
        if self._thread.is_alive() and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def wait_for_events(self, count: int) -> list[dict[str, Any]]:
        """Return the events, of which so many are expected."""
        deadline = time.monotonic() + PATIENCE_S
        while len(self.events) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.events) == count
        return self.events

    async def put(self, event: dict[str, Any]) -> None:
        self.events.append(event)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(load(SOURCE)["main"](self, self.options, clock=lambda: time.time() + self.offset_s))
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass
        except BaseException as error:  # whatever it is, the test says whether it was expected
            self.error = error
        finally:
            self._loop.close()


class Busy:
    """The source in a process of its own, behind which nobody takes anything."""

    def __init__(self, running: Running) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", BUSY, str(SOURCE), json.dumps(running.options)], stderr=subprocess.DEVNULL)
        wait_for_port(running.port, lambda: self.process.poll() is not None)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)
