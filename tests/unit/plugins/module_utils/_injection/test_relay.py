# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A request is answered once, by whom it was asked, and leaves nothing behind."""

from __future__ import annotations

import base64
import json
import os
import stat
import time

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import InjectionError
from ansible_collections.servos.ops.plugins.module_utils._injection import relay

ONE, OTHER = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "11111111-2222-3333-4444-555555555555"
VARIABLES = {"DB": "sehr geheim: Zürich\nzweite Zeile", "LONE": "\ud800", "EMPTY": ""}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "secrets").mkdir(mode=0o700)
    return str(tmp_path / "secrets")


def request(folder, request_id=ONE):
    return base64.b64encode(relay.make_request(folder, request_id, entropy=os.urandom)).decode()


def test_there_and_back(folder):
    sealed = relay.seal_variables(request(folder), ONE, VARIABLES, entropy=os.urandom)
    assert "geheim" not in sealed and base64.b64encode(b"geheim").decode()[1:-2] not in sealed
    assert relay.open_variables(relay.take_request(folder, ONE), ONE, sealed) == VARIABLES
    assert os.listdir(folder) == []


def test_what_another_library_seals_opens(folder, other_hpke):
    public = base64.b64decode(request(folder))
    sealed = other_hpke.seal(public, json.dumps({"A": "b"}).encode(), b"servos.ops secret relay v1\x00" + ONE.encode())
    message = base64.b64encode(sealed).decode()
    assert relay.open_variables(relay.take_request(folder, ONE), ONE, message) == {"A": "b"}


def test_the_private_half_is_private(folder):
    request(folder)
    (name,) = os.listdir(folder)
    seen = os.stat(os.path.join(folder, name))
    assert (name, stat.S_IMODE(seen.st_mode), seen.st_size) == (ONE + ".request", 0o600, 32)


def test_it_is_answered_once(folder):
    request(folder)
    relay.take_request(folder, ONE)
    with pytest.raises(InjectionError, match="answered before"):
        relay.take_request(folder, ONE)


def test_an_answer_to_another_request(folder):
    sealed = relay.seal_variables(request(folder, OTHER), OTHER, VARIABLES, entropy=os.urandom)
    request(folder)
    with pytest.raises(InjectionError, match="sealed to another request"):
        relay.open_variables(relay.take_request(folder, ONE), ONE, sealed)


def test_the_id_is_part_of_what_is_sealed(folder):
    sealed = relay.seal_variables(request(folder), OTHER, VARIABLES, entropy=os.urandom)
    with pytest.raises(InjectionError, match="sealed to another request"):
        relay.open_variables(relay.take_request(folder, ONE), ONE, sealed)


@pytest.mark.parametrize("sealed", ["", "no Base64!", "AAAA"])
def test_an_answer_that_is_none(folder, sealed):
    request(folder)
    with pytest.raises(InjectionError, match="does not open"):
        relay.open_variables(relay.take_request(folder, ONE), ONE, sealed)


@pytest.mark.parametrize("recipient", ["", "no Base64!", "AAAA", base64.b64encode(b"x" * 33).decode()])
def test_a_recipient_that_is_none(recipient):
    with pytest.raises(InjectionError, match="not a public key"):
        relay.seal_variables(recipient, ONE, VARIABLES, entropy=os.urandom)


@pytest.mark.parametrize("request_id", ["", "../../etc/passwd", ONE + "/..", ONE.upper(), ONE + "\n"])
def test_an_id_that_is_none(folder, request_id):
    with pytest.raises(InjectionError, match="request_id"):
        relay.make_request(folder, request_id, entropy=os.urandom)
    with pytest.raises(InjectionError, match="request_id"):
        relay.take_request(folder, request_id)
    assert os.listdir(folder) == []


def aged(path, seconds):
    moment = time.time() - seconds
    os.utime(path, (moment, moment))


def test_what_nobody_answered_goes(folder):
    request(folder, OTHER)
    aged(os.path.join(folder, OTHER + ".request"), 3700)
    request(folder)
    assert os.listdir(folder) == [ONE + ".request"]


def test_what_somebody_may_still_answer_stays(folder):
    request(folder, OTHER)
    aged(os.path.join(folder, OTHER + ".request"), 3500)
    request(folder)
    assert sorted(os.listdir(folder)) == [ONE + ".request", OTHER + ".request"]


@pytest.mark.parametrize("name", ["digest.key", OTHER + ".env", "x.request"])
def test_other_files_stay(folder, name):
    path = os.path.join(folder, name)
    with open(path, "w", encoding="utf-8"):
        pass
    aged(path, 10_000)
    request(folder)
    assert name in os.listdir(folder)


def test_what_a_killed_write_left_goes(folder):
    path = os.path.join(folder, f".{OTHER}.request.servos-ops-new")
    with open(path, "wb") as half:
        half.write(b"x" * 16)
    aged(path, 3700)
    request(folder)
    assert os.listdir(folder) == [ONE + ".request"]


def test_a_request_that_was_not_written_whole(folder):
    with open(os.path.join(folder, ONE + ".request"), "wb") as half:
        half.write(b"x" * 16)
    with pytest.raises(InjectionError, match="not written whole"):
        relay.take_request(folder, ONE)


def test_check_mode_derives_and_writes_nothing(folder):
    with open(os.path.join(folder, "digest.key"), "wb") as node_key:
        node_key.write(b"n" * 32)
    public = base64.b64encode(relay.pretend_request(folder, ONE, entropy=os.urandom)).decode()
    sealed = relay.seal_variables(public, ONE, VARIABLES, entropy=os.urandom)
    assert relay.open_variables(relay.pretended_private_key(folder, ONE), ONE, sealed) == VARIABLES
    assert os.listdir(folder) == ["digest.key"]


def test_check_mode_asks_with_another_key_each_time(folder):
    with open(os.path.join(folder, "digest.key"), "wb") as node_key:
        node_key.write(b"n" * 32)
    assert len({relay.pretended_private_key(folder, request_id) for request_id in (ONE, OTHER)}) == 2


def test_check_mode_on_a_new_node(tmp_path):
    assert len(relay.pretend_request(str(tmp_path / "nowhere"), ONE, entropy=os.urandom)) == 32
    assert relay.pretended_private_key(str(tmp_path / "nowhere"), ONE) is None
    assert os.listdir(tmp_path) == []
