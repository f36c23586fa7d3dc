# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the server is told by its environment, and the table of its fault switches.

It is apart from the server so that a mistyped fault switch stops the start, instead of letting a test pass because the
fault never happened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PREFIXES = {"servos": "SERVOS", "act": "ACT"}

_SWITCHES = frozenset(
    (
        "strict_base64",
        "accept_hex",
        "no_endpoint",
        "method_not_allowed",
        "spa_catchall",
        "redirect",
        "canary_missing",
        "skip_builders",
        "commit_then_drop",
        "drop_before_commit",
        "empty_reply",
        "require_restart",
        "echo_keys",
        "fail_start_once",
    )
)
_CHOICES = {
    "stale_key_writes": ("old", "new"),
    "status_variant": ("200", "400", "401", "422", "500", "text"),
    "error_shape": ("error", "message", "detail", "nested"),
}


class SettingsError(ValueError):
    """The environment does not describe a server; names variables, never their values."""


@dataclass(frozen=True)
class Faults:
    """Fault switches: those that are on, and those with a value."""

    switches: frozenset[str] = frozenset()
    stale_key_writes: str = "old"
    status_variant: str = ""
    error_shape: str = "error"
    slow_ms: int = 0
    fail_start_on_key: str = ""

    def __contains__(self, switch: str) -> bool:
        return switch in self.switches


def parse_faults(text: str) -> Faults:
    """Read `accept_hex,slow_ms=500`; an unknown switch or value is an error."""
    switches, values = set(), {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = part.partition("=")
        if not equals and name in _SWITCHES:
            switches.add(name)
        elif name in _CHOICES and value in _CHOICES[name]:
            values[name] = value
        elif name == "slow_ms" and value.isdigit():
            values[name] = int(value)
        elif name == "fail_start_on_key" and len(value) >= 4 and not set(value) - set("0123456789abcdef"):
            values[name] = value
        else:
            raise SettingsError(f"unknown fault switch or value: {name}")
    if {"strict_base64", "accept_hex"} <= switches:
        raise SettingsError("strict_base64 and accept_hex exclude each other")
    return Faults(switches=frozenset(switches), **values)


@dataclass(frozen=True)
class Settings:
    """One server's settings; the key text stays out of the representation."""

    key_text: str = field(repr=False)
    database_path: str
    host: str
    port: int
    admin_token: str = field(repr=False)
    other_tokens: frozenset[str] = field(repr=False)
    faults: Faults


def read_settings(environment: Mapping[str, str], prefix: str) -> Settings:
    """Read the settings; the token file's first line is the admin's, any further ones are ordinary users'."""

    def required(suffix: str) -> str:
        value = environment.get(f"{prefix}_{suffix}", "")
        if not value:
            raise SettingsError(f"{prefix}_{suffix} is not set")
        return value

    key_text = required("MASTER_KEY")
    host, colon, port_text = environment.get(f"{prefix}_LISTEN", "127.0.0.1:8787").rpartition(":")
    if not colon or not port_text.isdigit():
        raise SettingsError(f"{prefix}_LISTEN is not host:port")
    try:
        tokens = Path(required("ADMIN_TOKEN_FILE")).read_text(encoding="utf-8").split()
    except OSError as error:
        raise SettingsError(f"{prefix}_ADMIN_TOKEN_FILE cannot be read: {error.strerror}") from None
    if not tokens:
        raise SettingsError(f"{prefix}_ADMIN_TOKEN_FILE is empty")
    return Settings(
        key_text=key_text,
        database_path=required("DATABASE"),
        host=host,
        port=int(port_text),
        admin_token=tokens[0],
        other_tokens=frozenset(tokens[1:]),
        faults=parse_faults(environment.get(f"{prefix}_FAULTS", "")),
    )
