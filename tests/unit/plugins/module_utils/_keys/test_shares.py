# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shares: what any k of n give back, and what fewer, or wrong ones, do not."""

from __future__ import annotations

import itertools

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EscrowError
from ansible_collections.servos.ops.plugins.module_utils._keys import shares as sharing
from ansible_collections.servos.ops.plugins.module_utils._keys.material import MasterKey, parse_key

KEY = parse_key("c0ffee" * 10 + "beef", derivation="raw32", where="the test")
PASSPHRASE = parse_key("a passphrase of Provara's", derivation="hex_or_sha256", where="the test")


def split(threshold, count, key=KEY, set_id="00112233"):
    return sharing.split_key(key, threshold=threshold, count=count, set_id=set_id)


@pytest.mark.parametrize(("threshold", "count"), [(2, 2), (2, 3), (3, 5), (5, 5), (2, 255)])
@pytest.mark.parametrize("key", [KEY, PASSPHRASE], ids=["hex", "passphrase"])
def test_any_so_many_give_the_key_back(threshold, count, key):
    shares = split(threshold, count, key)
    assert [share.number for share in shares] == list(range(1, count + 1))
    found = {sharing.combine_shares(chosen) for chosen in itertools.islice(itertools.combinations(shares[::-1], threshold), 30)}
    assert found == {key}
    assert next(iter(found)).reveal_text() == key.reveal_bytes().hex()


def test_more_than_needed_do_as_well():
    assert sharing.combine_shares(split(2, 5)) == KEY


@pytest.mark.parametrize("chosen", [[], [0], [0, 0], [1, 1, 1]], ids=["none", "one", "one twice", "one thrice"])
def test_too_few_give_nothing(chosen):
    shares = split(2, 3)
    assert sharing.combine_shares([shares[place] for place in chosen]) is None


def test_shares_of_two_sets_give_nothing():
    assert sharing.combine_shares([split(2, 3)[0], split(2, 3)[1]]) is None


def test_no_share_says_anything_of_the_key():
    shares = split(2, 200)
    halves = [half for share in shares for half in share.halves]
    assert KEY.reveal_bytes()[:16] not in halves and KEY.reveal_bytes()[16:] not in halves
    assert len(set(halves)) == len(halves)


def test_a_text_is_read_as_it_was_written():
    share = split(2, 3)[1]
    assert sharing.parse_share(sharing.share_text(share)) == share


def test_the_halves_are_not_shown():
    share = split(2, 3)[1]
    assert share.halves[0].hex() not in f"{share!r} {share}"


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "", lambda text: text + "more\n", lambda text: text.replace("second half: 2-", "second half: 3-"),
        lambda text: text[:-5], lambda text: text.replace("mk:", "mk;"), lambda text: text.replace("first", "third"),
    ],
    ids=["empty", "a line more", "two numbers", "cut off", "no fingerprint", "a third half"],
)  # fmt: skip
def test_what_is_no_share_is_none(change):
    assert sharing.parse_share(change(sharing.share_text(split(2, 3)[1]))) is None


def test_without_the_library_its_packages_are_named(monkeypatch):
    monkeypatch.setattr(sharing, "HAS_SHARING", False)
    with pytest.raises(EscrowError, match="python3-pycryptodome"):
        split(2, 3)


def test_a_library_that_errs_is_noticed(monkeypatch):
    class Erring:
        split = staticmethod(sharing.Shamir.split)

        @staticmethod
        def combine(shares, ssss):
            return b"\x00" * 16

    monkeypatch.setattr(sharing, "Shamir", Erring)
    with pytest.raises(EscrowError, match="do not give the key back"):
        split(2, 3)


def test_the_key_that_comes_back_is_a_key():
    assert isinstance(sharing.combine_shares(split(2, 2)), MasterKey)
