# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""P5: how long a client gets no answer, against the service's own stop and start in the same run.

The installation is that of the demo; the client is the reference application's own traffic, and all times are its.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
import typing as t
import urllib.error
import urllib.request
from pathlib import Path

from borrowed import borrow
from measure import HERE, Report, process

_MODULES = "ansible_collections.servos.ops.plugins.modules"
_INTERVAL_MS = 5
_RESTARTS = 5


class Installation:
    """One throw-away installation with a running server. Use as a context manager: what it starts, it stops."""

    def __init__(self, work: Path, *, values: int) -> None:
        module = borrow("demo/demo.py")
        module.VALUES = values
        self.demo = module.Demo(work)
        self._traffic: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Installation:
        self.demo.set_up()
        self.demo.run(self.demo.path("start"))
        self.demo.wait_until_healthy()
        return self

    def __exit__(self, *_: object) -> None:
        if self._traffic is not None:
            self._traffic.kill()
            self._traffic.wait()
        self.demo.tear_down()

    def traffic(self) -> None:
        """Start a client."""
        self._traffic = subprocess.Popen([
            sys.executable, str(HERE.parent / "reference_apps" / "servos" / "traffic.py"), "--url", f"http://127.0.0.1:{self.demo.port}",
            "--token-file", self.demo.path("token"), "--journal", self.demo.path("journal"), "--report", self.demo.path("report.json"),
            "--manifest", self.demo.path("manifest.json"), "--interval-ms", str(_INTERVAL_MS), "--duration", "300",
        ])
        time.sleep(1)

    def report(self) -> dict[str, t.Any]:
        """End the client and return what it saw."""
        time.sleep(1)
        if self._traffic is not None:
            self._traffic.send_signal(signal.SIGTERM)
            self._traffic.wait(60)
            self._traffic = None
        seen: dict[str, t.Any] = json.loads(Path(self.demo.path("report.json")).read_text())
        os.unlink(self.demo.path("journal"))
        return seen

    def restart(self) -> None:
        """Stop the service, wait until it is gone, start it: what any operator would do."""
        pid = int(Path(self.demo.path("servos.pid")).read_text())
        self.demo.run(self.demo.path("stop"))
        while _is_running(pid):
            time.sleep(0.005)
        self.demo.run(self.demo.path("start"))
        self._wait_until_healthy()

    def _wait_until_healthy(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(self.health_url(), timeout=1):
                    return
            except OSError:
                time.sleep(0.01)
        raise SystemExit("the reference application did not come up again")

    def module(self, name: str, **options: object) -> dict[str, t.Any]:
        """Call a module as Ansible would on the host."""
        described = self.demo.inventory()["servos_control"]["vars"]
        arguments = {
            "app": "servos", "database": described["servos_database"], "env_file": described["servos_env_file"],
            "state_dir": described["servos_state_dir"], "service": described["servos_service"], "service_manager": "command",
            "service_commands": described["servos_service_commands"], "_ansible_remote_tmp": self.demo.path(""), **options,
        }
        path = Path(self.demo.path("arguments.json"))
        path.write_text(json.dumps({"ANSIBLE_MODULE_ARGS": arguments}))
        unused, said = process([sys.executable, "-m", f"{_MODULES}.{name}", str(path)])
        result: dict[str, t.Any] = json.loads(said)
        return result

    def health_url(self) -> str:
        """Where the server says that it is up."""
        return f"http://127.0.0.1:{self.demo.port}/api/health"


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


class Proxy:
    """Passes the rotation's one request on to the server, and writes down when its reply came."""

    def __init__(self, port: int) -> None:
        self.replied_at = 0.0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept = {name: self.headers[name] for name in ("Authorization", "Content-Type") if self.headers[name]}
                request = urllib.request.Request(f"http://127.0.0.1:{port}{self.path}", data=body, headers=kept, method="POST")
                try:
                    with urllib.request.urlopen(request, timeout=120) as reply:
                        status, content = reply.status, reply.read()
                except urllib.error.HTTPError as error:
                    status, content = error.code, error.read()
                outer.replied_at = time.time()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        """Stop it."""
        self._server.shutdown()
        self._server.server_close()


def restart_alone(installation: Installation) -> float:
    """Return the window of a plain restart, the median of several, as the client sees it."""
    installation.traffic()
    for unused in range(_RESTARTS):
        installation.restart()
        time.sleep(0.5)
    windows = sorted((window["seconds"] for window in installation.report()["windows"]), reverse=True)
    return statistics.median(windows[:_RESTARTS])


def run(report: Report, work: Path, *, values: int, repeat: int) -> None:
    """Measure both methods, each on an installation of its own."""
    for method in ("database", "api"):
        alone, beyond, seen_s = [], [], []
        for unused in range(repeat):
            with Installation(work / "installation", values=values) as installation:
                alone.append(restart_alone(installation))
                window_s, rest_s = _rotate(installation, method)
                seen_s.append(window_s)
                beyond.append(rest_s - alone[-1])
        restart_s, window_s = statistics.median(alone), statistics.median(seen_s)
        report.note("P5", f"{method}: a plain stop and start {restart_s:.2f} s, the client's longest window {window_s:.2f} s")
        what = {
            "database": "database: window - rewrap - plain stop and start, s",
            "api": "api: from the reply to the restarted service - plain stop and start, s",
        }[method]
        report.held("P5", what, values, statistics.median(beyond), at_most=1)


def _rotate(installation: Installation, method: str) -> tuple[float, float]:
    """Rotate under traffic; return the client's longest window, and the part of it that is held to the goal."""
    installation.module("servos_keyring", state="staged", rotation_id="bench")
    proxy = Proxy(installation.demo.port)
    try:
        installation.traffic()
        more = {"api_url": proxy.url, "api_token_file": installation.demo.path("token")} if method == "api" else {}
        done = installation.module("servos_key_rotate", method=method, health_url=installation.health_url(), **more)
        seen = installation.report()
    finally:
        proxy.close()
    if done["phase"] != "activated" or seen["wrong_plaintext"] or not done["rewrapped"]:
        raise SystemExit(f"the rotation by {method} did not work: {done.get('phase')}")
    if method == "database":
        return seen["longest_window_s"], seen["longest_window_s"] - done["duration_s"]
    ends = [window["end"] for window in seen["windows"] if window["end"] > proxy.replied_at]
    return seen["longest_window_s"], max(ends) - proxy.replied_at
