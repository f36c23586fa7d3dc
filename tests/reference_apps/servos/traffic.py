# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users of the ServOS model while its key is rotated: write, read back, and measure when nobody answers.

It exists to show what a rotation does to those who do not know of it: acknowledged writes lost, values read wrong,
and the length of the time without service. Each acknowledged write goes to a journal, which the judge reads.
ASSUMPTION model: speaks the API of server.py.

    traffic.py --url U --token-file T --journal J --report R [--interval-ms 20] [--duration S] [--manifest M] [--without TABLE ...]

Stops at SIGTERM, SIGINT or after the duration; then writes the report. Exit 0 if it could, whatever the report says.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import layout
import plaintexts
from journal import JournalWriter, Write
from manifest import load_manifest, sha256_hex
from windows import WindowRecorder

DECRYPTION_FAILED, WRONG_PLAINTEXT = "decryption failed", "wrong plaintext"
VALUE_FAILURES = (DECRYPTION_FAILED, WRONG_PLAINTEXT)


class NoAnswer(Exception):
    """The request got no complete answer; the cause is the kind of error."""


class Client:
    """One request a connection, so that a restarted server is found at once; follows no redirect, repeats nothing."""

    def __init__(self, base_url: str, token: str, timeout_s: float) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError("--url must be http://host:port")
        self._address = (parts.hostname, parts.port or 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._timeout_s = timeout_s

    def request(self, method: str, path: str, body: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        """Return status and JSON body."""
        connection = http.client.HTTPConnection(*self._address, timeout=self._timeout_s)
        try:
            connection.request(method, self._prefix + path, None if body is None else json.dumps(body), self._headers)
            reply = connection.getresponse()
            content = json.loads(reply.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise NoAnswer(type(error).__name__) from None
        finally:
            connection.close()
        return reply.status, content if isinstance(content, dict) else {}


class Traffic:
    """Alternates writes and reads, and counts what came back."""

    def __init__(
        self, client: Client, journal: JournalWriter, known: dict[tuple[str, str], str], without: list[str]
    ) -> None:
        self._client = client
        self._journal = journal
        self._hashes = known
        self._table_names = [name for name in layout.TABLES if name not in without]
        # Values from before and values of its own are read in turn: a server with a stale key fails only the former.
        self._places = {"read_known": list(known), "read_written": []}
        self._rng = random.Random()
        self._windows = WindowRecorder(time.monotonic())
        self.counts = dict.fromkeys(
            ("requests", "ok", "writes", "maybe_writes", "wrong_plaintext", "decryption_failures"), 0
        )

    def step(self, number: int) -> None:
        """Send one request: a write on even numbers, else a read of a value known before or of one written here."""
        kind = ("write", "read_known", "write", "read_written")[number % 4]
        if kind != "write" and not self._places[kind]:
            kind = "read_written" if self._places["read_written"] else "write"
        self.counts["requests"] += 1
        failure = self._write(number) if kind == "write" else self._read(self._rng.choice(self._places[kind]))
        if failure is None:
            self.counts["ok"] += 1
            self._windows.good(kind, time.monotonic())
        else:
            self._windows.bad(failure, until_good=kind if failure in VALUE_FAILURES else None)

    def _write(self, number: int) -> str | None:
        class_name = self._table_names[number // 2 % len(self._table_names)]
        plaintext = plaintexts.plaintext_for(layout.TABLES[class_name].sealed[0], self._rng, number)
        plaintext_sha256 = sha256_hex(plaintext.encode())
        failure = None
        try:
            status, reply = self._client.request("POST", f"/api/{class_name}", {"value": plaintext, "name": "traffic"})
            if status != 201 or not isinstance(reply.get("id"), int):
                failure = f"status {status}"
        except NoAnswer as error:
            failure = str(error)
        if failure is not None:
            # Only where nobody listened or the request was refused is it sure that nothing was written.
            if failure != "ConnectionRefusedError" and not failure.startswith("status 4"):
                self._journal.append(Write(class_name, None, plaintext_sha256))
                self.counts["maybe_writes"] += 1
            return failure
        self._journal.append(Write(class_name, reply["id"], plaintext_sha256))
        self.counts["writes"] += 1
        place = (class_name, str(reply["id"]))
        self._hashes[place] = plaintext_sha256
        self._places["read_written"].append(place)
        return None

    def _read(self, place: tuple[str, str]) -> str | None:
        try:
            status, reply = self._client.request("GET", f"/api/{place[0]}/{place[1]}/reveal")
        except NoAnswer as error:
            return str(error)
        if status == 500 and reply.get("error") == DECRYPTION_FAILED:
            self.counts["decryption_failures"] += 1
            return DECRYPTION_FAILED
        if status != 200:
            return f"status {status}"
        if sha256_hex(str(reply.get("value")).encode()) != self._hashes[place]:
            self.counts["wrong_plaintext"] += 1
            return WRONG_PLAINTEXT
        return None

    def report(self, wall_minus_monotonic_s: float) -> dict[str, Any]:
        """Close the last window and sum up; window times become Unix seconds."""
        self._windows.finish(time.monotonic())
        windows = self._windows.windows
        for window in windows:
            for edge in ("start", "end"):
                window[edge] = round(window[edge] + wall_minus_monotonic_s, 6)
        return {
            **self.counts,
            "windows": windows,
            "longest_window_s": max((window["seconds"] for window in windows), default=0.0),
        }


def known_from_manifest(path: str) -> dict[tuple[str, str], str]:
    """List what the API can reveal of a manifest's values: (class, id) to the plaintext's hash."""
    known = {}
    for table_name, rows in load_manifest(path)["sealed"].items():
        for row_id, columns in rows.items():
            for column, plaintext_sha256 in columns.items():
                if table_name in layout.TABLES and plaintext_sha256 is not None:
                    class_name = layout.class_of(table_name, column)
                    api_id = f"{table_name}-{row_id}" if class_name == layout.PASSPHRASE_CLASS else row_id
                    known[class_name, api_id] = plaintext_sha256
    return known


def run(traffic: Traffic, *, interval_s: float, duration_s: float) -> None:
    """Send a request every interval until told to stop; a slow answer delays the next request, none is caught up."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    deadline = time.monotonic() + duration_s
    count = 0
    while not stop.is_set() and time.monotonic() < deadline:
        next_at = time.monotonic() + interval_s
        traffic.step(count)
        count += 1
        stop.wait(max(0.0, next_at - time.monotonic()))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Traffic against the reference server of the ServOS model.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--token-file", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--report", required=True)
    parser.add_argument("--manifest", help="reveal and check these values too")
    parser.add_argument("--interval-ms", type=int, default=20)
    parser.add_argument("--duration", type=float, default=600.0, help="seconds")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds to wait for one answer")
    parser.add_argument(
        "--without", action="append", default=[], choices=tuple(layout.TABLES), metavar="TABLE", help="write none there"
    )
    arguments = parser.parse_args(argv)
    wall_minus_monotonic_s = time.time() - time.monotonic()
    try:
        token = Path(arguments.token_file).read_text(encoding="utf-8").split()[0]
        known = known_from_manifest(arguments.manifest) if arguments.manifest else {}
        client = Client(arguments.url, token, arguments.timeout)
        if set(arguments.without) == set(layout.TABLES):
            raise ValueError("--without leaves no table to write to")
        journal = JournalWriter(arguments.journal)
    except (OSError, ValueError, IndexError) as error:
        print(f"traffic: {error}", file=sys.stderr)
        return 2
    traffic = Traffic(client, journal, known, arguments.without)
    run(traffic, interval_s=arguments.interval_ms / 1000, duration_s=arguments.duration)
    journal.close()
    unfinished = Path(arguments.report + ".part")
    unfinished.write_text(json.dumps(traffic.report(wall_minus_monotonic_s), indent=1) + "\n", encoding="utf-8")
    os.replace(unfinished, arguments.report)
    return 0


if __name__ == "__main__":
    sys.exit(main())
