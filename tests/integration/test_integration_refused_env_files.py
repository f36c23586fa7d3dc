# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Env files that cannot be read, are not what they should be, or could not be swapped at the end."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installations import NEW, OLD, OTHER, Servos, assert_refused, assert_same, b64, fingerprint
from module_runs import without_override

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can set this up")
VARIABLE = "SERVOS_MASTER_KEY"


def every_module(servos: Servos, **options: object) -> list:
    return [
        servos.info(**options), servos.stage(**options), servos.stage(check=True, **options), servos.backup(**options),
        servos.rotate(**options), servos.rotate(check=True, **options), servos.retire(**options),
    ]  # fmt: skip


def no_such_file(servos: Servos) -> None:
    servos.env_file.unlink()


def a_directory(servos: Servos) -> None:
    servos.env_file.unlink()
    servos.env_file.mkdir()


def a_dangling_link(servos: Servos) -> None:
    servos.env_file.unlink()
    servos.env_file.symlink_to("nowhere.env")


def without_the_variable(servos: Servos) -> None:
    servos.edit_env(rf"^{VARIABLE}=.*\n", "")


def commented_out(servos: Servos) -> None:
    servos.edit_env(rf"^{VARIABLE}=", f"# {VARIABLE}=")


def another_variable(servos: Servos) -> None:
    servos.edit_env(rf"^{VARIABLE}=", "ACT_MASTER_KEY=")


def twice(servos: Servos) -> None:
    servos.env_file.write_text(f"{VARIABLE}={b64(OTHER)}\n" + servos.env_file.read_text())


def an_open_quote(servos: Servos) -> None:
    servos.edit_env(rf'^({VARIABLE})="[^"]*"$', f'{VARIABLE}="{b64(OLD)}')


def huge(servos: Servos) -> None:
    servos.env_file.write_text("# " + "x" * (5 << 20) + "\n" + servos.env_file.read_text())


BROKEN: dict[Callable[[Servos], None], list[str]] = {
    no_such_file: ["no such file", "env_file"],
    a_directory: ["not a regular file", "env_file"],
    a_dangling_link: ["no such file", "env_file"],
    without_the_variable: [f"does not set {VARIABLE}", "env_var"],
    commented_out: [f"does not set {VARIABLE}", "env_var"],
    another_variable: [f"does not set {VARIABLE}", "env_var"],
    twice: [VARIABLE, "lines 1 and 6", "env_duplicates=last_wins"],
    an_open_quote: ["line 5", VARIABLE, "quote"],
    huge: ["larger than"],
}


@pytest.mark.parametrize(("break_it", "words"), BROKEN.items(), ids=[function.__name__ for function in BROKEN])
def test_a_broken_env_file_is_refused(quiet: Servos, break_it: Callable[[Servos], None], words: list[str]) -> None:
    break_it(quiet)
    before = quiet.snapshot()
    for outcome in every_module(quiet):
        assert_refused(outcome, str(quiet.env_file), *words)
    assert_same(before, quiet.snapshot())


def test_a_running_service_is_left_alone_where_the_env_file_is_broken(servos: Servos) -> None:
    without_the_variable(servos)
    before = servos.snapshot()
    for outcome in every_module(servos):
        assert_refused(outcome, VARIABLE, str(servos.env_file))
    assert_same(before, servos.snapshot())
    assert servos.call("GET", "/api/servers/1/reveal")[0] == 200


@pytest.mark.parametrize("what", ["file", "directory"])
def test_an_env_file_that_may_not_be_read_is_refused(quiet: Servos, what: str) -> None:
    hidden = quiet.folder / "hidden"
    hidden.mkdir()
    env_file = quiet.env_file.rename(hidden / "servos.env")
    (env_file if what == "file" else hidden).chmod(0)
    before = None if what == "directory" else quiet.snapshot()
    for outcome in every_module(quiet, env_file=str(env_file), prepare=[without_override]):
        assert_refused(outcome, str(env_file), "permission denied", "become: true")
    hidden.chmod(0o755)
    assert before is None or before.keys() == quiet.snapshot().keys()
    assert not quiet.state_dir.exists()


@pytest.mark.parametrize("module", ["stage", "rotate", "backup"])
@pytest.mark.parametrize("has_some", [False, True], ids=["nothing opens", "one value opens"])
def test_a_key_that_is_not_the_datas_is_refused(quiet: Servos, module: str, has_some: bool) -> None:
    if has_some:
        quiet.stage(new_key_file=str(quiet.key_file("new", b64(NEW))), rotation_id="one")
    quiet.edit_env(rf"^{VARIABLE}=.*$", f"{VARIABLE}={b64(OTHER)}")
    before = quiet.snapshot()
    outcome = getattr(quiet, module)()
    if has_some and module == "stage":
        assert outcome["rotation_pending"]  # it was staged before; the next step looks
        return
    assert_refused(outcome, fingerprint(OTHER), "env_file", "database")
    assert_same(before, quiet.snapshot())


def test_last_wins_uses_the_last_assignment_and_leaves_exactly_one(quiet: Servos) -> None:
    quiet.env_file.write_text(f"export {VARIABLE}='{b64(OTHER)}'\n\n" + quiet.env_file.read_text())
    quiet.key_file("decoy", b64(OTHER))
    before = quiet.env_file.read_text()
    quiet.stage(env_duplicates="last_wins")
    quiet.rotate(env_duplicates="last_wins")
    text = quiet.env_text()
    quiet.assert_all_under(text, b64(OLD))
    assert quiet.env_file.read_text() == before.split("\n", 1)[1].replace(b64(OLD), text)
    assert not quiet.rotate().changed


def test_a_link_to_the_env_file_stays_a_link(quiet: Servos) -> None:
    real = quiet.env_file.rename(quiet.folder / "real.env")
    real.chmod(0o640)
    quiet.env_file.symlink_to(real)
    if os.geteuid() == 0:
        os.chown(real, 0, 12)
    quiet.stage()
    quiet.rotate()
    assert (quiet.env_file.is_symlink(), quiet.env_file.resolve()) == (True, real)
    seen = real.stat()
    assert (oct(seen.st_mode), seen.st_gid) == ("0o100640", 12 if os.geteuid() == 0 else seen.st_gid)
    quiet.assert_all_under(quiet.env_text(), b64(OLD))


@pytest.fixture
def immutable() -> Iterator[Callable[[Path], None]]:
    """Return a function that makes a file or directory immutable for the length of the test."""
    done: list[Path] = []

    def make(path: Path) -> None:
        if subprocess.run(["chattr", "+i", path], check=False, capture_output=True).returncode:
            pytest.skip("this file system has no immutable files")
        done.append(path)

    yield make
    for path in done:
        subprocess.run(["chattr", "-i", path], check=True)


HINDERED = ["read-only directory", "read-only file", "immutable directory", "immutable file"]


@pytest.mark.parametrize("until", ["swapped", "activated"])
@pytest.mark.parametrize("how", HINDERED)
@needs_root
def test_an_env_file_that_cannot_be_swapped_is_refused_before_the_data_is_touched(
    make_servos: Callable[..., Servos], immutable: Callable[[Path], None], how: str, until: str
) -> None:
    servos = make_servos(has_service=until == "activated" and "immutable" in how)
    if servos.has_service:
        servos.start()
    place = servos.folder / "etc"
    place.mkdir()
    servos.env_file = servos.env_file.rename(place / "servos.env")
    servos.stage()
    what = place if "directory" in how else servos.env_file
    if "immutable" in how:
        immutable(what)
        prepare = []
    else:
        what.chmod(0o555 if what is place else 0o444)
        prepare = [without_override]
    before = servos.snapshot()
    outcome = servos.rotate(until=until, prepare=prepare)
    assert_refused(outcome, str(what), "nothing was changed")
    assert_same(before, servos.snapshot())
    assert servos.rotate(until="rewrapped", check=True, prepare=prepare).changed
