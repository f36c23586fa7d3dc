# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The INI file, for any file that Python's own parser takes: an edit changes the value's bytes and no others.

The oracle is configparser, strict and with interpolation, as Airflow has it.
"""

from __future__ import annotations

import configparser

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EnvFileError
from ansible_collections.servos.ops.plugins.module_utils._keys.inifile import IniFile, require_plain_option
from hypothesis import assume, given
from hypothesis import strategies as st

NAME = "fernet_key"
NEW = "q0NJk0ue-nyLQ9_7AlFHXjz5JBoYmmGsrHFUlbTY8iw="
VALUES = st.sampled_from(["abc=", NEW.swapcase(), "a,b", "one, two", "ab:cd", "x # not a comment", "\u00e9"])
LINES = [
    "", "   ", "# fernet_key = commented", "; fernet_key = commented", "    # indented comment", "other = 1", "OTHER2: two words",
    "fernet_key_old = x", "url = http://a:b@c/d?e=f", "several =\n  first\n\n  fernet_key = decoy\n  last", "many = one\n\ttwo", "empty =",
    "doubled = 50%%", "accent = \u00e0 la \u0085carte", "brackets = [core]", "  indented = yes",
]  # fmt: skip
HEADERS = ["[core]", "[other]", "[core.more]", "[DEFAULT]", "[Core]", "[core] trailing"]


def read(content):
    """Read as Airflow does; none where it refuses the file."""
    parser = configparser.ConfigParser()
    try:
        # As a text file is read: all line ends become one.
        parser.read_string(content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n"))
        return {name: dict(parser.items(name)) for name in parser.sections()}
    except configparser.Error:
        return None


def replaced(content, section="core"):
    return IniFile(content, section).replaced(NAME, NEW, duplicates="fail", where="W")


@given(
    before=st.lists(st.sampled_from([*LINES, "[other]", "[DEFAULT]", "[Core]"]), max_size=6),
    between=st.lists(st.sampled_from(LINES), max_size=4),
    prefix=st.sampled_from(["fernet_key = ", "fernet_key=", "Fernet_KEY: ", "  fernet_key =\t", "fernet_key : "]),
    value=VALUES,
    tail=st.sampled_from(["", "  ", "\t"]),
    after=st.lists(st.sampled_from([*LINES, "[more]", "[DEFAULT]", "[CORE]"]), max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
)
def test_only_the_value_changes_and_configparser_sees_it(before, between, prefix, value, tail, after, end):
    lines = ["[first]", *before, "[core]", *between, f"{prefix}{value}{tail}", *after]
    content = end.join("\n".join(lines).split("\n")).encode("utf-8")
    seen = read(content)
    assume(seen is not None and "core" in seen and seen["core"].get(NAME) == value)
    assert IniFile(content, "core").value_of(NAME, duplicates="fail", where="W") == value
    changed = replaced(content)
    here = len(end.join("\n".join([*lines[: len(before) + len(between) + 2], ""]).split("\n")).encode()) + len(prefix.encode())
    assert changed == content[:here] + NEW.encode() + content[here + len(value.encode()) :]
    expected = {name: dict(options) for name, options in seen.items()}
    expected["core"][NAME] = NEW
    assert read(changed) == expected


@given(content=st.lists(st.sampled_from([*LINES, *HEADERS, "fernet_key = abc", "fernet_key=def", " fernet_key = ghi"]), max_size=10))
def test_what_is_read_is_what_configparser_reads(content):
    content = "\n".join(content).encode("utf-8")
    seen = read(content)
    assume(seen is not None)
    try:
        found = IniFile(content, "core").value_of(NAME, duplicates="fail", where="W")
    except EnvFileError:
        found = None
    expected = seen.get("core", {}).get(NAME)
    # An option of [DEFAULT], and a value of several lines, are refused and not read.
    assert found == expected or found is None
    if expected is not None and "\n" not in expected and b"[DEFAULT]" not in content:
        assert found == expected


REFUSED = {
    "missing": (b"[core]\nother = 1\n", ["does not set fernet_key in [core]", "config_section"]),
    "other-section": (b"[other]\nfernet_key = x\n", ["does not set fernet_key in [core]"]),
    "in-default": (b"[DEFAULT]\nfernet_key = x\n[core]\n", ["[DEFAULT] does"]),
    "twice": (b"[core]\nfernet_key = x\n\nFERNET_KEY = y\n", ["on lines 2 and 4", "keep one"]),
    "section-twice": (b"[core]\nfernet_key = x\n[core]\na = b\n", ["section [core] on lines 1 and 3"]),
    "continued": (b"[core]\nfernet_key = x\n  y\n", ["line 2", "goes on on the next line"]),
    "begun-below": (b"[core]\nfernet_key =\n  secret\n", ["line 2", "goes on on the next line"]),
    "interpolated": (b"[core]\nfernet_key = %(other)s\n", ["has a %"]),
    "doubled": (b"[core]\nfernet_key = a%%b\n", ["has a %"]),
    "variable": (b"[core]\nfernet_key = $KEY\n", ["environment variable"]),
    "home": (b"[core]\nfernet_key = ~/key\n", ["home directory"]),
    "no-section": (b"fernet_key = x\n", ["does not set"]),
    "commented": (b"[core]\n# fernet_key = x\n", ["does not set"]),
    "empty-file": (b"", ["does not set"]),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_told_is_refused(content, words):
    for duplicates in ("fail", "last_wins"):
        with pytest.raises(EnvFileError) as caught:
            IniFile(content, "core").value_of(NAME, duplicates=duplicates, where="W")
        assert [word for word in words if word not in str(caught.value)] == []
        with pytest.raises(EnvFileError):
            IniFile(content, "core").replaced(NAME, NEW, duplicates=duplicates, where="W")


def test_a_message_never_shows_the_value():
    with pytest.raises(EnvFileError) as caught:
        IniFile(b"[core]\nfernet_key = %secret-text\n", "core").value_of(NAME, duplicates="fail", where="W")
    assert "secret-text" not in str(caught.value)


@pytest.mark.parametrize("value", ["a%b", "$a", "~", "a b", "a\nb", "", "a;b#", "'a'"])
def test_a_value_that_would_be_read_otherwise_is_not_written(value):
    with pytest.raises(EnvFileError, match="nothing was changed"):
        require_plain_option(NAME, value)


@pytest.mark.parametrize(("name", "there"), [("fernet_key", True), ("Fernet_Key_CMD", True), ("other", False)])
def test_which_options_are_there(name, there):
    content = b"[core]\nfernet_key = x\nfernet_key_cmd = y\n[more]\nother = z\n"
    assert IniFile(content, "core").sets(name) is there


def test_bytes_that_are_no_text_stay():
    content = b"[core]\n# \xff\xfe\nfernet_key = old\nx = \xe9\n"
    assert replaced(content) == content.replace(b"old", NEW.encode())


def test_a_value_that_is_no_text_comes_back_as_the_bytes_it_is():
    found = IniFile(b"[core]\nfernet_key = \xff\xe9\n", "core").value_of(NAME, duplicates="fail", where="W")
    assert found.encode("utf-8", "surrogateescape") == b"\xff\xe9"


def test_lines_that_are_no_options_are_passed_over():
    assert IniFile(b"just words\n[core]\njust words\nfernet_key = x\n", "core").value_of(NAME, duplicates="fail", where="W") == "x"


@pytest.mark.parametrize(("duplicates", "told"), [("fail", False), ("last_wins", True)])
def test_that_no_last_one_wins_is_said_to_who_asks_for_it(duplicates, told):
    with pytest.raises(EnvFileError) as caught:
        IniFile(b"[core]\nfernet_key = x\nfernet_key = y\n", "core").value_of(NAME, duplicates=duplicates, where="W")
    assert ("last_wins does not help" in str(caught.value)) is told


@pytest.mark.parametrize("value", ["a passphrase; of old", "\u00e9"])
def test_a_value_that_stood_there_before_may_return(value):
    changed = IniFile(b"[core]\nfernet_key = x\n", "core").replaced(NAME, value, duplicates="fail", where="W", is_returning=True)
    assert read(changed) == {"core": {NAME: value}}


@pytest.mark.parametrize("value", ["a%b", "a$b", "~a", " a", "a\nb"])
def test_a_value_that_no_reader_can_have_taken_does_not_return(value):
    with pytest.raises(EnvFileError, match="nothing was changed"):
        IniFile(b"[core]\nfernet_key = x\n", "core").replaced(NAME, value, duplicates="fail", where="W", is_returning=True)
