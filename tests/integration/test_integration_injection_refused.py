# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is refused: by name, with the next step, without a value, and with nothing changed."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import LASTING, Injecting
from evidence import leaks

SECRET = {"A": "correct horse battery staple"}


def refused(injecting: Injecting, *words: str, **options: Any) -> str:
    """Run it, hold the refusal to its words, and to nothing being left of the run; return the message."""
    done = injecting.run(**dict({"env": SECRET}, **options))
    assert done.failed, done.printed
    assert [word for word in words if word not in done.msg] == []
    assert leaks(done.printed, SECRET) == []
    assert "exception" not in done.result, done.printed
    assert injecting.env_files() == []
    return done.msg


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"A=B": "the value"}, ["env", "begins with 'A'", "'='"]),
        ({"A=hunter2hunter2": "x"}, ["env", "begins with 'A'"]),
        ({"1A": "the value"}, ["'1A'"]),
        ({"A B": "the value"}, ["'A B'"]),
        ({"A-B": "the value"}, ["'A-B'"]),
        ({"": "the value"}, ["not a variable's name"]),
        ({"Ä": "the value"}, ["not a variable's name"]),
        ({"A\n": "the value"}, ["not a variable's name"]),
        ({"GONE": ""}, ["GONE is empty", "allow_empty"]),
        ({"NONE": None}, ["NONE has no value"]),
        ({"YES": True}, ["YES", "quote it"]),
        ({"HALF": 1.5}, ["HALF", "quote it"]),
        ({"MANY": ["a"]}, ["MANY is a list"]),
        ({"NUL": "a\x00b"}, ["NUL", "delivery=mount"]),
        ({"LONG": "x" * 131067}, ["LONG", "131067 bytes", "131066"]),
        ({"PATH": "/evil\n/bin"}, ["PATH", "change that command"]),
        ({"LD_PRELOAD": "a\nb"}, ["LD_PRELOAD", "change that command"]),
        ({"DOCKER_HOST": "a\nb"}, ["DOCKER_HOST", "change that command"]),
        ({"CONTAINERS_CONF": "a\nb"}, ["CONTAINERS_CONF", "change that command"]),
        ({"https_proxy": "a\nb"}, ["https_proxy", "change that command"]),
    ],
    ids=lambda part: None if isinstance(part, list) else ascii(next(iter(part))),
)
def test_variables(injecting: Injecting, env: dict[str, Any], words: list[str]) -> None:
    message = refused(injecting, *words, env=env)
    assert "hunter2" not in message
    assert (injecting.names(), injecting.secrets_dir.exists() and injecting.files()) in (([], False), ([], []))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "-v"}, ["name"]),
        ({"name": "x/y"}, ["name"]),
        ({"name": "app.servos-ops-old"}, ["name"]),
        ({"image": "--privileged"}, ["image"]),
        ({"restart_policy": "sometimes"}, ["restart_policy", "unless-stopped"]),
        ({"labels": {"servos.ops.secrets": "{}"}}, ["labels", "servos.ops."]),
        ({"extra_args": ["other-image"]}, ["extra_args", "--option=value"]),
        ({"extra_args": ["-eA=b"]}, ["extra_args"]),
        ({"extra_args": ["--env=A=correct horse battery staple"]}, ["extra_args", "--env is set by this module"]),
        ({"extra_args": ["--rm"]}, ["extra_args", "--rm"]),
        ({"public_env": {"A": "public"}}, ["public_env", "A is given by env"]),
        ({"delivery": "mount", "public_env": {"A_FILE": "public"}}, ["public_env", "A_FILE"]),
        ({"delivery": "mount", "mount_mode": "rw"}, ["mount_mode"]),
        ({"delivery": "mount", "mount_target": "/run,ro"}, ["mount_target"]),
    ],
    ids=lambda part: None if isinstance(part, list) else "-".join(map(str, part)),
)
def test_options(injecting: Injecting, options: dict[str, Any], words: list[str]) -> None:
    refused(injecting, *words, **options)
    assert (injecting.names(), injecting.secrets_dir.exists()) == ([], False)


def test_there_is_no_engine(injecting: Injecting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("timeout", "true"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path))
    refused(injecting, f"no command {injecting.engine.command}", "install the engine")


def test_the_engine_does_not_run(injecting: Injecting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.conf"  # Podman has no daemon; this is how it fails to work at all
    broken.write_text('[storage]\ndriver = "no such driver"\n')
    with monkeypatch.context() as patch:
        patch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
        patch.setenv("CONTAINERS_STORAGE_CONF", str(broken))
        refused(injecting, f"{injecting.engine.command} does not answer", "is the engine running")


def test_an_engine_that_hangs_is_given_up(injecting: Injecting) -> None:
    injecting.fault("create", 1, "before", "stall")
    refused(injecting, "create did not end within 1 s", "raise timeout", timeout=1)
    assert injecting.names() == []


@pytest.mark.parametrize("pull", ["never", "missing"])
def test_the_image_is_missing(injecting: Injecting, pull: str) -> None:
    image = "localhost:1/no/such-image:7"
    refused(injecting, image, "nothing was changed", image=image, pull=pull)
    assert "create" not in injecting.verbs()


@pytest.mark.parametrize("state", ["started", "absent"])
@pytest.mark.parametrize("suffix", ["", ".servos-ops-new", ".servos-ops-old"])
def test_the_name_is_a_strangers(injecting: Injecting, state: str, suffix: str) -> None:
    name = injecting.name + suffix
    injecting.engine.run("create", "--name", name, "--network", "none", "servos-ops-box:1", *LASTING)
    injecting.engine.run("start", name)
    before = injecting.engine.inspect(name)
    refused(injecting, f"a container {name} that was not made by", state=state)
    after = injecting.engine.inspect(name)
    assert (after["Id"], after["State"]["Pid"], injecting.names()) == (before["Id"], before["State"]["Pid"], [name])


def test_what_the_engine_says_is_passed_on_without_secrets(injecting: Injecting) -> None:
    secret = "no-such-network-but-a-secret"
    done = injecting.run(env={"A": secret}, networks=[secret])
    assert done.failed
    assert secret not in done.msg
    assert "***" in done.msg
    assert injecting.names() == []


def test_secrets_dir_is_a_symbolic_link(injecting: Injecting, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir(mode=0o700)
    injecting.secrets_dir.symlink_to(tmp_path / "real")
    refused(injecting, f"{injecting.secrets_dir} is a symbolic link")
    assert list((tmp_path / "real").iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "owner", "words"),
    [
        (0o777, 0, ["can be written by others", "0777"]),
        (0o770, 0, ["can be written by others", "0770"]),
        (0o700, 65534, ["belongs to uid 65534"]),
    ],
    ids=["world-writable", "group-writable", "foreign"],
)
def test_secrets_dir_is_not_ours_alone(injecting: Injecting, mode: int, owner: int, words: list[str]) -> None:
    injecting.secrets_dir.mkdir()
    os.chown(injecting.secrets_dir, owner, -1)
    injecting.secrets_dir.chmod(mode)
    refused(injecting, str(injecting.secrets_dir), *words)
    assert list(injecting.secrets_dir.iterdir()) == []
    assert stat.S_IMODE(injecting.secrets_dir.stat().st_mode) == mode


def test_secrets_dir_lies_where_others_can_swap_it(injecting: Injecting) -> None:
    above = injecting.faults.parent / "shared"
    above.mkdir()
    above.chmod(0o777)
    refused(injecting, f"lies below {above}", secrets_dir=str(above / "secrets"))
    assert list(above.iterdir()) == []


def test_secrets_dir_that_others_may_read_is_narrowed(injecting: Injecting) -> None:
    injecting.secrets_dir.mkdir(mode=0o755)
    injecting.secrets_dir.chmod(0o755)
    assert injecting.run(env=SECRET).changed
    assert stat.S_IMODE(injecting.secrets_dir.stat().st_mode) == 0o700


@pytest.fixture
def tiny(injecting: Injecting) -> Iterator[Path]:
    """A file system of 64 KiB in the place of the secrets directory."""
    injecting.secrets_dir.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", injecting.secrets_dir], check=True)
    yield injecting.secrets_dir
    subprocess.run(["umount", injecting.secrets_dir], check=True)


def test_the_disk_is_full(injecting: Injecting, tiny: Path) -> None:
    refused(injecting, "no space left", env={"A": "correct horse battery staple" * 4000, "B": "x" * 60000})
    assert injecting.names() == []
    assert [path.name for path in tiny.iterdir() if path.name.endswith(".env")] == []
    assert injecting.run(env=SECRET).changed


def test_a_link_of_that_name_is_removed_and_not_followed(injecting: Injecting, tmp_path: Path) -> None:
    injecting.secrets_dir.mkdir(mode=0o700)
    target = tmp_path / "precious"
    target.write_text("stays as it is")
    link = injecting.secrets_dir / "0b9f2a52-8d6e-4d4e-9d3f-3a4a3d0f9a11.env"
    link.symlink_to(target)
    other = injecting.secrets_dir / "app.env"
    other.write_text("SOMEBODY=else\n")
    done = injecting.run(env=SECRET)
    assert done["removed_leftovers"] == [str(link)]
    assert (target.read_text(), other.read_text()) == ("stays as it is", "SOMEBODY=else\n")


def test_short_values_do_not_garble_the_result(injecting: Injecting) -> None:
    done = injecting.run(env={"A": "a", "NUMBER": 0, "WORD": "run"})
    assert done["container"] == injecting.name
    assert "****" not in done.printed
    assert "VALUE_SPECIFIED" not in str({name: value for name, value in done.result.items() if name != "invocation"})


def test_this_interpreter_runs_the_tests_as_root() -> None:
    assert os.geteuid() == 0, f"{sys.executable}: engines and mounts need root"


@pytest.mark.parametrize("word", ["--label", "--hostname", "--help"])
def test_a_word_of_extra_args_that_takes_the_next_one(injecting: Injecting, word: str) -> None:
    injecting.run(env={"A": "the first value"})
    before = injecting.engine.inspect(injecting.name)
    done = injecting.run(env={"A": "the other value"}, extra_args=[word])
    assert done.failed, done.printed
    assert injecting.names() == [injecting.name]
    after = injecting.engine.inspect(injecting.name)
    assert (after["Id"], after["State"]["StartedAt"]) == (before["Id"], before["State"]["StartedAt"])


def test_what_was_made_of_an_image_of_ours_is_a_strangers(injecting: Injecting) -> None:
    injecting.run(env={"A": "the value"})
    image = f"localhost/{injecting.name}:1"
    injecting.engine.run("commit", injecting.name, image)
    injecting.engine.remove(injecting.name)
    try:
        injecting.engine.run("run", "-d", "--network", "none", "--name", injecting.name, image)
        assert "not made by servos_secret_inject" in injecting.run(state="absent").msg
        assert injecting.names() == [injecting.name]
        injecting.engine.remove(injecting.name)
        assert "made from a container of this module" in injecting.run(image=image).msg
        assert injecting.names() == []
    finally:
        injecting.engine.remove(injecting.name)
        injecting.engine.run("image", "rm", "-f", image, check=False)


@pytest.mark.parametrize("state", ["started", "absent"])
def test_leftovers_go_although_the_engine_does_not_answer(
    injecting: Injecting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: str
) -> None:
    injecting.run(env={"A": "the value"})
    dead = injecting.secrets_dir / "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0.env"
    dead.write_text("A=left by a dead run\n")
    injecting.fault("info", 1, "before", "fail")
    assert "does not answer" in injecting.run(state=state).msg
    assert not dead.exists()
