# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""What may be injected: names and values, which way each value can go, and what may be said about it. Pure.

An env file is lines of C(NAME=value); Docker and Podman read it line by line, without any escape. What such a line cannot
carry goes through the environment of the engine's command line, which shows in no argument list.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import typing as t

from .._errors import InjectionError

# Both parsers read lines with Go's bufio.Scanner, whose buffer is 64 KiB with the line's end (ran: 65535 bytes go, 65536 do not).
_LONGEST_LINE = 65535
# Linux, MAX_ARG_STRLEN: one string of an environment, with its name, its "=" and its NUL.
_LONGEST_STRING = 131072
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Podman 4.4 and 4.5 read a quote, a "#", blanks at an end and an empty value as a shell would; other versions as they stand.
_READ_IN_TWO_WAYS = re.compile(r"""["'`#]|^\s|\s$|^$""")
# Variables that the engine's command line, the loader below it or Go's runtime would obey.
_OBEYED = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|PWD|ENV|IFS|TERM|TZ|TMPDIR|TMP|TEMP|LANG|LANGUAGE|LOCPATH|NLSPATH|GCONV_PATH|HOSTALIASES"
    r"|(?i:(HTTP|HTTPS|FTP|ALL|NO)_PROXY)|REGISTRY_AUTH_FILE|NOTIFY_SOCKET|INVOCATION_ID"
    r"|_?(LD|LC|DOCKER|BUILDKIT|BUILDX|CONTAINER|CONTAINERS|PODMAN|LIBPOD|STORAGE|OCI|GO|GLIBC|MALLOC|RES|BASH|XDG|DBUS|LISTEN|SSH|SSL|OTEL"
    r"|NETAVARK|TIMEOUT|SERVOS_OPS)(_\w*)?|CONTAINER\w*|GO[A-Z]+|BASH\w*"
)


def texts_of(given: t.Mapping[t.Any, t.Any], *, option: str) -> dict[str, str]:
    """Take an option's dictionary as texts.

    Raises:
        InjectionError: a name that is none, or a value that YAML made something else of.
    """
    found = {}
    for name, value in given.items():
        check_name(name, option=option)
        if isinstance(value, (bool, float)):
            kind = "a truth value" if isinstance(value, bool) else "a number with a fraction"
            raise InjectionError(f"{option}: YAML made {kind} of {name}, so what was written is lost; quote it")
        if value is None:
            raise InjectionError(f'{option}: {name} has no value; give it one, or write "" and set allow_empty=true')
        if not isinstance(value, (int, str)):
            raise InjectionError(f"{option}: {name} is a list or a dictionary, not a text; make a text of it (to_json)")
        found[name] = str(value)
    return found


def check_name(name: t.Any, *, option: str) -> None:
    """Refuse a name that is none.

    Raises:
        InjectionError: naming it.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        shown = str(name).partition("=")[0] if "=" in str(name) else str(name)
        why = f"the name that begins with {shown!a} contains '='; write the value after the colon" if "=" in str(name) else f"{shown!a}"
        raise InjectionError(
            f"{option}: not a variable's name: {why}; write letters, digits and '_' only, and no digit first"
        )


def check_values(values: t.Mapping[str, str], *, option: str, allow_empty: bool, by_file: bool = False) -> None:
    """Refuse values that cannot be delivered; C(by_file) is for those that are mounted, which have no limits but UTF-8.

    Raises:
        InjectionError: naming the variable, never its value.
    """
    for name, value in values.items():
        if not value and not allow_empty:
            raise InjectionError(f"{option}: {name} is empty; is a secret missing? if it is meant to be empty, set allow_empty=true")
        try:
            length = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise InjectionError(f"{option}: {name} is not valid text (a lone surrogate); encode it, for example in Base64") from None
        if by_file:
            continue
        if "\x00" in value:
            raise InjectionError(f"{option}: {name} contains a NUL, which no environment can carry; encode it, or use delivery=mount")
        if length + len(name) + 2 > _LONGEST_STRING:
            most = _LONGEST_STRING - 2 - len(name)
            raise InjectionError(f"{option}: {name} has {length} bytes, and Linux takes no more than {most} for it; use delivery=mount")


def split_by_way(values: t.Mapping[str, str], *, is_verbatim: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Tell what an env file can carry from what goes through the environment of the engine's command line.

    Args:
        is_verbatim: whether every version of the engine takes a line as it stands.

    Raises:
        InjectionError: a value that can only go by environment has a name that would change the command itself.
    """
    by_file, by_environment = {}, {}
    for name, value in values.items():
        fits = "\n" not in value and "\r" not in value and len(value.encode("utf-8")) + len(name) + 1 <= _LONGEST_LINE
        if fits and (is_verbatim or not _READ_IN_TWO_WAYS.search(value)):
            by_file[name] = value
        elif _OBEYED.fullmatch(name):
            raise InjectionError(
                f"the value of {name} does not fit into a line of an env file, and in the environment of the engine's command "
                "line a variable of this name would change that command; use another name, or delivery=mount"
            )
        else:
            by_environment[name] = value
    return by_file, by_environment


def env_file_of(values: t.Mapping[str, str]) -> bytes:
    """Write the lines of an env file."""
    return "".join(f"{name}={value}\n" for name, value in values.items()).encode("utf-8")


def digest_of(key_bytes: bytes, *parts: str) -> str:
    """Digest parts under the node's key, so that whoever reads the digest has nothing to guess against.

    Shapes: HMAC-SHA256 over each part behind its length, the first 32 hex digits.
    """
    mac = hmac.new(key_bytes, digestmod=hashlib.sha256)
    for part in parts:
        part_bytes = part.encode("utf-8", "surrogatepass")
        mac.update(len(part_bytes).to_bytes(8, "big") + part_bytes)
    return mac.hexdigest()[:32]


def scrubbed(text: str, values: t.Iterable[str], *, limit: int = 500) -> str:
    """Take every value of four or more characters, and every such line of one, out of a text, and cut it."""
    needles = {line for value in values for line in [value, value.strip(), *value.splitlines()] if len(line) >= 4}
    quoted = {needle.replace("\\", "\\\\").replace('"', '\\"') for needle in needles}
    for needle in sorted(needles | quoted, key=len, reverse=True):
        text = text.replace(needle, "***")
    return text[:limit]


__all__ = ("check_name", "check_values", "digest_of", "env_file_of", "scrubbed", "split_by_way", "texts_of")
