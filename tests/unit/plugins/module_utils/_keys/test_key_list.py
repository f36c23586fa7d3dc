# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A value that holds several keys, and the list that a swap takes out of a configuration."""

from __future__ import annotations

import os
import stat

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, KeyFormatError
from ansible_collections.servos.ops.plugins.module_utils._keys.key_list import KeptList, split_keys
from hypothesis import given
from hypothesis import strategies as st

TEXTS = st.text(alphabet="abcXYZ019-_=+/", min_size=1, max_size=50)


@given(texts=st.lists(TEXTS, min_size=1, max_size=5), separator=st.sampled_from(",;| "))
def test_keys_come_back_in_order(texts, separator):
    assert split_keys(separator.join(texts), separator, where="W") == texts


@given(text=st.text(max_size=30))
def test_without_a_separator_a_value_is_one_key(text):
    assert split_keys(text, None, where="W") == [text]


@given(texts=st.lists(TEXTS, min_size=2, max_size=4), blanks=st.sampled_from([" ", "\t", "  \t"]))
def test_blanks_around_separators_belong_to_no_key(texts, blanks):
    assert split_keys(f"{blanks},{blanks}".join(texts), ",", where="W") == texts


def test_a_single_key_keeps_its_blanks():
    assert split_keys(" a ", ",", where="W") == [" a "]


@pytest.mark.parametrize("text", ["secret,", ",secret", "secret,,secret", "secret, ,secret", ","])
def test_an_empty_key_is_refused_without_the_others(text):
    with pytest.raises(KeyFormatError) as caught:
        split_keys(text, ",", where="K in W")
    assert "K in W is a list of" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.fixture
def kept(tmp_path):
    return KeptList(str(tmp_path / "rotation"))


def test_a_list_is_kept_privately_and_comes_back(kept):
    assert kept.read() is None
    kept.keep("a,b")
    assert kept.read() == "a,b"
    assert stat.S_IMODE(os.stat(kept.path).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(kept.path)).st_mode) == 0o700


def test_a_byte_that_is_no_text_is_kept_as_it_was(kept):
    kept.keep("a\udcff,b")
    with open(kept.path, "rb") as stream:
        assert stream.read() == b"a\xff,b"
    assert kept.read() == "a\udcff,b"


def test_the_same_list_again_is_nothing(kept):
    kept.keep("a,b")
    before = os.stat(kept.path)
    kept.keep("a,b")
    assert (os.stat(kept.path).st_ino, os.stat(kept.path).st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_list_is_never_written_over_it(kept):
    kept.keep("a,b")
    for act in (kept.keep, kept.require_place_for):
        with pytest.raises(FileError, match="never overwritten") as caught:
            act("c,d")
        assert "a,b" not in str(caught.value)
    assert kept.read() == "a,b"


def test_destroying_leaves_nothing(kept):
    kept.keep("a,b")
    assert kept.destroy()
    assert os.listdir(os.path.dirname(kept.path)) == []
    assert not kept.destroy()


def test_zeros_of_a_killed_run_are_no_list(kept):
    kept.keep("a,b")
    with open(kept.path, "wb") as stream:
        stream.write(b"\x00" * 3)
    assert kept.read() is None
    assert kept.destroy()


def test_what_a_killed_run_left_half_written_goes(kept):
    kept.keep("a,b")
    leftover = os.path.join(os.path.dirname(kept.path), ".listed.key.servos-ops-new")
    with open(leftover, "w", encoding="ascii") as stream:
        stream.write("a,")
    kept.clear_leftovers()
    assert os.listdir(os.path.dirname(kept.path)) == ["listed.key"]
