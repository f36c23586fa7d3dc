# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The env file, for any file: an edit changes the value's bytes and no others, and other readers see it that way too.

Two oracles read the file before and after: the state machine of systemd's EnvironmentFile=, written anew here, and the
loader of the reference application.
"""

from __future__ import annotations

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import EnvFileError
from ansible_collections.servos.ops.plugins.module_utils._keys.envfile import EnvFile
from hypothesis import given
from hypothesis import strategies as st

NAME = "SERVOS_MASTER_KEY"
NEW = "c0" * 32
SECRET = "3N3e3+Dh4uPk5ebn6Onq6+zt7u/w8fLz9PX29/j5+vs="

ONE_LINE = [
    b"",
    b"   ",
    b"# a comment",
    b"; systemd's comment",
    b"#SERVOS_MASTER_KEY=commented",
    b"SERVOS_MASTER_KEY_OLD=other",
    b"XSERVOS_MASTER_KEY=other",
    b"A=1",
    b"B = 'quoted'",
    b'C="double # quoted"',
    b"D=",
    b"E='it''s'",
    b'F="a\\"b"',
    b"PATH=/usr/bin:/bin",
    b"G=a=b=c",
    b"H=x#y",
]
SEVERAL_LINES = [
    b"M='first\nSERVOS_MASTER_KEY=decoy\nlast'",
    b"N=\"first\r\nSERVOS_MASTER_KEY='decoy'\r\n\"",
    b'O="\\"\nSERVOS_MASTER_KEY=decoy\n"',
    b"P=first \\\nSERVOS_MASTER_KEY=decoy",
    b"Q=first \\\n  SERVOS_MASTER_KEY=decoy \\\nSERVOS_MASTER_KEY=decoy",
]
ODD = [
    b"not an assignment",
    b"# \xff\xfe\x80",
    b"Z=\xe9t\xe9",
    b"export A=1",
    b"export  X",
    b"[Service]",
    b"=",
    b"A-B=c",
    b"I=1 # inline",
    b"L=a\x0bb\x0cc",
]
LINE_ENDS = st.sampled_from([b"\n", b"\r\n"])


def lines(*kinds):
    return st.lists(st.tuples(st.sampled_from([line for kind in kinds for line in kind]), LINE_ENDS), max_size=6).map(
        lambda pairs: b"".join(line + end for line, end in pairs)
    )


def assignments(prefixes, equals, tails):
    """Build (bytes before the value, bytes after it) of one assignment, without its line end."""
    quotes = st.sampled_from([b"", b"'", b'"'])
    return st.builds(
        lambda prefix, equal, quote, tail: (prefix + NAME.encode("ascii") + equal + quote, quote + tail),
        st.sampled_from(prefixes),
        st.sampled_from(equals),
        quotes,
        st.sampled_from(tails),
    )


VALUES = st.sampled_from([SECRET, "ab" * 32, "x", "a/b+c=", "3N3e3-Dh4uPk5ebn6Onq6-zt7u_w8fLz9PX29_j5-vs"])
FREE = assignments([b"", b"  ", b"export ", b"\texport\t"], [b"=", b" =", b"= ", b" =\t"], [b"", b" ", b"\t # note"])
PLAIN = assignments([b""], [b"="], [b"", b"  "])


def replaced(content, duplicates="fail"):
    return EnvFile(content).replaced(NAME, NEW, duplicates=duplicates, where="W")


@given(
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
    before=lines(ONE_LINE, SEVERAL_LINES, ODD),
    here=FREE,
    value=VALUES,
    end=st.sampled_from([b"\n", b"\r\n"]),
    after=lines(ONE_LINE, SEVERAL_LINES, ODD),
    cut=st.booleans(),
)
def test_only_the_bytes_of_the_value_change(bom, before, here, value, end, after, cut):
    head, tail = bom + before + here[0], here[1] + (b"" if cut and not after else end + after)
    content = head + value.encode("ascii") + tail
    assert EnvFile(content).value_of(NAME, duplicates="fail", where="W") == value
    assert replaced(content) == head + NEW.encode("ascii") + tail


@given(
    chunks=st.lists(st.tuples(lines(ONE_LINE, SEVERAL_LINES, ODD), FREE, VALUES, LINE_ENDS), min_size=2, max_size=4),
    after=lines(ONE_LINE, SEVERAL_LINES, ODD),
)
def test_of_several_assignments_exactly_the_last_stays(chunks, after):
    content, expected, numbers = b"", b"", []
    for position, (before, here, value, end) in enumerate(chunks):
        content += before
        numbers.append(content.count(b"\n") + 1)
        content += here[0] + value.encode("ascii") + here[1] + end
        expected += before
        if position == len(chunks) - 1:
            expected += here[0] + NEW.encode("ascii") + here[1] + end
    content, expected = content + after, expected + after
    with pytest.raises(EnvFileError, match=" and ".join(str(number) for number in numbers)) as caught:
        replaced(content)
    assert not [value for unused, unused, value, unused in chunks if len(value) > 1 and value in str(caught.value)]
    assert EnvFile(content).value_of(NAME, duplicates="last_wins", where="W") == chunks[-1][2]
    changed = replaced(content, "last_wins")
    assert changed == expected
    assert EnvFile(changed).value_of(NAME, duplicates="fail", where="W") == NEW


def as_systemd_reads(content):
    """Read as parse_env_file_internal() of systemd's env-file.c does; text in Latin-1, one character a byte."""
    state, key, value, found, space_from = "pre_key", "", "", {}, None

    def push():
        if key.replace("_", "a").isalnum() and not key[0].isdigit():
            found[key] = value if space_from is None else value[:space_from]

    for char in content.decode("latin-1"):
        if state == "pre_key":
            if char in "#;":
                state = "comment"
            elif char not in " \t\n\r":
                state, key = "key", char
        elif state == "key":
            if char in "\n\r":
                state = "pre_key"
            elif char == "=":
                state, key, value, space_from = "pre_value", key.rstrip(" \t"), "", None
            else:
                key += char
        elif state in ("pre_value", "value"):
            if char in "\n\r":
                push()
                state = "pre_key"
            elif state == "pre_value" and char in "'\"":
                state = char
            elif char == "\\":
                state, space_from = "escape", None
            elif state == "pre_value" and char in " \t":
                pass
            else:
                state = "value"
                space_from = (len(value) if space_from is None else space_from) if char in " \t" else None
                value += char
        elif state == "escape":
            state = "value"
            value += "" if char in "\n\r" else char
        elif state == "'":
            state, value = ("pre_value", value) if char == "'" else (state, value + char)
        elif state == '"':
            if char == '"':
                state = "pre_value"
            elif char == "\\":
                state = "escape in quotes"
            else:
                value += char
        elif state == "escape in quotes":
            state = '"'
            value += char if char in '"\\`$' else "" if char == "\n" else "\\" + char
        elif state == "comment" and char in "\n\r":
            state = "pre_key"
    if state not in ("pre_key", "key", "comment"):
        push()
    return found


@pytest.mark.parametrize(
    ("content", "found"),
    [
        pytest.param(b'A=1\nB=\'x y\' \nC="a\\"b" \n', {"A": "1", "B": "x y", "C": 'a"b'}, id="quotes"),
        pytest.param(b"A=one \\\ntwo  \n#B=1\n;C=1\n", {"A": "one two"}, id="continuation-and-comments"),
        pytest.param(b"export A=1\nB=2\r\n", {"B": "2"}, id="systemd-ignores-export"),
        pytest.param(b"A='1\nB=2\n'\nC=3", {"A": "1\nB=2\n", "C": "3"}, id="quotes-over-lines"),
    ],
)
def test_the_oracle_itself(content, found):
    assert as_systemd_reads(content) == found


@given(
    before=lines(ONE_LINE, [line for line in SEVERAL_LINES if b"\\\n" not in line or b"=first" in line]),
    here=PLAIN,
    value=VALUES,
    end=LINE_ENDS,
    after=lines(ONE_LINE, SEVERAL_LINES),
    earlier=st.booleans(),
)
def test_systemd_sees_the_new_value_and_nothing_else_new(before, here, value, end, after, earlier):
    first = b"SERVOS_MASTER_KEY='earlier'\n" if earlier else b""
    content = first + before + here[0] + value.encode("ascii") + here[1] + end + after
    seen = as_systemd_reads(content)
    assert EnvFile(content).value_of(NAME, duplicates="last_wins", where="W") == seen[NAME] == value
    assert as_systemd_reads(replaced(content, "last_wins")) == dict(seen, SERVOS_MASTER_KEY=NEW)


@given(
    before=lines(ONE_LINE, [b"export A=1"]),
    export=st.sampled_from([b"", b"export ", b"export\t"]),
    here=PLAIN,
    value=VALUES,
    end=LINE_ENDS,
    after=lines([line for line in ONE_LINE if b"''" not in line], [b"export A=1"]),
    bom=st.sampled_from([b"", b"\xef\xbb\xbf"]),
)
def test_the_reference_application_sees_the_new_value(before, export, here, value, end, after, bom, reference_env_loader, tmp_path_factory):
    content = bom + before.replace(b" = ", b"=") + export + here[0] + value.encode("ascii") + here[1] + end + after.replace(b" = ", b"=")
    path = tmp_path_factory.getbasetemp() / "reference.env"
    path.write_bytes(content)
    seen = reference_env_loader.load_env_file(str(path))
    assert EnvFile(content).value_of(NAME, duplicates="fail", where="W") == seen[NAME]
    path.write_bytes(replaced(content))
    assert reference_env_loader.load_env_file(str(path)) == dict(seen, SERVOS_MASTER_KEY=NEW)
