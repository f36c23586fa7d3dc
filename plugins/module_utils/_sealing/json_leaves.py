# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Find and replace strings inside a JSON text without touching any other character of it.

A JSON document is not parsed and written again: that would change spacing, escapes, number forms and duplicate names,
all of which belong to the application.

Source: RFC 8259, section 7 (strings).
"""

from __future__ import annotations

import json
import re
import typing as t

_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_AROUND = "\ufeff \t\r\n"
_LONG_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.){40,}"')


def may_be_json(text: str) -> bool:
    """Tell cheaply whether a text could be a JSON object, array or string."""
    stripped = text.strip(_AROUND)
    return len(stripped) > 1 and stripped[0] in '{["' and stripped[-1] in '}]"'


def leaves_of(text: str) -> t.Iterator[tuple[str, str]]:
    """Yield (path, string) for every string value in a JSON text; nothing if it is not JSON.

    Paths are written C($.name.name[*]), so that all elements of an array are one field.
    """
    try:
        document = json.loads(text.strip(_AROUND))
    except (ValueError, RecursionError):
        return
    pending: list[tuple[str, t.Any]] = [("$", document)]
    while pending:
        path, node = pending.pop()
        if isinstance(node, str):
            yield path, node
            if may_be_json(node) and has_long_string(node):
                # JSON inside a string of JSON.
                yield from ((f"{path}({inner})", leaf) for inner, leaf in leaves_of(node))
        elif isinstance(node, dict):
            pending.extend((f"{path}.{name}", child) for name, child in node.items())
        elif isinstance(node, list):
            pending.extend((f"{path}[*]", child) for child in node)


def replace_leaves(text: str, replace: t.Callable[[str], str | None]) -> str:
    """Return the text with each string for which C(replace) returns another one replaced by it."""

    def of_token(match: t.Match[str]) -> str:
        token = match.group()
        try:
            leaf = json.loads(token)
        except ValueError:
            return token
        replaced = replace(leaf)
        if replaced is None and may_be_json(leaf) and has_long_string(leaf):
            replaced = replace_leaves(leaf, replace)
        return token if replaced is None or replaced == leaf else json.dumps(replaced)

    return _STRING.sub(of_token, text)


def has_long_string(text: str) -> bool:
    """Tell whether any string in a JSON text is long enough to be a sealed value."""
    return _LONG_STRING.search(text) is not None


def text_of_json(cell: bytes) -> str | None:
    """Return a blob as text if it could be JSON in UTF-8 with a long string in it, else None."""
    try:
        text = cell.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if may_be_json(text) and has_long_string(text) else None


__all__ = ("has_long_string", "leaves_of", "may_be_json", "replace_leaves", "text_of_json")
