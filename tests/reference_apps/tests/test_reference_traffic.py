# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic: its journal satisfies the judge, its report shows windows and failures that really happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from reference_harness import NEW_KEY, REFERENCE_APPS, Installation, b64


class RunningTraffic:
    """A traffic process beside an installation."""

    def __init__(self, installation: Installation) -> None:
        self.journal, self._report = installation.folder / "journal", installation.folder / "report.json"
        command = [
            sys.executable, REFERENCE_APPS / "servos/traffic.py", "--url", f"http://127.0.0.1:{installation.port}",
            "--token-file", installation.folder / "tokens", "--journal", self.journal, "--report", self._report,
            "--manifest", installation.manifest, "--interval-ms", "5", "--duration", "30",
        ]  # fmt: skip
        self.process = subprocess.Popen(list(map(str, command)))

    def wait_for_writes(self, count: int) -> None:
        deadline = time.monotonic() + 60
        while not self.journal.exists() or self.journal.read_text().count("\n") < count:
            assert time.monotonic() < deadline, "no writes"
            time.sleep(0.02)

    def finish(self) -> dict:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(timeout=60) == 0
        return json.loads(self._report.read_text())


@pytest.fixture
def traffic(installation: Installation) -> Iterator[RunningTraffic]:
    installation.start()
    running = RunningTraffic(installation)
    running.wait_for_writes(5)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()


def test_undisturbed_traffic_has_no_window(installation: Installation, traffic: RunningTraffic) -> None:
    report = traffic.finish()
    assert report["windows"] == [] and report["longest_window_s"] == 0.0
    assert report["ok"] == report["requests"] > 0
    code, verdict = installation.judge("old", "new", "--journal", traffic.journal)
    assert (code, verdict["opens_new"]) == (0, 61 + report["writes"])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stop", "kill"])
def test_the_window_of_a_restart_is_measured(
    installation: Installation, traffic: RunningTraffic, number: signal.Signals
) -> None:
    installation.stop(number)
    time.sleep(0.5)
    installation.start()
    time.sleep(2)
    report = traffic.finish()
    assert len(report["windows"]) == 1
    window = report["windows"][0]
    assert window["over"] and 0.5 <= window["seconds"] == report["longest_window_s"] < 60
    assert window["end"] - window["start"] == pytest.approx(window["seconds"], abs=1e-3)
    assert abs(window["end"] - time.time()) < 60
    assert "ConnectionRefusedError" in window["causes"]
    assert installation.judge("old", "new", "--journal", traffic.journal)[0] == 0


def test_a_rotation_without_restart_loses_writes_and_the_judge_says_which(
    installation: Installation, traffic: RunningTraffic
) -> None:
    assert installation.rotate()[0] == 200
    time.sleep(1.5)
    installation.stop()
    installation.start(key_text=b64(NEW_KEY))
    time.sleep(2)
    report = traffic.finish()
    assert report["decryption_failures"] > 0 and report["wrong_plaintext"] == 0
    assert report["longest_window_s"] >= 0.4
    code, verdict = installation.judge("new", "old", "--journal", traffic.journal)
    assert code == 1 and verdict["opens_old"] > 0
    assert (verdict["neither"], verdict["missing"], verdict["journal_mismatches"]) == (0, 0, 0)


def test_a_value_changed_behind_the_traffic_is_seen(installation: Installation, traffic: RunningTraffic) -> None:
    manifest = json.loads(installation.manifest.read_text())
    for rows in manifest["sealed"].values():
        for columns in rows.values():
            columns.update({column: "00" for column, digest in columns.items() if digest})
    installation.manifest.write_text(json.dumps(manifest))
    second = RunningTraffic(installation)
    try:
        time.sleep(2)
        assert second.finish()["wrong_plaintext"] > 0
    finally:
        if second.process.poll() is None:
            second.process.kill()
            second.process.wait()
    traffic.finish()


def test_traffic_needs_no_server_and_no_longer_than_told(installation: Installation) -> None:
    report_path: Path = installation.folder / "report.json"
    subprocess.run(
        [sys.executable, str(REFERENCE_APPS / "servos/traffic.py"), "--url", f"http://127.0.0.1:{installation.port}",
         "--token-file", str(installation.folder / "tokens"), "--journal", str(installation.folder / "journal"),
         "--report", str(report_path), "--duration", "0.3"],
        check=True, timeout=10,
    )  # fmt: skip
    report = json.loads(report_path.read_text())
    assert report["ok"] == 0 and not report["windows"][0]["over"]
