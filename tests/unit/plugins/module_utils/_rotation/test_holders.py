# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes are known by the key in their environment, whatever the variable is called."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.holders import find_holders

KEY = os.urandom(32).hex()


def environment_of(pid):
    with open(f"/proc/{pid}/environ", "rb") as stream:
        return stream.read()


@pytest.fixture
def started():
    """Return a function that starts a process with one more variable, and returns its process id."""
    processes = []

    def start(name, value):
        processes.append(subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env=dict(os.environ, **{name: value})))
        pid, until = processes[-1].pid, time.monotonic() + 10
        while name.encode() + b"=" not in environment_of(pid) and time.monotonic() < until:
            time.sleep(0.01)  # for an instant a process that is being started shows none
        return pid

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()


def holders(text, derivation="raw32"):
    key = parse_key(text, derivation=derivation, where="the test")
    found = find_holders([key], "APP_MASTER_KEY").found
    assert {holder.mark for holder in found} <= {key.fingerprint}
    return [holder.pid for holder in found]


@pytest.mark.parametrize("name", ["APP_MASTER_KEY", "OLD_APP_KEY"])
@pytest.mark.parametrize("written", [str, str.upper], ids=["lower", "upper"])
def test_a_process_is_found_by_the_key(started, name, written):
    pid = started(name, written(KEY))
    assert holders(KEY) == [pid]


@pytest.mark.parametrize(
    ("name", "text", "is_found"),
    [
        ("APP_MASTER_KEY", "production", True),
        ("NODE_ENV", "production", False),
        ("OLD_APP_KEY", "correct horse battery staple", True),
    ],
    ids=["short, under its name", "short, under another", "long, under another"],
)
def test_an_ordinary_word_is_a_passphrase_only_under_its_own_name(started, name, text, is_found):
    pid = started(name, text)
    assert (pid in holders(text, "hex_or_sha256")) == is_found


@pytest.mark.parametrize("value", ["x" + KEY, KEY[:-1], ""], ids=["longer", "shorter", "empty"])
def test_another_value_is_no_key(started, value):
    pid = started("APP_MASTER_KEY", value)
    assert pid not in holders(KEY)


@pytest.mark.parametrize(("place", "separator", "is_found"), [(0, ",", True), (1, ",", False), (0, None, False)], ids=str)
def test_of_a_list_the_first_key_counts_since_it_seals(started, place, separator, is_found):
    other = "cd" * 32
    pid = started("APP_MASTER_KEY", " , ".join([KEY, other][:: 1 - 2 * place]))
    known = [parse_key(KEY, derivation="raw32", where="the test")]
    found = find_holders(known, "APP_MASTER_KEY", separator=separator).found
    assert (pid in [holder.pid for holder in found]) == is_found


def test_what_we_descend_from_is_left_out():
    """This process hands the key to a child that looks, so the child's parent holds it and the child itself does."""
    script = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key\n"
        "from ansible_collections.servos.ops.plugins.module_utils._rotation.holders import find_holders\n"
        f"key = parse_key({KEY!r}, derivation='raw32', where='the test')\n"
        "print(find_holders([key], 'APP_MASTER_KEY').found)\n"
    )
    outer = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", outer, script], stdout=subprocess.PIPE, env=dict(os.environ, APP_MASTER_KEY=KEY), check=True
    )
    assert done.stdout.strip() == b"()"
