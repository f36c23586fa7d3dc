# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No memory of ours is written down when a process dies; asked of the kernel, in programs of their own."""

from __future__ import annotations

import ctypes
import json
import os
import signal

import pytest

PRELUDE = """
import ctypes, json, os, resource, signal, subprocess, sys
from ansible_collections.servos.ops.plugins.module_utils._system import memory

def dumpable():
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE

def tell(*facts):
    with open(sys.argv[1], "w") as stream:
        json.dump(facts, stream)
"""

pytestmark = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "prctl"), reason="needs Linux")


@pytest.fixture
def run(spawn, tmp_path):
    """Run a program to its end in a directory of its own; return its exit code and what it told."""

    def start(text):
        path = tmp_path / "told"
        child = spawn("import os\nos.chdir(" + repr(str(tmp_path)) + ")" + PRELUDE + text, str(path))
        code = child.wait(timeout=20)
        return code, json.loads(path.read_text()) if path.exists() else None

    return start


def test_the_kernel_agrees(run):
    assert run("tell(dumpable(), memory.keep_out_of_core_dumps(), dumpable())") == (0, [1, True, 0])


def test_a_fork_inherits_it_and_a_started_program_does_not(run):
    text = """
memory.keep_out_of_core_dumps()
if os.fork() == 0:
    started = subprocess.check_output([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"])
    tell(dumpable(), int(started))
    os._exit(0)
os.wait()
"""
    assert run(text) == (0, [0, 1])


DIE = """
resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)
held = b"held in memory " + b"only" * 4
{step}
os.kill(os.getpid(), signal.SIG{name})
"""


def leaves_cores():
    """Whether a process that dies here leaves a core file where it stands."""
    import resource

    with open("/proc/sys/kernel/core_pattern") as stream:
        return "/" not in stream.read() and resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


@pytest.mark.skipif(not os.path.exists("/proc/sys/kernel/core_pattern") or not leaves_cores(), reason="no core files are written here")
@pytest.mark.parametrize("name", ["ABRT", "SEGV"])
@pytest.mark.parametrize(
    ("step", "cores"), [("pass", 1), ("memory.keep_out_of_core_dumps()", 0)], ids=["without it there is a core", "with it there is none"]
)
def test_a_process_that_dies_leaves_no_core(run, tmp_path, step, cores, name):
    code, unused_told = run(DIE.format(step=step, name=name))
    assert code == -getattr(signal, "SIG" + name)
    found = [path for path in tmp_path.iterdir() if path.name.startswith("core")]
    assert len(found) == cores
    assert [b"held in memory " + b"only" * 4 in path.read_bytes() for path in found] == [True] * cores


def test_a_host_without_prctl_is_no_reason_to_stop(run):
    text = """
def without(name):
    raise OSError(name)
ctypes.CDLL = without
tell(memory.keep_out_of_core_dumps())
"""
    assert run(text) == (0, [False])
