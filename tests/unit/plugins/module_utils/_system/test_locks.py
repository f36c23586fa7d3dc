# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time: the lock is the kernel's, says who holds it, and ends with its holder however that ends."""

from __future__ import annotations

import json
import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, HeldLockError
from ansible_collections.servos.ops.plugins.module_utils._system.locks import exclusive_lock

# Holds the lock as flock(1) would, with a note as ours has it.
HOLDER = """
import fcntl, json, os, sys
descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
os.ftruncate(descriptor, 0)
os.pwrite(descriptor, sys.argv[2].encode(), 0)
sys.stdout.write("ready\\n"); sys.stdout.flush()
sys.stdin.readline()
"""
NOTE = json.dumps({"host": "control-2", "user": "ada", "pid": 4711, "since": "2026-01-01T00:00:00Z", "purpose": "rotate"})


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "lock")


def hold(spawn, path, note=NOTE):
    child = spawn(HOLDER, path, note)
    assert child.stdout.readline() == b"ready\n"
    return child


def test_a_second_process_is_refused_and_told_who(spawn, path):
    hold(spawn, path)
    with pytest.raises(HeldLockError) as caught:
        with exclusive_lock(path, purpose="retire"):
            pytest.fail("the lock was held")
    assert [word for word in ("rotate", "ada", "control-2", "4711", "2026-01-01T00:00:00Z") if word not in str(caught.value)] == []
    with open(path) as stream:
        assert stream.read() == NOTE


@pytest.mark.parametrize("note", ["", "{", "[]", "null", '{"pid": 1}', "\u00ff"], ids=ascii)
def test_a_holder_that_has_not_said_who_it_is(spawn, path, note):
    hold(spawn, path, note)
    with pytest.raises(HeldLockError, match="has not said who it is"):
        with exclusive_lock(path, purpose="x"):
            pass


def test_a_killed_holder_frees_it_and_is_named_once(spawn, path):
    child = hold(spawn, path)
    child.kill()
    child.wait()
    with exclusive_lock(path, purpose="x") as killed:
        assert killed is not None
        assert [word for word in ("rotate", "ada", "control-2", "4711", "2026-01-01T00:00:00Z") if word not in killed] == []
    with exclusive_lock(path, purpose="x") as killed:
        assert killed is None


def test_a_holder_that_signs_a_moment_later_is_named(spawn, path):
    child = spawn(
        "import fcntl, os, sys, time\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); time.sleep(0.2)\n"
        "os.pwrite(descriptor, sys.argv[2].encode(), 0); sys.stdin.readline()\n",
        path, NOTE,
    )
    assert child.stdout.readline() == b"ready\n"
    with pytest.raises(HeldLockError, match="control-2"):
        with exclusive_lock(path, purpose="x"):
            pytest.fail("the lock was held")


def test_a_holder_that_goes_before_it_has_signed_is_no_obstacle(spawn, path):
    child = hold(spawn, path, "")
    child.stdin.write(b"\n")
    child.stdin.flush()
    with exclusive_lock(path, purpose="x") as killed:
        assert killed is None


def test_a_holder_that_is_just_going_is_no_obstacle(spawn, path):
    """Ctrl-C and the same command again: what was killed takes a moment to die, most of all on a busy machine."""
    child = spawn(
        "import fcntl, os, sys, time\n"
        "descriptor = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n"
        "fcntl.flock(descriptor, fcntl.LOCK_EX)\n"
        "os.pwrite(descriptor, sys.argv[2].encode(), 0)\n"
        "sys.stdout.write('ready\\n'); sys.stdout.flush(); time.sleep(0.2); os.kill(os.getpid(), 9)\n",
        path, NOTE,
    )
    assert child.stdout.readline() == b"ready\n"
    with exclusive_lock(path, purpose="x") as killed:
        assert killed is not None
        assert "control-2" in killed


def test_the_holder_writes_its_note_and_keeps_others_out(spawn, path):
    with exclusive_lock(path, purpose="rotate to \u00fc"):
        with open(path) as stream:
            note = json.load(stream)
        assert (note["pid"], note["purpose"], note["host"]) == (os.getpid(), "rotate to \u00fc", os.uname().nodename)
        assert note["since"].endswith("Z")
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        other = spawn(HOLDER, path, NOTE)
        assert other.stdout.readline() == b""
        assert other.wait() != 0
    assert hold(spawn, path)


def test_a_longer_old_note_does_not_shine_through(path):
    with open(path, "w") as stream:
        stream.write("x" * 3000)
    with exclusive_lock(path, purpose="x"):
        with open(path) as stream:
            assert json.load(stream)["purpose"] == "x"


def test_it_is_not_taken_twice_in_one_process_either(path):
    with exclusive_lock(path, purpose="first"):
        with pytest.raises(HeldLockError, match="first by "):
            with exclusive_lock(path, purpose="second"):
                pass


def test_an_error_inside_frees_it(path):
    with pytest.raises(ZeroDivisionError):
        with exclusive_lock(path, purpose="x"):
            raise ZeroDivisionError
    with exclusive_lock(path, purpose="x") as killed:
        assert killed is None, "it was not killed"


def test_a_program_that_is_started_meanwhile_does_not_inherit_it(spawn, path):
    with exclusive_lock(path, purpose="x"):
        child = spawn("import sys; sys.stdin.readline()")
    with exclusive_lock(path, purpose="x"):
        assert child.poll() is None


def test_a_lock_file_that_cannot_be_made_is_an_error(tmp_path):
    with pytest.raises(FileError, match="lock file"):
        with exclusive_lock(str(tmp_path / "no" / "lock"), purpose="x"):
            pass
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="lock file"):
        with exclusive_lock(str(tmp_path / "link"), purpose="x"):
            pass
    assert not (tmp_path / "elsewhere").exists()
