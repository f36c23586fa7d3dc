# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pipe that is read while it is written."""

from __future__ import annotations

import os

import pytest
from ansible_collections.servos.ops.plugins.module_utils._system.pipes import read_while

FAR_MORE_THAN_A_PIPE_HOLDS = 4 * 1024 * 1024


def fill(descriptor):
    left = FAR_MORE_THAN_A_PIPE_HOLDS
    while left:
        left -= os.write(descriptor, b"x" * min(left, 100_000))


def test_all_of_it_arrives():
    with read_while(fill) as stream:
        assert len(stream.read()) == FAR_MORE_THAN_A_PIPE_HOLDS


def test_a_reader_that_goes_ends_the_writer():
    with pytest.raises(BrokenPipeError):
        with read_while(fill) as stream:
            stream.read(1)


def test_what_the_writer_raises_is_raised_after_the_block():
    def fail(descriptor):
        os.write(descriptor, b"half")
        raise ValueError("damaged")

    read = []
    with pytest.raises(ValueError, match="damaged"):
        with read_while(fail) as stream:
            read.append(stream.read())
    assert read == [b"half"]


def test_what_the_reader_raises_comes_first():
    with pytest.raises(KeyError):
        with read_while(fill):
            raise KeyError("of the reader")
