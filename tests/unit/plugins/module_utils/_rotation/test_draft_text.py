# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the small writer of YAML writes, read back by a real one."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._rotation.draft_text import as_yaml

yaml = pytest.importorskip("yaml")

TEXTS = [
    "plain", "yes", "null", "NO", "1", "1.5", "", " edge ", "a: b", "# no comment", "- x", "{nonce}:{tag}", "quote ' and \"", "back\\slash",
    "line\nbreak\ttab", "zwölf", "\u2028", "\x7f\x85", "\U0001f511", "\ufeffmark", "sqlite:////srv/a.db",
    "*alias", "!tag", "%", "0x01", "~", "=",
]


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_every_text_comes_back(text):
    field = {"table": text, "codec": {"layout": [text], text or "x": True}}
    profile = {"name": text, "fields": [field], "long": {"a" * 60: text, "b" * 60: 5}}
    assert yaml.safe_load(as_yaml(profile))["servos_profile"] == profile


def test_comments_stand_where_they_belong_and_break_nothing():
    fields = [{"table": "a", "column": "b"}, {"table": "c", "column": "d"}]
    text = as_yaml({"name": "x", "fields": fields}, head=["first\n- injected: true"], notes={1: ["look at c"]})
    assert text.splitlines() == [
        "# first - injected: true", "servos_profile:", "  name: x", "  fields:",
        "    - table: a", "      column: b", "    # look at c", "    - table: c", "      column: d",
    ]
    assert yaml.safe_load(text)["servos_profile"]["fields"] == fields


@pytest.mark.parametrize("text", ["{{ x }}", "{% x %}", "{#"])
def test_what_jinja_would_read_is_marked(text):
    assert f'name: !unsafe "{text}"' in as_yaml({"name": text})


def test_no_fields_are_an_empty_list():
    assert yaml.safe_load(as_yaml({"fields": []}))["servos_profile"] == {"fields": []}
