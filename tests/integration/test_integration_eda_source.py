# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The event source on real sockets: what it takes, what it refuses and how, and what a crash or a full disk does to it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from by_path import load
from eda_receivers import SOURCE, Busy, Running, Sender, new_secret
from servers import write

Connections = load(SOURCE.parents[2] / "receiver/connections.py")["Connections"]
CHECKOUT = Path(__file__).resolve().parents[2]
LEAKED = {"kind": "key_leaked"}


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Return a function that describes a receiver in the test's folder; what runs is stopped afterwards."""
    made: list[Running] = []

    def describe(**options: Any) -> Running:
        made.append(Running(tmp_path, **options))
        return made[-1]

    yield describe
    for each in made:
        each.stop()


def test_a_webhook_is_taken_once(make: Callable[..., Running], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    running = make(fields=["where"]).start()
    body = json.dumps({"kind": "key_leaked", "where": "a paste", "hosts": "all"}).encode()
    headers = running.sender.headers(body)
    status, answer = running.sender.post(body, headers)
    assert (status, set(answer)) == (202, {"id"})
    assert running.sender.post(body, headers)[0] == 409
    # The same id with another time is the same webhook, sent again.
    assert running.sender.send(body, message_id=headers["webhook-id"], at=time.time() - 1)[0] == 409
    (event,) = running.wait_for_events(1)
    assert (event["kind"], event["id"], event["payload"]) == ("key_leaked", answer["id"], {"where": "a paste"})
    assert set(event) == {"kind", "id", "received", "sent", "payload"}
    seen = caplog.text + json.dumps(event) + running.receipts.read_text()
    assert running.secret not in seen
    assert headers["webhook-signature"][3:] not in seen
    assert f"taken from 127.0.0.1: key_leaked, {answer['id']}" in caplog.text


def without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {one: value for one, value in headers.items() if one != name}


REFUSED: dict[str, tuple[int, str, Callable[[dict[str, str]], dict[str, str]]]] = {
    "no signature": (401, "missing", lambda h: without(h, "webhook-signature")),
    "no id": (401, "missing", lambda h: without(h, "webhook-id")),
    "no time": (401, "missing", lambda h: without(h, "webhook-timestamp")),
    "no headers": (401, "missing", lambda h: {}),
    "malformed": (401, "malformed", lambda h: h | {"webhook-signature": "v1,%%%%"}),
    "of a wrong length": (401, "malformed", lambda h: h | {"webhook-signature": h["webhook-signature"][:-8] + "AA=="}),
    "of another algorithm": (401, "version v1", lambda h: h | {"webhook-signature": h["webhook-signature"].replace("v1,", "v1a,")}),
    "of something else": (401, "not match", lambda h: h | {"webhook-signature": "v1," + base64.b64encode(b"x" * 32).decode()}),
    "another id": (401, "not match", lambda h: h | {"webhook-id": "msg_other"}),
    "another time": (401, "not match", lambda h: h | {"webhook-timestamp": str(int(h["webhook-timestamp"]) + 1)}),
    "a time that is none": (401, "malformed", lambda h: h | {"webhook-timestamp": "soon"}),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One receiver for all that it refuses."""
    running = Running(tmp_path_factory.mktemp("shared"), max_bytes=2000).start()
    yield running
    running.stop()
    assert running.events == []
    assert running.receipts.read_bytes() == b""


@pytest.mark.parametrize(("status", "word", "change"), REFUSED.values(), ids=REFUSED)
def test_a_signature_that_is_not_right(shared: Running, status: int, word: str, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    body = json.dumps(LEAKED).encode()
    answered, said = shared.sender.post(body, change(shared.sender.headers(body)))
    assert (answered, word in said["error"]) == (status, True), said


SIGNED_AND_REFUSED: dict[str, tuple[int, str, Any, float]] = {
    "stale": (403, "too long ago", LEAKED, -302),
    "from the future": (403, "in the future", LEAKED, 305),
    "not JSON": (400, "not a JSON object", b"kind=key_leaked", 0),
    "nothing": (400, "not a JSON object", b"", 0),
    "of another kind": (400, "kind is none of", {"kind": "rm"}, 0),
    "too large": (413, "larger than 2000 bytes", {"kind": "key_leaked", "x": "y" * 2000}, 0),
}


@pytest.mark.parametrize(("status", "word", "body", "offset"), SIGNED_AND_REFUSED.values(), ids=SIGNED_AND_REFUSED)
def test_what_is_signed_and_refused_all_the_same(shared: Running, status: int, word: str, body: Any, offset: float) -> None:
    answered, said = shared.sender.send(body, at=time.time() + offset)
    assert (answered, word in said["error"]) == (status, True), said


def test_a_body_that_was_changed_on_its_way(shared: Running) -> None:
    headers = shared.sender.headers(json.dumps(LEAKED).encode())
    assert shared.sender.post(b'{"kind":"key_leaked"}', headers)[0] == 401


def test_a_header_that_comes_twice_counts_as_missing(shared: Running) -> None:
    body = json.dumps(LEAKED).encode()
    headers = shared.sender.headers(body)
    assert shared.sender.post(body, headers | {"Webhook-Id": headers["webhook-id"]})[0] == 401


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/", 405), ("PUT", "/", 405), ("POST", "/other", 404)])
def test_other_ways_in(shared: Running, method: str, path: str, status: int) -> None:
    body = json.dumps(LEAKED).encode()
    assert shared.sender.post(body, shared.sender.headers(body), method=method, path=path)[0] == status


def test_a_body_that_is_packed_is_not_unpacked(shared: Running) -> None:
    """What was signed are the bytes on the wire; and a bomb is never opened."""
    packed = subprocess.run(["gzip"], input=json.dumps(LEAKED).encode(), stdout=subprocess.PIPE, check=True, timeout=20).stdout
    status, said = shared.sender.post(packed, shared.sender.headers(packed) | {"Content-Encoding": "gzip"})
    assert (status, said["error"]) == (400, "the body is not a JSON object")


def test_two_secrets_while_one_replaces_the_other(make: Callable[..., Running]) -> None:
    running = make().start()
    newer = Sender(running.port, new_secret())
    assert newer.send(LEAKED)[0] == 401
    write(running.secrets, f"{newer.secret}\n{running.secret}\n")
    body = json.dumps(LEAKED).encode()
    assert running.sender.send(body, message_id="msg_1")[0] == 202
    assert newer.send(body, message_id="msg_1")[0] == 409  # signed with the other, it is the same webhook
    assert newer.send(LEAKED)[0] == 202
    write(running.secrets, f"{newer.secret}\n")
    assert running.sender.send(LEAKED)[0] == 401
    assert newer.send(LEAKED)[0] == 202
    running.wait_for_events(3)


@pytest.mark.parametrize("harm", ["gone", "readable", "empty", "no base64"])
def test_secrets_that_become_unusable_let_nobody_in(make: Callable[..., Running], harm: str, caplog: pytest.LogCaptureFixture) -> None:
    running = make().start()
    good = running.secrets.read_text()
    if harm == "gone":
        running.secrets.unlink()
    elif harm == "readable":
        running.secrets.chmod(0o644)
    else:
        running.secrets.write_text("" if harm == "empty" else "no base64 at all\n")
    assert running.sender.send(LEAKED) == (503, {"error": "nothing can be taken now"})
    assert str(running.secrets) in caplog.text or "base64" in caplog.text
    assert running.secret not in caplog.text
    write(running.secrets, good)
    assert running.sender.send(LEAKED)[0] == 202
    running.wait_for_events(1)


NO_START: dict[str, tuple[str, dict[str, Any]]] = {
    "an option that there is none of": ("hmac_secret: there is no such option", {"hmac_secret": "x"}),
    "no port": ("port: this option is required", {"port": None}),
    "a port that is none": ("port: give a value of the type int", {"port": "http"}),
    "another port that is none": ("port, path", {"port": 70000}),
    "a scheme that signs nothing": ("scheme: choose one of", {"scheme": "gitlab_token"}),
    "a scheme without a time": ("time_field: the scheme github signs no time", {"scheme": "github"}),
    "no kinds": ("kinds: name the kinds", {"kinds": []}),
    "kinds that are no list": ("kinds: give a value of the type list", {"kinds": "key_leaked"}),
    "everywhere without HTTPS": ("certificate_file: without HTTPS", {"host": "0.0.0.0"}),
    "everywhere by a name": ("certificate_file: without HTTPS", {"host": "hooks.example"}),
    "no certificate": ("certificate_file: cannot use /nowhere: No such file", {"certificate_file": "/nowhere"}),
    "no directory": ("cannot lock /nowhere/receipts", {"receipts_file": "/nowhere/receipts"}),
    "no secrets": ("cannot read /nowhere/secrets", {"secret_file": "/nowhere/secrets"}),
}


@pytest.mark.parametrize(("message", "options"), NO_START.values(), ids=NO_START)
def test_what_it_does_not_start_with(make: Callable[..., Running], message: str, options: dict[str, Any]) -> None:
    running = make()
    running.options |= options
    assert message in running.fails()
    assert running.secret not in str(running.error)


def test_secrets_of_another_scheme_are_found_at_the_start(make: Callable[..., Running]) -> None:
    running = make()
    running.secrets.write_text("this is no base64 at all\n")
    assert "is base64 behind whsec_" in running.fails()


def github(body: bytes, secret: str) -> dict[str, str]:
    return {"X-Hub-Signature-256": "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def test_a_scheme_without_a_time_takes_it_from_the_signed_body(make: Callable[..., Running]) -> None:
    running = make(scheme="github", time_field="alert.updated_at", kind_field="action", kinds=["created"]).start()

    def sent(at: float) -> int:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
        body = json.dumps({"action": "created", "alert": {"updated_at": moment}}).encode()
        return running.sender.post(body, github(body, running.secret))[0]

    now = time.time()
    assert [sent(at) for at in (now, now, now - 20, now - 400, now + 400)] == [202, 409, 202, 403, 403]
    assert running.sender.post(b'{"action": "created"}', github(b'{"action": "created"}', running.secret))[0] == 400
    running.wait_for_events(2)


def test_what_is_undated_is_remembered_for_ever(make: Callable[..., Running]) -> None:
    first = make(scheme="hex", header="X-Mine", allow_undated=True, kind="key_leaked").start()
    body = b'{"delivery": 1}'
    headers = {"x-mine": hmac.new(first.secret.encode(), body, hashlib.sha256).hexdigest()}
    assert first.sender.post(body, headers)[0] == 202
    assert first.sender.post(body, {"x-mine": headers["x-mine"].upper()})[0] == 409
    (event,) = first.wait_for_events(1)
    assert (event["kind"], event["sent"]) == ("key_leaked", None)
    first.stop()
    later = make(**{name: first.options[name] for name in ("scheme", "header", "allow_undated", "kind", "port")})
    later.offset_s = 10 * 365 * 86400
    assert later.start().sender.post(body, headers)[0] == 409
    assert later.events == []


def test_a_clock_that_is_set_back_lets_nothing_in_again(make: Callable[..., Running]) -> None:
    first, body = make().start(), json.dumps(LEAKED).encode()
    headers = first.sender.headers(body)
    assert first.sender.post(body, headers)[0] == 202
    first.offset_s = 86400
    assert first.sender.post(body, headers)[0] == 403
    first.wait_for_events(1)
    first.stop()
    in_between = make(port=first.port)
    in_between.offset_s = 86400
    in_between.start().stop()
    assert make(port=first.port).start().sender.post(body, headers)[0] == 409


def test_no_more_than_so_many_within_an_hour(make: Callable[..., Running]) -> None:
    running = make(max_per_hour=2).start()
    assert [running.sender.send(LEAKED)[0] for unused in range(3)] == [202, 202, 429]
    running.stop()
    again = make(max_per_hour=2, port=running.port).start()
    assert again.sender.send(LEAKED)[0] == 429
    again.offset_s = 3601
    assert again.sender.send(LEAKED, at=time.time() + 3601)[0] == 202


def test_two_receivers_on_one_file(make: Callable[..., Running]) -> None:
    first, second = make().start(), make()
    assert f"another receiver uses {first.receipts}" in second.fails()
    assert first.sender.send(LEAKED)[0] == 202


def test_killed_before_it_was_passed_on(make: Callable[..., Running]) -> None:
    """The sender was told 202, so the next start passes it on; and the one after that does not."""
    first, body = make(), json.dumps(LEAKED).encode()
    headers = first.sender.headers(body)
    busy = Busy(first)
    try:
        # A rulebook that is busy keeps no sender waiting.
        assert first.sender.post(body, headers)[0] == 202
        assert first.sender.send({"kind": "operator_left"})[0] == 202
    finally:
        busy.kill()
    second = make(port=first.port).start()
    assert [event["kind"] for event in second.wait_for_events(2)] == ["key_leaked", "operator_left"]
    assert second.sender.post(body, headers)[0] == 409
    second.stop()
    third = make(port=first.port).start()
    assert third.sender.post(body, headers)[0] == 409
    third.stop()
    assert third.events == []


def test_killed_before_it_was_acted_on(make: Callable[..., Running]) -> None:
    """Where an event has a receipt, each start passes it on, until that is gone."""
    first, body = make(acknowledge=True).start(), json.dumps(LEAKED).encode()
    headers = first.sender.headers(body)
    assert first.sender.post(body, headers)[0] == 202
    (event,) = first.wait_for_events(1)
    first.stop()
    second = make(acknowledge=True, port=first.port).start()
    assert second.wait_for_events(1) == [event]
    assert second.sender.post(body, headers)[0] == 409
    Path(event["receipt"]).unlink()
    assert second.sender.send({"kind": "operator_left"})[0] == 202
    (unused, left) = second.wait_for_events(2)
    assert second.receipts.read_text().count("passed_on") == 1  # the one that was acted on may be forgotten in time
    second.stop()
    third = make(acknowledge=True, port=first.port).start()
    assert third.wait_for_events(1) == [left]
    assert third.sender.post(body, headers)[0] == 409


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")
def test_a_disk_that_is_full_passes_nothing_on(make: Callable[..., Running], tmp_path: Path) -> None:
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", place], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets us mount nothing")
    try:
        running = make(receipts_file=str(place / "receipts")).start()
        filled = subprocess.run(["dd", "if=/dev/zero", f"of={place / 'ballast'}", "bs=4096"], check=False, capture_output=True, timeout=30)
        assert b"No space" in filled.stderr
        answers = [running.sender.send(LEAKED, message_id=f"msg_{number}")[0] for number in range(3)]
        assert (answers, running.events) == ([503] * 3, [])
        (place / "ballast").unlink()
        assert running.sender.send(LEAKED, message_id="msg_0")[0] == 202  # it was never taken
        running.wait_for_events(1)
        running.stop()
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def test_with_a_certificate(make: Callable[..., Running], tmp_path: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=x",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", "server.key", "-out", "server.pem"],
        cwd=tmp_path, check=True, capture_output=True, timeout=30,
    )  # fmt: skip
    told = {"certificate_file": str(tmp_path / "server.pem"), "certificate_key_file": str(tmp_path / "server.key")}
    running = make(host="0.0.0.0", **told).start()
    context = ssl.create_default_context(cafile=str(tmp_path / "server.pem"))
    assert running.sender.send(LEAKED, context=context)[0] == 202
    running.wait_for_events(1)


def test_who_sends_no_body_is_not_waited_for(make: Callable[..., Running]) -> None:
    """The receiver answers others meanwhile."""
    running = make().start()
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as slow:
        slow.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert running.sender.send(LEAKED)[0] == 202
    running.wait_for_events(1)


def is_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_who_holds_many_connections_and_says_little_keeps_nobody_out(make: Callable[..., Running]) -> None:
    """Of more than a hundred the oldest has to go."""
    running = make().start()
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=20)) for unused in range(130)]
        for one in held:
            with contextlib.suppress(OSError):
                one.sendall(b"POST / HTTP/1.1\r\n")
        assert running.sender.send(LEAKED)[0] == 202
        assert is_ended(held[0])
        held[-1].setblocking(False)
        with pytest.raises(BlockingIOError):
            held[-1].recv(1)
    running.wait_for_events(1)


def test_a_connection_ends_after_its_time_whatever_is_said_on_it() -> None:
    class Silent(asyncio.Protocol):
        ended = False

        def connection_lost(self, exc: Exception | None) -> None:
            self.ended = True

    async def hold() -> bool:
        held, inner = Connections(most=5, longest_s=0.2), Silent()
        server = await asyncio.get_running_loop().create_server(lambda: held.watched(inner), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"POST")
        with contextlib.suppress(ConnectionError):
            await asyncio.wait_for(reader.read(), 20)
        writer.close()
        server.close()
        return inner.ended

    assert asyncio.run(hold())


def test_each_option_is_documented_as_it_is() -> None:
    loaded = load(SOURCE)
    told = yaml.safe_load(loaded["DOCUMENTATION"])["options"]
    types = {"str": str, "path": str, "int": int, "float": float, "bool": bool, "list": list}
    assert list(told) == list(loaded["_OPTIONS"])
    kinds = {name: kind for name, (kind, unused_default) in loaded["_OPTIONS"].items()}
    assert {name: types[option["type"]] for name, option in told.items()} == kinds
    required = [name for name, (unused_kind, default) in loaded["_OPTIONS"].items() if default is loaded["_REQUIRED"]]
    assert [name for name, option in told.items() if option.get("required")] == required
    given = {name: value for name, (unused_kind, value) in loaded["_OPTIONS"].items() if value}
    defaults = {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}
    assert {name: option["default"] for name, option in told.items() if option.get("default")} == {
        name: value for name, value in defaults.items() if name not in required
    }
    assert tuple(told["scheme"]["choices"]) == loaded["SCHEMES"]


def rulebooks() -> dict[str, Any]:
    page = (CHECKOUT / "docs/eda.md").read_text()
    found = {f"docs/eda.md {number}": text for number, text in enumerate(re.findall(r"```yaml\n(- name.*?)```", page, re.S))}
    return found | {"documentation": load(SOURCE)["EXAMPLES"]}


@pytest.mark.parametrize("text", rulebooks().values(), ids=rulebooks())
def test_rulebooks_that_are_shown_are_rulebooks(text: str) -> None:
    from ansible_rulebook.validators import Validate

    shown = yaml.safe_load(text)
    Validate.rulebook(shown)
    (told,) = (source["servos.ops.signed_webhook"] for ruleset in shown for source in ruleset["sources"])
    options = load(SOURCE)["options_of"](told)
    assert options["receipts_file"].startswith("/var/lib/servos/eda/")
