# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read and edit one variable of an env file without touching any other byte.

Pure: bytes in, bytes out. Understands what systemd, Docker, dotenv and a shell have in common: comments, C(export),
single and double quotes (over several lines too), CRLF, continuation lines, and a variable that is assigned twice.

Source: systemd.exec(5) EnvironmentFile=; docker run --env-file.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import EnvFileError

# What every one of those readers takes literally, in or out of quotes.
_SAFE_VALUE = re.compile(r"[A-Za-z0-9+/=_.,:@%-]+\Z")
_ASSIGNMENT = re.compile(r"[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_INLINE_COMMENT = re.compile(r"[ \t]+#")
_QUOTES = ("'", '"')
_BOM = "\ufeff".encode("utf-8").decode("latin-1")


class Assignment(t.NamedTuple):
    """One assignment: C(value) without quotes, its span C(start):C(end) in the text, and its lines' span.

    C(problem) says why the value cannot be told, if it cannot.
    """

    name: str
    value: str
    line: int
    start: int
    end: int
    line_start: int
    line_end: int
    problem: str


class EnvFile:
    """The bytes of an env file, and where each assignment in them stands.

    Latin-1 maps every byte to one character and back, so that whatever else the file holds survives untouched.
    """

    def __init__(self, content: bytes) -> None:
        self._text = content.decode("latin-1")
        self._assignments = list(_assignments(self._text))

    def sets(self, name: str) -> bool:
        """Tell whether there is an assignment of the variable at all."""
        return any(a.name == name for a in self._assignments)

    def value_of(self, name: str, *, duplicates: str, where: str) -> str:
        """Return the value of the one assignment in force.

        Args:
            duplicates: V(fail), two assignments are an error; V(last_wins), as systemd and Docker read it.

        Raises:
            EnvFileError: no assignment, an unclosed quote, or two assignments.
        """
        return _decoded(self._in_force(name, duplicates=duplicates, where=where).value)

    def names(self) -> list[str]:
        """List the variables that are set, in the order of the file."""
        return list(dict.fromkeys(assignment.name for assignment in self._assignments))

    def replaced(self, name: str, new_value: str, *, duplicates: str, where: str, is_returning: bool = False) -> bytes:
        """Return the file with the value in force replaced, and every other assignment of the variable taken out.

        Comments, order, quotes, C(export), spacing and line ends stay as they are.

        Args:
            is_returning: the value stood here before, and its readers took it; then it need only be what is read between the quotes.

        Raises:
            EnvFileError: as C(value_of), or the value cannot be written the same way for every reader.
        """
        kept = self._in_force(name, duplicates=duplicates, where=where)
        if not is_returning or not self._can_hold(kept, new_value):
            require_plain(name, new_value)
        text = self._text[: kept.start] + _encoded(new_value) + self._text[kept.end :]
        for other in reversed([a for a in self._assignments if a.name == name and a is not kept]):
            # In force is the last one, so all others lie before it and cutting them leaves no span wrong.
            text = text[: other.line_start] + text[other.line_end :]
        return text.encode("latin-1")

    def _can_hold(self, kept: Assignment, value: str) -> bool:
        """Tell whether a value can stand in the place of another one, and be read as it is written."""
        quote = self._text[kept.end : kept.end + 1]
        special = {"'": "'", '"': '"\\$`'}.get(quote, "'\"\\$`#~")
        if not value or any(sign in special or not sign.isprintable() for sign in value):
            return False
        return bool(quote in _QUOTES and quote) or value == value.strip()

    def _in_force(self, name: str, *, duplicates: str, where: str) -> Assignment:
        found = [a for a in self._assignments if a.name == name]
        if not found:
            raise EnvFileError(f"{where} does not set {name}; name the right file (env_file) or variable (env_var)")
        if len(found) > 1 and duplicates != "last_wins":
            lines = " and ".join(str(a.line) for a in found)
            raise EnvFileError(
                f"{where} sets {name} on lines {lines}; keep one, or set env_duplicates=last_wins if the last is meant"
            )
        kept = found[-1]
        if kept.problem:
            raise EnvFileError(f"{where}, line {kept.line}: {kept.problem} {name}; write the value in one piece")
        return kept


def require_plain(name: str, value: str) -> None:
    """Refuse a value that not every reader of env files takes as it is written.

    Raises:
        EnvFileError: naming the variable, not the value.
    """
    if not _SAFE_VALUE.match(value):
        raise EnvFileError(
            f"the new value of {name} has characters that env file readers disagree on; nothing was changed; "
            "use a key in hex or Base64, or letters, digits and + / = _ . , : @ % - only"
        )


def _encoded(text: str) -> str:
    """Turn a text into its Latin-1 view."""
    return text.encode("utf-8", "surrogateescape").decode("latin-1")


def _decoded(latin: str) -> str:
    """Turn the Latin-1 view of a value back into the text that an application reads (UTF-8)."""
    return latin.encode("latin-1").decode("utf-8", "surrogateescape")


def _assignments(text: str) -> t.Iterator[Assignment]:
    position = len(_BOM) if text.startswith(_BOM) else 0
    while position < len(text):
        match = _ASSIGNMENT.match(text, position)
        if match is None:
            position = _after_line(text, position)
            continue
        value, start, end, problem, last = _value(text, match.end())
        line_end = _after_line(text, last)
        yield Assignment(
            name=match.group("name"), value=value, line=text.count("\n", 0, position) + 1, start=start, end=end,
            line_start=position, line_end=line_end, problem=problem,
        )
        position = line_end


def _after_line(text: str, position: int) -> int:
    newline = text.find("\n", position)
    return len(text) if newline < 0 else newline + 1


def _value(text: str, start: int) -> tuple[str, int, int, str, int]:
    """Return value, start and end of its span (inside the quotes), what is wrong with it, and where it ends with its quotes."""
    quote = text[start : start + 1]
    if quote in _QUOTES:
        end = _closing(text, start)
        if end is None:
            line_end = _line_end(text, start)
            return text[start + 1 : line_end], start + 1, line_end, "there is no closing quote of", line_end
        raw, last = text[start + 1 : end], end + 1
        # A shell, and systemd, go on after the quote: more quotes, perhaps over several lines, or plain letters.
        while text[_after_blanks(text, last) : _after_blanks(text, last) + 1] in _QUOTES:
            last = (_closing(text, _after_blanks(text, last)) or len(text) - 1) + 1
        rest = text[last : _line_end(text, last)]
        is_simple = last == end + 1 and (not rest.strip() or _INLINE_COMMENT.match(rest) is not None)
        value = re.sub(r"\\(.)", r"\1", raw) if quote == '"' else raw
        return value, start + 1, end, "" if is_simple else "more than a comment follows the closing quote of", last
    end = _line_end(text, start)
    while start < end < len(text) and text[end - 1] == "\\":
        end = _line_end(text, _after_line(text, end))
    comment = _INLINE_COMMENT.search(text, start, end)
    if comment is not None:
        end = comment.start()
    while end > start and text[end - 1] in " \t":
        end -= 1
    return text[start:end], start, end, "", end


def _after_blanks(text: str, position: int) -> int:
    while text[position : position + 1] in (" ", "\t"):
        position += 1
    return position


def _closing(text: str, start: int) -> int | None:
    """Return where the quote that opens at C(start) is closed."""
    quote, end = text[start], start + 1
    while end < len(text) and text[end] != quote:
        end += 2 if quote == '"' and text[end] == "\\" else 1
    return end if end < len(text) else None


def _line_end(text: str, position: int) -> int:
    newline = text.find("\n", position)
    end = len(text) if newline < 0 else newline
    return end - 1 if end > position and text[end - 1] == "\r" else end


__all__ = ("EnvFile", "require_plain")
