# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.


"""Find out how values are sealed, from a few of them and the text of the key: the first draft of a codec. Pure.

A catalogue of layouts and derivations is tried. An authenticated decryption proves a guess; where the cipher does not
authenticate, all samples must come out in one plausible form, and the guess says that it is one.
"""

from __future__ import annotations

import typing as t

from .._errors import KeyFormatError, ServosError
from .aes_gcm import Cipher, Codec
from .codecs import codec_name, codec_named
from .derivation import derivation_of
from .guessed_layouts import Shape, shapes_of_cells, shapes_of_columns

Spec = t.Dict[str, t.Any]

_SCRYPT = {"kdf": "scrypt", "salt": "salt"}  # what Node's documentation shows, and many copy
_ITERATIONS = (1000, 10000, 100000, 210000, 600000)
_ITERATIONS_A_VALUE = (1000, 10000, 100000)  # more of them take minutes where there is nothing to find
_LEAST_FOR_A_FORM = 3


class Guess(t.NamedTuple):
    """C(derivation) and C(codec) as a profile has them; C(opened) of C(tried) samples open. C(is_proven) where they authenticate."""

    derivation: t.Any
    codec: t.Any
    opened: int
    tried: int
    is_proven: bool
    columns: tuple[str, ...] = ()


class Guesser:
    """Tries a catalogue of layouts with one key; what is derived of the key is derived once.

    C(key_text) is as it stands in the env file; C(derivation) is how the key is derived, where that is known.
    """

    def __init__(self, key_text: str, *, derivation: t.Any = None) -> None:
        self._keys = [(rule, Cipher(key_bytes)) for rule, key_bytes in _keys(key_text, derivation)]

    def cells(self, cells: t.Sequence[t.Any]) -> Guess | None:
        """Find the codec of the values of one column, from some of them as they are stored (text or bytes).

        Returns the first guess that opens any of them, or None.
        """
        samples = [cell for cell in cells if isinstance(cell, (str, bytes)) and cell]
        return self._first(shapes_of_cells(samples), samples) if samples else None

    def rows(self, rows: t.Sequence[t.Mapping[str, t.Any]]) -> list[Guess]:
        """Find values that lie in several columns of the same rows; C(columns) of a guess are in the order of its codec's parts."""
        found: list[Guess] = []
        for columns, shape in shapes_of_columns(rows):
            if any(set(columns) & set(guess.columns) for guess in found):
                continue
            samples = [tuple(row[column] for column in columns) for row in rows if all(row.get(column) for column in columns)]
            guess = self._first([shape], samples)
            if guess is not None:
                found.append(guess._replace(columns=columns))
        return found

    def _first(self, shapes: t.Iterable[Shape], samples: t.Sequence[t.Any]) -> Guess | None:
        ranked = list(shapes)
        # What is stretched for each value comes last: it takes a thousand times as long as all the rest.
        for is_whole, is_sure in ((True, True), (True, False), (False, True), (False, False)):
            for rule, cipher in [(rule, cipher) for rule, cipher in self._keys if (rule is not _TEXT) == is_whole]:
                for spec in _codecs(ranked, len(cipher.source), is_sure=is_sure, is_whole=is_whole):
                    guess = _tried(rule, spec, cipher, samples)
                    if guess is not None:
                        return guess
        return None


_TEXT: Spec = {"kdf": "raw", "text": "utf8"}


def _keys(key_text: str, derivation: t.Any) -> t.Iterator[tuple[t.Any, bytes]]:
    """Yield (derivation, key bytes): what is given, what is usual, and the text's own bytes for what is stretched a value."""
    rules: list[t.Any] = [derivation] if derivation is not None else []
    rules += [{"kdf": "raw", "text": "hex", "bytes": size} for size in (32, 16, 24)]
    rules += [{"kdf": "raw", "text": "base64", "bytes": size} for size in (32, 16, 24)]
    rules += [{"kdf": "raw", "text": "utf8", "bytes": size} for size in (32, 16, 24)]
    rules += [{"kdf": "sha256"}, {"kdf": "sha256", "hash": "sha512", "bytes": 32}, {"kdf": "sha256", "hash": "md5", "bytes": 16}]
    rules += [{"kdf": "hkdf", "text": text} for text in ("utf8", "hex", "base64")]
    prefix, colon, rest = key_text.partition(":")
    if colon and prefix in ("base64", "hex") and rest:
        rules = [{"kdf": "raw", "text": prefix, "bytes": size, "prefix": prefix + colon} for size in (32, 16)] + rules
    rules += [_SCRYPT, *({"kdf": "pbkdf2", "salt": "salt", "iterations": count} for count in _ITERATIONS), _TEXT]
    for rule in rules:
        own = rule
        if rule in ("raw32", "hex_or_sha256"):
            own = {"kdf": "raw", "text": "hex" if len(key_text) == 64 else "base64"} if rule == "raw32" else {"kdf": "sha256"}
        try:
            made = derivation_of(own)
            yield rule, made.derive(made.bytes_of(key_text, where="the key"))
        except KeyFormatError:
            continue


def _codecs(shapes: t.Sequence[Shape], key_size: int, *, is_sure: bool, is_whole: bool) -> t.Iterator[Spec]:
    for shape in shapes:
        for cipher in _ciphers(shape, key_size if is_whole else 32, is_sure=is_sure):
            spec = dict(cipher, **shape.layout)
            if is_whole and not shape.has_salt:
                yield spec
            elif shape.has_salt and not is_whole:
                yield from _stretched(spec)


def _stretched(spec: Spec) -> t.Iterator[Spec]:
    """Yield the ways in which a key is made from a text and the salt of a value."""
    if spec.get("nonce") == "derived":
        for name in ("md5", "sha256"):
            yield dict(spec, key={"kdf": "openssl", "hash": name, "salt": "value"})
        return
    for name in ("sha256", "sha512"):
        for count in _ITERATIONS_A_VALUE:
            yield dict(spec, key={"kdf": "pbkdf2", "hash": name, "iterations": count, "salt": "value"})
    yield dict(spec, key={"kdf": "scrypt", "salt": "value"})
    yield dict(spec, key={"kdf": "hkdf", "salt": "value"})


def _ciphers(shape: Shape, key_size: int, *, is_sure: bool) -> t.Iterator[Spec]:
    if shape.is_fernet:
        if is_sure and key_size == 32:
            yield {"cipher": "fernet"}
        return
    has_mac = "mac" in shape.layout
    if is_sure and not has_mac:
        if shape.nonce_bytes in (12, 16) and key_size in (16, 24, 32) and not shape.is_derived:
            own: Spec = {"cipher": f"aes-{8 * key_size}-gcm"}
            yield own if shape.nonce_bytes == 12 else dict(own, nonce_bytes=16)
        if shape.nonce_bytes == 12 and key_size == 32:
            yield {"cipher": "chacha20-poly1305"}
        if shape.nonce_bytes == 24 and key_size == 32:
            yield from ({"cipher": name} for name in ("secretbox", "xchacha20-poly1305"))
    if shape.nonce_bytes == 16 and key_size in (16, 24, 32) and not shape.has_tag and is_sure == has_mac:
        for mode in ("cbc", "ctr") if not has_mac else ("cbc",):
            for oracle in ("json_object", "json", "utf8") if not has_mac else (None,):
                own = {"cipher": f"aes-{8 * key_size}-{mode}"}
                yield dict(own, oracle=oracle) if oracle else own


def _tried(rule: t.Any, spec: Spec, cipher: Cipher, samples: t.Sequence[t.Any]) -> Guess | None:
    try:
        codec: Codec = codec_named(codec_name(spec))
    except ServosError:  # a library that this cipher needs is not here
        return None
    if codec.open(cipher, samples[0]) is None and codec.open(cipher, samples[-1]) is None:
        return None
    opened = sum(1 for sample in samples if codec.open(cipher, sample) is not None)
    if not codec.is_authenticated and (opened < len(samples) or len(samples) < _LEAST_FOR_A_FORM):
        return None
    return Guess(rule, spec, opened, len(samples), codec.is_authenticated)


__all__ = ("Guess", "Guesser")
