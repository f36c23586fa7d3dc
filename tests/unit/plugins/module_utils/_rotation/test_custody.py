# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Retiring says so where it could not look at every process; and the clock of a key is started once."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation import custody, observe
from ansible_collections.servos.ops.plugins.module_utils._rotation.holders import Holders

NOW = datetime.datetime(2026, 6, 1, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize(("unread", "warned"), [(0, 0), (3, 1)])
def test_who_may_not_look_at_all_processes_is_told_so(make_installation, make_database, sealed, monkeypatch, unread, warned):
    database = make_database("CREATE TABLE t (id INTEGER PRIMARY KEY, c)", [("INSERT INTO t VALUES (1, ?)", (sealed("A", "x"),))])
    installation = make_installation(database, key_bytes=b"\xaa" * 32)
    installation.keyring.write("previous", parse_key("99" * 32, derivation="raw32", where="x"))
    monkeypatch.setattr(observe, "find_holders", lambda *unused_arguments, **unused_options: Holders((), unread))
    done = custody.retire(installation, allow_empty=False, now=NOW, write=False)
    told = [text for text in done.get("_warnings", []) if "3 processes of other users may not be looked at" in text]
    assert len(told) == warned


def test_the_clock_of_a_key_is_started_once_and_that_of_others_goes_on(make_installation, make_database):
    installation = make_installation(make_database("CREATE TABLE t (id INTEGER PRIMARY KEY)", []), key_bytes=b"\xaa" * 32)
    mark = parse_key("aa" * 32, derivation="raw32", where="x").fingerprint
    installation.keyring.remember(in_force_since={"mk:another": "2025-01-01T00:00:00Z"})
    custody.remember_activation(installation, now=NOW)
    record = installation.keyring.record()
    assert record["in_force_since"] == {"mk:another": "2025-01-01T00:00:00Z", mark: "2026-06-01T00:00:00Z"}
    assert (record["finished_key"], record["finished_at"]) == (mark, "2026-06-01T00:00:00Z")
    custody.remember_activation(installation, now=NOW + datetime.timedelta(days=9))
    assert installation.keyring.record() == record
