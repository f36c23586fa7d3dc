# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records of runs and what is made of them, read back by parsers that share nothing with the writers."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest
from ansible_collections.servos.ops.plugins.plugin_utils import _report_record as records
from ansible_collections.servos.ops.plugins.plugin_utils._report_html import html_of
from ansible_collections.servos.ops.plugins.plugin_utils._report_junit import junit_of

OLD, NEW = "mk:" + "0" * 16, "mk:" + "1" * 16
HOSTILE = "</td></style><script>alert(1)</script>\u202e\x07\ud800&\"'"
ROLES = ("active", "staged", "previous", "withdrawn", "listed", "empty", "plain", "foreign")
VOID = {"meta", "br", "rect", "line", "link"}


def field(**counts):
    return {"table": "servers", "column": "ssh_key", "columns": ["ssh_key"], "path": None, **dict.fromkeys(ROLES, 0), **counts}


ROTATED = {
    "changed": True, "phase": "activated", "phase_before": "staged", "rewrapped": 12, "window_s": 1.5, "duration_s": 0.25, "env_key": NEW,
    "process_key": NEW, "previous_key": OLD, "process_seen": True, "sealed_values": 12, "sealed_values_before": 12,
    "timeline": [{"what": what, "seconds": took} for what, took in (("census", 0.1), ("stop", 0.6), ("start", 0.2))],
    "census_before": [field(active=12)], "census": [field(active=12)], "plaintext": "of a value", "next_step": "verify, then retire",
}  # fmt: skip
PROVEN = {"probes": [{"name": "a key", "ok": True, "status": 200, "reason": ""}], "env_key": NEW, "census": [field(active=12)]}
FINDING = {"id": "env_file_mode", "severity": "high", "subject": "/etc/env", "evidence": "mode is 0644", "mend": "chmod 600", "role": ""}


def made(*steps, kind="rotate", is_dry=False):
    """Record steps of (host, action, status, result), a second each."""
    recorder = records.Recorder(kind=kind, title="servos.ops: rotate", version="0.1.0", started_at=1000.0, is_dry=is_dry)
    for number, (host, action, status, result) in enumerate(steps):
        recorder.began(host, str(number), 1000.0 + number)
        recorder.ended(host, str(number), f"Step {number}", action, status, result, 1001.0 + number)
    return recorder.record(1000.0 + len(steps))


def rotated(**changes):
    return made(("a", "servos.ops.servos_key_rotate", "ok", {**ROTATED, **changes}), ("a", "servos.ops.servos_key_info", "ok", PROVEN))


class Page(HTMLParser):
    """Reads a page; every element has to be closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.attributes = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def test_a_rotation_that_is_proven():
    record = rotated()
    assert record["outcome"] == "passed"
    (host,) = record["hosts"]
    assert {proof["name"]: proof["ok"] for proof in host["proofs"]} == {
        "census": True, "nothing lost": True, "process": True, "read back: a key": True,
    }  # fmt: skip
    assert host["window_s"] == 1.5
    assert host["keys"] == {"env_key": NEW, "process_key": NEW, "previous_key": OLD}
    assert host["fields"][0]["before"]["active"] == 12
    assert [step["offset_s"] for step in host["timeline"]] == [0.0, 1.0]
    assert "of a value" not in json.dumps(record)


UNPROVEN = {
    "a value under the old key": ("census", {"census": [field(active=11, previous=1)]}, {"census": [field(active=11, previous=1)]}),
    "a foreign value": ("census", {}, {"census": [field(active=12, foreign=1)]}),
    "a value is gone": ("nothing lost", {"sealed_values_before": 13}, {}),
    "another key in the process": ("process", {"process_key": OLD}, {}),
    "no process": ("process", {"process_key": None}, {}),
    "nothing is read back": ("read back: a key", {}, {"probes": [{"name": "a key", "ok": False, "reason": "404"}]}),
    "a listing that lies": ("read back: the gateway's listing", {}, {"listing": {"ok": False, "reason": "decrypt error"}}),
}


@pytest.mark.parametrize(("proof", "rotation", "info"), UNPROVEN.values(), ids=UNPROVEN)
def test_a_rotation_that_is_not(proof, rotation, info):
    record = made(
        ("a", "servos.ops.servos_key_rotate", "ok", {**ROTATED, **rotation}), ("a", "servos.ops.servos_key_info", "ok", {**PROVEN, **info})
    )
    assert record["outcome"] == "failed"
    assert [one["name"] for one in record["hosts"][0]["proofs"] if not one["ok"]] == [proof]
    assert [case.get("name") for case in ElementTree.fromstring(junit_of(record)).iter("testcase") if case.find("failure") is not None] == [
        f"proof: {proof}"
    ]


def test_the_window_is_drawn_where_the_service_was_stopped():
    """A step of a second is drawn 354 wide; the service went 0.8 s before its end, and was away for 0.5 s of it."""
    text = html_of(rotated(window_s=0.5))
    assert re.findall(r'class="away" x="([0-9.]+)" y="20" width="([0-9.]+)"', text) == [("76.8", "177.0")]
    assert "census 0.10 s, stop 0.60 s, start 0.20 s" in text


def test_a_dry_run_proves_nothing_and_says_so():
    record = made(("a", "servos.ops.servos_key_rotate", "ok", {**ROTATED, "process_key": OLD}), is_dry=True)
    assert (record["outcome"], record["hosts"][0]["proofs"]) == ("passed", [])
    assert "Check mode: nothing was changed." in "".join(Page(html_of(record)).text)


def test_what_others_say_is_not_repeated():
    record = made(
        ("a", "ansible.builtin.command", "failed", {"msg": "the password is swordfish"}),
        ("b", "servos.ops.servos_key_rotate", "failed", {"msg": "the env file is not there", "env_key": "the key itself"}),
        ("c", "servos.ops.servos_key_rotate", "failed", {"msg": "hidden", "censored": "the output has been hidden"}),
        ("d", "ansible.builtin.ping", "unreachable", {"msg": "ssh: swordfish"}),
    )
    messages = {host["name"]: host["failures"][0]["message"] for host in record["hosts"]}
    assert messages["b"] == "the env file is not there"
    assert messages["a"] == messages["c"] == "see the run's own output for the reason"
    assert messages["d"] == "the host did not answer"
    assert [host["reachable"] for host in record["hosts"]] == [True, True, True, False]
    assert record["outcome"] == "failed"
    assert "swordfish" not in json.dumps(record)
    assert "the key itself" not in json.dumps(record)


def test_a_failure_that_was_expected_is_none():
    recorder = records.Recorder(kind="rotate", title="t", version="0", started_at=0.0, is_dry=False)
    recorder.began("a", "1", 0.0)
    recorder.ended("a", "1", "Try", "ansible.builtin.fail", "failed", {"msg": "no"}, 1.0)
    recorder.rescued("a")
    assert recorder.record(2.0)["outcome"] == "passed"


def test_nobody_answered_is_no_success():
    record = records.Recorder(kind="rotate", title="t", version="0", started_at=0.0, is_dry=False).record(1.0)
    assert record["outcome"] == "failed"
    assert "No host was reached." in html_of(record)


def test_findings_come_with_the_most_severe_first():
    checks = [{"id": "key_age", "subject": "key", "outcome": "passed", "reason": ""}, {"id": "x", "outcome": "skipped", "reason": "no API"}]
    found = [{**FINDING, "severity": "low", "id": "b"}, FINDING, {**FINDING, "severity": "nonsense", "id": "c"}]
    record = made(("a", "servos.ops.servos_audit", "ok", {"findings": found, "checks": checks}), kind="audit")
    assert [(one["severity"], one["id"]) for one in record["findings"]] == [("high", "env_file_mode"), ("medium", "c"), ("low", "b")]
    suite = ElementTree.fromstring(junit_of(record)).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("6", "3", "1")
    text = "".join(Page(html_of(record)).text)
    assert text.index("env_file_mode") < text.index("2 checks")


LOOKS = {
    "no token": ("servos_setup_token", "ok", {"places": [], "unsearched": []}, [("setup_token_left", "passed", "")]),
    "a log that was not searched": (
        "servos_setup_token", "ok", {"places": [], "unsearched": ["the log of a"]}, [("setup_token_left", "skipped", "the log of a")]
    ),
    "a token": ("servos_setup_token", "ok", {"places": [{"where": "/f"}], "left_behind": True}, []),
    "a token that cannot be looked for": ("servos_setup_token", "ok", {"failed": True, "msg": "no"}, []),
    "an agent": ("servos_agent_info", "ok", {"deviations": []}, [("agent_rights", "passed", "")]),
    "an agent with rights": ("servos_agent_info", "ok", {"deviations": [{"pid": 1, "what": "uid", "is": 0, "should": 900}]}, []),
    "pins": ("servos_hostkey", "ok", {"hosts": [{"host": "a", "error": None}]}, [("host_keys", "passed", "")]),
    "no pins": ("servos_hostkey", "skipped", {}, [("host_keys", "skipped", "it was not asked for, or there is none to look at")]),
}


@pytest.mark.parametrize(("module", "status", "result", "expected"), LOOKS.values(), ids=LOOKS)
def test_an_audit_says_what_it_looked_at_and_what_not(module, status, result, expected):
    checks = made(("a", f"servos.ops.{module}", status, result), kind="audit")["checks"]
    assert [(check["id"], check["outcome"], check["reason"]) for check in checks] == expected
    assert made(("a", f"servos.ops.{module}", status, result), kind="rotate")["checks"] == []


def test_the_page_is_whole_and_loads_nothing():
    text = html_of(rotated())
    page = Page(text)
    assert page.open == []
    assert not {"script", "img", "link", "iframe", "object", "form", "base"} & set(page.tags)
    assert not [name for unused, attributes in page.attributes for name in attributes if name.startswith("on") or name == "style"]
    assert not re.search(r"url\(|@import|https?:", text)
    policy = next(given["content"] for tag, given in page.attributes if given.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; style-src 'sha256-")


def test_the_page_can_be_read_without_eyes():
    page = Page(html_of(rotated()))
    levels = [int(tag[1]) for tag in page.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in zip(levels, levels[1:]))
    assert page.tags.count("caption") == page.tags.count("table") > 2
    assert all(given.get("scope") for tag, given in page.attributes if tag == "th")
    assert all(given.get("aria-label") and given.get("role") == "img" for tag, given in page.attributes if tag == "svg")
    assert {"header", "main", "footer"} <= set(page.tags)
    assert dict(page.attributes)["html"] == {"lang": "en"}
    targets = {given["id"] for unused, given in page.attributes if "id" in given}
    assert {given["href"][1:] for tag, given in page.attributes if tag == "a"} <= targets


def test_names_that_are_not_to_be_trusted():
    census = [{**field(active=1), "table": HOSTILE}]
    record = made(
        (HOSTILE, "servos.ops.servos_key_rotate", "failed", {**ROTATED, "census": census, "msg": HOSTILE, "reason": HOSTILE * 500}),
        (HOSTILE, "servos.ops.servos_audit", "ok", {"findings": [{**FINDING, "subject": HOSTILE, "evidence": HOSTILE}]}),
    )
    text = html_of(record)
    page = Page(text)
    assert page.open == []
    assert "script" not in page.tags
    assert not re.search("[\u202e\x07\ud800]", text)
    assert len(text) < 40_000
    text.encode()
    root = ElementTree.fromstring(junit_of(record))
    assert "<script>" in root.find("testsuite").get("name")


@pytest.mark.parametrize(
    ("given", "text"),
    [(None, ""), (7, "7"), (" a \n b\t", "a b"), ("a\u200bb", "a\ufffdb"), ("x" * 2000, "x" * 999 + "\u2026"), ("Zo\u00eb", "Zo\u00eb")],
)
def test_texts(given, text):
    assert records.text_of(given) == text


def test_hosts_that_do_not_answer_agents_and_host_keys_are_findings_of_an_audit():
    deviation = {"what": "uid", "is": "0", "should": "900", "how": "run servos.ops.harden", "pid": 12, "thread": 12}
    hosts = [{"host": "a", "port": 22, "status": "unchanged", "error": None}, {"host": "b", "port": 22, "status": "changed", "error": "x"}]
    steps = (
        ("a", "servos.ops.servos_audit", "unreachable", {}), ("a", "servos.ops.servos_audit", "unreachable", {}),
        ("b", "servos.ops.servos_agent_info", "ok", {"deviations": [deviation], "conforms": False}),
        ("c", "servos.ops.servos_agent_info", "ok", {"msg": "no systemd", "failed": True}),
        ("localhost", "servos.ops.servos_hostkey", "ok", {"hosts": hosts, "failed": True}),
    )  # fmt: skip
    record = made(*steps, kind="audit")
    assert [(one["id"], one["host"], one["evidence"]) for one in record["findings"]] == [
        ("unreachable", "a", "the host did not answer"), ("agent_rights", "b", "uid is 0, and should be 900"),
        ("agent_rights", "c", "its processes could not be looked at"), ("host_keys", "localhost", "its key is changed"),
    ]  # fmt: skip
    assert made(*steps, kind="rotate")["findings"] == []
