# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers of the Pika model on this machine: started on free loopback ports, controlled, judged, stopped.

A Pika has a folder of its own with a state directory, key files, password files and a manifest. Nothing here is imported from the
collection; of the model the judge alone, which shares no code with the server either.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import hmac
import http.client
import importlib.util
import io
import json
import os
import shutil
import signal
import ssl
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ports import free_port

PIKA = Path(__file__).resolve().parent.parent / "reference_apps" / "pika"
OLD, NEW, OTHER = "old server key of the tests", "new server key of the tests: ключ", "a third server key"
ADMIN, ADMIN_PASSWORD = "operator", "operator-password-of-the-tests"
# An account without settings.manage, one with it that is no superadmin, and one with a second factor.
PLAIN, MANAGER, TOTP = "reader", "manager", "second-factor"
PASSWORDS = {
    ADMIN: ADMIN_PASSWORD, PLAIN: "reader-password-of-the-tests", MANAGER: "manager-password-of-the-tests",
    TOTP: "totp-password-of-the-tests",
}  # fmt: skip
TOTP_SECRET = "3132333435363738393031323334353637383930"
TOKEN = "pika_" + "5e" * 32
ACCOUNTS = {
    "users": [
        {"name": ADMIN, "password": PASSWORDS[ADMIN], "is_superadmin": True},
        {"name": PLAIN, "password": PASSWORDS[PLAIN], "permissions": ["files.read", "files.write"]},
        {"name": MANAGER, "password": PASSWORDS[MANAGER], "permissions": ["settings.manage"]},
        {"name": TOTP, "password": PASSWORDS[TOTP], "is_superadmin": True, "totp_secret": TOTP_SECRET},
    ],
    "tokens": [{"name": "automation", "token": TOKEN}],
}  # fmt: skip
# Everything that must not be seen in any output.
SECRETS = (OLD, NEW, OTHER, TOKEN, *PASSWORDS.values())
_START_TIMEOUT_S = 20


class Answer(NamedTuple):
    """A reply."""

    status: int
    body: bytes
    headers: http.client.HTTPMessage

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def message(self) -> str:
        """The message without its class word."""
        return str(self.json["message"]).rpartition(":")[0]


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run one of the model's scripts to its end."""
    command = [sys.executable, PIKA / name, *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    path.chmod(0o600)
    return path


def totp_code(shift_s: float = 0.0) -> str:
    """Return the code that the account with the second factor has now."""
    digest = hmac.new(bytes.fromhex(TOTP_SECRET), struct.pack(">Q", int(time.time() + shift_s) // 30), hashlib.sha1).digest()
    offset = digest[-1] & 15
    return f"{(struct.unpack('>I', digest[offset : offset + 4])[0] & 0x7FFFFFFF) % 10**6:06d}"


@functools.lru_cache(maxsize=None)
def _filled(arguments: tuple[str, ...], *, is_initialized: bool, is_empty: bool) -> Path:
    """Make a state directory once, to be copied."""
    folder = Path(tempfile.mkdtemp(prefix="pika-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    accounts = write(folder / "accounts.json", json.dumps({} if is_empty else ACCOUNTS))
    key_arguments = ("--key-file", write(folder / "old.key", OLD)) if is_initialized else ()
    manifest = folder / "manifest.json"
    filled = script(
        "create.py", "fill", "--state", folder / "state", "--manifest", manifest, "--accounts-file", accounts, *key_arguments, *arguments
    )
    if filled.returncode:
        raise AssertionError(filled.stderr)
    return folder


@functools.lru_cache(maxsize=None)
def _judge_script() -> Any:
    spec = importlib.util.spec_from_file_location("pika_judge", PIKA / "judge.py")
    if spec is None or spec.loader is None:
        raise AssertionError("the judge is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Pika:
    """One server: its files, its process, and requests to it that share no code with the collection."""

    def __init__(
        self, folder: Path, *, version: str = "C", initialized: bool = True, empty: bool = False, secrets: int = 8, vaults: int = 3,
        only_oauth2: bool = False, tls: bool = False, base_path: str = "", config_password: str = "", **settings: object,
    ) -> None:  # fmt: skip
        folder.mkdir(parents=True)
        self.folder, self.state, self.manifest, self.log = folder, folder / "state", folder / "manifest.json", folder / "log"
        self.port, self.control_port = free_port(), free_port()
        self.base_path, self.tls = base_path, tls
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}{base_path}"
        self.process: subprocess.Popen[bytes] | None = None
        self.cookie = ""
        for name, text in (("old", OLD), ("new", NEW), ("other", OTHER)):
            write(folder / f"{name}.key", text)
        for name, password in PASSWORDS.items():
            write(folder / f"{name}.password", password)
        write(folder / "token", TOKEN)
        # What a unit's EnvironmentFile holds, and what a rotation has to bring up to date.
        self.env_file = folder / "pika.env"
        lines = [f"PIKA_STORAGE_BW_PATH={self.state}"]
        if config_password:
            lines.append(f'PIKA_ENCRYPTION_PASSWORD="{config_password}"')
        write(self.env_file, "".join(f"{line}\n" for line in lines))
        self.environment = {
            "PIKA_SERVER_PORT": str(self.port), "PIKA_SERVER_TLS_ENABLED": "true" if tls else "false",
            "PIKA_SERVER_BASE_PATH": base_path, "PIKA_REFERENCE_VERSION": version,
            "PIKA_REFERENCE_CONTROL_PORT": str(self.control_port), "PIKA_REFERENCE_SLEEP_SCALE": "0.002",
            **{f"PIKA_REFERENCE_{name.upper()}": str(value) for name, value in settings.items()},
        }  # fmt: skip
        arguments = ["--version", version]
        if initialized:
            arguments += ["--secrets", str(secrets), "--vaults", str(vaults if version == "C" else 0)]
        if only_oauth2:
            arguments.append("--only-oauth2")
        template = _filled(tuple(arguments), is_initialized=initialized, is_empty=empty)
        shutil.copytree(template / "state", self.state)
        shutil.copy(template / "manifest.json", self.manifest)

    def read_env_file(self) -> dict[str, str]:
        """Read the env file as systemd would, as far as these tests write it."""
        pairs = (line.partition("=") for line in self.env_file.read_text(encoding="utf-8").splitlines() if "=" in line)
        return {name: value.strip('"').replace('\\"', '"').replace("\\\\", "\\") for name, unused, value in pairs}

    def start(self, *, unlock: str = "", faults: str = "", until_ready: bool = True) -> Pika:
        """Start it and wait until it answers; with a key, unlock it."""
        environment = {"PATH": os.environ["PATH"], **self.environment, **self.read_env_file()}
        if faults:
            environment["PIKA_REFERENCE_FAULTS"] = faults
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([sys.executable, PIKA / "server.py"], env=environment, stdout=log, stderr=log)
        if until_ready:
            self.wait_ready()
        if unlock:
            answer = self.call("POST", "/api/v1/key/unlock", {"key": unlock})
            if answer.status != 200:
                raise AssertionError(f"unlock: {answer.status}")
        return self

    def wait_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log.read_text()}")
            try:
                self.report()
                return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the server did not answer")

    def wait_until(self, is_so: Callable[[dict[str, Any]], bool]) -> None:
        """Wait until the report of the control port is as it should be."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_so(self.report()):
            if time.monotonic() > deadline:
                raise AssertionError("the server did not come to be as it was waited for")
            time.sleep(0.01)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Stop it, if it runs."""
        if self.process is not None:
            self.process.send_signal(number)
            self.wait_ended()

    def wait_ended(self) -> None:
        """Wait for its end, which is under way."""
        if self.process is not None:
            try:
                self.process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(timeout=20)
            self.process = None

    def restart(self, **options: Any) -> Pika:
        self.stop()
        return self.start(**options)

    def _control(self, method: str, path: str, content: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.control_port, timeout=10)
        try:
            connection.request(method, path, None if content is None else json.dumps(content))
            reply = connection.getresponse()
            body = json.loads(reply.read())
        finally:
            connection.close()
        if reply.status != 200:
            raise AssertionError(f"control port: {body}")
        return body

    def set_faults(self, **faults: object) -> None:
        """Turn switches on, or off with None."""
        self._control("POST", "/faults", faults)

    def report(self) -> dict[str, Any]:
        """What was asked of the server, and how it is."""
        return self._control("GET", "/report")

    def forget_requests(self) -> None:
        self._control("POST", "/reset")

    def count(self, method_and_path: str) -> int:
        """How often something was asked."""
        return self.report()["requests"].get(method_and_path, 0)

    def send(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        """Send one request as it is, with nobody signed in. Follows nothing, repeats nothing."""
        if self.tls:
            context = ssl.create_default_context(cafile=str(self.state / "tls.crt"))
            connection: http.client.HTTPConnection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=40, context=context)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=40)
        try:
            connection.request(method, self.base_path + path, body, headers or {})
            reply = connection.getresponse()
            return Answer(reply.status, reply.read(), reply.headers)
        finally:
            connection.close()

    def login(self, name: str = ADMIN) -> str:
        """Sign in and return the session's cookie."""
        body = json.dumps({"username": name, "password": PASSWORDS[name]}).encode()
        answer = self.send("POST", "/login/pass/local", body, {"Content-Type": "application/json"})
        cookies = [value for value in answer.headers.get_all("Set-Cookie", []) if value.startswith("pika_session=")]
        if answer.status != 200 or not cookies:
            raise AssertionError(f"login: {answer.status} {answer.body!r}")
        return cookies[0].partition(";")[0]

    def call(self, method: str, path: str, content: Any = None, *, name: str = ADMIN, **headers: str) -> Answer:
        """Send one JSON request as a user, who is signed in for it the first time (and again after a restore)."""
        if name != ADMIN:
            cookie = self.login(name)
        else:
            self.cookie = cookie = self.cookie or self.login()
        body = None if content is None else json.dumps(content).encode()
        wire_headers = {"Cookie": cookie, "Content-Type": "application/json"}
        wire_headers.update({header.replace("_", "-"): value for header, value in headers.items()})
        return self.send(method, path, body, wire_headers)

    def status(self) -> dict[str, bool]:
        return self.send("GET", "/api/v1/key/status").json

    def rotate(self, current: str = OLD, new: str = NEW) -> Answer:
        return self.call("POST", "/api/v1/key/rotate", {"current_key": current, "new_key": new})

    def unlock(self, passphrase: str) -> Answer:
        return self.call("POST", "/api/v1/key/unlock", {"key": passphrase})

    def judge(self, *, with_manifest: bool = True, backup: Path | None = None, password_file: Path | None = None) -> dict[str, Any]:
        """Let the judge say which key everything is under."""
        arguments = ["--backup", str(backup)] if backup else ["--state", str(self.state)]
        for key_name in ("old", "new", "other"):
            arguments += ["--key-file", f"{key_name}={self.folder / key_name}.key"]
        if with_manifest:
            arguments += ["--manifest", str(self.manifest)]
        if password_file:
            arguments += ["--password-file", str(password_file)]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = _judge_script().main(arguments)
        if code == 2:
            raise AssertionError("the judge could not judge")
        return json.loads(said.getvalue())

    def is_all_under(self, key_name: str) -> bool:
        """Whether everything is under one key, and as the manifest has it."""
        verdict = self.judge()
        return bool(verdict["ok"] and verdict["verifier"] == key_name)

    def damage(self, what: str) -> None:
        """Spoil the state directory of a server that is stopped."""
        done = script("create.py", "damage", "--state", self.state, "--key-file", self.folder / "old.key", "--what", what)
        if done.returncode:
            raise AssertionError(done.stderr)

    def unit_text(self) -> str:
        """Return a systemd unit that runs this server."""
        variables = "".join(f'Environment="{name}={value}"\n' for name, value in self.environment.items())
        return (
            f"[Unit]\nDescription=Pika model\n[Service]\n{variables}EnvironmentFile={self.env_file}\n"
            f"ExecStart={sys.executable} {PIKA / 'server.py'}\n[Install]\nWantedBy=multi-user.target\n"
        )


class PikaCluster:
    """Several servers that know of each other; the first one leads to begin with."""

    def __init__(self, folder: Path, *, size: int = 2, config_password: str = "", **settings: Any) -> None:
        self.nodes = [Pika(folder / "n1", config_password=config_password, **settings)]
        for number in range(2, size + 1):
            node = Pika(folder / f"n{number}", config_password=config_password, **{**settings, "initialized": False})
            shutil.rmtree(node.state)
            shutil.copytree(self.nodes[0].state, node.state)
            shutil.copy(self.nodes[0].manifest, node.manifest)
            self.nodes.append(node)
        urls = ",".join(f"n{number}={node.url}" for number, node in enumerate(self.nodes, start=1))
        for number, node in enumerate(self.nodes, start=1):
            node.environment |= {"PIKA_REFERENCE_NODES": urls, "PIKA_REFERENCE_NODE": f"n{number}"}

    def start(self, *, unlock: str = "") -> PikaCluster:
        """Start all; with a key, each node is started with it as its configured password, once."""
        for node in self.nodes:
            before = node.env_file.read_text(encoding="utf-8")
            if unlock and "PIKA_ENCRYPTION_PASSWORD" not in before:
                write(node.env_file, f'{before}PIKA_ENCRYPTION_PASSWORD="{unlock}"\n')
            node.start(until_ready=False)
            write(node.env_file, before)
        for node in self.nodes:
            node.wait_ready()
        self.wait_leader()
        return self

    def wait_leader(self, *, timeout_s: float = _START_TIMEOUT_S) -> str:
        """Wait until all nodes that run follow the same leader; return its id."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            running = {f"n{number}": node for number, node in enumerate(self.nodes, start=1) if node.process is not None}
            leaders = {node.report()["leader"] for node in running.values()}
            if len(leaders) == 1 and leaders <= running.keys():
                return str(leaders.pop())
            time.sleep(0.05)
        raise AssertionError("the nodes follow no leader")

    @property
    def leader(self) -> Pika:
        return self.nodes[int(self.wait_leader()[1:]) - 1]

    @property
    def followers(self) -> list[Pika]:
        return [node for node in self.nodes if node is not self.leader]

    def stop(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(OSError):
                node.stop()
