# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.


"""The catalogue of layouts in which values of a given look may be stored. Pure."""

from __future__ import annotations

import itertools
import json
import re
import typing as t

from .layouts import ENCODINGS, as_text

_NONCES, _TAG, _SALTS, _MAC = (12, 24, 16), 16, (16, 32, 8), 32
_TAGGED = (
    ["nonce", "ciphertext", "tag"], ["nonce", "tag", "ciphertext"], ["tag", "nonce", "ciphertext"], ["ciphertext", "tag", "nonce"],
)
_SEPARATORS = (":", ".", "$", "--", "|", ",")
_PREFIX = re.compile(r"[A-Za-z0-9_.:{}$/-]*?[:}$|]")
_MOST_PIECES = 6
_FERNET = re.compile(r"gAAAA[A-Za-z0-9_-]{93,}={0,2}\Z")
_OPENSSL = b"Salted__"
# What members of JSON objects, and columns, are called for what they hold.
_NAMES = {
    "nonce": re.compile(r"(^|_|\.)(iv|nonce)$|Iv$|Nonce$", re.I),
    "tag": re.compile(r"tag$|(^|\.)at$", re.I),
    "mac": re.compile(r"mac$", re.I),
    "salt": re.compile(r"salt$", re.I),
}


class Shape(t.NamedTuple):
    """One way in which values may be laid out: the options of a codec but for its cipher and key."""

    layout: dict[str, t.Any]
    nonce_bytes: int = 0
    has_tag: bool = False
    has_salt: bool = False
    is_fernet: bool = False
    is_derived: bool = False


def shapes_of_cells(samples: t.Sequence[t.Any]) -> t.Iterator[Shape]:
    """Yield what values of one column may be, the plain before the odd."""
    if all(isinstance(sample, bytes) for sample in samples):
        yield from _packed(list(samples), {"encoding": "raw"})
    texts = [as_text(sample) for sample in samples]
    if any(text is None for text in texts):
        return
    known = [text for text in texts if text is not None]
    if all(_FERNET.match(text) for text in known):
        yield Shape({}, is_fernet=True)
    for prefix in _prefixes(known):
        bare = [text[len(prefix) :] for text in known]
        if prefix and all(_FERNET.match(text) for text in bare):
            yield Shape({"prefix": prefix}, is_fernet=True)
        for encoding in _encodings(bare):
            raws = [ENCODINGS[encoding].decode(text) for text in bare]
            if all(raw.isascii() for raw in raws):
                continue  # a text in Base64, such as a JSON object: no cipher makes that
            yield from _packed(raws, dict({"encoding": encoding}, **({"prefix": prefix} if prefix else {})))
    yield from _in_pieces(known)
    yield from _behind_hex(known)
    yield from _in_json(known)


def _prefixes(texts: t.Sequence[str]) -> t.Iterator[str]:
    yield ""
    first = texts[0]
    for match in itertools.islice(_PREFIX.finditer(first), 4):
        prefix = first[: match.end()]
        if len(prefix) <= 32 and all(text.startswith(prefix) for text in texts):
            yield prefix


def _encodings(texts: t.Sequence[str]) -> list[str]:
    """Name the encodings that all of the texts fit, and that tell them apart from none."""
    found = []
    for name, encoding in ENCODINGS.items():
        try:
            if all(text and encoding.encode(encoding.decode(text)).lower() == text.lower() for text in texts):
                found.append(name)
        except ValueError:
            continue
    return found


def _packed(raws: t.Sequence[bytes], options: dict[str, t.Any]) -> t.Iterator[Shape]:
    if all(raw.startswith(_OPENSSL) for raw in raws):
        layout = ["0x" + _OPENSSL.hex(), "salt", "ciphertext"]
        yield Shape(dict(options, layout=layout, salt_bytes=8, nonce="derived"), 16, has_salt=True, is_derived=True)
    heads: list[list[str]] = [[]]
    if len({raw[:1] for raw in raws}) == 1 and raws[0][:1]:
        heads.append(["0x" + raws[0][:1].hex()])
    least = min(len(raw) for raw in raws)
    for head, nonce in itertools.product(heads, _NONCES):
        if least < len(head) + nonce:
            continue
        for order in _TAGGED:
            yield Shape(dict(options, layout=head + order), nonce, has_tag=True)
        if nonce == 16:
            yield Shape(dict(options, layout=[*head, "nonce", "ciphertext"]), nonce)
            for order in (["nonce", "ciphertext", "mac"], ["mac", "nonce", "ciphertext"]):
                mac = {"over": ["nonce", "ciphertext"]}
                yield Shape(dict(options, layout=head + order, mac=mac), nonce)
        for salt in _SALTS:
            if nonce != 24 and least >= len(head) + salt + nonce + _TAG:
                for order in (["salt", "nonce", "ciphertext", "tag"], ["salt", "nonce", "tag", "ciphertext"]):
                    yield Shape(dict(options, layout=head + order, salt_bytes=salt), nonce, has_tag=True, has_salt=True)


def _in_pieces(texts: t.Sequence[str]) -> t.Iterator[Shape]:
    for separator in _SEPARATORS:
        split = [text.split(separator) for text in texts]
        count = len(split[0])
        if not 2 <= count <= _MOST_PIECES or any(len(pieces) != count for pieces in split):
            continue
        columns = list(zip(*split))
        literal = [len(set(column)) == 1 and (len(texts) > 1 or len(column[0]) < 8) for column in columns]
        encodings = [[] if fixed else _encodings(column) for fixed, column in zip(literal, columns)]
        if any(not fixed and not names for fixed, names in zip(literal, encodings)):
            continue
        places = [place for place, fixed in enumerate(literal) if not fixed]
        for common in dict.fromkeys(name for names in encodings for name in names):
            if any(common not in encodings[place] for place in places):
                continue
            sizes = [{len(ENCODINGS[common].decode(text)) for text in columns[place]} for place in places]
            for roles in _roles(sizes):
                named = dict(zip(places, roles))
                template = separator.join(
                    columns[place][0] if fixed else "{" + named[place] + "}" for place, fixed in enumerate(literal)
                )
                yield _shape_of({"text": template, "encoding": common}, roles, dict(zip(roles, sizes)))


def _behind_hex(texts: t.Sequence[str]) -> t.Iterator[Shape]:
    """A nonce in hex, and the rest in Base64, with nothing between them."""
    for nonce in _NONCES:
        heads, rests = [text[: 2 * nonce] for text in texts], [text[2 * nonce :] for text in texts]
        if all(len(head) == 2 * nonce for head in heads) and "hex" in _encodings(heads):
            for encoding in [name for name in _encodings(rests) if name != "hex"]:
                yield Shape({"text": "{nonce:hex}{ciphertext:" + encoding + "}"}, nonce)


def _in_json(texts: t.Sequence[str]) -> t.Iterator[Shape]:
    for wrapped in (None, "base64", "base64url"):
        try:
            opened = [text if wrapped is None else ENCODINGS[wrapped].decode(text).decode("utf-8") for text in texts]
            documents = [json.loads(text) for text in opened]
        except ValueError:
            continue
        if not all(isinstance(document, dict) for document in documents):
            continue
        documents = [_flat(document) for document in documents]
        members = [name for name, value in documents[0].items() if isinstance(value, str) and value]
        for encoding in ("base64", "hex", "base64url"):
            by_role: dict[str, str] = {}
            sizes: dict[str, set[int]] = {}
            for name in members:
                values = [document.get(name) for document in documents]
                role = next((role for role, pattern in _NAMES.items() if pattern.search(name)), "ciphertext")
                if any(not isinstance(value, str) for value in values):
                    continue
                own = "hex" if role == "mac" and "hex" in _encodings(values) else encoding
                if own not in _encodings(values):
                    continue
                by_role.setdefault(role, name if own == encoding else f"{name}:{own}")
                sizes.setdefault(role, {len(ENCODINGS[own].decode(value)) for value in values})
            if {"nonce", "ciphertext"} <= by_role.keys():
                options: dict[str, t.Any] = {"json": by_role, "encoding": encoding}
                if wrapped:
                    options["wrapped"] = wrapped
                if "mac" in by_role:
                    for over in (["nonce:text", "ciphertext:text"], ["nonce", "ciphertext"]):
                        yield _shape_of(dict(options, mac={"over": over}), tuple(by_role), sizes)
                else:
                    yield _shape_of(options, tuple(by_role), sizes)


def _flat(document: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return an object with the members of its objects beside its own: C(h.iv)."""
    inner = {f"{name}.{own}": part for name, value in document.items() if isinstance(value, dict) for own, part in value.items()}
    return dict(document, **inner)


def shapes_of_columns(rows: t.Sequence[t.Mapping[str, t.Any]]) -> t.Iterator[tuple[tuple[str, ...], Shape]]:
    """Yield (columns, shape) of values that may lie in two or three columns of a row, by their names and lengths."""
    names = list(rows[0]) if rows else []
    nonces = [name for name in names if _NAMES["nonce"].search(name)]
    tags = [name for name in names if _NAMES["tag"].search(name)]
    rest = [name for name in names if name not in nonces and name not in tags]
    for nonce, tag, ciphertext in itertools.product(nonces, [*tags, None], rest):
        columns = [ciphertext, nonce] + ([tag] if tag else [])
        full = [row for row in rows if all(isinstance(row.get(name), (str, bytes)) and row[name] for name in columns)]
        if not full:
            continue
        parts = ["ciphertext", "nonce"] + (["tag"] if tag else [])
        if all(isinstance(row[name], bytes) for row in full for name in columns):
            sizes = {part: {len(row[name]) for row in full} for part, name in zip(parts, columns)}
            yield tuple(columns), _shape_of({"columns": parts, "encoding": "raw"}, tuple(parts), sizes)
            continue
        if not all(isinstance(row[name], str) for row in full for name in columns):
            continue
        common = [set(_encodings([row[name] for row in full])) for name in columns]
        for encoding in [name for name in ENCODINGS if all(name in fits for fits in common)]:
            sizes = {part: {len(ENCODINGS[encoding].decode(row[name])) for row in full} for part, name in zip(parts, columns)}
            yield tuple(columns), _shape_of({"columns": parts, "encoding": encoding}, tuple(parts), sizes)


def _roles(sizes: t.Sequence[set[int]]) -> t.Iterator[tuple[str, ...]]:
    """Yield which piece may be what, by their sizes."""
    kinds = {2: ("nonce", "ciphertext"), 3: ("nonce", "ciphertext", "tag"), 4: ("salt", "nonce", "ciphertext", "tag")}.get(len(sizes))
    for roles in itertools.permutations(kinds) if kinds else ():
        if all(_fits(role, size) for role, size in zip(roles, sizes)):
            yield roles
    if len(sizes) == 3:
        for roles in itertools.permutations(("salt", "nonce", "ciphertext")):
            if all(_fits(role, size) for role, size in zip(roles, sizes)):
                yield roles


def _fits(role: str, sizes: set[int]) -> bool:
    if role == "ciphertext":
        return True
    allowed = {"nonce": _NONCES, "tag": (_TAG,), "salt": _SALTS, "mac": (_MAC,)}[role]
    return len(sizes) == 1 and next(iter(sizes)) in allowed


def _shape_of(options: dict[str, t.Any], roles: t.Sequence[str], sizes: t.Mapping[str, set[int]]) -> Shape:
    nonce = min(sizes["nonce"], default=0)
    if "salt" in roles:
        options = dict(options, salt_bytes=min(sizes["salt"]))
    return Shape(options, nonce, has_tag="tag" in roles, has_salt="salt" in roles)


__all__ = ("Shape", "shapes_of_cells", "shapes_of_columns")
