# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A known_hosts file as ssh reads it: what stands for a name, what an edit leaves alone, and what is no such file."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import PinStoreError
from ansible_collections.servos.ops.plugins.module_utils._hosts.host_key import HostKey
from ansible_collections.servos.ops.plugins.module_utils._hosts.known_hosts import KnownHosts, comment_of, hashed, wildcard_matches

ED = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJd6r2Sm6C8Xi2rsL6VLDvDkDw1r/gT9BIkW3ZfkURmO"
ED2 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPKtpPW0SlJ7xAwnc+L7YUlEqcm/MIoKQ99EyYeE/R2z"
KEY, KEY2 = HostKey(*ED.split()), HostKey(*ED2.split())
# As ssh-keygen -H of OpenSSH 9.2 wrote them.
HASHED = f"|1|cWf5pPtvr8DyHnv2J9itbNqlwg0=|4gUwbG+U4i8KQzXf0Oog6eFa8eU= {ED}"
HASHED_2222 = f"|1|5b9soHEnH3MdbLwlZzCzvOZwuN4=|s5gJRLw8661jy9ICOg0tW5Tippg= {ED}"


def known(*lines, end="\n"):
    return KnownHosts(("\n".join(lines) + end).encode("utf-8", "surrogateescape"))


def numbers(pins, name):
    return sorted(entry.number for entry in pins.pins(name))


def test_a_fingerprint_is_what_ssh_keygen_prints():
    assert KEY.fingerprint == "SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc"
    assert KEY2.fingerprint == "SHA256:lcWkNwLX+1xIdnRi/0P54apDMqE3Lluv/baqHikii80"


MATCHES = [
    ("node", "node", True),
    ("node", "nod", False),
    ("NODE", "node", True),
    ("a,node,b", "node", True),
    ("[node]:2222", "[node]:2222", True),
    ("[node]:2222", "node", False),
    ("node", "[node]:2222", False),
    ("*.example", "node.example", True),
    ("*.example", "example", False),
    ("node?", "node1", True),
    ("node?", "node", False),
    ("*", "anything", True),
    ("[*]:2222", "[node]:2222", True),
    ("[n]:2222", "n:2222", False),
    ("*.example,!bad.example", "good.example", True),
    ("*.example,!bad.example", "bad.example", False),
    ("!bad.example,*.example", "bad.example", False),
    ("!node", "node", False),
    ("!node", "other", False),
    ("192.0.2.*", "192.0.2.77", True),
]


@pytest.mark.parametrize(("names", "name", "does"), MATCHES, ids=[f"{row[0]} {row[1]}" for row in MATCHES])
def test_names_and_patterns_stand_for_what_ssh_says(names, name, does):
    assert bool(known(f"{names} {ED}").pins(name)) is does


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
@pytest.mark.parametrize(("names", "name", "does"), MATCHES, ids=[f"{row[0]} {row[1]}" for row in MATCHES])
def test_ssh_keygen_agrees(tmp_path, names, name, does):
    (tmp_path / "k").write_text(f"{names} {ED}\n")
    found = subprocess.run(["ssh-keygen", "-F", name, "-f", str(tmp_path / "k")], stdout=subprocess.PIPE, timeout=20, check=False)
    assert (ED.encode() in found.stdout) is does


@pytest.mark.parametrize(
    ("line", "name"), [(HASHED, "node.example"), (HASHED_2222, "[node.example]:2222")], ids=["plain port", "other port"]
)
def test_hashed_names_of_openssh_are_found(line, name):
    assert numbers(known(line), name) == [1]
    assert numbers(known(line), "other.example") == []
    salt = base64.b64decode(line.split("|")[2])
    assert hashed(name, salt) == line.split()[0]


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="needs ssh-keygen")
def test_ssh_keygen_finds_what_we_hash(tmp_path):
    pins = KnownHosts(b"")
    pins.add([hashed("node", os.urandom(20))], KEY, comment="c")
    (tmp_path / "k").write_bytes(pins.content())
    found = subprocess.run(["ssh-keygen", "-F", "node", "-f", str(tmp_path / "k")], stdout=subprocess.PIPE, timeout=20, check=False)
    assert ED.encode() in found.stdout


WILDCARDS = [
    ("", "", True), ("*", "", True), ("?", "", False), ("a*b*c", "axxbyyc", True), ("a*b*c", "axxbyy", False), ("**", "x", True),
    ("*a", "ba", True), ("*a", "ab", False), ("a?c", "abc", True), ("[a]", "a", False), ("a.c", "abc", False), ("*aab", "aaab", True),
]  # fmt: skip


@pytest.mark.parametrize(("pattern", "name", "does"), WILDCARDS, ids=[f"{row[0]}|{row[1]}" for row in WILDCARDS])
def test_only_two_characters_are_wild(pattern, name, does):
    assert wildcard_matches(pattern, name) is does


def test_many_stars_cost_little():
    assert wildcard_matches("*a" * 120 + "b", "a" * 253) is False


SCENERY = [
    "# a comment",
    "",
    "   ",
    f"other {ED2}",
    f"@cert-authority *.example {ED2} ca",
    f"@revoked * {ED2}",
    "node,alias,[node]:2222\t" + ED.replace(" ", "  ") + "  by hand  \t",
    f"\t node {ED2} second",
    f"x {ED} caf\udce9 is not UTF-8",
    f"crlf {ED}\r",
]


def test_what_is_read_is_written_as_it_was():
    content = ("\n".join(SCENERY) + "\n").encode("utf-8", "surrogateescape")
    assert KnownHosts(content).content() == content


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n", b"# c", b"node " + ED.encode(), b"\r\n"], ids=repr)
def test_odd_ends_are_written_as_they_were(content):
    assert KnownHosts(content).content() == content


def test_a_line_with_a_marker_is_no_pin():
    pins = known(*SCENERY)
    assert numbers(pins, "node") == [7, 8]
    assert numbers(pins, "a.example") == []
    assert pins.revoked("node") == {KEY2.blob_b64}
    assert numbers(pins, "crlf") == [10]


def test_taking_a_name_off_touches_nothing_else():
    pins = known(*SCENERY)
    before = pins.content().decode("utf-8", "surrogateescape").split("\n")
    for entry in pins.pins("node"):
        pins.take_off(entry, "node")
    after = pins.content().decode("utf-8", "surrogateescape").split("\n")
    assert after == [*before[:6], before[6].replace("node,alias", "alias"), *before[8:]]
    assert numbers(pins, "node") == []
    assert numbers(pins, "alias") == [7]
    assert numbers(pins, "[node]:2222") == [7]


def test_taking_the_last_line_leaves_the_one_before_whole():
    pins = known(f"a {ED}", f"node {ED}", end="")
    pins.take_off(pins.pins("node")[0], "node")
    assert pins.content() == f"a {ED}\n".encode()


@pytest.mark.parametrize("end", ["", "\n"], ids=["no newline at the end", "newline"])
def test_a_line_is_added_on_a_line_of_its_own(end):
    pins = known(f"a {ED}", end=end)
    pins.add(["node", "alias"], KEY2, comment=comment_of(stamp="2026-11-22T15:00:00Z", by="root@control"))
    written = f"node,alias {ED2} servos.ops pinned=2026-11-22T15:00:00Z by=root@control"
    assert pins.content() == f"a {ED}\n{written}\n".encode()
    (entry,) = pins.pins("alias")
    assert (entry.pinned_at, entry.pinned_by) == ("2026-11-22T15:00:00Z", "root@control")


NOT_KNOWN_HOSTS = [
    (b"node", "line 1 is not what"),
    (b"node ssh-ed25519", "line 1 is not what"),
    (b"# c\n\nroot:x:0:0:root:/root:/bin/bash\n", "line 3 is not what"),
    (b"@revoked " + ED.encode(), "line 1 is not what"),
    (b"@other node " + ED.encode(), "line 1 has a marker"),
    (b"node ssh-ed25519 !!!!", "line 1 has a key that is not Base64"),
    (b"node ssh-ed25519 AAA", "line 1 has a key that is not Base64"),
    (b"node ssh-ed25519 AAAA", "line 1 says another key type"),
    (b"node ssh-rsa " + ED.split()[1].encode(), "line 1 says another key type"),
    (b"node 1024 35 123456", "line 1 "),
    (b"ok " + ED.encode() + b"\nno\x00de " + ED.encode(), "line 2 holds a NUL"),
    (b"# comment with \x00\n", "line 1 holds a NUL"),
    (b"n\xf6de " + ED.encode(), "line 1 has names that are not UTF-8"),
]


@pytest.mark.parametrize(("content", "said"), NOT_KNOWN_HOSTS, ids=[repr(row[0])[:40] for row in NOT_KNOWN_HOSTS])
def test_what_is_no_known_hosts_is_refused_by_its_line(content, said):
    with pytest.raises(PinStoreError, match=said) as caught:
        KnownHosts(content)
    assert "AAAAC3" not in str(caught.value)


RIGHT_HASH = HASHED.partition(" ")[0]
ODD_HASHES = ["|1|", "|1||", "|1|a|b", RIGHT_HASH.replace("|1|", "|2|"), f"{RIGHT_HASH},node.example", f"{RIGHT_HASH},{RIGHT_HASH}"]


@pytest.mark.parametrize("names", ODD_HASHES)
def test_a_hash_that_ssh_does_not_understand_stands_for_nothing(names):
    assert numbers(known(f"{names} {ED}"), "node.example") == []


@pytest.mark.parametrize("line", [HASHED, f"nod?.example {ED}", f"node.* {ED}"], ids=["hashed", "pattern", "another pattern"])
def test_lines_that_come_and_go_are_seen(line):
    pins = known(line)
    assert numbers(pins, "node.example") == [1]
    pins.add([hashed("node.example", b"s" * 20)], KEY2, comment="c")
    assert {entry.key for entry in pins.pins("node.example")} == {KEY, KEY2}
    pins.take_off(pins.pins("node.example")[0], "node.example")
    assert [entry.key for entry in pins.pins("node.example")] == [KEY2]
    assert pins.pins("other.example") == []
