# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""servos_agent_info on real processes: one that drops its rights well, or badly in one way, and those that setpriv(1) starts."""

from __future__ import annotations

import codecs
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from module_runs import ModuleRun, Outcome

AGENT = Path(__file__).parent.parent / "reference_apps" / "agent" / "agent.py"
THREE = ["CAP_NET_ADMIN", "CAP_IPC_LOCK", "CAP_BPF"]
NOBODY = 65534
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start an agent that drops its rights")

Start = Callable[..., int]


@pytest.fixture
def name() -> str:
    """A name that no other process has, of another test or of a real agent."""
    return f"agent-{os.getpid()}"


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a program in a session of its own and waits for a file; all of them are killed."""
    running: list[subprocess.Popen[bytes]] = []

    def begin(*argv: Any, ready: Path) -> int:
        none = subprocess.DEVNULL
        running.append(subprocess.Popen([*map(str, argv)], start_new_session=True, stdin=none, stdout=none, stderr=none))
        deadline = time.monotonic() + 20
        while not ready.exists() or not ready.read_bytes():
            assert running[-1].poll() is None, "it ended"
            assert time.monotonic() < deadline, "it is not ready"
            time.sleep(0.01)
        return running[-1].pid

    yield begin
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture
def agent(start: Start, tmp_path: Path, name: str) -> Callable[[str], int]:
    """Return a function that starts the reference agent with faults."""

    def begin(faults: str) -> int:
        (tmp_path / "faults").write_text(faults)
        options = ["--user", "nobody", "--group", "nogroup", "--name", name, "--faults", tmp_path / "faults", "--ready", tmp_path / "ready"]
        return start(sys.executable, AGENT, *options, ready=tmp_path / "ready")

    return begin


def look(name: str, *, prepare: Any = (), **options: Any) -> Outcome:
    wanted = {"unit": "", "process_name": name, "user": "nobody", "group": "nogroup", "no_new_privileges": False}
    return ModuleRun("servos_agent_info", dict(wanted, **options), prepare=prepare).wait()


def whats(outcome: Outcome) -> list[str]:
    return sorted({row["what"] for row in outcome["deviations"]})


def test_an_agent_that_drops_its_rights_conforms(agent: Callable[[str], int], name: str) -> None:
    pid = agent("")
    seen = look(name)
    assert seen["deviations"] == []
    assert (seen["conforms"], seen["running"], seen.changed, seen["unit"]) == (True, True, False, None)
    [process] = seen["processes"]
    assert process["pid"] == pid
    assert process["uid"] == {"real": NOBODY, "effective": NOBODY, "saved": NOBODY, "file_system": NOBODY}
    assert process["capabilities"] == {"permitted": THREE, "effective": THREE, "bounding": THREE, "inheritable": [], "ambient": []}
    assert {row["kind"] for row in process["privileged_descriptors"]} == {"bpf", "netlink_socket"}
    assert process["namespaces_apart"] == []


@pytest.mark.parametrize(
    ("faults", "what"),
    [
        ("no_drop", ["bounding", "effective", "gid", "permitted", "uid"]),
        ("keep", ["bounding", "effective", "permitted"]),
        ("keep_bounding", ["bounding"]),
        ("group", ["supplementary_groups"]),
        ("root_thread", ["bounding", "effective", "permitted", "uid"]),
        ("raw_socket", ["descriptor"]),
        ("shadow", ["descriptor"]),
        ("child", ["bounding", "effective", "gid", "permitted", "uid"]),
    ],
)
def test_one_that_drops_them_badly_is_caught(agent: Callable[[str], int], name: str, faults: str, what: list[str]) -> None:
    pid = agent(faults)
    # The tests' own groups are of no interest.
    found = look(name, supplementary_groups=[] if faults == "group" else [str(gid) for gid in os.getgroups()])
    assert whats(found) == what
    assert not found["conforms"]
    about = {(row["pid"] == pid, row["thread"] == pid) for row in found["deviations"]}
    assert about == {{"root_thread": (True, False), "child": (False, False)}.get(faults, (True, True))}
    assert all(row["how"] and row["should"] for row in found["deviations"])


def test_what_is_allowed_is_none(agent: Callable[[str], int], name: str) -> None:
    agent("raw_socket shadow group")
    assert whats(look(name)) == ["descriptor", "supplementary_groups"]
    allowed = ["raw_socket", "/etc/shadow", "netlink_socket", "bpf"]
    assert look(name, allowed_descriptors=allowed, supplementary_groups=["adm"])["conforms"]
    assert [row["is"].split()[0] for row in look(name, allowed_descriptors=[], supplementary_groups=["adm"])["deviations"]] == [
        "raw_socket", "foreign_file", "netlink_socket", "bpf",
    ]  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that other users can use as well."""
    with tempfile.TemporaryDirectory() as path:
        os.chmod(path, 0o777)
        yield Path(path)


def script(place: Path, name: str, body: str) -> Path:
    """A program whose process has its own name: that of the file."""
    path = place / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


GIVEN = ["--reuid=nobody", "--regid=nogroup", "--clear-groups", "--bounding-set=-all,+net_admin,+bpf,+ipc_lock"]
INHERITED = ["--inh-caps=-all,+net_admin,+bpf,+ipc_lock", "--ambient-caps=-all,+net_admin,+bpf,+ipc_lock"]


@pytest.mark.parametrize(
    ("how", "options", "what"),
    [
        ([*GIVEN, *INHERITED, "--no-new-privs"], {"no_new_privileges": True}, []),
        ([*GIVEN, *INHERITED], {"no_new_privileges": True}, ["no_new_privileges"]),
        ([*GIVEN, *INHERITED], {"seccomp": True}, ["seccomp"]),
        ([*GIVEN, "--inh-caps=-all"], {}, ["effective", "permitted"]),
        ([*GIVEN, "--inh-caps=-all"], {"capabilities": []}, ["bounding"]),
        ([*GIVEN, *INHERITED], {"capabilities": ["net_admin", "bpf", "ipc_lock"], "user": "daemon"}, ["uid"]),
        ([*GIVEN, *INHERITED], {"group": "daemon"}, ["gid"]),
        ([*GIVEN, *INHERITED], {"user": "nobody-knows", "group": "nobody-knows"}, ["group", "user"]),
        ([*GIVEN, *INHERITED, "--groups=4"], {}, ["supplementary_groups"]),
    ],
    ids=[
        "good",
        "new privileges",
        "no filter",
        "no capability",
        "none wanted",
        "another user",
        "another group",
        "unknown names",
        "a group",
    ],
)
def test_what_setpriv_gives_is_what_is_seen(
    start: Start, place: Path, name: str, how: list[str], options: dict[str, Any], what: list[str]
) -> None:
    how = [word for word in how if word != "--clear-groups" or "--groups=4" not in how]
    program = script(place, name, f"echo ready > {place}/ready; sleep 1000; true")
    start("setpriv", *how, program, ready=place / "ready")
    assert whats(look(name, **options)) == what


def test_a_connection_to_a_container_engine_is_a_right(start: Start, tmp_path: Path, name: str) -> None:
    path = tmp_path / "docker.sock"
    with socket.socket(socket.AF_UNIX) as engine:
        engine.bind(str(path))
        engine.listen()
        body = f"import socket, time; s = socket.socket(socket.AF_UNIX); s.connect('{path}'); open('{tmp_path}/ready', 'w').write('x')"
        program = tmp_path / name
        program.write_text(f"#!{sys.executable}\n{body}; time.sleep(1000)\n")
        program.chmod(0o755)
        start(program, ready=tmp_path / "ready")
        accepted, unused_address = engine.accept()
        found = look(name, user="0", group="0", capabilities=[])
        assert [row["is"] for row in found["deviations"] if row["what"] == "descriptor"] == [f"engine_socket {path} (descriptor 3)"]
        accepted.close()


def test_a_process_in_a_container_is_seen_as_one(start: Start, tmp_path: Path, name: str) -> None:
    program = script(tmp_path, name, f"echo ready > {tmp_path}/ready; sleep 1000")
    start("unshare", "--pid", "--net", "--fork", "--kill-child", program, ready=tmp_path / "ready")
    [process] = look(name)["processes"]
    assert process["namespaces_apart"] == ["pid", "net"]
    assert process["name"] == name


def test_nothing_that_runs_is_a_deviation(name: str) -> None:
    seen = look(name)
    assert (seen["running"], seen["conforms"], whats(seen)) == (False, False, ["process"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"process_name": ""}, "neither unit nor process_name"),
        ({"capabilities": ["CAP_NETADMIN"]}, "there is no capability CAP_NETADMIN"),
        ({"allowed_descriptors": ["sockets"]}, "allowed_descriptors names sockets"),
        ({"unit": "../a"}, "names no service"),
    ],
)
def test_what_cannot_be_is_refused(name: str, options: dict[str, Any], said: str) -> None:
    refused = look(name, **options)
    assert refused.failed
    assert said in refused.msg


def become_nobody() -> None:
    codecs.lookup("ascii")  # loaded when first used, from files that nobody may read
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def test_what_is_not_ours_to_see_is_said(agent: Callable[[str], int], name: str) -> None:
    agent("")
    refused = look(name, prepare=[become_nobody])
    assert refused.failed
    assert "become: true" in refused.msg


@pytest.mark.skipif(os.path.isdir("/run/systemd/system"), reason="systemd runs here")
def test_a_host_without_systemd_is_said(name: str) -> None:
    refused = look(name, unit="servos-agent")
    assert refused.failed
    assert "let unit be empty" in refused.msg
