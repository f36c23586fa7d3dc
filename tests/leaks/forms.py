# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every way in which a secret could stand in something that was written down. Nothing here asks the collection."""

from __future__ import annotations

import base64
import json
import re
import urllib.parse

# Shorter texts are found everywhere and prove nothing.
SHORTEST = 12
_WINDOW = 48


def key_bytes_of(text: str) -> bytes | None:
    """Return the 32 bytes that a text spells, or None where it is no key in hex or Base64."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return bytes.fromhex(text)
    if not re.fullmatch(r"[A-Za-z0-9+/_-]{43}=?", text):
        return None
    return base64.b64decode(text.rstrip("=").replace("-", "+").replace("_", "/") + "=")


def forms_of_key(text: str) -> dict[str, list[bytes]]:
    """Return the needles of a master key, by the name of the form."""
    raw = key_bytes_of(text)
    if raw is None:
        return forms_of_text(text)
    standard = base64.b64encode(raw).decode()
    url_safe = base64.urlsafe_b64encode(raw).decode()
    spellings = (standard, raw.hex())
    found = {"plain": [text]} if len(text) >= SHORTEST else {}
    found |= {
        # Without the padding and the last character, whose low bits a neighbour may change.
        "base64": [standard[:42]],
        "base64url": [url_safe[:42]],
        "hex": [raw.hex()],
        "HEX": [raw.hex().upper()],
        "URL-encoded": _url_forms(standard[:42]),
        "JSON-escaped": [standard[:42].replace("/", "\\/"), standard[:42].replace("/", "\\\\/")],
        "base64 of the text": [form for spelling in spellings for form in _inside_base64(spelling.encode(), offsets=(0,))],
        "base64 of a longer text": [form for piece in (*map(str.encode, spellings), raw) for form in _inside_base64(piece)],
        "list of numbers": [", ".join(map(str, raw)), ",".join(map(str, raw))],
        "Python literal": [repr(raw)[2:-1]],
    }
    needles = {name: [form.encode() for form in forms] for name, forms in found.items()}
    needles["raw bytes"] = [raw]
    return _without_repeats(needles)


def forms_of_text(text: str) -> dict[str, list[bytes]]:
    """Return the needles of any other secret: its lines, and windows of it where it is long, so that a part is found too."""
    pieces = [piece for piece in _pieces(text.encode()) if len(piece) >= SHORTEST]
    lines = [line for line in text.split("\n") if len(line) >= SHORTEST and not line.startswith("-----")]
    needles: dict[str, list[bytes]] = {"plain": [line.encode() for line in lines] + [re.sub(rb"\s+", b"", text.encode())[:_WINDOW]]}
    written = [piece.decode("utf-8", "ignore") for piece in pieces]
    needles |= {
        "JSON-escaped": [json.dumps(piece, ensure_ascii=is_ascii)[1:-1].encode() for piece in written for is_ascii in (True, False)],
        "hex": [piece.hex().encode() for piece in pieces],
        "HEX": [piece.hex().upper().encode() for piece in pieces],
        "URL-encoded": [form.encode() for piece in written for form in _url_forms(piece)],
        "base64 of the text": [form.encode() for piece in pieces for form in _inside_base64(piece, offsets=(0,))],
        "base64 of a longer text": [form.encode() for piece in pieces for form in _inside_base64(piece)],
    }
    return _without_repeats({name: [needle for needle in forms if len(needle) >= SHORTEST] for name, forms in needles.items()})


def _pieces(raw: bytes) -> list[bytes]:
    if len(raw) <= _WINDOW:
        return [raw]
    middle = len(raw) // 2
    return [raw[:_WINDOW], raw[middle : middle + _WINDOW], raw[-_WINDOW:]]


def _url_forms(text: str) -> list[str]:
    quoted = urllib.parse.quote(text, safe="")
    lower = re.sub("%[0-9A-F]{2}", lambda found: found.group().lower(), quoted)
    return [quoted, lower, urllib.parse.quote_plus(text, safe=""), urllib.parse.quote(text)]


def _inside_base64(raw: bytes, offsets: tuple[int, ...] = (0, 1, 2)) -> list[str]:
    """Return what stands in the Base64 of a longer text that contains these bytes: one form for each offset, in both alphabets."""
    found = []
    for offset in offsets:
        first, last = -(-offset * 8 // 6), (offset + len(raw)) * 8 // 6
        encoded = base64.b64encode(b"\0" * offset + raw).decode()[first:last]
        found += [encoded, encoded.replace("+", "-").replace("/", "_")]
    return found


def _without_repeats(needles: dict[str, list[bytes]]) -> dict[str, list[bytes]]:
    """Give each needle to the first form that it is in."""
    seen: set[bytes] = set()
    kept: dict[str, list[bytes]] = {}
    for name, forms in needles.items():
        kept[name] = [form for form in dict.fromkeys(forms) if form not in seen]
        seen.update(kept[name])
    return {name: forms for name, forms in kept.items() if forms}
