# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Read an env file the way the model's server does, for places without systemd.

It exists to test whoever edits such a file: comments, `export`, quotes, CRLF and a key given twice (the last wins)
are all legal here. ASSUMPTION model: the pages show one KEY=value line and no more.
"""

from __future__ import annotations

import re
from pathlib import Path

_ASSIGNMENT = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)")
_ESCAPED = re.compile(r"\\([\"\\$`])")


class EnvFileError(ValueError):
    """A line cannot be read. Names the line's number, never its text."""


def _unquote(raw_value: str, line_number: int) -> str:
    value = raw_value.strip()
    if value[:1] not in ("'", '"'):
        return value
    quote = value[0]
    if len(value) < 2 or value[-1] != quote:
        raise EnvFileError(f"line {line_number}: the quote is not closed")
    inner = value[1:-1]
    return _ESCAPED.sub(r"\1", inner) if quote == '"' else inner


def load_env_file(path: str) -> dict[str, str]:
    """Return the file's variables; a later line wins over an earlier one."""
    text = Path(path).read_bytes().decode("utf-8-sig", errors="surrogateescape")
    variables: dict[str, str] = {}
    for line_number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        match = _ASSIGNMENT.fullmatch(stripped)
        if match is None:
            raise EnvFileError(f"line {line_number}: not an assignment")
        variables[match[1]] = _unquote(match[2], line_number)
    return variables
