# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rulebook under a real ansible-rulebook, before a real installation: what it starts, how often, and what a webhook cannot say."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from eda_receivers import ROOT, Running, Sender, new_secret, wait_for_port
from evidence import leaks
from installations import OLD, Servos, b64, wait_until
from playbook_runs import environment_of, inventory_of
from ports import free_port
from servers import write

RECAP = "PLAY RECAP"


class Listener(http.server.ThreadingHTTPServer):
    """Takes alerts, and keeps headers and body as they came."""

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []  # what the first ones are told; later ones are told 202
        self.when_called: list[Callable[[], None]] = []  # what is done before the first ones are told anything

        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.seen.append(({name.lower(): value for name, value in self.headers.items()}, body))
                if server.when_called:
                    server.when_called.pop(0)()
                self.send_response(server.statuses.pop(0) if server.statuses else 202)
                self.end_headers()

            def log_message(self, *unused: Any) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.shutdown()
    made.server_close()


class Rulebook:
    """ansible-rulebook on the collection's rulebook."""

    def __init__(self, servos: Servos, told: dict[str, Any], **variables: Any) -> None:
        folder = servos.scratch
        self.log = folder / "rulebook.log"
        self.log.touch()
        self.begins_at = self.log.stat().st_size
        inventory = write(folder / "inventory.json", json.dumps(inventory_of(servos, **variables)))
        program = shutil.which("ansible-rulebook") or str(Path(sys.executable).with_name("ansible-rulebook"))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "--rulebook", "servos.ops.incidents", "-i", str(inventory), "--print-events",
                 "--vars", str(write(folder / "told.json", json.dumps(told)))],
                env=environment_of(servos), cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        wait_for_port(told["servos_event_port"], lambda: self.process.poll() is not None, patience_s=90)

    def text(self) -> str:
        return self.log.read_bytes()[self.begins_at :].decode()

    def wait_for_plays(self, count: int) -> str:
        """Wait until so many playbooks have ended."""
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.text().count(RECAP) >= count or self.process.poll() is not None, timeout_s=90)
        assert self.text().count(RECAP) == count, self.text()[-3000:]
        return self.text()

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


@pytest.fixture
def run(servos: Servos) -> Iterator[Callable[..., Rulebook]]:
    made: list[Rulebook] = []

    def start(told: dict[str, Any], **variables: Any) -> Rulebook:
        made.append(Rulebook(servos, told, **variables))
        return made[-1]

    yield start
    for each in made:
        each.stop()


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    message = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.removeprefix("whsec_")), message, hashlib.sha256).digest()
    return headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"


def test_what_each_rule_starts_and_what_it_hands_over() -> None:
    """Without an id, a rotation is done only if the installation itself finds its key too old."""
    text = (ROOT / "extensions/eda/rulebooks/incidents.yml").read_text()
    (ruleset,) = yaml.safe_load(text)
    started = {}
    for rule in ruleset["rules"]:
        kind = re.fullmatch(r'event.kind == "(\w+)"', rule["condition"])
        plays = [action["run_playbook"] for action in rule["actions"]]
        ids = [play["name"] for play in plays if "servos_rotation_id" in play["extra_vars"]]
        started[kind and kind[1]] = ([play["name"].removeprefix("servos.ops.") for play in plays], ids)
    assert started == {
        "key_leaked": (["alert", "event_rotate", "alert"], ["servos.ops.event_rotate"]),
        "operator_left": (["alert", "event_rehearse", "alert"], []),
        "key_too_old": (["event_rotate", "alert"], []),
    }
    (source,) = ruleset["sources"]
    assert sorted(source["servos.ops.signed_webhook"]["kinds"]) == sorted(started)
    # Nothing of a body reaches a playbook.
    assert set(re.findall(r"event\.(\w+)", text)) == {"kind", "id", "receipt"}
    assert "fields" not in source["servos.ops.signed_webhook"]


def test_an_event_that_was_taken_is_acted_on_once_whatever_is_killed(
    servos: Servos, run: Callable[..., Rulebook], listener: Listener
) -> None:
    sender = Sender(free_port(), new_secret())
    of_alerts = new_secret()
    told = {
        "servos_event_port": sender.port, "servos_event_secret_file": str(write(servos.scratch / "secrets", sender.secret)),
        "servos_event_receipts_file": str(servos.scratch / "receipts"),
        "servos_alert_url": f"http://127.0.0.1:{listener.server_address[1]}/alerts",
        "servos_alert_secret_file": str(write(servos.scratch / "alert-secret", of_alerts + "\n")),
    }  # fmt: skip
    killed = run(told)
    listener.when_called.append(killed.stop)
    listener.statuses += [202, 500]

    # Who knows no secret starts nothing.
    assert Sender(sender.port, new_secret()).send({"kind": "key_leaked"})[0] == 401

    # Who knows it says of which kind it is, and nothing else: neither hosts, nor variables, nor templates.
    mark = servos.scratch / "owned"
    body = json.dumps({
        "kind": "key_leaked", "hosts": "nobody", "limit": "nobody", "meta": {"hosts": "nobody", "source": {"name": "x"}},
        "extra_vars": {"servos_env_file": "/nowhere"}, "servos_hosts": "nobody", "id": f"{{{{ lookup('pipe', 'touch {mark}') }}}}",
    }).encode()  # fmt: skip
    headers = sender.headers(body)
    status, answer = sender.post(body, headers)
    assert status == 202
    assert sender.post(body, headers)[0] == 409

    # It is killed as soon as it has begun. The next start acts on what was taken, and nobody has to send it again.
    killed.process.wait(60)
    assert servos.env_text() == b64(OLD)
    rulebook = run(told)
    assert sender.post(body, headers)[0] == 409
    text = rulebook.wait_for_plays(3)
    new_text = servos.env_text()
    assert new_text != b64(OLD)
    servos.assert_all_under(new_text, b64(OLD))
    assert servos.process_key_text() == new_text
    assert f"rotation {answer['id']} is asked for" in " ".join(text.split())
    assert not mark.exists()

    # People were told, by a webhook that is signed; what failed was sent again as the same one. Nothing was left undone.
    (unused, (first, refused), (second, alerted)) = listener.seen
    assert (json.loads(alerted)["kind"], second["webhook-id"]) == ("key_leaked", answer["id"])
    assert is_signed(second, alerted, of_alerts)
    assert (refused, first["webhook-signature"]) == (alerted, second["webhook-signature"])

    # A rehearsal changes nothing.
    assert sender.send({"kind": "operator_left"})[0] == 202
    text = rulebook.wait_for_plays(6)
    assert "PLAY [Rehearse a rotation]" in text
    assert "failed=1" not in text
    assert servos.env_text() == new_text
    assert json.loads(listener.seen[-1][1])["kind"] == "operator_left"
    assert os.listdir(servos.scratch / "receipts.open") == []
    rulebook.stop()

    secrets = servos.secrets() | {"secret": sender.secret, "secret of alerts": of_alerts, "signature": headers["webhook-signature"][3:]}
    assert leaks(text + (servos.scratch / "receipts").read_text(), secrets) == []


def test_an_event_stays_open_until_every_host_succeeded(servos: Servos, listener: Listener) -> None:
    receipt, secret = write(servos.scratch / "evt-1", ""), new_secret()
    told = {"servos_event_receipt": str(receipt), "servos_rotation_id": "evt-1"}
    both = inventory_of(servos)
    (hosts,) = (group["hosts"] for name, group in both.items() if name == "servos_control")
    hosts["broken"] = {"ansible_connection": "local", "servos_env_file": str(servos.scratch / "nowhere")}
    done = play(servos, "event_rotate", told, both)
    assert done.returncode == 2
    assert "broken failed, so the event stays open" in " ".join(done.stdout.split())
    assert servos.env_text() != b64(OLD)
    assert receipt.exists(), done.stdout[-2500:]

    unless_done = {
        "servos_alert_url": f"http://127.0.0.1:{listener.server_address[1]}/",
        "servos_alert_secret_file": str(write(servos.scratch / "alert-secret", secret)),
        "servos_alert_if_open": str(receipt), "servos_alert_kind": "key_leaked_not_done",
    }  # fmt: skip
    assert play(servos, "alert", unless_done, both).returncode == 0
    assert [json.loads(body)["kind"] for unused, body in listener.seen] == ["key_leaked_not_done"]

    del hosts["broken"]
    done = play(servos, "event_rotate", told, both)
    assert done.returncode == 0, done.stdout
    assert not receipt.exists()
    assert play(servos, "alert", unless_done, both).returncode == 0
    assert len(listener.seen) == 1


def play(servos: Servos, name: str, told: dict[str, Any], inventory: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    path = write(servos.scratch / "event.json", json.dumps(inventory))
    return subprocess.run(
        ["ansible-playbook", f"servos.ops.{name}", "-i", str(path), "-e", json.dumps(told)], env=environment_of(servos),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip


def alert(folder: Path, *told: str) -> subprocess.CompletedProcess[str]:
    """Run the playbook as docs/eda.md says."""
    argv = [argument for each in ("servos_alert_kind=operator_left", *told) for argument in ("-e", each)]
    return subprocess.run(
        ["ansible-playbook", "-vvv", "servos.ops.alert", *argv], env=os.environ | {"ANSIBLE_HOME": str(folder / "home"), "NO_COLOR": "1"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_an_alert_is_an_event_for_a_receiver_of_ours(tmp_path: Path) -> None:
    running = Running(tmp_path).start()
    try:
        url, secret = f"servos_alert_url=http://127.0.0.1:{running.port}/", f"servos_alert_secret_file={running.secrets}"
        done = alert(tmp_path, url, secret)
        assert done.returncode == 0, done.stdout
        (event,) = running.wait_for_events(1)
        assert event["kind"] == "operator_left"
        # What it knows is not shown, and whoever does not know it is told so.
        assert running.secret not in done.stdout
        assert "v1," not in done.stdout
        wrong = write(tmp_path / "wrong", new_secret())
        refused = alert(tmp_path, url, f"servos_alert_secret_file={wrong}", "servos_alert_id=mine")
        assert refused.returncode == 2
        assert "did not take the alert mine: 401" in refused.stdout
        assert wrong.read_text() not in refused.stdout
    finally:
        running.stop()


def test_an_alert_that_nobody_could_check_is_not_sent(tmp_path: Path) -> None:
    done = alert(tmp_path, "servos_alert_url=http://127.0.0.1:1/")
    assert done.returncode == 2
    assert "servos_alert_secret_file is not" in done.stdout
