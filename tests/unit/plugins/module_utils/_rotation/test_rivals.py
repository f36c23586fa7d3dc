# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A key of the application's own beside the database, which it prefers."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EnvFileError
from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation
from ansible_collections.servos.ops.plugins.module_utils._rotation.rivals import refuse_rival

SECRET = "0123456789abcdef" * 4


@pytest.fixture
def installation(tmp_path):
    return Installation({"app": "nodered", "database": f"json:///{tmp_path}/flows_cred.json"}, run=None)


HARMLESS = {
    "no file": None,
    "no such member": b'{"nodes":{}}',
    "an empty one": b'{"_credentialSecret":""}',
    "no JSON": b'{"_credentialSecret":',
    "no object": b'["_credentialSecret"]',
    "not UTF-8": b"\xff\xff",
    "nested without end": b"[" * 100000,
}


@pytest.mark.parametrize("content", HARMLESS.values(), ids=HARMLESS)
def test_what_the_application_does_not_use_is_no_rival(installation, tmp_path, content):
    if content is not None:
        (tmp_path / ".config.runtime.json").write_bytes(content)
    refuse_rival(installation)


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_a_key_of_its_own_is_refused_and_not_shown(installation, tmp_path, mark):
    (tmp_path / ".config.runtime.json").write_bytes(mark + json.dumps({"_credentialSecret": SECRET}).encode())
    with pytest.raises(EnvFileError, match=r"config.runtime.json holds _credentialSecret.*nothing was changed.*deploy a change") as caught:
        refuse_rival(installation)
    assert SECRET not in str(caught.value)


def test_what_cannot_be_read_is_refused(installation, tmp_path):
    (tmp_path / ".config.runtime.json").mkdir()
    with pytest.raises(EnvFileError, match=r"not a regular file; .*; nothing was changed"):
        refuse_rival(installation)


def test_others_have_none(tmp_path):
    (tmp_path / ".config.runtime.json").write_text(json.dumps({"_credentialSecret": SECRET}))
    refuse_rival(Installation({"app": "servos", "database": f"sqlite:///{tmp_path}/servos.db"}, run=None))
