# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A profile as YAML to paste, without a YAML library: blocks, with each scalar and each short list as in JSON. Pure."""

from __future__ import annotations

import json
import re
import typing as t

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_RESERVED = re.compile(r"(y|n|yes|no|on|off|true|false|null)\Z", re.I)
_TEMPLATE = ("{{", "{%", "{#")
_FLOW_WIDTH = 110


def as_yaml(profile: t.Mapping[str, t.Any], *, head: t.Sequence[str] = (), notes: t.Mapping[int, t.Sequence[str]] | None = None) -> str:
    """Write a profile as the value of C(servos_profile).

    Args:
        head: comments above it, a line each.
        notes: comments above a field, by its number.
    """
    lines = [_comment(text, "") for text in head]
    lines.append("servos_profile:")
    for name, value in profile.items():
        if name != "fields" or not value:
            lines += _entry(name, value, "  ")
            continue
        lines.append("  fields:")
        for number, field in enumerate(value):
            lines += [_comment(text, "    ") for text in (notes or {}).get(number, ())]
            inner = [line for own, part in field.items() for line in _entry(own, part, "      ")]
            lines += ["    - " + inner[0].lstrip(), *inner[1:]]
    return "\n".join(lines) + "\n"


def _entry(name: str, value: t.Any, indent: str) -> list[str]:
    line = f"{indent}{_key(name)}: {flow(value)}"
    if not isinstance(value, dict) or not value or len(line) <= _FLOW_WIDTH:
        return [line]
    return [f"{indent}{_key(name)}:", *(line for own, part in value.items() for line in _entry(str(own), part, indent + "  "))]


def flow(value: t.Any) -> str:
    """Write a value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(str(name))}: {flow(part)}" for name, part in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(flow(part) for part in value) + "]"
    if isinstance(value, str):
        # What Jinja would take for its own must not be templated.
        return ("!unsafe " if any(sign in value for sign in _TEMPLATE) else "") + _scalar(value)
    return json.dumps(value)


def _key(name: str) -> str:
    return name if _PLAIN.match(name) and not _RESERVED.match(name) else _quoted(name)


def _scalar(text: str) -> str:
    return text if _PLAIN.match(text) and not _RESERVED.match(text) else _quoted(text)


def _quoted(text: str) -> str:
    """JSON, but YAML knows no pairs of surrogates and no bare characters that do not print."""
    return "".join(
        sign if sign.isprintable() and sign != "\ufeff" and not "\ud800" <= sign <= "\udfff" else f"\\U{ord(sign):08x}"
        for sign in json.dumps(text, ensure_ascii=False)
    )


def _comment(text: str, indent: str) -> str:
    return f"{indent}# " + "".join(sign if sign.isprintable() else " " for sign in text)


__all__ = ("as_yaml", "flow")
