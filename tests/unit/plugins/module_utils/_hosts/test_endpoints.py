# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts as people write them: what is understood, under which names ssh looks for them, and what is refused."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import HostKeyError
from ansible_collections.servos.ops.plugins.module_utils._hosts.endpoints import known_name, parse_endpoints

FINGERPRINT = "SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc"
OTHER = "SHA256:lcWkNwLX+1xIdnRi/0P54apDMqE3Lluv/baqHikii80"


def parse(*hosts, port=22, expected=None):
    return parse_endpoints(list(hosts), port=port, expected=expected)


UNDERSTOOD = [
    ("node.example", ("node.example", 22, ("node.example",))),
    ("Node.Example", ("node.example", 22, ("node.example",))),
    ("node_1:2222", ("node_1", 2222, ("[node_1]:2222",))),
    ("192.0.2.1", ("192.0.2.1", 22, ("192.0.2.1",))),
    ("192.0.2.1:2222", ("192.0.2.1", 2222, ("[192.0.2.1]:2222",))),
    ("::1", ("::1", 22, ("::1",))),
    ("[::1]", ("::1", 22, ("::1",))),
    ("[::1]:2222", ("::1", 2222, ("[::1]:2222",))),
    ("2001:DB8:0::1", ("2001:db8:0::1", 22, ("2001:db8:0::1", "2001:db8::1"))),
    ("[0:0:0:0:0:0:0:1]:2222", ("0:0:0:0:0:0:0:1", 2222, ("[0:0:0:0:0:0:0:1]:2222", "[::1]:2222"))),
    ("fe80:0::1%eth0", ("fe80:0::1%eth0", 22, ("fe80:0::1%eth0", "fe80::1%eth0"))),
    ("fe80::1%eth0", ("fe80::1%eth0", 22, ("fe80::1%eth0",))),
    ({"host": "node", "port": "2222"}, ("node", 2222, ("[node]:2222",))),
    ({"host": "node", "port": 2222}, ("node", 2222, ("[node]:2222",))),
    ({"host": "::1", "port": 22, "aliases": []}, ("::1", 22, ("::1",))),
    ({"host": "node", "aliases": ["10.0.0.1", "n:2222", "node"]}, ("node", 22, ("node", "10.0.0.1", "[n]:2222"))),
    ({"host": "node:2222", "aliases": ["n"]}, ("node", 2222, ("[node]:2222", "[n]:2222"))),
]


@pytest.mark.parametrize(("written", "expected"), UNDERSTOOD, ids=[str(row[0]) for row in UNDERSTOOD])
def test_what_people_write_is_understood(written, expected):
    (endpoint,) = parse(written)
    assert (endpoint.host, endpoint.port, endpoint.names) == expected


def test_the_port_of_all_is_for_those_without_their_own():
    assert [endpoint.port for endpoint in parse("a", "b:22", {"host": "c", "port": 24}, port=2222)] == [2222, 22, 24]


@pytest.mark.parametrize(("port", "name"), [(22, "node"), (2222, "[node]:2222")], ids=["ssh", "other"])
def test_a_known_name_has_its_port_unless_it_is_22(port, name):
    assert known_name("node", port) == name


REFUSED = [
    ("", "empty"),
    (" ", "neither a host name"),
    ("a b", "neither a host name"),
    ("a,b", "neither a host name"),
    ("a\nb", "neither a host name"),
    ("a\x00b", "neither a host name"),
    ("a\n", "neither a host name"),
    ("*.example", "neither a host name"),
    ("-oProxyCommand=x", "neither a host name"),
    ("|1|x|y", "neither a host name"),
    ("@revoked", "neither a host name"),
    ("#node", "neither a host name"),
    ("user@node", "neither a host name"),
    ("nöde", "xn--"),
    ("999.1.1.1", "neither a host name"),
    ("1.2.3", "neither a host name"),
    ("192.0.2.1%eth0", "neither a host name"),
    ("fe80::1%a b", "neither a host name"),
    ("1::2::3", "neither a host name"),
    ("a" * 254, "longer than 253"),
    ("node:", "port is not a number"),
    ("node:0", "port is not a number"),
    ("node:65536", "port is not a number"),
    ("node:+22", "port is not a number"),
    ("node:\uff12\uff12", "port is not a number"),
    ("[::1]:x", "port is not a number"),
    ("[::1", "neither a host name"),
    ({"host": "node", "port": True}, "port is not a number"),
    ({"host": "node", "port": 22.0}, "port is not a number"),
    ({"host": "node", "port": ""}, "port is not a number"),
    ({"host": "node:22", "port": 22}, "given twice"),
    ({"port": 22}, "empty or not a text"),
    ({"host": None}, "empty or not a text"),
    ({"host": 5}, "empty or not a text"),
    ({"host": "node", "name": "n"}, "no option 'name'"),
    ({"host": "node", "aliases": "n"}, "aliases is not a list"),
    ({"host": "node", "aliases": ["a b"]}, r"entry 1 \(node\), aliases: 'a b' is neither"),
    ({"host": "node", "expected_fingerprint": ""}, "as OpenSSH prints it"),
    ({"host": "node", "expected_fingerprint": [None]}, "as OpenSSH prints it"),
    ({"host": "node", "expected_fingerprint": "MD5:00:11"}, "as OpenSSH prints it"),
    (5, "neither a text nor a dictionary"),
    (None, "neither a text nor a dictionary"),
    (["node"], "neither a text nor a dictionary"),
]


@pytest.mark.parametrize(("written", "said"), REFUSED, ids=[ascii(row[0])[:40] for row in REFUSED])
def test_what_is_no_host_is_refused_by_its_number(written, said):
    with pytest.raises(HostKeyError, match=said) as caught:
        parse(written)
    assert str(caught.value).startswith("hosts, entry 1")


SHOWN = [
    ({"host": "node.example", "port": 0}, "hosts, entry 2 (node.example): the port"),
    ("node:0", "hosts, entry 2 (node:0): the port"),
    ("a\x1bb", "hosts, entry 2: 'a\\x1bb' is neither"),
    ("n\u00f6de", "hosts, entry 2: 'n\\xf6de' is neither"),
    ("a" * 254, f"hosts, entry 2 ({'a' * 60}): "),
    ("", "hosts, entry 2: the host is empty"),
    ({"host": ["x"]}, "hosts, entry 2: the host is empty or not a text"),
]


@pytest.mark.parametrize(("written", "said"), SHOWN, ids=[ascii(row[0])[:40] for row in SHOWN])
def test_an_entry_is_named_by_its_host_where_that_can_be_printed(written, said):
    with pytest.raises(HostKeyError) as caught:
        parse("fine", written)
    assert str(caught.value).startswith(said)
    assert str(caught.value).isascii()


def test_no_hosts_are_refused():
    with pytest.raises(HostKeyError, match="hosts is empty"):
        parse()


@pytest.mark.parametrize("port", [0, 65536, -1], ids=str)
def test_a_port_of_all_that_is_none_is_refused(port):
    with pytest.raises(HostKeyError, match="port: the port is not"):
        parse("node", port=port)


MALFORMED = [
    "sha256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc",
    "SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc=",
    "SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUf",
    "SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfd",  # bits beyond the 32nd byte
    "SHA256:0Dej-vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc",
    "SHA256:0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc ",
    "0Dej+vIXDLIWIWJhFvveYH9nCSNW9gLl05s0lX2SUfc",
    "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48",
    "",
]


@pytest.mark.parametrize("text", MALFORMED)
def test_a_malformed_fingerprint_is_refused(text):
    with pytest.raises(HostKeyError, match="as OpenSSH prints it"):
        parse("node", expected=[text])


def test_expected_fingerprints_are_for_one_host():
    assert parse("node", "node", expected=[FINGERPRINT, OTHER])[1].expected == (FINGERPRINT, OTHER)
    with pytest.raises(HostKeyError, match="for one host"):
        parse("node", "other", expected=[FINGERPRINT])
    with pytest.raises(HostKeyError, match="given twice"):
        parse({"host": "node", "expected_fingerprint": OTHER}, expected=[FINGERPRINT])
    with pytest.raises(HostKeyError, match="holds none"):
        parse("node", expected=[])


@pytest.mark.parametrize(
    ("given", "read"), [(None, ()), ([], ()), (OTHER, (OTHER,)), ([OTHER, FINGERPRINT], (OTHER, FINGERPRINT))], ids=str
)
def test_a_host_may_have_expected_fingerprints_of_its_own(given, read):
    assert parse({"host": "node", "expected_fingerprint": given})[0].expected == read
