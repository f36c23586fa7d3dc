# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Disks that are full or read-only. Needs root, for mounts below the test's own folder."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installations import OLD, Servos, assert_refused, assert_same, b64

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts something; it is unmounted when the test is over."""
    mounted: list[Path] = []

    def do_mount(*argv: object) -> Path:
        place = tmp_path / f"mount{len(mounted)}"
        place.mkdir()
        if subprocess.run(["mount", *map(str, argv), place], check=False, capture_output=True).returncode:
            pytest.skip("this machine lets us mount nothing")
        mounted.append(place)
        return place

    yield do_mount
    for place in reversed(mounted):
        subprocess.run(["umount", "--lazy", place], check=True)


def fill_up(place: Path, *, but_bytes: int) -> None:
    """Leave no more than so many bytes."""
    seen = os.statvfs(place)
    with open(place / "ballast", "wb") as stream:
        stream.write(b"\0" * (seen.f_bavail * seen.f_frsize - but_bytes))


def test_no_room_for_a_backup_is_found_before_anything_is_written(servos: Servos, mount: Callable[..., Path]) -> None:
    place = mount("-t", "tmpfs", "-o", "size=64k", "tmpfs")
    servos.backup_dir = place / "backups"
    servos.stage()
    before = servos.snapshot()
    assert_refused(servos.backup(), "no room", str(servos.database), str(place), "bytes are needed", "nothing was changed")
    assert_same(before, servos.snapshot())
    assert list(place.rglob("*.db*")) == []


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_no_room_for_the_rewrap_is_found_before_the_service_is_stopped(
    make_servos: Callable[..., Servos], mount: Callable[..., Path], journal: str
) -> None:
    place = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    servos = make_servos(database_dir=place, journal=journal)
    servos.start()
    servos.stage()
    fill_up(place, but_bytes=40 * 1024)
    before = servos.snapshot()
    assert_refused(servos.rotate(), str(servos.database), "bytes", "nothing was changed")
    assert_same(before, servos.snapshot())


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_disk_that_fills_up_in_the_window_rolls_back_and_the_service_is_up_again(
    make_servos: Callable[..., Servos], mount: Callable[..., Path], journal: str
) -> None:
    place = mount("-t", "tmpfs", "-o", "size=1m", "tmpfs")
    servos = make_servos(database_dir=place, journal=journal)
    servos.start()
    servos.stage()
    fill = f"head -c 10000000 /dev/zero > '{place}/ballast' 2>/dev/null; true"
    servos.write_scripts(after_stop=fill, before_start=f"rm -f '{place}/ballast'")
    outcome = servos.rotate()
    assert_refused(outcome, "no space left", str(servos.database), "nothing was changed", "started again", "old key")
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    servos.assert_all_under(b64(OLD))
    servos.write_scripts()
    assert servos.rotate()["phase"] == "activated"
    servos.assert_all_under(servos.env_text(), b64(OLD))


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_read_only_disk_is_refused(make_servos: Callable[..., Servos], mount: Callable[..., Path], journal: str) -> None:
    quiet = make_servos(has_service=False, journal=journal)
    quiet.stage()
    place = mount("--bind", quiet.folder)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    before = quiet.snapshot()
    frozen = {"database": f"sqlite:///{place}/servos.db"}
    assert quiet.info(**frozen)["phase"] == "staged"
    assert quiet.rotate(check=True, until="rewrapped", **frozen)["rewrapped"] == 61
    assert_refused(quiet.rotate(until="rewrapped", **frozen), f"{place}", "read-only", "nothing was changed")
    assert_same(before, quiet.snapshot())


@pytest.mark.parametrize("what", ["state_dir", "backup_dir", "env_file"])
def test_a_read_only_place_for_what_must_be_kept_is_refused(servos: Servos, mount: Callable[..., Path], what: str) -> None:
    (servos.folder / "frozen").mkdir()
    (servos.folder / "frozen" / "servos.env").write_bytes(servos.env_file.read_bytes())
    place = mount("--bind", servos.folder / "frozen")
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    if what == "env_file":
        servos.stage()
        options = {"env_file": str(place / "servos.env")}
        before, outcome = servos.snapshot(), servos.rotate(**options)
    elif what == "state_dir":
        before, outcome = servos.snapshot(), servos.stage(state_dir=str(place / "rotation"))
    else:
        servos.backup_dir = place / "backups"
        before, outcome = servos.snapshot(), servos.backup()
    assert_refused(outcome, str(place), "read-only")
    assert_same(before, servos.snapshot())


def test_a_full_state_directory_is_refused_before_the_data_is_touched(servos: Servos, mount: Callable[..., Path]) -> None:
    place = mount("-t", "tmpfs", "-o", "size=8k", "tmpfs")
    servos.state_dir = place / "rotation"
    fill_up(place, but_bytes=0)
    before = servos.snapshot()
    assert_refused(servos.stage(), str(servos.state_dir), "space")
    assert_same(before, servos.snapshot())
    assert list(place.rglob("*.key")) == []
