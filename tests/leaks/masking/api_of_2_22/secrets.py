# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stands in for the secrets API that is announced for ansible-core 2.22, with its published behaviour, until that can be installed."""

from __future__ import annotations

_registered = set()


def register_secret(value):
    """Take a text that is never to be printed from now on."""
    register_secrets([value])


def register_secrets(values):
    """Take several."""
    for value in values:
        if not isinstance(value, str):
            raise TypeError("a secret is a text")
        _registered.add(value)


def mask_secrets(value):
    """Return a text with each registered one replaced, the longest first."""
    for secret in sorted(filter(None, _registered), key=len, reverse=True):
        value = value.replace(secret, "$REDACTED$")
    return value
