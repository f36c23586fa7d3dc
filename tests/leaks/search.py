# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search what a run has left behind, as it lies there and unpacked, for every form of every secret."""

from __future__ import annotations

import base64
import binascii
import bisect
import contextlib
import hashlib
import io
import re
import subprocess
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from forms import forms_of_key, forms_of_text

# An archive in an archive in Base64 is as deep as Ansible goes.
_DEEPEST = 3
_UNPACKED_LIMIT = 64 * 1024 * 1024
_BASE64_RUN = re.compile(rb"[A-Za-z0-9+/]{400,}={0,2}")
_BREAKS = re.compile(rb"(?:\s|\\+[nrt])+")


class Secret(NamedTuple):
    """A secret, what to call it, and what kind it is: key, plaintext or token."""

    name: str
    text: str
    kind: str

    def needles(self) -> dict[str, list[bytes]]:
        return forms_of_key(self.text) if self.kind == "key" else forms_of_text(self.text)


class Item(NamedTuple):
    """One thing to search: the place that it is of, what it is called there, and its bytes."""

    place: str
    name: str
    content: bytes


class Finding(NamedTuple):
    """A secret that was found."""

    secret: str
    kind: str
    form: str
    place: str
    name: str

    def __str__(self) -> str:
        return f"{self.secret} in {self.place}: {self.name} ({self.form})"


class Searched(NamedTuple):
    """What was searched, and what was found."""

    findings: list[Finding]
    counts: dict[str, tuple[int, int]]  # items and bytes of each place
    needles: int
    cpu_s: float


class NothingSearchedError(AssertionError):
    """A place was empty, so that the search says nothing about it."""


def search(items: Iterator[Item], secrets: list[Secret], *, corpus: Path, must_hold: frozenset[str]) -> Searched:
    """Search all items for all secrets.

    Args:
        corpus: a file to write everything into, one layer after the other; grep(1) reads it, once.
        must_hold: the places of which at least one item with content must be there.

    Raises:
        NothingSearchedError: one of those is empty, or there is no secret to look for.
    """
    began = time.thread_time()
    meaning: dict[bytes, list[tuple[Secret, str]]] = {}
    for secret in secrets:
        for form, needles in secret.needles().items():
            for needle in needles:
                meaning.setdefault(needle, []).append((secret, form))
    if not meaning:
        raise NothingSearchedError("there is no secret to search for")
    raw_needles = [needle for needle, told in meaning.items() if any(form == "raw bytes" for unused_secret, form in told)]

    # What is there twice is searched once: on the controller and on the host, and most of each module's archive.
    counts: dict[str, list[int]] = {}
    owners: dict[bytes, dict[tuple[Item, str], None]] = {}
    unpacked: dict[bytes, list[tuple[str, bytes]]] = {}
    starts: list[int] = []
    parts: list[bytes] = []
    matches: dict[bytes, set[bytes]] = {}
    with corpus.open("wb") as stream:
        for item in items:
            count = counts.setdefault(item.place, [0, 0])
            if item.content:
                count[0] += 1
                count[1] += len(item.content)
            whole, label = hashlib.sha256(item.content).digest(), item._replace(content=b"")
            if whole in unpacked:
                for layer, part in unpacked[whole]:
                    owners[part][(label, layer)] = None
                continue
            unpacked[whole] = []
            for layer, content in layers_of(item.content):
                part = hashlib.sha256(content).digest()
                unpacked[whole].append((layer, part))
                if part not in owners:
                    owners[part] = {}
                    starts.append(stream.tell())
                    parts.append(part)
                    stream.write(content + b"\n")
                    matches[part] = {needle for needle in raw_needles if needle in content}
                owners[part][(label, layer)] = None
    empty = sorted(place for place in must_hold if counts.get(place, [0, 0])[1] == 0)
    if empty:
        raise NothingSearchedError(f"nothing was there to search in: {', '.join(empty)}")

    for offset, match in grep(corpus, [needle for needle in meaning if needle not in raw_needles and b"\n" not in needle]):
        matches[parts[bisect.bisect_right(starts, offset) - 1]].add(match)
    found = [(item, layer, match) for part, texts in matches.items() for match in texts for item, layer in owners[part]]
    as_they_lie = {(item, match) for item, layer, match in found if not layer.endswith(SPLIT)}
    findings = {
        Finding(secret.name, secret.kind, form + layer, item.place, item.name): None
        for item, layer, match in found
        if not layer.endswith(SPLIT) or (item, match) not in as_they_lie
        for secret, form in meaning[match]
    }
    sizes = {place: (number, size) for place, (number, size) in counts.items()}
    return Searched(list(findings), sizes, len(meaning), time.thread_time() - began)


SPLIT = ", split by line breaks"


def layers_of(content: bytes, layer: str = "", depth: int = 0) -> Iterator[tuple[str, bytes]]:
    """Give the content itself, without its line breaks, and all that is packed in it."""
    yield layer, content
    joined = _BREAKS.sub(b"", content)
    if joined != content:
        yield layer + SPLIT, joined
    if depth == _DEEPEST:
        return
    for kind, inner in _unpacked(content, joined):
        yield from layers_of(inner, f"{layer}, in {kind}", depth + 1)


def _unpacked(content: bytes, joined: bytes) -> Iterator[tuple[str, bytes]]:
    if b"PK\x03\x04" in content:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                for entry in archive.infolist():
                    if entry.file_size <= _UNPACKED_LIMIT:
                        yield "zip", archive.read(entry)
        except (zipfile.BadZipFile, NotImplementedError, zlib.error):
            pass
    at = content.find(b"\x1f\x8b\x08")
    while at >= 0:
        inner = b""
        with contextlib.suppress(zlib.error):  # three bytes that only look like it
            inner = zlib.decompressobj(wbits=31).decompress(content[at:], _UNPACKED_LIMIT)
        if inner:
            yield "gzip", inner
        at = content.find(b"\x1f\x8b\x08", at + 3)
    for text in dict.fromkeys((content, joined)):
        for run in _BASE64_RUN.finditer(text):
            encoded = run.group()
            try:
                inner = base64.b64decode(encoded[: len(encoded) // 4 * 4])
            except binascii.Error:
                continue
            # Text in Base64 is found by its forms at each offset; only what is packed once more must be opened.
            if inner[:4] == b"PK\x03\x04" or inner[:3] == b"\x1f\x8b\x08":
                yield "base64", inner


def grep(corpus: Path, needles: list[bytes]) -> Iterator[tuple[int, bytes]]:
    """Give the offset and the text of every match of fixed strings."""
    listed = corpus.with_name(corpus.name + ".needles")
    listed.write_bytes(b"\n".join(needles))
    # In the C locale bytes are bytes; 0 is found, 1 is nothing found.
    done = subprocess.run(
        ["grep", "--text", "--only-matching", "--byte-offset", "--fixed-strings", "--file", listed, corpus],
        stdout=subprocess.PIPE, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, check=False,
    )  # fmt: skip
    listed.unlink()
    if done.returncode not in (0, 1):
        raise RuntimeError(f"grep ended with {done.returncode}")
    for line in done.stdout.splitlines():
        offset, unused_colon, match = line.partition(b":")
        yield int(offset), match
