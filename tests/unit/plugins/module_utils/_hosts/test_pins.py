# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trust on first use as a table: what is pinned, what is presented, what is asked, and what comes of it."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.servos.ops.plugins.module_utils._hosts import known_hosts
from ansible_collections.servos.ops.plugins.module_utils._hosts.endpoints import parse_endpoints
from ansible_collections.servos.ops.plugins.module_utils._hosts.host_key import HostKey
from ansible_collections.servos.ops.plugins.module_utils._hosts.known_hosts import KnownHosts
from ansible_collections.servos.ops.plugins.module_utils._hosts.pins import Policy, settle

NOW = "2026-11-22T15:00:00Z"


def make(key_type, letter):
    """A blob that says its type; what follows means nothing to a comparison."""
    name = key_type.encode()
    return HostKey(key_type, base64.b64encode(len(name).to_bytes(4, "big") + name + letter.encode() * 33).decode())


KEYS = {
    "ed": make("ssh-ed25519", "a"), "ED": make("ssh-ed25519", "b"),
    "ec": make("ecdsa-sha2-nistp256", "a"), "EC": make("ecdsa-sha2-nistp256", "b"),
    "rsa": make("ssh-rsa", "a"), "RSA": make("ssh-rsa", "b"), "dss": make("ssh-dss", "a"),
}  # fmt: skip


def lines(*rows):
    """Rows such as 'node ed' as the text of a known_hosts."""
    text = ""
    for row in rows:
        *names, word = row.split(" ")
        key = KEYS[word]
        text += f"{' '.join(names)} {key.key_type} {key.blob_b64} by hand\n"
    return text


def run(text, presented, state="pinned", host="node", expected=(), key_types=("ed25519", "ecdsa", "rsa"), hash_names=False):
    entry = dict(host) if isinstance(host, dict) else {"host": host}
    if expected:
        entry["expected_fingerprint"] = [KEYS[word].fingerprint for word in expected]
    (endpoint,) = parse_endpoints([entry], port=22, expected=None)
    pins = KnownHosts(text.encode())
    policy = Policy(state, key_types, hash_names, NOW, "root@control", lambda: b"s" * 20)
    facts = settle(pins, endpoint, [KEYS[word] for word in presented], policy)
    return facts, pins.content().decode()


def words(text):
    """What a text pins, as a set of pairs of names and word."""
    found = set()
    for line in text.splitlines():
        fields = line.split()
        found.add((fields[0], next(word for word, key in KEYS.items() if key.blob_b64 in fields)))
    return found


ALL = ("ed", "ec", "rsa")
# pinned before, presented, options, status, what is pinned after (None where the file is not touched)
TABLE = {
    "first contact records all": ([], ALL, {}, "pinned", {("node", word) for word in ALL}),
    "first contact records what is expected": ([], ALL, {"expected": ["ec"]}, "pinned", {("node", "ec")}),
    "first contact, none expected": ([], ALL, {"expected": ["ED"]}, "unexpected", None),
    "all as pinned": (["node ed", "node ec", "node rsa"], ALL, {}, "unchanged", None),
    "one type as pinned, the others are not planted": (["node ed"], ALL, {}, "unchanged", None),
    "one of two pinned types has changed": (["node ed", "node rsa"], ("ed", "RSA"), {}, "changed", None),
    "all have changed": (["node ed"], ("ED", "ec"), {}, "changed", None),
    "only other types are presented": (["node ed"], ("ec", "rsa"), {}, "changed", None),
    "a pinned type is not presented any more": (["node ed", "node rsa"], ("ed",), {}, "unchanged", None),
    "two pins of one type": (["node ed", "node ED"], ("ED",), {}, "unchanged", None),
    "nothing of what is pinned is asked for": (["node ed"], ("rsa",), {"key_types": ("rsa",)}, "unexpected", None),
    "only a pinned type is asked for": (["node ed", "node rsa"], ("rsa",), {"key_types": ("rsa",)}, "unchanged", None),
    "pinned is what was expected": (["node ed"], ALL, {"expected": ["ed"]}, "unchanged", None),
    "pinned is another than was expected": (["node ed"], ALL, {"expected": ["rsa"]}, "unexpected", None),
    "one of the pins was not expected": (["node ed", "node rsa"], ALL, {"expected": ["ed"]}, "unexpected", None),
    "changed to what is expected is still changed": (["node ed"], ("ED",), {"expected": ["ED"]}, "changed", None),
    "pinned by a pattern": (["*de ed"], ("ed",), {}, "unchanged", None),
    "changed against a pattern": (["*de ed"], ("ED",), {}, "changed", None),
    "pinned for another port": (["[node]:2222 ed"], ("ed",), {}, "pinned", {("[node]:2222", "ed"), ("node", "ed")}),
    "revoked for it": (["@revoked node ed"], ("ed",), {}, "revoked", None),
    "revoked for all": (["node ec", "@revoked * ed"], ("ed", "ec"), {}, "revoked", None),
    "another key is revoked": (["node ed", "@revoked * ED"], ("ed",), {}, "unchanged", None),
    "an authority is no pin": (["@cert-authority * ed", "node ec"], ("ED", "ec"), {}, "unchanged", None),
    "verified": (["node ed"], ALL, {"state": "verified"}, "unchanged", None),
    "verified against nothing": ([], ALL, {"state": "verified"}, "unpinned", None),
    "verified and changed": (["node ed"], ("ED",), {"state": "verified"}, "changed", None),
    "verified and revoked": (["node ed", "@revoked node ed"], ("ed",), {"state": "verified"}, "revoked", None),
    "reset to the new keys": (["node ed", "node rsa", "other ed"], ("ED", "ec"), {"state": "reset"}, "reset",
                              {("other", "ed"), ("node", "ED"), ("node", "ec")}),
    "reset to what is expected only": (["node ed"], ("ED", "EC"), {"state": "reset", "expected": ["ED"]}, "reset", {("node", "ED")}),
    "reset to what is not expected": (["node ed"], ("ED",), {"state": "reset", "expected": ["ed"]}, "unexpected", None),
    "reset and nothing differs": (["node ed", "node ec"], ("ec", "ed"), {"state": "reset"}, "unchanged", None),
    "reset without a pin": ([], ("ed",), {"state": "reset"}, "reset", {("node", "ed")}),
    "reset to a revoked key": (["node ed", "@revoked * ED"], ("ED",), {"state": "reset"}, "revoked", None),
    "reset of a name on a line with others": (["node,alias ed"], ("ED",), {"state": "reset"}, "reset", {("alias", "ed"), ("node", "ED")}),
    "reset of what a pattern pins": (["node ed", "*de ed"], ("ED",), {"state": "reset"}, "unexpected", None),
    "reset of what a pattern pins already": (["*de ed"], ("ed",), {"state": "reset"}, "unchanged", None),
    "absent": (["node ed", "node rsa", "other ed"], (), {"state": "absent"}, "removed", {("other", "ed")}),
    "absent already": (["other ed"], (), {"state": "absent"}, "absent", None),
    "absent and pinned by a pattern": (["*de ed"], (), {"state": "absent"}, "unexpected", None),
    "absent, on a line whose pattern covers it too": (["node,*de ed"], (), {"state": "absent"}, "unexpected", None),
    "absent leaves a revocation": (["node ed", "@revoked node rsa"], (), {"state": "absent"}, "removed", {("@revoked", "rsa")}),
}  # fmt: skip


@pytest.mark.parametrize(("before", "presented", "options", "status", "after"), TABLE.values(), ids=list(TABLE))
def test_what_comes_of_it(before, presented, options, status, after):
    text = lines(*before)
    facts, written = run(text, presented, **options)
    assert facts["status"] == status
    assert (facts["error"] is None) is (status in ("pinned", "unchanged", "reset", "removed", "absent"))
    if after is None:
        assert written == text
    else:
        assert words(written) == after
    # What was decided holds: the same again changes nothing, and a refusal stays one.
    again, rewritten = run(written, presented, **options)
    assert rewritten == written
    assert again["status"] == {"pinned": "unchanged", "reset": "unchanged", "removed": "absent"}.get(status, status)


def test_a_change_says_all_that_a_person_needs():
    first, text = run("", ("ed", "rsa"))
    assert first["pinned_at"] == NOW
    assert first["pinned_by"] == "root@control"
    facts, unused = run(text, ("ED", "rsa"))
    said = facts["error"]
    wanted = [
        "node", "port 22", KEYS["ed"].fingerprint, KEYS["ED"].fingerprint, "ssh-ed25519", NOW, "root@control", "rebuilt",
        "in its place", "state=reset", "expected_fingerprint",
    ]  # fmt: skip
    assert [word for word in wanted if word not in said] == []


def test_a_change_from_a_pin_of_others_says_so():
    assert "by hand, ssh or another tool" in run(lines("node ed"), ("ED",))[0]["error"]


@pytest.mark.parametrize(
    ("before", "presented", "options", "types"),
    [
        (["node ed"], ALL, {}, ["ecdsa-sha2-nistp256", "ssh-rsa"]),
        (["node ed", "node ec", "node rsa"], ALL, {}, []),
        ([], ALL, {}, []),
        (["node ed"], ("ED", "EC"), {"state": "reset", "expected": ["ED"]}, ["ecdsa-sha2-nistp256"]),
    ],
    ids=["one of three", "all", "first contact", "reset to one"],
)
def test_types_that_are_not_pinned_are_reported(before, presented, options, types):
    assert run(lines(*before), presented, **options)[0]["unpinned_types"] == types


ALIASED = {"host": "node", "aliases": ["10.0.0.1"]}


@pytest.mark.parametrize(
    ("before", "presented", "state", "status", "after"),
    [
        ([], ("ed",), "pinned", "pinned", {("node,10.0.0.1", "ed")}),
        (["node ed"], ("ed", "rsa"), "pinned", "pinned", {("node", "ed"), ("10.0.0.1", "ed")}),
        (["10.0.0.1 ED"], ("ed",), "pinned", "changed", None),
        (["node ed", "10.0.0.1 ED"], ("ed",), "pinned", "changed", None),
        (["node ed"], ("ed",), "verified", "unpinned", None),
        (["node ed", "10.0.0.1 rsa"], ("ED",), "reset", "reset", {("node,10.0.0.1", "ED")}),
        (["node,10.0.0.1,x ed"], (), "absent", "removed", {("x", "ed")}),
    ],
    ids=["first contact", "a new alias", "the alias is another's", "they differ", "verified", "reset", "absent"],
)
def test_aliases_share_the_pin(before, presented, state, status, after):
    text = lines(*before)
    facts, written = run(text, presented, state=state, host=ALIASED)
    assert facts["status"] == status
    assert written == text if after is None else words(written) == after


LONG = "0:0:0:0:0:0:0:1"


@pytest.mark.parametrize(
    ("before", "host", "presented", "status"),
    [
        (["::1 ed"], LONG, ("ed",), "unchanged"),
        ([f"{LONG} ed"], LONG, ("ed",), "unchanged"),
        (["::1 ed"], LONG, ("ED",), "changed"),
        ([f"{LONG} ed", "::1 ED"], LONG, ("ed",), "changed"),
        (["[::1]:2222 ed"], f"[{LONG}]:2222", ("ed",), "unchanged"),
        (["::1 ed"], f"[{LONG}]:2222", ("ed",), "unpinned"),
        (["::1 ed"], {"host": LONG, "aliases": ["node"]}, ("ed",), "unpinned"),
        (["node ed"], {"host": "node", "aliases": [LONG]}, ("ed",), "unpinned"),
        (["node,::1 ed"], {"host": "node", "aliases": [LONG]}, ("ed",), "unchanged"),
    ],
    ids=["short", "long", "changed", "they differ", "with a port", "another port", "no alias", "no address", "both"],
)
def test_any_spelling_of_an_address_verifies_it(before, host, presented, status):
    assert run(lines(*before), presented, state="verified", host=host)[0]["status"] == status


def test_hashed_names_stand_alone_on_a_line_and_are_understood():
    facts, text = run("", ("ed", "rsa"), host=ALIASED, hash_names=True)
    assert facts["status"] == "pinned"
    assert [line.startswith("|1|") and "," not in line.split()[0] for line in text.splitlines()] == [True] * 4
    assert "node" not in text
    assert run(text, ("ed", "rsa"), host=ALIASED)[0]["status"] == "unchanged"
    assert run(text, ("ED",), host=ALIASED)[0]["status"] == "changed"
    assert run(text, (), state="absent", host=ALIASED)[1] == ""


@pytest.fixture
def tries(monkeypatch):
    """Which pairs of a name and a hash were computed."""
    seen = []
    true = known_hosts._HashedName.stands_for

    def stands_for(self, name):
        seen.append((name, id(self)))
        return true(self, name)

    monkeypatch.setattr(known_hosts._HashedName, "stands_for", stands_for)
    return seen


@pytest.mark.parametrize("state", ["pinned", "verified", "reset"])
def test_a_hashed_name_is_tried_once_on_each_line(tries, state):
    """A thousand hosts are three million pairs already."""
    endpoints = parse_endpoints([f"node{number}" for number in range(20)], port=22, expected=None)
    keys = [KEYS[word] for word in ALL]
    salts = iter(range(1000))
    policy = Policy("pinned", ("ed25519", "ecdsa", "rsa"), True, NOW, "root@control", lambda: str(next(salts)).encode())
    pins = KnownHosts(b"")
    assert {settle(pins, endpoint, keys, policy)["status"] for endpoint in endpoints} == {"pinned"}
    assert len(tries) == len(set(tries))
    pins = KnownHosts(pins.content())
    tries.clear()
    assert {settle(pins, endpoint, keys, policy._replace(state=state))["status"] for endpoint in endpoints} == {"unchanged"}
    assert len(tries) == len(set(tries)) == 20 * 60
