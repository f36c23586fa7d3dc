# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The env file, case by case: which assignment is in force, what is refused, and what an edit leaves of the file."""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EnvFileError
from ansible_collections.servos.ops.plugins.module_utils._keys.envfile import EnvFile

NAME = "SERVOS_MASTER_KEY"
OLD = b"3N3e3+Dh4uPk5ebn6Onq6+zt7u/w8fLz9PX29/j5+vs="
NEW = "ab" * 32


def value_of(content, duplicates="fail"):
    return EnvFile(content).value_of(NAME, duplicates=duplicates, where="/etc/servos/servos.env")


def replaced(content, duplicates="fail", new=NEW):
    return EnvFile(content).replaced(NAME, new, duplicates=duplicates, where="/etc/servos/servos.env")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(b"SERVOS_MASTER_KEY=", b"\n", id="plain"),
        pytest.param(b"SERVOS_MASTER_KEY=", b"", id="no-final-newline"),
        pytest.param(b"SERVOS_MASTER_KEY=", b"\r\n", id="crlf"),
        pytest.param(b"SERVOS_MASTER_KEY=", b"  \t\n", id="trailing-space"),
        pytest.param(b"SERVOS_MASTER_KEY=", b" # the key\n", id="inline-comment"),
        pytest.param(b'SERVOS_MASTER_KEY="', b'"\n', id="double-quotes"),
        pytest.param(b"SERVOS_MASTER_KEY='", b"'\r\n", id="single-quotes-crlf"),
        pytest.param(b'SERVOS_MASTER_KEY="', b'" # the key\n', id="quotes-and-comment"),
        pytest.param(b"export SERVOS_MASTER_KEY=", b"\n", id="export"),
        pytest.param(b"\texport \t SERVOS_MASTER_KEY='", b"'", id="export-indented-quoted"),
        pytest.param(b"  SERVOS_MASTER_KEY = ", b"\n", id="spaces-around-equals"),
        pytest.param(b"\xef\xbb\xbfSERVOS_MASTER_KEY=", b"\n", id="bom"),
        pytest.param(b"\xef\xbb\xbf# first\nSERVOS_MASTER_KEY=", b"\n", id="bom-before-comment"),
        pytest.param(b"#SERVOS_MASTER_KEY=x\n;SERVOS_MASTER_KEY=y\nSERVOS_MASTER_KEY=", b"\n", id="commented-out"),
        pytest.param(b"SERVOS_MASTER_KEY_OLD=x\nXSERVOS_MASTER_KEY=y\nSERVOS_MASTER_KEY=", b"\n", id="longer-names"),
        pytest.param(b"servos_master_key=x\nSERVOS_MASTER_KEY=", b"\n", id="lower-case-name"),
        pytest.param(b"MOTD='one\nSERVOS_MASTER_KEY=decoy\n'\nSERVOS_MASTER_KEY=", b"\n", id="decoy-in-single-quotes"),
        pytest.param(b'MOTD="say \\"\nSERVOS_MASTER_KEY=decoy\n"\nSERVOS_MASTER_KEY=', b"\n", id="decoy-after-escaped-quote"),
        pytest.param(b'MOTD="say \\"hi\\""\nSERVOS_MASTER_KEY=', b'\nX="1"\n', id="escaped-quote-at-the-end"),
        pytest.param(b'MOTD="C:\\\\"\nSERVOS_MASTER_KEY=', b'\nX="1"\n', id="escaped-backslash-at-the-end"),
        pytest.param(b"MOTD=one \\\nSERVOS_MASTER_KEY=decoy\nSERVOS_MASTER_KEY=", b"\n", id="decoy-on-continuation-line"),
        pytest.param(b"MOTD=one \\\r\nSERVOS_MASTER_KEY=decoy\r\nSERVOS_MASTER_KEY=", b"\r\n", id="decoy-on-crlf-continuation"),
        pytest.param(b'MOTD=it"s\nSERVOS_MASTER_KEY=', b'\nX="\n', id="quote-inside-a-word"),
        pytest.param(b"SERVOS_MASTER_KEY=", b"\nMOTD=\xff\xfe\n\n# \xe9\n", id="not-utf-8"),
        pytest.param(b"not an assignment\n=\nSERVOS_MASTER_KEY=", b"\n[section]\n", id="junk"),
        pytest.param(b"A=\nSERVOS_MASTER_KEY=", b"\nB=\n", id="empty-neighbours"),
    ],
)
def test_finds_the_value_and_changes_nothing_else(before, after):
    content = before + OLD + after
    assert value_of(content) == OLD.decode("ascii")
    assert replaced(content) == before + NEW.encode("ascii") + after


@pytest.mark.parametrize("content", [b"SERVOS_MASTER_KEY=\n", b'SERVOS_MASTER_KEY=""', b"SERVOS_MASTER_KEY"[:17] + b"= \r\n"], ids=repr)
def test_an_empty_value_is_a_value(content):
    assert value_of(content) == ""
    assert value_of(replaced(content)) == NEW


def test_the_value_is_read_as_utf_8_and_keeps_what_is_not():
    assert value_of("SERVOS_MASTER_KEY=gr\u00fc\u00dfe".encode("utf-8")) == "gr\u00fc\u00dfe"
    assert value_of(b"SERVOS_MASTER_KEY=a\xffb").encode("utf-8", "surrogateescape") == b"a\xffb"


@pytest.mark.parametrize(
    ("content", "value"),
    [
        pytest.param(b'SERVOS_MASTER_KEY="a\\"b\\\\c"', 'a"b\\c', id="escapes-in-double-quotes"),
        pytest.param(b"SERVOS_MASTER_KEY='a\\b'", "a\\b", id="none-in-single-quotes"),
        pytest.param(b"SERVOS_MASTER_KEY='a # b'", "a # b", id="number-sign-in-quotes"),
        pytest.param(b"SERVOS_MASTER_KEY=a#b", "a#b", id="number-sign-in-a-word"),
        pytest.param(b'SERVOS_MASTER_KEY=" a "', " a ", id="spaces-in-quotes"),
    ],
)
def test_reads_quotes_as_systemd_and_a_shell_do(content, value):
    assert value_of(content) == value


@pytest.mark.parametrize("content", [b"", b"\n", b"# SERVOS_MASTER_KEY=x\n", b"SERVOS_MASTER_KEY\n", b"SERVOS_MASTER_KEYS=x\n"], ids=repr)
def test_a_file_that_does_not_set_the_variable_is_refused(content):
    with pytest.raises(EnvFileError, match=r"/etc/servos/servos\.env does not set SERVOS_MASTER_KEY"):
        value_of(content)
    with pytest.raises(EnvFileError, match="does not set"):
        replaced(content, duplicates="last_wins")


@pytest.mark.parametrize("quote", ['"', "'"], ids=["double", "single"])
def test_an_open_quote_is_refused_by_line_and_without_its_text(quote):
    content = b"A=1\n\nSERVOS_MASTER_KEY=" + quote.encode("ascii") + OLD + b"\nB=2\n"
    for act in (value_of, replaced):
        with pytest.raises(EnvFileError, match="line 3") as caught:
            act(content)
        assert OLD.decode("ascii")[:8] not in str(caught.value)


TWICE = b"# top\r\nSERVOS_MASTER_KEY=firstvalue\r\nA='\r\n\r\n'\r\nexport SERVOS_MASTER_KEY='secondvalue' # c\r\nB=2\r\n"


def test_two_assignments_are_refused_by_line_and_without_their_values():
    for act in (value_of, replaced):
        with pytest.raises(EnvFileError, match="on lines 2 and 6") as caught:
            act(TWICE)
        assert "env_duplicates=last_wins" in str(caught.value)
        assert "firstvalue" not in str(caught.value)
        assert "secondvalue" not in str(caught.value)


def test_the_last_of_two_is_in_force_if_asked_and_the_other_goes():
    assert value_of(TWICE, "last_wins") == "secondvalue"
    expected = b"# top\r\nA='\r\n\r\n'\r\nexport SERVOS_MASTER_KEY='" + NEW.encode("ascii") + b"' # c\r\nB=2\r\n"
    assert replaced(TWICE, "last_wins") == expected
    assert value_of(expected) == NEW


def test_an_earlier_assignment_of_several_lines_goes_as_a_whole():
    content = b"SERVOS_MASTER_KEY='one\ntwo' # c\nA=1\nSERVOS_MASTER_KEY=x\\\ny\nSERVOS_MASTER_KEY=last"
    assert replaced(content, "last_wins") == b"A=1\nSERVOS_MASTER_KEY=" + NEW.encode("ascii")


FOREIGN_QUOTES = [b'app.motd="x\nSERVOS_MASTER_KEY=decoy\n"\n', b"A=\"x\" 'y\nSERVOS_MASTER_KEY=decoy\n'\n"]


@pytest.mark.parametrize("other", FOREIGN_QUOTES, ids=["name-with-a-dot", "quotes-after-quotes"])
def test_a_line_inside_somebody_elses_quotes_is_never_taken_out(other):
    assert replaced(other + b"SERVOS_MASTER_KEY=x\n", "last_wins").startswith(other)


@pytest.mark.parametrize(
    "content", [b'SERVOS_MASTER_KEY="abc"def\n', b"SERVOS_MASTER_KEY='abc''def'\n", b"SERVOS_MASTER_KEY='abc'\"def\"\n"], ids=repr
)
def test_a_value_of_several_pieces_is_read_whole_or_refused(content):
    try:
        found = value_of(content)
    except EnvFileError:
        return
    assert found == "abcdef"


UNSAFE = [
    "",
    "a b",
    "a\tb",
    "a\n",
    "a\r",
    "a\x00",
    "a'",
    'a"',
    "a\\",
    "a$b",
    "a`b",
    "a#b",
    "a;b",
    "a(b",
    "a!b",
    "a~",
    "gr\u00fc\u00df",
    "\udcff",
    "a*b",
]


@pytest.mark.parametrize("new", UNSAFE, ids=ascii)
def test_a_value_that_readers_disagree_on_is_refused(new):
    with pytest.raises(EnvFileError, match="the new value of SERVOS_MASTER_KEY") as caught:
        replaced(b"SERVOS_MASTER_KEY=x\n", new=new)
    assert not new or "KEY=" + new not in str(caught.value)


@pytest.mark.parametrize("new", [NEW, NEW.upper(), OLD.decode("ascii"), "3N3e3-Dh4uPk5ebn6Onq6-zt7u_w8fLz9PX29_j5-vs", "a.b,c:d@e%f"])
def test_keys_in_every_encoding_are_safe(new):
    assert replaced(b"SERVOS_MASTER_KEY=x\n", new=new) == b"SERVOS_MASTER_KEY=" + new.encode("ascii") + b"\n"


def test_replacing_by_the_same_value_changes_no_byte():
    content = b'\xef\xbb\xbf# \xff\r\nexport SERVOS_MASTER_KEY="' + OLD + b'" # x'
    assert replaced(content, new=OLD.decode("ascii")) == content


PLACES = {"bare": (b"SERVOS_MASTER_KEY=", b"\n"), "double": (b'SERVOS_MASTER_KEY="', b'"\n'), "single": (b"SERVOS_MASTER_KEY='", b"'\n")}


def returning(place, value):
    before, after = PLACES[place]
    made = EnvFile(before + OLD + after).replaced(NAME, value, duplicates="fail", where="/etc/servos/servos.env", is_returning=True)
    assert made == before + value.encode("utf-8") + after
    return made


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("bare", "two words"), ("bare", "\u00e9"), ("double", " a # b ~ 'c' "), ("double", "x;y"),
        ("single", ' "a" $b `c` \\ # '), ("single", NEW),
    ],
)  # fmt: skip
def test_a_value_that_stood_there_before_may_return(reference_env_loader, tmp_path, place, value):
    path = tmp_path / "servos.env"
    path.write_bytes(returning(place, value))
    assert reference_env_loader.load_env_file(str(path))[NAME] == value


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("bare", " a"), ("bare", "a#b"), ("bare", "$a"), ("bare", "'a'"), ("bare", "~a"), ("bare", ""), ("bare", "a\nb"),
        ("double", 'a"b'), ("double", "a$b"), ("double", "a\\b"), ("double", "a`b"), ("double", ""), ("single", "a'b"), ("single", "a\nb"),
    ],
)  # fmt: skip
def test_a_value_that_no_reader_can_have_taken_does_not_return(place, value):
    with pytest.raises(EnvFileError, match="nothing was changed"):
        returning(place, value)
