# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The text of a known_hosts file: read as ssh reads it, edited without touching any other byte. See sshd(8)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import typing as t

from .._errors import PinStoreError
from .host_key import HostKey, type_of_blob

_LINE = re.compile(
    r"[ \t]*(?:(?P<marker>@[^ \t]+)[ \t]+)?(?P<names>(?!@)[^ \t]+)"
    r"[ \t]+(?P<key_type>[^ \t]+)[ \t]+(?P<blob>[^ \t\r]+)(?:[ \t\r]+(?P<comment>.*))?\Z",
    re.DOTALL,
)
_MARKERS = (None, "@revoked", "@cert-authority")
_HASH_MARK = "|"
_HASHED = "|1|"
_OUR_COMMENT = re.compile(r"servos\.ops pinned=(?P<at>[0-9TZ:.-]+) by=(?P<by>[^ \t]+)")


class Entry:
    """One line that holds a key. C(number) counts from 1, as the file was read; a line that was added has none."""

    def __init__(self, text: str, number: int | None, fields: t.Mapping[str, t.Any], names_at: tuple[int, int]) -> None:
        self.text = text
        self.number = number
        self.marker: str | None = fields["marker"]
        self.names: list[str] = fields["names"].split(",")
        self.key = HostKey(fields["key_type"], fields["blob"])
        self._names_at = names_at
        self._hashed = _HashedName.read(self.names)
        ours = _OUR_COMMENT.match(fields["comment"] or "")
        self.pinned_at: str | None = ours.group("at") if ours else None
        self.pinned_by: str | None = ours.group("by") if ours else None

    def names_that_match(self, name: str) -> list[str]:
        """Return which of its names, as written, stand for C(name); none where a negated one does."""
        if self.names[0].startswith(_HASH_MARK):
            return self.names if self._hashed and self._hashed.stands_for(name) else []
        found = []
        for written in self.names:
            is_negated = written.startswith("!")
            if wildcard_matches(written[is_negated:].lower(), name):
                if is_negated:
                    return []
                found.append(written)
        return found

    @property
    def is_plain(self) -> bool:
        """Whether its names are to be taken by the letter: none is hashed, negated or a pattern."""
        return not any(mark in written for written in self.names for mark in "|*?!")

    def covers_by_pattern(self, name: str) -> bool:
        """Whether one of its patterns, and not only its plain names, stands for C(name)."""
        return any("*" in written or "?" in written for written in self.names_that_match(name))

    def without(self, name: str) -> str | None:
        """Return the line with C(name) taken off, all else as it was, or None where no name is left."""
        gone = set(self.names_that_match(name))
        left = [written for written in self.names if written not in gone]
        if not left:
            return None
        start, end = self._names_at
        return self.text[:start] + ",".join(left) + self.text[end:]


class KnownHosts:
    """All lines of a file. Edits are made here and written elsewhere; C(text()) is the file as it should be."""

    def __init__(self, content: bytes) -> None:
        text = content.decode("utf-8", "surrogateescape")
        lines = text.split("\n")
        self._ends_whole = lines[-1] == ""
        if self._ends_whole:
            lines.pop()
        self._lines: list[str | Entry] = [_parse(line, number) for number, line in enumerate(lines, start=1)]
        # Plain names are looked up; only hashed ones and patterns have to be tried one by one. That costs, so no name is
        # tried twice on a line: each has how many of the lines it was tried on, and those that it fits.
        self._plain: dict[str, list[Entry]] = {}
        self._others: list[Entry] = []
        self._gone: set[Entry] = set()
        self._tried: dict[str, tuple[int, list[Entry]]] = {}
        for line in self._lines:
            if isinstance(line, Entry):
                self._index(line)

    def _index(self, entry: Entry) -> None:
        if not entry.is_plain:
            self._others.append(entry)
        else:
            for written in {written.lower() for written in entry.names}:
                self._plain.setdefault(written, []).append(entry)

    def _unindex(self, entry: Entry) -> None:
        if not entry.is_plain:
            self._gone.add(entry)
        else:
            for written in {written.lower() for written in entry.names}:
                self._plain[written].remove(entry)

    def pins(self, name: str) -> list[Entry]:
        """Return the lines that pin a key to C(name), in no order that matters; those with a marker are none."""
        return [entry for entry in self._matching(name) if entry.marker is None]

    def revoked(self, name: str) -> set[str]:
        """Return the blobs of the keys that are revoked for C(name)."""
        return {entry.key.blob_b64 for entry in self._matching(name) if entry.marker == "@revoked"}

    def _matching(self, name: str) -> list[Entry]:
        count, found = self._tried.get(name, (0, []))
        if count < len(self._others):
            new = self._others[count:] if count else self._others
            found = found + [entry for entry in new if entry not in self._gone and entry.names_that_match(name)]
            self._tried[name] = (len(self._others), found)
        return self._plain.get(name, []) + [entry for entry in found if entry not in self._gone]

    def add(self, names: t.Sequence[str], key: HostKey, *, comment: str) -> None:
        """Append a line. C(names) are written as they are: plain ones, or a hashed one alone."""
        text = f"{','.join(names)} {key.key_type} {key.blob_b64} {comment}"
        entry = _parse(text, None)
        if isinstance(entry, Entry):
            self._lines.append(entry)
            self._index(entry)
        self._ends_whole = True

    def take_off(self, entry: Entry, name: str) -> None:
        """Take C(name) off a line, and the line away if that was its last name."""
        place = self._lines.index(entry)
        text = entry.without(name)
        self._unindex(entry)
        if text is None:
            del self._lines[place]
            self._ends_whole = self._ends_whole or place == len(self._lines)  # the line that is the last one now had its end
            return
        rest = _parse(text, entry.number)
        self._lines[place] = rest
        if isinstance(rest, Entry):
            self._index(rest)

    def content(self) -> bytes:
        """Return the bytes of the file as it should be."""
        texts = [line.text if isinstance(line, Entry) else line for line in self._lines]
        end = "\n" if self._ends_whole and texts else ""
        return ("\n".join(texts) + end).encode("utf-8", "surrogateescape")


def _parse(text: str, number: int | None) -> str | Entry:
    """Return a line as an entry, or as it is where it is empty or a comment.

    Raises:
        PinStoreError: it is neither; its number is named, its text is not.
    """
    where = f"line {number}" if number else "a new line"
    if "\x00" in text:
        raise PinStoreError(f"{where} holds a NUL byte; remove that line")
    bare = text.strip(" \t\r")
    if not bare or bare.startswith("#"):
        return text
    found = _LINE.match(text)
    if not found:
        raise PinStoreError(f"{where} is not what sshd(8) describes (names, key type, key); correct or remove it")
    fields = found.groupdict()
    if fields["marker"] not in _MARKERS:
        raise PinStoreError(f"{where} has a marker that is neither @revoked nor @cert-authority; correct or remove it")
    try:
        fields["names"].encode("utf-8")
    except UnicodeEncodeError:
        raise PinStoreError(f"{where} has names that are not UTF-8; correct or remove it") from None
    try:
        own_type = type_of_blob(base64.b64decode(fields["blob"], validate=True))
    except (binascii.Error, ValueError):
        raise PinStoreError(f"{where} has a key that is not Base64; correct or remove it") from None
    if own_type != fields["key_type"]:
        raise PinStoreError(f"{where} says another key type than its key does; correct or remove it")
    return Entry(text, number, fields, found.span("names"))


def wildcard_matches(pattern: str, name: str) -> bool:
    """Match as ssh does: C(*) is any characters, C(?) is one, brackets are brackets. Never slower than the product of lengths."""
    at, star, resume = 0, -1, 0
    place = 0
    while place < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, resume = at, place
            at += 1
        elif at < len(pattern) and (pattern[at] == "?" or pattern[at] == name[place]):
            at += 1
            place += 1
        elif star >= 0:
            resume += 1
            at, place = star + 1, resume
        else:
            return False
    return pattern[at:].strip("*") == ""


def hashed(name: str, salt: bytes) -> str:
    """Return a name as HashKnownHosts writes it: HMAC-SHA1 under a salt of 20 bytes, which hides it from a glance only."""
    digest = hmac.new(salt, name.encode("utf-8"), hashlib.sha1).digest()
    return _HASHED + "|".join(base64.b64encode(part).decode("ascii") for part in (salt, digest))


class _HashedName:
    """A hashed name, its salt taken in once: a large file is searched for many names."""

    def __init__(self, salt: bytes, digest: bytes) -> None:
        self._salted = hmac.new(salt, digestmod=hashlib.sha1)
        self._digest = digest

    @classmethod
    def read(cls, names: t.Sequence[str]) -> _HashedName | None:
        """Return the hashed name of a line, or None where it has none that ssh understands, or another beside it."""
        if len(names) != 1 or not names[0].startswith(_HASHED):
            return None
        salt_b64, unused_bar, digest_b64 = names[0][len(_HASHED) :].partition("|")
        try:
            return cls(base64.b64decode(salt_b64, validate=True), base64.b64decode(digest_b64, validate=True))
        except (binascii.Error, ValueError):
            return None

    def stands_for(self, name: str) -> bool:
        """Whether this is the hash of a name."""
        salted = self._salted.copy()
        salted.update(name.encode("utf-8"))
        return salted.digest() == self._digest


def comment_of(*, stamp: str, by: str) -> str:
    """Return what a line of ours says of itself: when, and by whom."""
    return f"servos.ops pinned={stamp} by={by}"


__all__ = ("Entry", "KnownHosts", "comment_of", "hashed", "wildcard_matches")
