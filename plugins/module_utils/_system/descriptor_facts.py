# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The shape of an open descriptor, for who reads one and for who judges it. Pure."""

from __future__ import annotations

import typing as t


class DescriptorFacts(t.NamedTuple):
    """One open descriptor: what it leads to, in the kernel's words, and the facts of stat(2) and of fdinfo."""

    number: int
    target: str
    mode: int
    uid: int
    gid: int
    device: t.Tuple[int, int]
    flags: int


__all__ = ("DescriptorFacts",)
