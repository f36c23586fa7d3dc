# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What of a webhook's body becomes an event: a kind out of a list, fields that were named, plain words only."""

from __future__ import annotations

import ast
import json
import os
import string
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


@pytest.fixture(scope="session")
def events(part):
    return part("events")


@pytest.fixture
def taken(events):
    """Return a function that makes an event of a body."""

    def take(body, *, sent_at=None, now=NOW, **rules):
        told = dict({"kinds": ("key_leaked", "operator_left")}, **rules)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return events.event_of(raw, "ab" * 32, events.Signed("m", sent_at), events.rules_of(**told), now=now)

    return take


def test_an_event_is_its_kind_and_nothing_that_was_not_named(taken):
    event, is_dated = taken({"kind": "key_leaked", "hosts": "all", "meta": {"hosts": ["x"]}, "servos_key": "k"}, sent_at=NOW - 5)
    assert event == {
        "kind": "key_leaked", "id": "evt-" + "ab" * 12, "received": "2027-01-15T08:00:00Z", "sent": "2027-01-15T07:59:55Z", "payload": {},
    }  # fmt: skip
    assert is_dated


def test_named_fields_are_passed_on_where_they_stand(taken):
    body = {"kind": "key_leaked", "alert": {"number": 7, "secret_type": "servos master key", "open": True, "url": "x"}, "action": "created"}
    event, unused = taken(body, fields=("action", "alert.number", "alert.secret_type", "alert.open", "alert.nothing", "action.more"))
    assert event["payload"] == {"action": "created", "alert": {"number": 7, "secret_type": "servos master key", "open": True}}


NO_PLAIN_WORDS = {
    "a template": "{{ lookup('pipe', 'id') }}",
    "the shortest template": "{{x}}",
    "a template behind a word": "a {{ x }}",
    "a statement": "{% if 1 %}",
    "a comment": "a{#",
    "an override of a template's marks": "#jinja2: variable_start_string:'['",
    "a vault text": "$ANSIBLE_VAULT;1.1;AES256\n6162",
    "two lines": "a\nb",
    "an end of a line": "a\n",
    "a blank first": " a",
    "an option": "-rf",
    "letters of others": "Zoë",
    "half a letter": "\ud800",
    "nothing": "",
    "endless": "a" * 201,
    "a fraction": 1.5,
    "not a number": float("nan"),
    "a number that rounds": 2**53,
    "a list": ["a"],
    "a dictionary": {"a": "b"},
}


@pytest.mark.parametrize("value", NO_PLAIN_WORDS.values(), ids=NO_PLAIN_WORDS)
def test_what_is_no_plain_word_is_refused_and_not_repeated(events, taken, value):
    with pytest.raises(events.RefusedError, match=r"^field\.inner is neither") as refused:
        taken({"kind": "key_leaked", "field": {"inner": value}}, fields=("field.inner",))
    assert refused.value.status == 400
    assert "ANSIBLE" not in refused.value.reason


@given(text=st.text(st.sampled_from(string.printable), min_size=1, max_size=8))
def test_no_text_that_is_passed_on_can_begin_a_template(events, text):
    rules = events.rules_of(kind="any", fields=("x",))
    try:
        event, unused = events.event_of(json.dumps({"x": text}).encode(), "ab" * 32, events.Signed(), rules, now=NOW)
    except events.RefusedError:
        return
    assert set(event["payload"]["x"]) & set("{}%#$\\\"'`<>|;&!*?()[]\n\r\t") == set()


NO_EVENTS = {
    "nothing": b"",
    "no JSON": b"kind=key_leaked",
    "a list": b'["key_leaked"]',
    "a word": b'"key_leaked"',
    "UTF-16": '{"kind": "key_leaked"}'.encode("utf-16"),
    "no UTF-8": b'{"kind": "key_leaked\xff"}',
    "half of it": b'{"kind": "key_lea',
    "two of it": b'{"kind": "key_leaked"}{"kind": "key_leaked"}',
    "a pit": b'{"a":' * 100_000,
    "an endless number": b'{"kind": "key_leaked", "n": ' + b"9" * 5000 + b"}",
    "no kind": b"{}",
    "another kind": b'{"kind": "key_destroyed"}',
    "a kind in other letters": b'{"kind": "KEY_LEAKED"}',
    "a kind that is a list": b'{"kind": ["key_leaked"]}',
}


@pytest.mark.parametrize("body", NO_EVENTS.values(), ids=NO_EVENTS)
def test_what_is_no_event_is_refused(events, taken, body):
    with pytest.raises(events.RefusedError) as refused:
        taken(body, sent_at=NOW)
    assert refused.value.status == 400
    assert "destroyed" not in refused.value.reason


MOMENTS = {
    "just now": (NOW, None),
    "seconds": (1_800_000_000, None),
    "old enough": (NOW - 300, None),
    "young enough": (NOW + 300, None),
    "with its zone": ("2027-01-15T09:00:00+01:00", None),
    "in Zulu": ("2027-01-15T08:00:00Z", None),
    "with a fraction": ("2027-01-15T08:00:00.250Z", None),
    "stale": (NOW - 301, "too long ago"),
    "from the future": (NOW + 301, "in the future"),
    "milliseconds": (NOW * 1000, "not a time"),
    "no zone": ("2027-01-15T08:00:00", "not a time"),
    "a date": ("2027-01-15", "not a time"),
    "true": (True, "not a time"),
    "missing": (None, "not a time"),
    "a word": ("now", "not a time"),
    "before all": (-1, "not a time"),
    "not a number": (float("nan"), "not a time"),
    "for ever": (float("inf"), "not a time"),
    "a year too large": ("9999-12-31T23:59:59-23:59", "not a time"),
}


@pytest.mark.parametrize(("value", "word"), MOMENTS.values(), ids=MOMENTS)
def test_the_time_of_sending_in_a_signed_body(events, taken, value, word):
    body = {"kind": "key_leaked", "alert": {"at": value}}
    if word is None:
        assert taken(body, time_field="alert.at")[1] is True
        return
    with pytest.raises(events.RefusedError, match=word) as refused:
        taken(body, time_field="alert.at")
    assert refused.value.status == (400 if word == "not a time" else 403)


def test_a_signed_time_counts_more_than_one_in_the_body(events, taken):
    with pytest.raises(events.RefusedError, match="too long ago"):
        taken({"kind": "key_leaked", "at": NOW}, sent_at=NOW - 301, time_field="at")


def test_without_any_signed_time_that_is_said(taken):
    event, is_dated = taken({"kind": "key_leaked"})
    assert (event["sent"], is_dated) == (None, False)


def test_a_webhook_is_known_again_by_its_id_or_else_by_its_body(events):
    by_id = events.mark_of(b"one", "standard", events.Signed("m1", NOW))
    assert by_id == events.mark_of(b"another", "standard", events.Signed("m1", NOW + 9))
    assert by_id != events.mark_of(b"one", "standard", events.Signed("m2", NOW))
    by_body = events.mark_of(b"one", "github", events.Signed())
    assert by_body == events.mark_of(b"one", "github", events.Signed())
    assert by_body != events.mark_of(b"one ", "github", events.Signed())
    assert len({by_id, by_body, events.mark_of(b"one", "hex", events.Signed())}) == 3
    assert len(by_body) == 64


RULES = {
    "no kind": {"kinds": ()},
    "a kind that is a template": {"kinds": ("{{ x }}",)},
    "a field that is a template": {"fields": ("a.{{ b }}",)},
    "a field without a name": {"fields": ("a..b",)},
    "a time field without a name": {"time_field": "."},
    "no tolerance": {"tolerance_s": 0},
    "a tolerance that is no number": {"tolerance_s": float("nan")},
    "a tolerance of weeks": {"tolerance_s": 1e6},
}


@pytest.mark.parametrize("told", RULES.values(), ids=RULES)
def test_rules_that_cannot_be(events, told):
    with pytest.raises(ValueError, match=r"^(kinds|kind_field|fields|time_field|tolerance): "):
        events.rules_of(**dict({"kinds": ("a",)}, **told))


LOADED_BY_PATH = ["extensions/eda/receiver/events", "extensions/eda/receiver/receipts", "extensions/eda/receiver/secret_file"]


@pytest.mark.skipif(not hasattr(sys, "stdlib_module_names"), reason="needs Python 3.10 to know what is not third-party")
@pytest.mark.parametrize("name", [*LOADED_BY_PATH, "plugins/plugin_utils/_webhooks"])
def test_what_is_loaded_by_its_path_needs_nothing_of_ours(collection_root, name):
    with open(os.path.join(collection_root, *name.split("/")) + ".py", encoding="utf-8") as stream:
        tree = ast.parse(stream.read(), feature_version=(3, 8))
    roots = {alias.name.split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    roots |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert roots <= set(sys.stdlib_module_names)
    if name.endswith("events"):  # pure: the clock is handed in
        assert roots & {"os", "time", "io", "socket", "random", "secrets", "pathlib", "fcntl"} == set()
