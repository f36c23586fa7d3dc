# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of keys and processes that were seen."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import UndeclaredFieldError
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.holders import Holder, Holders
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import Keys, Observation

NAMES = ("active", "staged", "previous", "withdrawn", "listed", "dropped", "foreign")
KEY = {name: parse_key(f"{number:02x}" * 32, derivation="raw32", where="the test") for number, name in enumerate(NAMES, 1)}
MARK = {name: key.fingerprint for name, key in KEY.items()}
SERVICE, OTHER = 101, 102


def keys():
    return Keys(
        active=KEY["active"], staged=KEY["staged"], previous=KEY["previous"], withdrawn=KEY["withdrawn"],
        listed=[KEY["active"], KEY["listed"]], dropped=[KEY["dropped"]],
    )


def seen(*holders, process="active"):
    found = tuple(Holder(pid, "worker", MARK[name]) for pid, name in holders)
    return Observation(
        keys=keys(), process=MARK[process], pid=SERVICE, process_seen=True, holders=Holders(found, 0), census=None
    )


@pytest.mark.parametrize(("name", "role"), [(name, "listed" if name == "dropped" else name) for name in NAMES])
def test_each_key_has_its_role(name, role):
    assert keys().role_of(MARK[name]) == role


def test_keys_of_a_list_are_told_from_those_that_have_a_role():
    assert keys().listed_marks() == [MARK["listed"], MARK["dropped"]]


@pytest.mark.parametrize("name", ["staged", "previous", "withdrawn", "listed"])
def test_a_process_on_a_key_that_is_not_in_force_is_left_behind(name):
    looked = seen((SERVICE, name), (OTHER, name), (103, "active"))
    assert [holder.pid for holder in looked.forgotten()] == [OTHER]
    (warning,) = looked.warnings_of_forgotten()
    assert f"process {OTHER} (worker) still runs with the {name} key {MARK[name]}" in warning


def test_until_the_service_is_on_the_key_in_force_nobody_is_said_to_be_left_behind():
    assert seen((OTHER, "previous"), process="previous").warnings_of_forgotten() == []


def test_each_process_is_shown_with_the_role_of_its_key():
    assert seen((OTHER, "previous")).as_result()["processes"] == [
        {"pid": OTHER, "name": "worker", "key": MARK["previous"], "role": "previous"}
    ]


def test_columns_that_no_profile_names_are_named_one_after_the_other(rotation, make_database, sealed):
    row = tuple(sealed("A", text) for text in "xyz")
    path = make_database("CREATE TABLE t (named, one, two)", [("INSERT INTO t VALUES (?, ?, ?)", row)])
    looked = rotation.look(path, {"fields": [{"table": "t", "column": "named"}]})
    with pytest.raises(UndeclaredFieldError, match=r"^t\.one, t\.two holds values"):
        looked.require_usable(discover="fail", allow_empty=False, canary_required=False)
