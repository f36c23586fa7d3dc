# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""How the parts of a sealed value lie in what is stored: packed bytes, a text, a JSON object, or several columns. Pure.

A part is C(nonce), C(ciphertext), C(tag), C(salt) or C(mac). Where C(tag) has no place of its own, it stands at the end of
the ciphertext, as most libraries give it.
"""

from __future__ import annotations

import base64
import json
import re
import typing as t

from .._errors import ProfileError

PARTS = ("nonce", "ciphertext", "tag", "salt", "mac")
Parts = t.Dict[str, bytes]

_LITERAL = re.compile(r"0x((?:[0-9a-fA-F]{2})+)\Z")
_PLACE = re.compile(r"\{([a-z]+)(?::([a-z0-9_]+))?\}")


class Encoding(t.NamedTuple):
    """One way to write bytes as text. C(letters) is the class of its characters in a regular expression."""

    name: str
    letters: str
    encode: t.Callable[[bytes], str]
    decode: t.Callable[[str], bytes]

    def length_of(self, size_bytes: int) -> int:
        """Return how many characters so many bytes take."""
        return len(self.encode(bytes(size_bytes)))


def _strictly_decoded(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _unpadded(text: str) -> bytes:
    if "=" in text:
        raise ValueError("padded")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _url_decoded(text: str) -> bytes:
    if "+" in text or "/" in text:
        raise ValueError("not the URL alphabet")
    return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)


def _url_unpadded(text: str) -> bytes:
    if "+" in text or "/" in text:
        raise ValueError("not the URL alphabet")
    return _unpadded(text.replace("-", "+").replace("_", "/"))


_BASE64, _URL = "[A-Za-z0-9+/]", "[A-Za-z0-9_-]"

ENCODINGS: dict[str, Encoding] = {
    encoding.name: encoding
    for encoding in (
        Encoding("hex", "[0-9a-fA-F]", bytes.hex, bytes.fromhex),
        Encoding("base64", "[A-Za-z0-9+/=]", lambda raw: base64.b64encode(raw).decode("ascii"), _strictly_decoded),
        Encoding("base64url", "[A-Za-z0-9_=-]", lambda raw: base64.urlsafe_b64encode(raw).decode("ascii"), _url_decoded),
        Encoding("base64_unpadded", _BASE64, lambda raw: base64.b64encode(raw).decode("ascii").rstrip("="), _unpadded),
        Encoding("base64url_unpadded", _URL, lambda raw: base64.urlsafe_b64encode(raw).decode("ascii").rstrip("="), _url_unpadded),
    )
}


def encoding_named(name: t.Any) -> Encoding:
    """Return an encoding by its name in a profile.

    Raises:
        ProfileError: there is none of that name.
    """
    if name not in ENCODINGS:
        raise ProfileError(f"there is no encoding {name!r}; choose one of {', '.join(sorted(ENCODINGS))}, or raw for bytes")
    return ENCODINGS[name]


class Layout:
    """Takes a stored value apart and puts one together. C(like) is the stored value that is replaced, where there is one."""

    columns: tuple[str, ...] = ("value",)
    parts: tuple[str, ...] = ()
    is_blob = False
    has_written_parts = False

    def split(self, stored: t.Any) -> Parts | None:
        """Return the parts as bytes, or None where the stored value does not fit."""
        raise NotImplementedError

    def join(self, parts: Parts, like: t.Any) -> t.Any:
        """Return the stored form of the parts."""
        raise NotImplementedError

    def shortest(self) -> int:
        """Return the least length of a stored value."""
        return 1

    def as_written(self, part: str, parts: Parts) -> bytes:
        """Return a part as it stands in the stored value, for a code over the text."""
        raise NotImplementedError


class PackedLayout(Layout):
    """Parts one after the other, encoded as a whole, perhaps behind a fixed text: C(layout), C(encoding), C(prefix)."""

    def __init__(self, order: t.Sequence[t.Any], sizes: t.Mapping[str, int], encoding: str, prefix: str) -> None:
        self._pieces: list[tuple[str, bytes]] = []
        for entry in order:
            literal = _LITERAL.match(str(entry))
            self._pieces.append(("", bytes.fromhex(literal.group(1))) if literal else (str(entry), b""))
        self.parts = tuple(name for name, unused_literal in self._pieces if name)
        _require_parts(self.parts, "layout")
        self._sizes = dict(sizes)
        self.is_blob = encoding == "raw"
        if self.is_blob and prefix:
            raise ProfileError("a prefix goes with a text encoding; with encoding raw write 0x... as the first entry of layout")
        self._encoding = None if self.is_blob else encoding_named(encoding)
        self._prefix = prefix
        self._fixed = sum(len(literal) or self._sizes.get(name, 0) for name, literal in self._pieces if name != "ciphertext")

    def shortest(self) -> int:
        return self._fixed if self._encoding is None else len(self._prefix) + self._encoding.length_of(self._fixed)

    def split(self, stored: t.Any) -> Parts | None:
        raw = stored if self._encoding is None else self._decoded(stored)
        if not isinstance(raw, bytes) or len(raw) < self._fixed:
            return None
        found, start, rest = {}, 0, len(raw) - self._fixed
        for name, literal in self._pieces:
            end = start + (len(literal) if literal else rest if name == "ciphertext" else self._sizes[name])
            if literal and raw[start:end] != literal:
                return None
            if name:
                found[name] = raw[start:end]
            start = end
        return found

    def _decoded(self, stored: t.Any) -> bytes | None:
        text = as_text(stored)
        if text is None or not text.startswith(self._prefix) or self._encoding is None:
            return None
        try:
            return self._encoding.decode(text[len(self._prefix) :])
        except ValueError:
            return None

    def join(self, parts: Parts, like: t.Any) -> t.Any:
        raw = b"".join(literal or parts[name] for name, literal in self._pieces)
        return raw if self._encoding is None else of_kind(self._prefix + self._encoding.encode(raw), like)


class TextLayout(Layout):
    """A text with a place for each part: C(text) such as C(v1:{nonce}:{tag}:{ciphertext}), each encoded for itself."""

    has_written_parts = True

    def __init__(self, template: str, sizes: t.Mapping[str, int], encoding: str) -> None:
        pattern, self._pieces, position = "", t.cast("list[tuple[str, Encoding | None]]", []), 0
        for place in _PLACE.finditer(template):
            literal = template[position : place.start()]
            name, own = place.group(1), encoding_named(place.group(2) or encoding)
            pattern += re.escape(literal) + f"(?P<{name}>{own.letters}"
            pattern += f"{{{own.length_of(sizes[name])}}})" if name in sizes else "*)"
            self._pieces += [(literal, None), (name, own)]
            position = place.end()
        self.parts = tuple(name for name, own in self._pieces if own is not None)
        _require_parts(self.parts, "text")
        self._end = template[position:]
        self._pattern = re.compile(pattern + re.escape(self._end) + r"\Z")
        self._shortest = len(_PLACE.sub("", template)) + sum(own.length_of(sizes.get(name, 0)) for name, own in self._pieces if own)

    def shortest(self) -> int:
        return self._shortest

    def as_written(self, part: str, parts: Parts) -> bytes:
        own = next(own for name, own in self._pieces if own is not None and name == part)
        return own.encode(parts[part]).encode("ascii")

    def split(self, stored: t.Any) -> Parts | None:
        text = as_text(stored)
        match = self._pattern.match(text) if text is not None else None
        if match is None:
            return None
        try:
            return {name: own.decode(match.group(name)) for name, own in self._pieces if own is not None}
        except ValueError:
            return None

    def join(self, parts: Parts, like: t.Any) -> t.Any:
        written = "".join(name if own is None else own.encode(parts[name]) for name, own in self._pieces)
        return of_kind(written + self._end, like)


class JsonLayout(Layout):
    """A JSON object with a member for each part, perhaps in Base64 as a whole: C(json), C(wrapped). Other members stay.

    A member may lie in an object of the object, C(h.iv), unless there is one of that very name, and may be encoded in a way of its
    own, C(mac:hex).
    """

    has_written_parts = True

    def __init__(self, members: t.Any, encoding: str, wrapped: t.Any) -> None:
        if not isinstance(members, dict):
            raise ProfileError("json of a codec is a dictionary from part to member")
        common = encoding_named(encoding)
        self._members: dict[str, tuple[str, Encoding]] = {}
        for part, given in members.items():
            member, unused_colon, own = str(given).rpartition(":")
            is_own = bool(member) and own in ENCODINGS
            self._members[str(part)] = (member, ENCODINGS[own]) if is_own else (str(given), common)
        self.parts = tuple(self._members)
        _require_parts(self.parts, "json")
        self._wrapped = encoding_named(wrapped) if wrapped else None

    def shortest(self) -> int:
        return 16

    def as_written(self, part: str, parts: Parts) -> bytes:
        return self._members[part][1].encode(parts[part]).encode("ascii")

    def _document(self, stored: t.Any) -> dict[str, t.Any] | None:
        text = as_text(stored)
        try:
            if text is not None and self._wrapped is not None:
                text = self._wrapped.decode(text).decode("utf-8")
            document = json.loads(text or "")
        except (ValueError, RecursionError):  # the latter for brackets in brackets in brackets
            return None
        return document if isinstance(document, dict) else None

    def split(self, stored: t.Any) -> Parts | None:
        document = self._document(stored)
        if document is None:
            return None
        try:
            found: Parts = {}
            for part, (member, encoding) in self._members.items():
                home, name = _home_of(document, member)
                found[part] = encoding.decode(home[name])
            return found
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def join(self, parts: Parts, like: t.Any) -> t.Any:
        document = (self._document(like) if like is not None else None) or {}
        for part, (member, encoding) in self._members.items():
            home, name = _home_of(document, member)
            home[name] = encoding.encode(parts[part])
        text = json.dumps(document, separators=(",", ":"))
        return of_kind(text if self._wrapped is None else self._wrapped.encode(text.encode("utf-8")), like)


def _home_of(document: dict[str, t.Any], member: str) -> tuple[dict[str, t.Any], str]:
    """Return the object in which a member lies or is to lie, and its name there."""
    outer, dot, inner = member.partition(".")
    if not dot or member in document:
        return document, member
    return _home_of(document.setdefault(outer, {}), inner)


class ColumnsLayout(Layout):
    """Each part in a column of its own: C(columns) of the codec is the list of parts."""

    def __init__(self, parts: t.Any, encoding: str) -> None:
        if not isinstance(parts, list):
            raise ProfileError("columns of a codec is the list of its parts; which column holds which is said by columns of the field")
        self.columns = self.parts = tuple(str(part) for part in parts)
        _require_parts(self.parts, "columns")
        self._encoding = None if encoding == "raw" else encoding_named(encoding)

    def split(self, stored: t.Any) -> Parts | None:
        found: Parts = {}
        for part, cell in zip(self.parts, stored):
            try:
                text = None if self._encoding is None else as_text(cell)
                raw = cell if self._encoding is None else self._encoding.decode(text) if text is not None else None
            except ValueError:
                return None
            if not isinstance(raw, bytes):
                return None
            found[part] = raw
        return found

    def join(self, parts: Parts, like: t.Any) -> t.Any:
        cells = like if like is not None else (None,) * len(self.parts)
        own = self._encoding
        return tuple(parts[part] if own is None else of_kind(own.encode(parts[part]), cell) for part, cell in zip(self.parts, cells))


def as_text(stored: t.Any) -> str | None:
    """Return a text, or the ASCII in a blob; None for anything else."""
    if isinstance(stored, bytes):
        try:
            return stored.decode("ascii")
        except UnicodeDecodeError:
            return None
    return stored if isinstance(stored, str) else None


def of_kind(text: str, like: t.Any) -> t.Any:
    """Return a text as what is replaced was stored: as text, or as a blob."""
    return text.encode("ascii") if isinstance(like, bytes) else text


def _require_parts(parts: t.Sequence[str], option: str) -> None:
    unknown = [name for name in parts if name not in PARTS]
    if unknown or len(set(parts)) != len(parts) or "ciphertext" not in parts:
        raise ProfileError(f"{option} of a codec names each of its parts once, out of {', '.join(PARTS)}, and ciphertext among them")


__all__ = (
    "ENCODINGS",
    "PARTS",
    "ColumnsLayout",
    "Encoding",
    "JsonLayout",
    "Layout",
    "PackedLayout",
    "Parts",
    "TextLayout",
    "as_text",
    "encoding_named",
    "of_kind",
)
