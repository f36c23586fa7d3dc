# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of a JSON file as rows and cells."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._stores.json_document import JsonDocument

SHAPES = {
    "object": ('{"a": "x", "b": null}', [{"a": "x", "b": None}]),
    "empty object": (" {} ", [{}]),
    "nested": ('{"a":{"b": ["x" ]},"c":[1, 2]}', [{"a": '{"b": ["x" ]}', "c": "[1, 2]"}]),
    "array of objects": ('[{"a":"x"},\r\n{"b":"y"}]', [{"a": "x", "b": None}, {"a": None, "b": "y"}]),
    "array of strings": ('["x" , "y"]', [{"value": "x"}, {"value": "y"}]),
    "array of both": ('[{"a":"x"},"y",[]]', [{"a": "x", "value": None}, {"a": None, "value": "y"}, {"a": None, "value": "[]"}]),
    "empty array": ("[]", []),
    "string": ('"x"', [{"value": "x"}]),
    "number": ("12", [{"value": 12.0}]),
    "long number": ("[" + "9" * 5000 + "]", [{"value": float("inf")}]),
    "escapes": (r'{"\u0061": "\u00e4\/\"\\"}', [{"a": 'ä/"\\'}]),
    "half a character": (r'{"a": "\ud800"}', [{"a": "\ud800"}]),
    "byte order mark": ('\ufeff\r\n{"a":"x"}\r\n', [{"a": "x"}]),
    "brackets in strings": ('{"a]}":"{[,:","b":"\\"}"}', [{"a]}": "{[,:", "b": '"}'}]),
    "member without a name": ('{"":"x"}', [{"": "x"}]),
}


@pytest.mark.parametrize(("text", "rows"), SHAPES.values(), ids=SHAPES)
def test_a_text_shows_as_rows(text, rows):
    document = JsonDocument(text)
    assert [{column: document.cell(number, column) for column in document.columns} for number in range(len(document))] == rows


WRONG = {
    "nothing": ("", "line 1, column 1"),
    "blank": (" \n", "line 2, column 1"),
    "cut off": ('{"$":"abc', "line 1, column 6"),
    "no value": ('{"a":\n}', "line 2, column 1"),
    "comma at the end": ('{"a":1,}', "line 1"),
    "something after it": ('{"a":1} {', "line 1, column 9: something follows its end"),
    "a line end in a string": ('{"a":"x\ny"}', "line 1"),
    "not a number": ('{"a":NaN}', "NaN is no JSON"),
    "single quotes": ("{'a':1}", "line 1, column 2"),
    "a name twice": ('{"a":1,"b":2,"a":3}', "the name 'a' stands twice"),
    "a name twice, deep down": ('[{"x":{"b":2,"b":3}}]', "the name 'b' stands twice"),
    "nested without end": ("[" * 200000, "nested too deeply"),
    "two marks": ("\ufeff\ufeff{}", "line 1, column 2"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_what_is_no_json_is_refused(text, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared
        JsonDocument(text)
    assert words in str(caught.value)


def test_what_is_wrong_is_not_quoted():
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared
        JsonDocument('{"password": "hunter2" "next": 1}')
    assert "hunter2" not in str(caught.value)


REPLACED = {
    "string": ('\ufeff{ "a" : "x",\r\n\t"b":1.0 }\r\n', {(0, "a"): "new"}, '\ufeff{ "a" : "new",\r\n\t"b":1.0 }\r\n'),
    "two, in any order": ('{"a":"x","b":"y"}', {(0, "b"): "2", (0, "a"): "1"}, '{"a":"1","b":"2"}'),
    "object": ('{"a": {"b":"x" } , "c":[]}', {(0, "a"): '{"b":"longer" }'}, '{"a": {"b":"longer" } , "c":[]}'),
    "element": ('[{"a":"x"},{"a":"y"}]', {(1, "a"): "z"}, '[{"a":"x"},{"a":"z"}]'),
    "what needs escapes": ('{"a":"x"}', {(0, "a"): '"\\\n'}, r'{"a":"\"\\\n"}'),
    "other escapes stay": (r'{"\u0061":"x","b":"\/\u00e4"}', {(0, "a"): "y"}, r'{"\u0061":"y","b":"\/\u00e4"}'),
    "nothing": ('{"a": "x"}', {}, '{"a": "x"}'),
}


@pytest.mark.parametrize(("text", "new", "expected"), REPLACED.values(), ids=REPLACED)
def test_no_other_character_is_touched(text, new, expected):
    assert JsonDocument(text).replaced(new).text == expected


REFUSED = {
    "no such member": ('[{"a":"x"},{"b":"y"}]', {(0, "b"): "z"}),
    "a number": ('{"a":1}', {(0, "a"): "z"}),
    "null": ('{"a":null}', {(0, "a"): "z"}),
    "no JSON for an object": ('{"a":{}}', {(0, "a"): "{"}),
    "more than one value for an object": ('{"a":{}}', {(0, "a"): '{},"b":1'}),
    "a string for an object": ('{"a":{}}', {(0, "a"): '"{}"'}),
}


@pytest.mark.parametrize(("text", "new"), REFUSED.values(), ids=REFUSED)
def test_what_would_not_read_as_it_should_is_refused(text, new):
    with pytest.raises(ValueError):  # noqa: PT011 - that it is refused is all that matters
        JsonDocument(text).replaced(new)
