# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An env file with a list of keys: what a swap puts there, what it keeps, and what comes back."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EnvFileError, FileError
from ansible_collections.servos.ops.plugins.module_utils._keys.key_list import KeptList
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.configuration import Configuration
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import build_profile

VAR = "AIRFLOW__CORE__FERNET_KEY"
ONE, TWO, THREE, NEW = (base64.urlsafe_b64encode(bytes([number]) * 32).decode() for number in (1, 2, 3, 4))


def key(text):
    return parse_key(text, derivation=build_profile("airflow", None).derivation, where="the test")


@pytest.fixture
def listed(tmp_path):
    """Return a function that writes an env file with these keys."""

    def make(*texts, app="airflow", variable=VAR):
        (tmp_path / "app.env").write_text(f"# ours\n{variable}={','.join(texts)}\nOTHER=1\n")
        kept = KeptList(str(tmp_path / "state"))
        return Configuration(
            build_profile(app, None), path=str(tmp_path / "app.env"), variable=variable, duplicates="error", encoding="auto", kept_list=kept
        )

    return make


@pytest.fixture
def texts(tmp_path):
    """Read the list back, and hold the rest of the file."""

    def read():
        first, value, last = (tmp_path / "app.env").read_text().splitlines()
        assert (first, last) == ("# ours", "OTHER=1")
        return value.partition("=")[2].split(",")

    return read


def test_a_list_that_a_swap_takes_out_is_kept_and_comes_back_with_its_first_key(listed, texts):
    made = listed(ONE, TWO, THREE)
    made.write(key(NEW))
    assert texts() == [NEW]
    assert made.dropped_keys() == [key(ONE), key(TWO), key(THREE)]
    made.write(key(ONE), is_returning=True)
    assert texts() == [ONE, TWO, THREE]


def test_of_a_list_that_a_key_was_put_before_only_that_key_goes(listed, texts):
    made = listed(ONE, TWO)
    made.put_before(key(NEW))
    made.put_before(key(NEW))
    assert texts() == [NEW, ONE, TWO]
    assert made.stands_before_others(key(NEW)) and not made.stands_before_others(key(ONE))
    made.write(key(ONE), is_returning=True)
    assert texts() == [ONE, TWO]
    assert made.dropped_keys() == []


def test_a_key_alone_stands_before_nobody(listed):
    assert not listed(NEW).stands_before_others(key(NEW))


@pytest.mark.parametrize(("others", "kept"), [([ONE], []), ([ONE, TWO], [ONE, TWO])], ids=["one", "two"])
def test_a_key_that_is_left_alone_keeps_the_list_behind_it(listed, texts, others, kept):
    made = listed(NEW, *others)
    made.leave_alone(key(NEW))
    assert texts() == [NEW]
    assert made.dropped_keys() == [key(text) for text in kept]


def test_a_second_list_is_not_taken_out_while_one_is_kept(listed, texts):
    listed(ONE, TWO).write(key(NEW))
    made = listed(NEW, THREE)
    with pytest.raises(FileError, match="keeps the list of keys of the last rotation"):
        made.require_swappable_list()
    with pytest.raises(FileError, match="never overwritten"):
        made.write(key(ONE))
    assert texts() == [NEW, THREE]


def test_a_key_with_the_separator_in_it_is_refused(listed):
    with pytest.raises(EnvFileError, match=f"the new value of {VAR} has the separator of its list of keys"):
        listed(ONE).require_writable(parse_key("apassphrase,ofwords", derivation="hex_or_sha256", where="the test"))


def test_an_application_with_one_key_reads_no_list(listed, texts):
    made = listed("01" * 32, app="servos", variable="SERVOS_MASTER_KEY")
    with pytest.raises(EnvFileError, match="is one key and no list; nothing was changed; leave online out"):
        made.put_before(parse_key("02" * 32, derivation="raw32", where="the test"))
    assert texts() == ["01" * 32]
