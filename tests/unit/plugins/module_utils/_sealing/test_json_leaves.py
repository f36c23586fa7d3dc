# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Strings inside JSON: found by their path, replaced without touching any other character."""

from __future__ import annotations

import json

import pytest
from ansible_collections.servos.ops.plugins.module_utils._sealing.json_leaves import (
    has_long_string,
    leaves_of,
    may_be_json,
    replace_leaves,
)
from hypothesis import given
from hypothesis import strategies as st

NAMES = st.text(alphabet='ab"\\/\n\u00e9\u4e16\U0001f600 ', max_size=6)
# Leaves to replace begin with a mark that no name and no other leaf has.
TEXTS = st.text(alphabet='xyz"\\/\n\t\u00e9\u4e16\U0001f600=+ ', max_size=12)
TARGETS = TEXTS.map(lambda text: "T!" + text)
LEAVES = st.one_of(TEXTS, TARGETS, st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False))
DOCUMENTS = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12)
STYLES = st.sampled_from(
    [{}, {"ensure_ascii": False}, {"indent": 2}, {"separators": (",", ":")}, {"indent": "\t", "ensure_ascii": False}, {"sort_keys": True}]
)


def strings_in(node, path="$"):
    """Walk a document; an oracle for leaves_of, recursive where that one is not."""
    if isinstance(node, str):
        return [(path, node)]
    if isinstance(node, dict):
        return [found for name, child in node.items() for found in strings_in(child, path + "." + name)]
    if isinstance(node, list):
        return [found for child in node for found in strings_in(child, path + "[*]")]
    return []


def mapped(node, change):
    if isinstance(node, str):
        return change(node)
    if isinstance(node, dict):
        return {name: mapped(child, change) for name, child in node.items()}
    return [mapped(child, change) for child in node] if isinstance(node, list) else node


@given(DOCUMENTS, STYLES)
def test_finds_every_string_value_by_its_path(document, style):
    assert sorted(leaves_of(json.dumps(document, **style))) == sorted(strings_in(document))


@given(DOCUMENTS, STYLES)
def test_replacing_nothing_changes_no_character(document, style):
    text = json.dumps(document, **style)
    assert replace_leaves(text, lambda leaf: None) == text


@given(DOCUMENTS, STYLES)
def test_replaces_the_value_and_leaves_the_meaning_of_the_rest(document, style):
    changed = replace_leaves(json.dumps(document, **style), lambda leaf: "N" + leaf[2:] if leaf.startswith("T!") else None)
    expected = mapped(document, lambda leaf: "N" + leaf[2:] if leaf.startswith("T!") else leaf)
    assert json.loads(changed) == expected


@given(
    before=st.sampled_from(
        [
            '{"n": 1.50, "e": 1E+05, ',
            '{ "a" :\t-0.0 ,\r\n',
            '{"dup": "x", "dup": "\\u0078\\/", ',
            '{"\\u00e9": "\u00e9", "s": "a\\"b\\\\", ',
        ]
    ),
    token=st.sampled_from(['"T!old"', '"\\u0054!o\\/d"', '"T\\u0021\\n"']),
    after=st.sampled_from(["}", ' , "z" : [ 1e400, "\\ud83d\\ude00", "t\\u0021" ] }\n', ', "dup": {"dup": [ [ ] ]}}']),
)
def test_every_other_byte_stays(before, token, after):
    text = before + '"here": ' + token + after
    assert replace_leaves(text, lambda leaf: "new+/=" if leaf.startswith("T!") else None) == before + '"here": "new+/="' + after


def test_both_of_two_members_of_one_name_are_replaced():
    text = '{"a": "T!1", "a": "T!2"}'
    assert replace_leaves(text, lambda leaf: leaf.replace("T!", "N") if "T!" in leaf else None) == '{"a": "N1", "a": "N2"}'


def test_hands_over_the_meaning_of_a_string_and_not_its_spelling():
    seen = []
    replace_leaves('["\\u0041\\/\\"\\\\\\ud83d\\ude00"]', seen.append)
    assert seen == ['A/"\\\U0001f600']


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        pytest.param('{"token": "x"}', ["$.token"], id="member"),
        pytest.param('{"a": {"b": {"c": "x"}}}', ["$.a.b.c"], id="nested"),
        pytest.param('{"a": ["x", "y", {"b": "z"}]}', ["$.a[*]", "$.a[*]", "$.a[*].b"], id="array"),
        pytest.param('[["x"]]', ["$[*][*]"], id="arrays"),
        pytest.param('{"x": 1, "y": null, "z": true}', [], id="no-strings"),
        pytest.param("{not json}", [], id="not-json"),
        pytest.param("", [], id="empty"),
        pytest.param('{"a": "x"', [], id="cut-short"),
        pytest.param('{"a": "x"} trailing', [], id="trailing"),
        pytest.param("[" * 100000, [], id="too-deep"),
    ],
)
def test_paths(text, paths):
    assert sorted(path for path, unused in leaves_of(text)) == paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", True),
        ("[]", True),
        ('{"a": 1} \n', True),
        ("{", False),
        ("x{}", False),
        (" {}", True),
        ('"text"', True),
        ("", False),
        ("{)", False),
    ],
    ids=repr,
)
def test_what_may_be_json(text, expected):
    assert may_be_json(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param('{"a": "' + "x" * 40 + '"}', True, id="40"),
        pytest.param('{"a": "' + "x" * 39 + '"}', False, id="39"),
        pytest.param('{"a": "' + "\\/" * 40 + '"}', True, id="escapes"),
        pytest.param('{"a": ' + "1" * 80 + "}", False, id="number"),
        pytest.param('["x", "' + "y" * 38 + '"]', False, id="two-short"),
    ],
)
def test_what_is_long_enough(text, expected):
    assert has_long_string(text) is expected


@given(st.lists(st.text(max_size=45), min_size=1, max_size=3), STYLES)
def test_no_long_string_is_ever_missed(texts, style):
    if any(len(text) >= 40 for text in texts):
        assert has_long_string(json.dumps(texts, **style))
