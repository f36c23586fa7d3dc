# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A setup token among the other words of a log, and in its file."""

from __future__ import annotations

import datetime
import re

import pytest
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError, InjectionError
from ansible_collections.servos.ops.plugins.module_utils._setup.token_text import grep_pattern, read_log, token_of_file

TOKEN = "3f9c2b7e-51aa-4c0d-9e66-0d5b1a7c8e42"
AT = "2026-01-02T03:04:05.678901234Z "


@pytest.mark.parametrize(
    "said",
    [
        f"Setup token: {TOKEN}",
        f"Your SETUP TOKEN is {TOKEN}.",
        f"Setup-Token = '{TOKEN}', use it once",
        f'{{"level":"info","setup_token":"{TOKEN}"}}',
        f"\x1b[32mINFO\x1b[0m setup_token=\x1b[1m{TOKEN}\x1b[0m",
        f"== Setup Token ==\n|  {TOKEN}  |",
        f"Setup token:\n\n--\nsetup token: {TOKEN}",
    ],
    ids=["colon", "is", "quoted", "json", "coloured", "next line", "again"],
)
def test_a_token_is_found(said):
    reading = read_log("\n".join(AT + line for line in said.split("\n")), phrase="setup token")
    assert {shown.token for shown in reading.tokens} == {TOKEN}
    assert reading.tokens[0].printed_at == datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc).timestamp()


@pytest.mark.parametrize(
    ("said", "unread"),
    [
        ("Setup token written to /var/lib/servos/setup_token", 0),
        ("Setup token file: /var/lib/servos/setup_token", 0),
        ("setup token: generated", 1),
        ("Setup token:", 1),
        ("setup token: /var/lib/servos/setup_token", 1),
        ("setup tokens are secret: hunter2hunter2", 0),
        ("nothing at all", 0),
    ],
)
def test_what_is_no_token(said, unread):
    reading = read_log(AT + said, phrase="setup token")
    assert (reading.tokens, reading.unread) == ((), unread)


def test_a_line_without_a_time_has_no_age_and_one_of_podman_has():
    reading = read_log(f"setup token: {TOKEN}\n2026-01-02T04:04:05+01:00 setup token: {TOKEN}1", phrase="setup token")
    assert [shown.printed_at for shown in reading.tokens] == [None, 1767323045.0]


@pytest.mark.parametrize("phrase", ["", " _ ", "a.*", "a(b", "schlüssel", "a\nb"])
def test_a_phrase_is_words(phrase):
    with pytest.raises(InjectionError, match="log_phrase"):
        grep_pattern(phrase)


def test_a_pattern_holds_nothing_but_the_words():
    assert re.fullmatch(grep_pattern("Bootstrap  admin-code"), "Bootstrapadmin_code")


@pytest.mark.parametrize("content", [b"hunter2hunter2", b"hunter2hunter2\n", b" hunter2hunter2\r\n"])
def test_a_file_holds_one_token(content):
    assert token_of_file(content, where="f") == "hunter2hunter2"


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00" * 30])
def test_a_file_that_is_empty_or_overwritten_holds_none(content):
    assert token_of_file(content, where="f") == ""


@pytest.mark.parametrize("content", [b"root:x:0:0\nbin:x:1:1\n", b"two words", b"\xff\xfe", b"a" * 5000])
def test_a_file_with_anything_else_is_refused_without_a_word_of_it(content):
    with pytest.raises(FileError, match=r"^/a/file does not hold one token") as refused:
        token_of_file(content, where="/a/file")
    assert "root" not in str(refused.value)
    assert "two words" not in str(refused.value)
