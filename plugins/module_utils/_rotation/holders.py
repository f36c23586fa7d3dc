# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Which processes on this host were started with which known key, the forgotten ones included.

A second instance that nobody thought of, or a worker that outlived its service, goes on sealing with the key that it was
started with. It is known by the key itself, under whatever name the variable has.
"""

from __future__ import annotations

import typing as t

from .._keys.material import MasterKey
from .._system.processes import environments, name_of

# The shortest form of 32 bytes has 43 characters; a passphrase of this length is not an ordinary word either.
_LEAST_BYTES = 16


class Holder(t.NamedTuple):
    """A process and the fingerprint of the key that it was started with."""

    pid: int
    name: str
    mark: str

    def __str__(self) -> str:
        return f"process {self.pid} ({self.name})"


class Holders(t.NamedTuple):
    """Who holds a known key, and how many processes could not be looked at."""

    found: tuple[Holder, ...]
    unread: int

    def of(self, marks: t.Container[str]) -> list[Holder]:
        """Return those that hold one of the keys."""
        return [holder for holder in self.found if holder.mark in marks]


def find_holders(keys: t.Iterable[MasterKey], env_var: str, *, separator: str | None = None) -> Holders:
    """Look for the keys in the environment of every other process.

    A variable's whole value counts, in any form that the key can be written in, and of a list of keys with C(separator) the first,
    which seals; under another name than C(env_var) only if it is too long to be there by chance, as a passphrase may. What this
    process descends from is left out: it runs us, and seals nothing.
    """
    forms = {form.encode("utf-8", "surrogateescape"): key.fingerprint for key in keys for form in key.forms()}
    seen, named = environments(), env_var.encode("ascii")
    between = separator.encode("ascii") if separator else None
    found = []
    for pid, content in sorted(seen.found.items()):
        entries = (entry.partition(b"=") for entry in content.split(b"\x00"))
        values = [value for name, unused_sign, value in entries if name == named or len(value) >= _LEAST_BYTES]
        marks = {forms.get(value) or forms.get(value.partition(between)[0].strip() if between else value) for value in values}
        found += [Holder(pid, name_of(pid), mark) for mark in sorted(filter(None, marks))]
    return Holders(tuple(found), seen.unread)


__all__ = ("Holder", "Holders", "find_holders")
