# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets in containers, on both engines: what arrives, what stays the same, what is replaced, what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import stat
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pytest
from engines import BOX, BOX2, EngineUnderTest, Injecting, Watcher
from evidence import differences, leaks, snapshot_of

SECRETS = {
    "PLAIN": "correct horse battery staple",
    "QUOTED": "\"double\" 'single' `back` #no comment $HOME \\n \\",
    "BLANKS": "  around the value\t ",
    "UNICODE": "пароль-🔑-pässwörd",
    "LINES": "-----BEGIN KEY-----\nMIIEvgIBADANBgkq\n-----END KEY-----\n",
    "RETURN": "carriage\rreturn\r",
    "BOM": "\ufeffbyte order mark",
    "EQUALS": "=a=b==",
    "STAR": "*glob?[x]",
}
BIG = {"LONGEST_LINE": "L" * (65535 - 13), "TOO_LONG_A_LINE": "M" * 65536, "LONGEST": "N" * (131072 - 9)}


def state_files(under: EngineUnderTest, name: str) -> list[Path]:
    """The files in which an engine keeps a container, found without the collection."""
    if under.root is not None:
        return [path for path in under.root.rglob("*") if path.is_file()]
    container_id = under.inspect(name)["Id"]
    return [path for path in (Path("/var/lib/docker/containers") / container_id).rglob("*") if path.is_file()]


def test_every_text_arrives_as_it_was_given(injecting: Injecting) -> None:
    done = injecting.run(env=SECRETS)
    assert done.changed, done.printed
    assert done["action"] == "created"
    arrived = injecting.engine.environment(injecting.name)
    assert {name: arrived.get(name) for name in SECRETS} == SECRETS
    assert {"LINES", "RETURN"} <= set(done["passed_by_environment"]) < set(SECRETS)


def test_what_no_line_can_hold_arrives_up_to_the_longest_string_that_linux_takes(injecting: Injecting) -> None:
    done = injecting.run(env=BIG)
    assert done.changed, done.printed
    arrived = injecting.engine.environment(injecting.name)
    assert {name: len(arrived.get(name, "")) for name in BIG} == {name: len(value) for name, value in BIG.items()}
    assert done["passed_by_environment"] == ["LONGEST", "TOO_LONG_A_LINE"]


def test_numbers_are_texts_and_an_empty_value_may_be_allowed(injecting: Injecting) -> None:
    assert injecting.run(env={"PORT": 5432, "EMPTY": ""}, allow_empty=True).changed
    arrived = injecting.engine.environment(injecting.name)
    assert (arrived["PORT"], arrived["EMPTY"]) == ("5432", "")


def test_the_file_is_private_while_it_lives_and_gone_when_the_engine_has_read_it(injecting: Injecting) -> None:
    run = injecting.stall_at("create", 1, "before", env=SECRETS)
    (living,) = injecting.env_files()
    seen = os.lstat(injecting.secrets_dir / living)
    assert (stat.S_IMODE(seen.st_mode), seen.st_uid) == (0o600, os.geteuid())
    assert stat.S_IMODE(os.lstat(injecting.secrets_dir).st_mode) == 0o700
    assert "PLAIN=correct horse battery staple\n" in (injecting.secrets_dir / living).read_text()
    run.kill_all()
    run.wait()
    assert injecting.env_files() == [living]
    injecting.no_fault()
    done = injecting.run(env=SECRETS)
    assert done["removed_leftovers"] == [str(injecting.secrets_dir / living)]
    assert injecting.env_files() == []
    assert not os.path.lexists(done["env_file"]["path"])


def test_a_file_of_a_run_that_lives_is_never_swept(injecting: Injecting) -> None:
    run = injecting.stall_at("create", 1, "before", env=SECRETS)
    other = injecting.run(name=injecting.name + "-other", state="absent")
    assert not other.failed, other.msg
    assert (other.changed, len(injecting.env_files())) == (False, 1)
    second = injecting.run(env=SECRETS)
    assert second.failed
    assert "another run is at work on the container" in second.msg
    run.kill_all()
    run.wait()


def test_the_same_again_changes_nothing_and_starts_nothing(injecting: Injecting) -> None:
    injecting.run(env=SECRETS, public_env={"LEVEL": "info"})
    before = injecting.engine.inspect(injecting.name)
    again = injecting.run(env=SECRETS, public_env={"LEVEL": "info"})
    assert (again.changed, again["action"], again["env_file"]) == (False, "unchanged", None)
    after = injecting.engine.inspect(injecting.name)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


@pytest.mark.parametrize(
    ("options", "changed_options", "changed_variables"),
    [
        ({"env": {"A": "the other value"}}, [], ["A"]),
        ({"env": {}}, [], ["A"]),
        ({"env": {"A": "the first value", "B": "added"}}, [], ["B"]),
        ({"public_env": {"LEVEL": "debug"}}, [], ["LEVEL"]),
        ({"read_only": True}, ["read_only"], []),
        ({"user": "65534:65534"}, ["user"], []),
        ({"labels": {"org.example.a": "b"}}, ["labels"], []),
        ({"image": BOX2}, [], []),
    ],
    ids=["value", "variable removed", "variable added", "public", "option", "user", "labels", "image"],
)
def test_what_differs_is_named_and_replaced(
    injecting: Injecting, options: dict[str, Any], changed_options: list[str], changed_variables: list[str]
) -> None:
    injecting.run(env={"A": "the first value"})
    first = injecting.engine.inspect(injecting.name)["Id"]
    wanted = dict({"env": {"A": "the first value"}}, **options)
    predicted = injecting.run(check=True, **wanted)
    assert injecting.engine.inspect(injecting.name)["Id"] == first
    done = injecting.run(**wanted)
    assert done["action"] == "replaced", done.printed
    assert (done["changed_options"], done["changed_variables"]) == (changed_options, changed_variables)
    assert {name: predicted[name] for name in ("action", "changed_options", "changed_variables", "reasons")} == {
        name: done[name] for name in ("action", "changed_options", "changed_variables", "reasons")
    }
    assert set(predicted.result) == set(done.result)
    assert injecting.names() == [injecting.name]
    assert injecting.engine.inspect(injecting.name)["Id"] != first
    assert not injecting.run(**wanted).changed


def test_check_mode_writes_nothing(injecting: Injecting) -> None:
    assert injecting.run(check=True, env=SECRETS).changed
    assert not injecting.secrets_dir.exists()
    assert injecting.names() == []
    injecting.run(env=SECRETS)
    (injecting.secrets_dir / "0b9f2a52-8d6e-4d4e-9d3f-3a4a3d0f9a11.env").write_text("LEFT=over\n")
    before = snapshot_of(injecting.secrets_dir, injecting.mount_dir.parent)
    done = injecting.run(check=True, env=dict(SECRETS, PLAIN="another one"))
    assert (done["changed_variables"], len(done["removed_leftovers"])) == (["PLAIN"], 1)
    assert injecting.run(check=True, state="absent").changed
    assert differences(before, snapshot_of(injecting.secrets_dir, injecting.mount_dir.parent)) == []
    assert injecting.engine.status(injecting.name) == "running"


@pytest.mark.parametrize("verb", ["stop", "kill", "pause"])
def test_a_container_that_does_not_run_is_started_without_a_file(injecting: Injecting, verb: str) -> None:
    injecting.run(env=SECRETS)
    first = injecting.engine.inspect(injecting.name)["Id"]
    injecting.engine.run(verb, injecting.name)
    done = injecting.run(env=SECRETS)
    assert (done["action"], done["env_file"], done.changed) == ("started", None, True), done.printed
    shown = injecting.engine.inspect(injecting.name)
    assert (shown["Id"], shown["State"]["Status"]) == (first, "running")


def test_a_lost_digest_key_counts_as_a_change_of_everything_once(injecting: Injecting) -> None:
    injecting.run(env={"A": "the first value"})
    (injecting.secrets_dir / "digest.key").unlink()
    done = injecting.run(env={"A": "the first value"})
    assert (done["action"], done["changed_variables"]) == ("replaced", ["A"])
    assert not injecting.run(env={"A": "the first value"}).changed
    assert stat.S_IMODE(os.lstat(injecting.secrets_dir / "digest.key").st_mode) == 0o600


def test_absent_removes_and_is_content_when_there_is_nothing(injecting: Injecting) -> None:
    injecting.run(env=SECRETS)
    assert injecting.run(state="absent")["action"] == "removed"
    assert injecting.names() == []
    again = injecting.run(state="absent")
    assert (again["action"], again.changed) == ("absent", False)


def test_options_reach_the_container(injecting: Injecting) -> None:
    done = injecting.run(
        env={"A": "the value"}, read_only=True, cap_drop=["ALL"], user="65534", working_dir="/tmp", hostname="box", memory="64m",
        tmpfs=["/scratch"], restart_policy="on-failure:3", labels={"org.example.a": "b=c"}, init=False,
        security_opt=["no-new-privileges"], volumes=[f"{injecting.faults}:/faults:ro"], extra_args=["--pids-limit=50"],
        command=["/bin/sh", "-c", 'trap "exit 0" TERM; echo "$HOME" "~"; sleep 86400 & wait'],
    )
    assert not done.failed, done.msg
    shown = injecting.engine.inspect(injecting.name)
    host, config = shown["HostConfig"], shown["Config"]
    assert (host["ReadonlyRootfs"], host["Memory"], host["PidsLimit"]) == (True, 64 * 1024 * 1024, 50)
    assert (host["RestartPolicy"]["Name"], host["RestartPolicy"]["MaximumRetryCount"]) == ("on-failure", 3)
    assert (config["User"], config["WorkingDir"], config["Hostname"], config["Labels"]["org.example.a"]) == ("65534", "/tmp", "box", "b=c")
    assert config["Cmd"][-1] == 'trap "exit 0" TERM; echo "$HOME" "~"; sleep 86400 & wait'
    assert injecting.engine.run("exec", injecting.name, "ls", "/faults").split()
    assert not (shown["EffectiveCaps"] if "EffectiveCaps" in shown else host["CapAdd"])


def test_nothing_shows_in_an_argument_list_a_result_or_a_file(injecting: Injecting) -> None:
    shown = {name: value for name, value in SECRETS.items() if name not in ("EQUALS", "STAR")}
    with Watcher(shown, injecting.faults) as watcher:
        outcomes = [
            injecting.run(env=SECRETS),
            injecting.run(env=dict(SECRETS, ADDED="one more of them")),
            injecting.run(env=SECRETS, delivery="mount"),
            injecting.run(env=SECRETS, command=["/bin/false"]),
            injecting.run(state="absent"),
        ]
    assert watcher.looks > 10
    assert watcher.found == []
    assert [outcome.failed for outcome in outcomes] == [False, False, False, True, False]
    assert [leaks(outcome.printed, shown) for outcome in outcomes] == [[]] * 5
    assert leaks((injecting.faults / "cmdlines").read_bytes(), shown) == []
    assert [path for path in injecting.files() if leaks(path.read_bytes(), shown)] == []
    environs = (injecting.faults / "environs").read_bytes()
    assert "LINES (as written)" in leaks(environs, shown)  # the one way that is left to a value of several lines
    assert leaks(environs, {"PLAIN": SECRETS["PLAIN"]}) == []


def test_labels_hold_nothing_that_can_be_guessed_at(injecting: Injecting) -> None:
    injecting.run(env={"PIN": "4711"})
    first = json.loads(injecting.engine.inspect(injecting.name)["Config"]["Labels"]["servos.ops.secrets"])["PIN"]
    shutil.rmtree(injecting.secrets_dir)
    injecting.run(env={"PIN": "4711"})
    second = json.loads(injecting.engine.inspect(injecting.name)["Config"]["Labels"]["servos.ops.secrets"])["PIN"]
    assert first != second
    assert len(first) == len(second) == 32


def test_residue_of_an_env_file_is_what_is_there(injecting: Injecting) -> None:
    secrets = {"PLAIN": SECRETS["PLAIN"], "SHORT": "x1"}
    residue = injecting.run(env=secrets)["residue"]
    shown = json.dumps(injecting.engine.inspect(injecting.name))
    assert "SHORT=x1" in shown
    assert (residue["env_file"], residue["inspect"], residue["process_environment"]) == ("gone", ["PLAIN", "SHORT"], ["PLAIN", "SHORT"])
    holding = [path for path in state_files(injecting.engine, injecting.name) if SECRETS["PLAIN"].encode() in path.read_bytes()]
    assert holding
    assert {str(path) for path in holding} <= set(residue["engine_state"])
    found = subprocess.run(["stat", "-f", "-c", "%T", injecting.secrets_dir], capture_output=True, text=True, check=True).stdout.strip()
    assert residue["secrets_dir_filesystem"] in {found, "ext4", "overlay"}
    assert residue["swap_active"] == (len(Path("/proc/swaps").read_text().splitlines()) > 1)


def test_the_file_lives_no_longer_than_the_engine_takes(injecting: Injecting) -> None:
    lives, starts = [], []
    for number in range(10):
        done = injecting.run(env={"A": f"value number {number}"}, settle=0)
        lives.append(done["env_file"]["lifetime_s"])
        starts.append(done["timings"]["create_s"] + done["timings"]["start_s"])
    assert min(lives) > 0
    assert statistics.median(lives) <= 1.5 * statistics.median(starts)


def test_a_first_start_that_fails_leaves_nothing(injecting: Injecting) -> None:
    done = injecting.run(env=SECRETS, command=["/bin/false"])
    assert done.failed
    assert "ended with exit code 1" in done.msg
    assert (injecting.names(), injecting.env_files()) == ([], [])


def test_a_container_that_ends_well_is_a_success(injecting: Injecting) -> None:
    done = injecting.run(env=SECRETS, command=["/bin/true"])
    assert not done.failed, done.msg
    # Podman's word is another one until its monitor has cleaned up.
    assert injecting.engine.status(injecting.name) in ("exited", "stopped")


def test_a_replacement_that_fails_brings_the_old_one_back(injecting: Injecting) -> None:
    injecting.run(env={"A": "the first value"})
    first = injecting.engine.inspect(injecting.name)["Id"]
    done = injecting.run(env={"A": "the other value"}, command=["/bin/no-such-command"])
    assert done.failed
    assert "the one before it runs again" in done.msg
    assert injecting.names() == [injecting.name]
    shown = injecting.engine.inspect(injecting.name)
    assert (shown["Id"], shown["State"]["Status"]) == (first, "running")
    assert injecting.engine.environment(injecting.name)["A"] == "the first value"


@pytest.mark.parametrize("image", [BOX, f"localhost/{BOX}"])
def test_an_image_is_what_its_name_stands_for_now(injecting: Injecting, image: str) -> None:
    tag = f"localhost/servos-ops-{injecting.name}:now"
    injecting.engine.run("tag", image, tag)
    try:
        injecting.run(env={"A": "the value"}, image=tag, pull="never")
        assert not injecting.run(env={"A": "the value"}, image=tag).changed
        injecting.engine.run("tag", BOX2, tag)
        done = injecting.run(env={"A": "the value"}, image=tag)
        assert (done["action"], done["reasons"]) == ("replaced", ["another image"])
    finally:
        injecting.run(state="absent")
        injecting.engine.run("rmi", tag)


def test_a_stopped_one_is_not_started_by_a_replacement_that_fails(injecting: Injecting) -> None:
    injecting.run(env={"A": "the first value"})
    injecting.engine.run("stop", injecting.name)
    done = injecting.run(env={"A": "the other value"}, command=["/bin/false"])
    assert done.failed
    assert "is as it was" in done.msg
    assert injecting.names() == [injecting.name]
    assert injecting.engine.status(injecting.name) == "exited"


def test_one_that_does_not_come_back_is_not_said_to_run(injecting: Injecting, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    ends = ["/bin/sh", "-c", 'test -e /data/flag || exit 3; trap "exit 0" TERM; sleep 86400 & wait']
    assert not injecting.run(env={"A": "the value"}, command=ends, volumes=[f"{tmp_path}:/data"]).failed
    flag.unlink()
    done = injecting.run(env={"A": "another value"}, command=["/bin/false"])
    assert done.failed
    assert "could not be brought back" in done.msg
    assert "runs again" not in done.msg
