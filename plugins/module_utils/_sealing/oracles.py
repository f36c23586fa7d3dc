# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Tell a plaintext from noise where the cipher cannot: by the form that the application's plaintexts have. Pure.

Without authentication a wrong key gives bytes all the same. What a form can say is how unlikely chance is, and that falls
with the length: a JSON object of 2 bytes comes up once in 65,536 wrong keys, one of 8 practically never.
"""

from __future__ import annotations

import json
import re
import typing as t

from .._errors import ProfileError

Oracle = t.Callable[[bytes], bool]


def oracle_of(spec: t.Any) -> Oracle:
    """Read C(oracle) of a codec: V(json_object), V(json), V(utf8), or a dictionary with C(pattern), a regular expression.

    Raises:
        ProfileError: it is none of these.
    """
    if spec == "json_object":
        return lambda plaintext: isinstance(_json_of(plaintext), dict)
    if spec == "json":
        return lambda plaintext: isinstance(_json_of(plaintext), (dict, list, str))
    if spec == "utf8":
        return _is_printable
    if isinstance(spec, dict) and set(spec) == {"pattern"}:
        try:
            pattern = re.compile(str(spec["pattern"]))
        except re.error:
            raise ProfileError("pattern of an oracle is not a regular expression") from None
        return lambda plaintext: pattern.fullmatch(plaintext.decode("utf-8", "replace")) is not None
    raise ProfileError("oracle of a codec is json_object, json, utf8, or a dictionary with pattern")


def _json_of(plaintext: bytes) -> t.Any:
    try:
        return json.loads(plaintext.decode("utf-8"))
    except (ValueError, RecursionError):
        return None


def _is_printable(plaintext: bytes) -> bool:
    try:
        text = plaintext.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return all(sign.isprintable() or sign in "\t\r\n" for sign in text)


__all__ = ("Oracle", "oracle_of")
