# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Read and edit one option of an INI file without touching any other byte, as C(_keys/envfile.py) does for env files.

Pure: bytes in, bytes out. It reads as Python's configparser does, strict and with C(%) interpolation, which is what Airflow
uses: full-line comments (C(#) and C(;)), no inline ones, C(=) or C(:), names without regard to case, and a line that is
indented deeper goes on with the value before it.

Source: configparser.RawConfigParser._read of Python 3.8 to 3.14.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import EnvFileError

# Without % (interpolation), $ and ~ (Airflow expands both), quotes (part of the value) and blanks.
_SAFE_VALUE = re.compile(r"[A-Za-z0-9+/=_.,:@-]+\Z")
_LINE = re.compile(r"([^\r\n]*)(?:\r\n|\r|\n|\Z)")
_HEADER = re.compile(r"\[(.+)\]")
_OPTION = re.compile(r"([^=:]*?)[ \t]*[=:][ \t]*(.*)\Z")
# Spelt out: in the Latin-1 view of UTF-8 text other blanks are parts of letters.
_BLANKS = " \t\x0b\x0c"
_DEFAULT = "DEFAULT"


class Option:
    """One option: C(value), its span C(start):C(end) in the text, and whether later lines go on with it."""

    def __init__(self, section: str, name: str, value: str, line: int, start: int) -> None:
        self.section, self.name, self.value, self.line = section, name.lower(), value, line
        self.start, self.end = start, start + len(value)
        self.goes_on = False

    def problem(self) -> str:
        """Say why the value cannot be told, or replaced, if it cannot."""
        if self.goes_on:
            return "goes on on the next line; write it in one line, and indent nothing below it"
        if "%" in self.value:
            return "has a %, which is read as a reference to another option; write the key itself"
        if "$" in self.value or self.value.startswith("~"):
            return "refers to an environment variable or a home directory; write the key itself, or name the file that sets the variable"
        return ""


class IniFile:
    """The bytes of an INI file, and where each option of one section stands.

    Latin-1 maps every byte to one character and back, so that whatever else the file holds survives untouched.
    """

    def __init__(self, content: bytes, section: str) -> None:
        self._text = content.decode("latin-1")
        self._section = section
        headers: list[tuple[str, int]] = []
        self._options = list(_options(self._text, headers))
        self._headers = [line for name, line in headers if name == section]

    def sets(self, name: str) -> bool:
        """Tell whether the section sets an option."""
        return bool(self._found(name, self._section))

    def value_of(self, name: str, *, duplicates: str, where: str) -> str:
        """Return the value of the option.

        Args:
            duplicates: two are an error, V(last_wins) or not, since the reader refuses such a file.

        Raises:
            EnvFileError: no such option, two of them, or one whose value does not stand there as it is read.
        """
        return self._in_force(name, duplicates=duplicates, where=where).value.encode("latin-1").decode("utf-8", "surrogateescape")

    def replaced(self, name: str, new_value: str, *, duplicates: str, where: str, is_returning: bool = False) -> bytes:
        """Return the file with the value replaced; comments, order, blanks and line ends stay as they are.

        Args:
            is_returning: the value stood here before, and its readers took it; then it need only be read as it is written.

        Raises:
            EnvFileError: as C(value_of), or the value would not be read as it is written.
        """
        kept = self._in_force(name, duplicates=duplicates, where=where)
        if not is_returning or not new_value.isprintable() or new_value != new_value.strip() or set(new_value) & set("%$~"):
            require_plain_option(name, new_value)
        return (self._text[: kept.start].encode("latin-1") + new_value.encode("utf-8") + self._text[kept.end :].encode("latin-1"))

    def _found(self, name: str, section: str) -> list[Option]:
        return [option for option in self._options if option.section == section and option.name == name.lower()]

    def _in_force(self, name: str, *, duplicates: str, where: str) -> Option:
        found = self._found(name, self._section)
        if not found:
            inherited = self._found(name, _DEFAULT)
            hint = f"; [{_DEFAULT}] does: say config_section: {_DEFAULT}" if inherited else ""
            raise EnvFileError(
                f"{where} does not set {name} in [{self._section}]{hint}; name the right file (env_file), option (env_var) or section "
                "(config_section of the profile)"
            )
        if len(found) > 1:
            lines = " and ".join(str(option.line) for option in found)
            no_last = " (env_duplicates=last_wins does not help here: whoever reads it refuses two)" if duplicates == "last_wins" else ""
            raise EnvFileError(f"{where} sets {name} in [{self._section}] on lines {lines}; keep one{no_last}")
        if len(self._headers) > 1:
            lines = " and ".join(map(str, self._headers))
            raise EnvFileError(f"{where} has the section [{self._section}] on lines {lines}; make one of them")
        problem = found[0].problem()
        if problem:
            raise EnvFileError(f"{where}, line {found[0].line}: the value of {name} {problem}; correct that line")
        return found[0]


def require_plain_option(name: str, value: str) -> None:
    """Refuse a value that would not be read as it is written.

    Raises:
        EnvFileError: naming the option, not the value.
    """
    if not _SAFE_VALUE.match(value):
        raise EnvFileError(
            f"the new value of {name} has characters that readers of INI files give a meaning to; nothing was changed; "
            "use a key in hex or Base64, or letters, digits and + / = _ . , : @ - only"
        )


def _options(text: str, headers: list[tuple[str, int]]) -> t.Iterator[Option]:
    section, last, indent = "", None, 0
    for number, match in enumerate(_LINE.finditer(text), start=1):
        line = match.group(1)
        bare = line.strip(_BLANKS)
        if not bare or bare[0] in "#;":
            continue
        column = len(line) - len(line.lstrip(_BLANKS))
        if last is not None and column > indent:
            last.goes_on = True
            continue
        indent = column
        header, option = _HEADER.match(bare), _OPTION.match(bare)
        if header is not None:
            section, last = header.group(1), None
            headers.append((section, number))
        elif section and option is not None:
            last = Option(section, option.group(1), option.group(2), number, match.start() + column + option.start(2))
            yield last


__all__ = ("IniFile", "require_plain_option")
