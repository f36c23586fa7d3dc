# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""As which bytes a key may stand in a file or in what an engine shows: its text forms, and what programs make of them. Pure.

A text is found in any of these only as a whole; what wraps its lines within a key hides it.
"""

from __future__ import annotations

import base64
import json
import string
import typing as t

from .._keys.material import MasterKey

_UNRESERVED = string.ascii_letters + string.digits + "-._~"
_SHORTEST = 8  # what is shorter is found by chance


def spellings_of(key: MasterKey) -> list[bytes]:
    """Return each of them once, and none that another one is a part of."""
    # An equals sign at the end is written in many ways, and says nothing.
    forms = {form.rstrip("=") for form in key.forms()}
    spelled = {_bytes(text) for form in forms for text in (form, *_escaped(form))}
    spelled.add(key.reveal_bytes())
    # What is spelled from the text as it stands in the env file, since that is what is copied.
    own = _bytes(key.reveal_text())
    spelled |= set(_encoded_again(own))
    spelled.add(_bytes(key.reveal_text().rstrip("=")).decode("utf-8", "replace").encode("utf-16-le")[:-1])
    long_enough = sorted((one for one in spelled if len(one) >= _SHORTEST), key=lambda one: (len(one), one))
    found: list[bytes] = []
    for one in long_enough:
        if not any(shorter in one for shorter in found):
            found.append(one)
    return found


def is_short(key: MasterKey) -> bool:
    """Tell whether the text of a key is too short to be looked for."""
    return len(_bytes(key.reveal_text())) < _SHORTEST


def _escaped(text: str) -> t.Iterator[str]:
    """Yield what URLs (RFC 3986) and JSON (RFC 8259) make of a text, as far as that differs."""
    for safe in ("", "/"):
        for escape in ("%{:02X}", "%{:02x}"):
            yield "".join(chr(one) if chr(one) in _UNRESERVED + safe else escape.format(one) for one in _bytes(text))
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    for slash in ("/", "\\/"):
        for plus in ("+", "\\u002B", "\\u002b"):
            yield plain.replace("/", slash).replace("+", plus)


def _encoded_again(content: bytes) -> t.Iterator[bytes]:
    """Yield what stands in the Base64 of anything that holds these bytes, as Kubernetes and Docker keep secrets.

    Where they begin in a group of three is not known; a character that other bytes have a part in is left out.
    """
    for before in range(3):
        encoded = base64.b64encode(b"\x00" * before + content)
        begin, shared = (0, 2, 3)[before], (0, 3, 2)[(before + len(content)) % 3]
        inner = encoded[begin : len(encoded) - shared]
        yield inner
        yield inner.translate(bytes.maketrans(b"+/", b"-_"))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


__all__ = ("is_short", "spellings_of")
