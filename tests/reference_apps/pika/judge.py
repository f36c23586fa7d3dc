# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says which key a state directory is under, by opening everything itself: verifier, payload, each vault account.

    judge.py --state D --key-file NAME=FILE [--key-file ...] [--manifest M]
    judge.py --backup FILE [--password-file P] --key-file ...

It reads the files, of a server that runs too, and shares no code with the server. One line of JSON:
`verifier`, `payload` and each of `vaults` is the name of the key that opens it, "none" if none does, "absent" if it is not there;
`mismatches` are the paths whose plaintext is not the manifest's, `missing` and `extra` those of one side only.
Exit 0: everything that is there opens under one key and equals the manifest. 1: not so. 2: could not judge.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from Cryptodome.Cipher import ChaCha20_Poly1305

_MAGIC = b"PIKA_KEY_VERIFIER_v1|"


def open_sealed(keys: dict[str, bytes], sealed_bytes: bytes) -> tuple[str, bytes]:
    """Return the name of the key that opens these bytes, and what is in them."""
    for name, key_bytes in keys.items():
        cipher = ChaCha20_Poly1305.new(key=key_bytes, nonce=sealed_bytes[:24])
        try:
            return name, cipher.decrypt_and_verify(sealed_bytes[24:-16], sealed_bytes[-16:])
        except ValueError:
            continue
    return "none", b""


def open_blob(keys: dict[str, bytes], blob_b64: str | None) -> tuple[str, bytes]:
    """Open a sealed blob, with its format byte."""
    if not blob_b64:
        return "absent", b""
    blob_bytes = base64.b64decode(blob_b64)
    return open_sealed(keys, blob_bytes[1:]) if blob_bytes[:1] == b"\x01" else ("none", b"")


def rows_of_state(folder: Path) -> dict[str, dict[str, Any]]:
    """Read the rows that matter from a state directory."""
    rows = {}
    for table in ("settings", "vault_accounts"):
        for path in sorted((folder / table).glob("*.json")):
            rows[f"{table}/{path.stem}"] = json.loads(path.read_text(encoding="utf-8"))["row"]
    return rows


def rows_of_backup(path: Path, password: str | None) -> dict[str, dict[str, Any]]:
    """Read the same from a backup file; its header is checked here once more."""
    content = path.read_bytes()
    size, payload = int.from_bytes(content[9:17], "big"), content[25:]
    if content[:8] != b"PIKABW\0\1" or len(payload) != size:
        raise ValueError("not a whole backup file")
    if content[8] & 1:
        name, payload = open_sealed({"password": hashlib.sha256((password or "").encode()).digest()}, payload)
        if name == "none":
            raise ValueError("the backup does not open under the password")
    records = [json.loads(line) for line in payload.splitlines()]
    return {f"{table}/{row_id}": row for table, row_id, unused, row in records}


def judge(rows: dict[str, dict[str, Any]], keys: dict[str, bytes], manifest: dict[str, Any] | None) -> dict[str, Any]:
    """Open everything."""
    settings = rows.get("settings/settings", {})
    verdict: dict[str, Any] = {"vaults": {}, "mismatches": [], "missing": [], "extra": []}
    if settings.get("encryption_verifier"):
        verdict["verifier"], plaintext = open_sealed(keys, base64.b64decode(settings["encryption_verifier"]))
        verdict["magic"] = plaintext.startswith(_MAGIC) and len(plaintext) == len(_MAGIC) + 16
    else:
        verdict["verifier"], verdict["magic"] = "absent", True
    verdict["payload"], payload = open_blob(keys, settings.get("sensitive_payload"))
    found = {path: text.encode() for path, text in json.loads(payload or b"{}").items()}
    for name, row in rows.items():
        if name.startswith("vault_accounts/") and row["key_mode"] == "server":
            user_id = name.partition("/")[2]
            verdict["vaults"][user_id], found[f"vault {user_id}"] = open_blob(keys, row["wrapped_vault_key"])
    if manifest is not None:
        wanted = {**manifest["secrets"], **{f"vault {user_id}": digest for user_id, digest in manifest["vaults"].items()}}
        verdict["missing"], verdict["extra"] = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        verdict["mismatches"] = sorted(
            path for path in wanted.keys() & found.keys() if hashlib.sha256(found[path]).hexdigest() != wanted[path]
        )
    names = {verdict["verifier"], verdict["payload"], *verdict["vaults"].values()} - {"absent"}
    faults = verdict["mismatches"] or verdict["missing"] or verdict["extra"] or not verdict["magic"]
    verdict["ok"] = len(names) == 1 and "none" not in names and not faults
    return verdict


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Judge of the Pika model.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--state", type=Path)
    source.add_argument("--backup", type=Path)
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--key-file", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--manifest", type=Path)
    arguments = parser.parse_args(argv)
    try:
        named = (entry.partition("=") for entry in arguments.key_file)
        keys = {name: hashlib.sha256(Path(path).read_bytes()).digest() for name, unused, path in named}
        manifest = json.loads(arguments.manifest.read_text(encoding="utf-8")) if arguments.manifest else None
        if arguments.state:
            rows = rows_of_state(arguments.state)
        else:
            password = arguments.password_file.read_text(encoding="utf-8") if arguments.password_file else None
            rows = rows_of_backup(arguments.backup, password)
        verdict = judge(rows, keys, manifest)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"cannot judge: {type(error).__name__}", file=sys.stderr)
        return 2
    print(json.dumps(verdict))
    return 0 if verdict["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
