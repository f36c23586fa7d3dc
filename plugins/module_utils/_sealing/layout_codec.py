# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""A codec as data: cipher, layout, key of its own, message authentication code, oracle. Pure.

See docs/profiles.md for the notation, with an example of each.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import typing as t

from .._errors import ProfileError
from .aes_gcm import Cipher, Codec
from .ciphers import cipher_named
from .fernet import FernetCodec
from .key_schedule import KeySchedule
from .layouts import ColumnsLayout, JsonLayout, Layout, PackedLayout, Parts, TextLayout
from .oracles import oracle_of

_FORMS = ("layout", "text", "json", "columns")
_OPTIONS = {
    "cipher", "encoding", "prefix", "wrapped", "nonce", "nonce_bytes", "salt_bytes", "aad", "key", "mac", "oracle", *_FORMS,
}


class LayoutCodec(Codec):
    """One format of sealed value that a profile describes.

    C(is_authenticated) is False where only the form of the plaintext tells the right key from a wrong one.
    """

    def __init__(self, spec: t.Mapping[str, t.Any]) -> None:
        unknown = set(spec) - _OPTIONS
        if unknown:
            raise ProfileError(f"a codec has no option {', '.join(sorted(map(str, unknown)))}; it has {', '.join(sorted(_OPTIONS))}")
        self.name = name_of(spec)
        self._kind = kind = cipher_named(spec.get("cipher"))
        nonce_bytes = _size(spec, "nonce_bytes", kind.nonce_bytes)
        if nonce_bytes != kind.nonce_bytes and not kind.takes_other_nonces:
            raise ProfileError(f"nonce_bytes of {kind.name} is {kind.nonce_bytes}")
        self._nonce_bytes, self._salt_bytes = nonce_bytes, _size(spec, "salt_bytes", 16)
        self._is_nonce_derived = spec.get("nonce") == "derived"
        self._keys = KeySchedule(spec.get("key"), kind.key_bytes, nonce_bytes if self._is_nonce_derived else 0)
        self._mac = _Mac(spec["mac"]) if spec.get("mac") else None
        sizes = {"nonce": nonce_bytes, "tag": kind.tag_bytes, "salt": self._salt_bytes, "mac": self._mac.size if self._mac else 0}
        self._layout = _layout_of(spec, sizes)
        self.parts = self._layout.columns
        self.is_blob = self._layout.is_blob
        self._require_consistent(spec)
        self._oracle = oracle_of(spec["oracle"]) if spec.get("oracle") else None
        self.is_authenticated = kind.is_authenticated or self._mac is not None
        if not self.is_authenticated and self._oracle is None:
            raise ProfileError(
                f"the cipher {kind.name} does not authenticate: say how a right plaintext is known (oracle), or how its mac is made (mac)"
            )
        if spec.get("aad") and not kind.takes_aad:
            raise ProfileError(f"the cipher {kind.name} takes no aad")
        self._aad = str(spec.get("aad", "")).encode("utf-8")
        self.shortest = self._layout.shortest()

    def _require_consistent(self, spec: t.Mapping[str, t.Any]) -> None:
        there = set(self._layout.parts)
        wanted = {"ciphertext"} | ({"nonce"} if not self._is_nonce_derived else set()) | ({"mac"} if self._mac else set())
        wanted |= {"salt"} if self._keys.takes_salt or (self._mac is not None and self._mac.keys.takes_salt) else set()
        missing, idle = wanted - there, there - wanted - ({"tag"} if self._kind.tag_bytes else set())
        unwritten = self._mac.unwritten(self._layout) if self._mac else []
        if unwritten:
            names = ", ".join(unwritten)
            raise ProfileError(f"over of the mac names {names}, and this layout has no such part, or not as a text of its own")
        if missing or idle:
            text = f"lacks {', '.join(sorted(missing))}" if missing else f"names {', '.join(sorted(idle))}, which nothing uses"
            raise ProfileError(f"the codec with cipher {spec.get('cipher')} {text}; correct layout, text, json or columns of it")

    def key_bytes_wanted(self) -> int | None:
        """Return how many bytes the master key must have, or None where any will do."""
        return None if self._keys.has_derivation else self._keys.size

    def key_bytes_needed(self) -> int:
        """Return how many bytes of the master key are used at least."""
        needed = self._keys.source_bytes_needed
        return needed if self._mac is None else max(needed, self._mac.keys.source_bytes_needed)

    def looks_sealed(self, stored: t.Any) -> bool:
        parts = self._layout.split(stored)
        return parts is not None and len(parts["ciphertext"]) >= self._least_ciphertext()

    def _least_ciphertext(self) -> int:
        # Where nothing authenticates, an empty ciphertext comes out as well under one key as under another: it is none.
        least = self._kind.least_bytes if self.is_authenticated else max(self._kind.least_bytes, 1)
        return least + (self._kind.tag_bytes if "tag" not in self._layout.parts else 0)

    def open(self, cipher: Cipher, stored: t.Any) -> bytes | None:
        parts = self._layout.split(stored)
        if parts is None or len(parts["ciphertext"]) < self._least_ciphertext():
            return None
        key, nonce = self._keys.of(cipher, parts.get("salt", b""))
        if key is None:
            return None
        if self._mac is not None and not self._mac.fits(cipher, parts, self._layout):
            return None
        nonce = parts.get("nonce", nonce)
        if len(nonce) != self._nonce_bytes or len(parts.get("tag", b"")) not in (0, self._kind.tag_bytes):
            return None
        plaintext = self._kind.open(key, nonce, parts["ciphertext"] + parts.get("tag", b""), self._aad)
        if plaintext is None or (self._oracle is not None and not self._oracle(plaintext)):
            return None
        return plaintext

    def seal(self, cipher: Cipher, plaintext: bytes, nonce_of: t.Callable[[int], bytes], like: t.Any = None) -> t.Any:
        parts: Parts = {"salt": nonce_of(self._salt_bytes)} if "salt" in self._layout.parts else {}
        key, nonce = self._keys.of(cipher, parts.get("salt", b""))
        if key is None:
            raise ProfileError(
                f"the key does not have the size that {self._kind.name} takes; correct derivation of the profile, or key of the codec"
            )
        if not self._is_nonce_derived:
            nonce = parts["nonce"] = nonce_of(self._nonce_bytes)
        sealed = self._kind.seal(key, nonce, plaintext, self._aad)
        if "tag" in self._layout.parts:
            parts["ciphertext"], parts["tag"] = sealed[: -self._kind.tag_bytes], sealed[-self._kind.tag_bytes :]
        else:
            parts["ciphertext"] = sealed
        if self._mac is not None:
            made = self._mac.over(cipher, parts, self._layout)
            if made is None:
                raise ProfileError("the key is too short for the mac of the codec; correct derivation of the profile, or key of the mac")
            parts["mac"] = made
        return self._layout.join(parts, like)


class _Mac:
    """An HMAC over parts: C(hash), C(over), C(key), C(bytes); a part with C(:text) counts as it is written, not as bytes."""

    def __init__(self, spec: t.Any) -> None:
        if not isinstance(spec, dict) or not isinstance(spec.get("over"), list) or set(spec) - {"hash", "over", "key", "bytes"}:
            raise ProfileError("mac of a codec is a dictionary with over (a list of parts), and perhaps hash, key and bytes")
        if "ciphertext" not in [str(part).partition(":")[0] for part in spec["over"]]:
            raise ProfileError("over of a mac names the ciphertext: without it nothing of the value would be authenticated")
        self._hash = str(spec.get("hash", "sha256"))
        if self._hash not in ("sha1", "sha256", "sha384", "sha512"):
            raise ProfileError("hash of a mac is one of sha1, sha256, sha384, sha512")
        most = hashlib.new(self._hash).digest_size
        self.size = _size(spec, "bytes", most)
        if self.size > most:
            raise ProfileError(f"bytes of a mac with {self._hash} is at most {most}")
        self._over = [str(part) for part in spec["over"]]
        self.keys = KeySchedule(spec.get("key"), None, 0)

    def unwritten(self, layout: Layout) -> list[str]:
        """Return what the code cannot be made over."""
        return [
            name for name in self._over
            if name.split(":")[0] not in layout.parts or name.split(":")[1:] not in ([], ["text"])
            or (name.endswith(":text") and not layout.has_written_parts)
        ]

    def over(self, cipher: Cipher, parts: Parts, layout: Layout) -> bytes | None:
        """Return the code of the parts; None where the master key does not give a key for it, which must not become an empty one."""
        key, unused_nonce = self.keys.of(cipher, parts.get("salt", b""))
        if not key:
            return None
        message = b"".join(layout.as_written(name[:-5], parts) if name.endswith(":text") else parts[name] for name in self._over)
        return hmac.new(key, message, self._hash).digest()[: self.size]

    def fits(self, cipher: Cipher, parts: Parts, layout: Layout) -> bool:
        """Tell whether the code in the parts is that of the parts."""
        made = self.over(cipher, parts, layout)
        return made is not None and hmac.compare_digest(made, parts["mac"])


def codec_of(spec: t.Mapping[str, t.Any]) -> Codec:
    """Read a codec from a profile.

    Raises:
        ProfileError: naming the option.
    """
    return FernetCodec(spec, name_of(spec)) if spec.get("cipher") == "fernet" else LayoutCodec(spec)


def name_of(spec: t.Mapping[str, t.Any]) -> str:
    """Return the one name of a codec that is data: two that say the same are one."""
    return json.dumps(spec, sort_keys=True)


def _layout_of(spec: t.Mapping[str, t.Any], sizes: t.Mapping[str, int]) -> Layout:
    given = [form for form in _FORMS if spec.get(form)]
    if len(given) != 1:
        raise ProfileError(f"a codec says in exactly one way where its parts lie: {', '.join(_FORMS)}")
    form, encoding = given[0], str(spec.get("encoding", "base64"))
    if form == "layout":
        if not isinstance(spec["layout"], list):
            raise ProfileError("layout of a codec is a list of parts, and of literal bytes such as 0x01")
        return PackedLayout(spec["layout"], sizes, encoding, str(spec.get("prefix", "")))
    if form == "text":
        return TextLayout(str(spec["text"]), sizes, encoding)
    if form == "json":
        return JsonLayout(spec["json"], encoding, spec.get("wrapped"))
    return ColumnsLayout(spec["columns"], encoding)


def _size(spec: t.Mapping[str, t.Any], name: str, default: int) -> int:
    value = spec.get(name, default)
    if isinstance(value, bool) or not str(value).isdigit() or not 1 <= int(value) <= 1024:
        raise ProfileError(f"{name} of a codec is a number of bytes")
    return int(value)


__all__ = ("LayoutCodec", "codec_of", "name_of")
