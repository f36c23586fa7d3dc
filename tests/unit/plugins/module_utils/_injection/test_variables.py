# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names and values: what is refused by name, which way a value goes, and what may be said of it."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import InjectionError
from ansible_collections.servos.ops.plugins.module_utils._injection.variables import (
    check_name,
    check_values,
    digest_of,
    env_file_of,
    scrubbed,
    split_by_way,
    texts_of,
)

LONGEST_LINE, LONGEST_STRING = 65535, 131072  # Go's bufio.MaxScanTokenSize less the line's end; Linux's MAX_ARG_STRLEN


@pytest.mark.parametrize("name", ["A", "_", "a1", "A_B", "x" * 300])
def test_names(name):
    check_name(name, option="env")


@pytest.mark.parametrize("name", ["", "1A", "A B", "A-B", "A.B", "A\n", "\nA", "A*", "Ä", "A\x00", 1, None, "\u0410"], ids=ascii)
def test_what_is_no_name(name):
    with pytest.raises(InjectionError, match="env: not a variable's name"):
        check_name(name, option="env")


def test_what_stands_behind_an_equals_sign_in_a_name_is_not_repeated():
    with pytest.raises(InjectionError) as caught:
        check_name("PASSWORD=hunter2", option="env")
    assert "'PASSWORD'" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "words"),
    [(True, "quote it"), (False, "quote it"), (1.0, "quote it"), (None, "no value"), ([], "a list"), ({}, "a list"), (b"x", "a list")],
    ids=repr,
)
def test_what_yaml_made_something_else_of_is_refused_by_name(value, words):
    with pytest.raises(InjectionError, match=r"option: .*NAME") as caught:
        texts_of({"NAME": value}, option="option")
    assert words in str(caught.value)


def test_a_whole_number_is_its_text():
    assert texts_of({"A": 0, "B": -7, "C": "07"}, option="env") == {"A": "0", "B": "-7", "C": "07"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "allow_empty=true"),
        ("a\x00b", "a NUL"),
        ("a\udc80", "a lone surrogate"),
        ("\ud83d", "a lone surrogate"),
        ("é" * 65536, "131072 bytes"),
    ],
    ids=["empty", "NUL", "surrogate", "half a pair", "too long"],
)
def test_a_value_is_refused_by_name_and_not_shown(value, words):
    with pytest.raises(InjectionError) as caught:
        check_values({"NAME": value}, option="env", allow_empty=False)
    assert "NAME" in str(caught.value)
    assert words in str(caught.value)
    assert not value or value not in str(caught.value)


@pytest.mark.parametrize("value", ["a\x00b", "x" * 200000, "\r\n"], ids=["NUL", "long", "line break"])
def test_a_mounted_value_has_no_such_limits(value):
    check_values({"NAME": value}, option="env", allow_empty=False, by_file=True)


def test_the_longest_value_fits_with_its_name_and_its_nul():
    check_values({"NAME": "x" * (LONGEST_STRING - len("NAME=") - 1)}, option="env", allow_empty=False)
    with pytest.raises(InjectionError):
        check_values({"NAME": "x" * (LONGEST_STRING - len("NAME="))}, option="env", allow_empty=False)


@pytest.mark.parametrize("is_verbatim", [True, False])
@pytest.mark.parametrize(
    "value", ["a", "a b", "a=b", "$HOME", "a\\nb", "ä", "a\u2028b", "a\x0bb", "x" * (LONGEST_LINE - 2)], ids=lambda v: ascii(v)[:20]
)
def test_what_a_line_can_carry_goes_by_file(value, is_verbatim):
    assert split_by_way({"A": value}, is_verbatim=is_verbatim) == ({"A": value}, {})


@pytest.mark.parametrize("is_verbatim", [True, False])
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\r", "\n", "x" * (LONGEST_LINE - 1), "é" * 32768], ids=lambda v: ascii(v)[:20])
def test_what_a_line_cannot_carry_goes_by_environment(value, is_verbatim):
    assert split_by_way({"A": value}, is_verbatim=is_verbatim) == ({}, {"A": value})


@pytest.mark.parametrize("value", ["", '"a"', "it's", "a`", "a #b", " a", "a ", "\ta"], ids=repr)
def test_what_versions_read_in_two_ways_goes_by_environment_where_they_do(value):
    assert split_by_way({"A": value}, is_verbatim=True) == ({"A": value}, {})
    assert split_by_way({"A": value}, is_verbatim=False) == ({}, {"A": value})


@pytest.mark.parametrize(
    "name",
    ["PATH", "HOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_TLS", "CONTAINER_HOST", "CONTAINERS_CONF",
     "CONTAINERS_STORAGE_CONF", "_CONTAINERS_USERNS_CONFIGURED", "HTTP_PROXY", "https_proxy", "no_proxy", "GODEBUG", "BASH_ENV",
     "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "REGISTRY_AUTH_FILE", "LC_ALL", "TMPDIR", "SSH_AUTH_SOCK", "GCONV_PATH", "GLIBC_TUNABLES"],
)
def test_a_variable_that_the_command_line_obeys_goes_by_file_or_not_at_all(name):
    assert split_by_way({name: "plain"}, is_verbatim=True) == ({name: "plain"}, {})
    with pytest.raises(InjectionError, match=name):
        split_by_way({name: "a\nb"}, is_verbatim=True)


@pytest.mark.parametrize("name", ["TLS_KEY", "PATHS", "MY_PATH", "GOAL_1", "LDAP_CERT", "DOCKERFILE", "SSHKEY", "HOMEPAGE"])
def test_other_names_are_not_taken_for_one(name):
    assert split_by_way({name: "a\nb"}, is_verbatim=True)[1] == {name: "a\nb"}


def test_a_file_is_one_line_for_each():
    assert env_file_of({"B": "x=y", "A": "ä "}) == b"B=x=y\nA=\xc3\xa4 \n"


def test_a_digest_is_keyed_and_its_parts_cannot_run_into_each_other():
    mac = hmac.new(b"k" * 32, b"".join(len(p).to_bytes(8, "big") + p for p in (b"secret", b"app", b"A", b"1")), hashlib.sha256)
    assert digest_of(b"k" * 32, "secret", "app", "A", "1") == mac.hexdigest()[:32]
    assert digest_of(b"k" * 32, "a", "bc") != digest_of(b"k" * 32, "ab", "c")
    assert digest_of(b"k" * 32, "a") != digest_of(b"l" * 32, "a")


@pytest.mark.parametrize(
    ("text", "values", "wanted"),
    [
        ("bad hunter2!", ["hunter2"], "bad ***!"),
        ("bad abc", ["abc"], "bad abc"),
        ("line: second-line", ["first-line\nsecond-line"], "line: ***"),
        ('said "a\\"bcd"', ['a"bcd'], 'said "***"'),
        ("longer-one", ["long", "longer-one"], "***"),
        ("padded!", ["  padded \n"], "***!"),
    ],
    ids=["value", "too short to tell", "line", "quoted", "longest first", "stripped"],
)
def test_scrubbed(text, values, wanted):
    assert scrubbed(text, values) == wanted


def test_what_is_scrubbed_is_cut_after_that():
    assert scrubbed("x" * 498 + "hunter2", ["hunter2"]) == "x" * 498 + "**"
