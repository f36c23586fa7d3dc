# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How a setup token stands in a file, and how it is told from the other words of a log.

No text of the application's log is published, so a token is what stands behind the words, a colon or an equals sign, on the same
line or alone on the next one, and looks like a token.
"""

from __future__ import annotations

import re
import typing as t
from datetime import datetime

from .._errors import FileError, InjectionError

# In a log a word could be taken for a token, so it is long, or has a digit.
_WORD = r"(?P<token>(?=[A-Za-z0-9_.+/=-]{16}|[A-Za-z_.+/=-]*[0-9])[A-Za-z0-9][A-Za-z0-9_.+/=-]{7,511})"
_BETWEEN = r"""[\s"'`*]*(?:is\s*:?|[:=]+)[\s"'`*]*"""
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_ALONE = re.compile(rf"""[\s"'`*|=#>]*{_WORD}[\s"'`*|=#<.]*""")
_NOTHING_MORE = re.compile(r"[\s\"'`*|:=#]*(?:is\s*:?)?\s*")
_TIMED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d)[ \t]?(.*)", re.DOTALL)


class Shown(t.NamedTuple):
    """A token in a log, and when it was printed (seconds since 1970), or None."""

    token: str
    printed_at: float | None


class Reading(t.NamedTuple):
    """The tokens of a log, oldest first, and how many lines speak of one that could not be made out."""

    tokens: tuple[Shown, ...]
    unread: int


def token_of_file(content: bytes, *, where: str) -> str:
    """Return the token in the bytes of a file; empty where there is none, or where it was overwritten already.

    Raises:
        FileError: it holds something else, which is not to be handed on, and not to be destroyed.
    """
    text = content.decode("utf-8", "replace").strip(" \t\r\n\x00")
    if len(text) > 4096 or re.search(r"[^\x21-\x7e]", text):
        raise FileError(f"{where} does not hold one token on one line; it was left as it is; is it the right path?")
    return text


def words_of(phrase: str) -> list[str]:
    """Return the words that stand before a token in the log.

    Raises:
        InjectionError: they hold anything but letters, digits, and what divides words.
    """
    words = [word for word in re.split(r"[ _-]+", phrase) if word]
    if not words or not all(re.match(r"[A-Za-z0-9]+\Z", word) for word in words):
        raise InjectionError(
            "log_phrase is not one or more words of ASCII letters and digits; write those before the token, such as: setup token"
        )
    return words


def grep_pattern(phrase: str) -> str:
    """Return the phrase as an extended regular expression of grep, and of Python."""
    return "[ _-]?".join(words_of(phrase))


def read_log(text: str, *, phrase: str) -> Reading:
    """Find the tokens in lines of a log, each behind the time that the engine puts there."""
    behind = re.compile(rf"(?i:{grep_pattern(phrase)})(?P<more>.*)", re.DOTALL)
    lines = [_timed(line) for line in text.splitlines()]
    found: list[Shown] = []
    unread = 0
    for (printed_at, line), (unused_time, following) in zip(lines, [*lines[1:], (None, "")]):
        spoken = behind.search(line)
        if spoken is None:
            continue
        more = spoken.group("more")
        seen = re.match(_BETWEEN + _WORD, more)
        if seen is None and _NOTHING_MORE.fullmatch(more):
            seen = _ALONE.fullmatch(following)
            unread += seen is None
        elif seen is None and re.match(_BETWEEN, more):
            unread += 1
        if seen is not None:
            found.append(Shown(seen.group("token").rstrip("."), printed_at))
    return Reading(tuple(found), unread)


def _timed(line: str) -> tuple[float | None, str]:
    line = _COLOURS.sub("", line)
    seen = _TIMED.match(line)
    if seen is None:
        return None, line
    offset = "+0000" if seen.group(2) == "Z" else seen.group(2).replace(":", "")
    try:
        return datetime.strptime(seen.group(1) + offset, "%Y-%m-%dT%H:%M:%S%z").timestamp(), seen.group(3)
    except ValueError:
        return None, seen.group(3)


__all__ = ("Reading", "Shown", "grep_pattern", "read_log", "token_of_file", "words_of")
