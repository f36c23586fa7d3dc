# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a state directory for a server that is stopped, and damages one.

    create.py fill --state D --manifest M [--key-file K] [--accounts-file F] [--version A|B|C]
              [--secrets N] [--vaults N] [--only-oauth2]
    create.py damage --state D --key-file K --what magic|payload|vault|plain-secrets

Without a key file the server is not initialized, and there are no secrets. The accounts file is JSON: {"users": [{"name",
"password", "is_superadmin"?, "permissions"?, "totp_secret"?}], "tokens": [{"name", "token"}]}. A key file's text is the key
to the last byte. The manifest holds hashes of the plaintexts: what the judge compares with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

from accounts import Accounts
from configuration import VERSIONS
from faults import Faults
from keys import Keys
from sealing import derive, open_blob, seal_blob, seal_verifier
from store import SETTINGS_ID, Store

FORMAT = "pika-reference-manifest-1"
_KINDS = (
    ("hooks", "kafka", "password"), ("hooks", "nats", "token"), ("externals", "vault", "secret_id"),
    ("externals", "aws", "secret_key"), ("externals", "cluster", "kubeconfig"), ("ldap", "main", "bind_password"),
    ("oauth2", "google", "client_secret"),
)  # fmt: skip
# What else is sealed depends on the version.
_MORE_KINDS = {
    "A": (("mounts", "s3", "secret_key"), ("ftp", "user", "password"), ("ftp", "sftp", "host_key"), ("ftp", "tls", "private_key")),
    "B": (("public", "downloads", "static_token"),),
}
_MORE_KINDS["C"] = _MORE_KINDS["B"]


def fill(arguments: argparse.Namespace) -> None:
    """Make users, tokens, secrets and vaults."""
    store = Store(arguments.state)
    accounts = Accounts(store)
    wanted = json.loads(arguments.accounts_file.read_text(encoding="utf-8")) if arguments.accounts_file else {}
    for user in wanted.get("users", ()):
        accounts.add_user(**user)
    for token in wanted.get("tokens", ()):
        accounts.add_token(**token)
    secrets, vaults = {}, {}
    if arguments.key_file:
        passphrase = arguments.key_file.read_text(encoding="utf-8")
        keys = Keys(store, arguments.version, Faults())
        keys.initialize(passphrase)
        every_kind = _KINDS + _MORE_KINDS[arguments.version]
        kinds = [kind for kind in every_kind if not arguments.only_oauth2 or kind[0] in ("oauth2", "ldap")]
        for position in range(arguments.secrets):
            section, name, field = kinds[position % len(kinds)]
            secrets[f"{section}/{name}{position}/{field}"] = f"secret {position} ключ\n鍵 of {section}"
            keys.save_settings({section: {f"{name}{position}": {"address": "example.test", field: list(secrets.values())[-1]}}})
        for position in range(arguments.vaults):
            keys.new_vault_account(f"user{position}")
            wrapped = (store.read("vault_accounts", f"user{position}") or {})["wrapped_vault_key"]
            vaults[f"user{position}"] = sha256_hex(open_blob(derive(passphrase), wrapped))
    manifest = {"format": FORMAT, "secrets": {path: sha256_hex(text.encode()) for path, text in secrets.items()}, "vaults": vaults}
    arguments.manifest.write_text(json.dumps(manifest), encoding="utf-8")


def damage(arguments: argparse.Namespace) -> None:
    """Spoil one thing."""
    store = Store(arguments.state)
    row = store.read("settings", SETTINGS_ID) or {"encryption_verifier": None, "sensitive_payload": None, "plain": {}}
    key_bytes = derive(arguments.key_file.read_text(encoding="utf-8"))
    if arguments.what == "magic":
        row["encryption_verifier"] = seal_verifier(key_bytes, b"PIKA_KEY_VERIFIER_v9|0123456789abcdef")
    elif arguments.what == "payload":
        row["sensitive_payload"] = seal_blob(derive("another key altogether"), b"{}")
    elif arguments.what == "plain-secrets":
        row["plain_secrets"] = {"oauth2/google/client_secret": "left in the open"}
    else:
        user_id = sorted(store.table("vault_accounts"))[-1]
        sealed = seal_blob(derive("another key altogether"), b"\0" * 32)
        store.write("vault_accounts", user_id, {"key_mode": "server", "wrapped_vault_key": sealed})
        return
    store.write("settings", SETTINGS_ID, row)


def sha256_hex(content: bytes) -> str:
    """Hash as lower-case hex."""
    return hashlib.sha256(content).hexdigest()


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="State directories of the Pika model.")
    commands = parser.add_subparsers(dest="command", required=True)
    filling, damaging = commands.add_parser("fill"), commands.add_parser("damage")
    for command in (filling, damaging):
        command.add_argument("--state", type=Path, required=True)
        command.add_argument("--key-file", type=Path, required=command is damaging)
    filling.add_argument("--manifest", type=Path, required=True)
    filling.add_argument("--accounts-file", type=Path)
    filling.add_argument("--version", choices=VERSIONS, default="C")
    filling.add_argument("--secrets", type=int, default=8)
    filling.add_argument("--vaults", type=int, default=0)
    filling.add_argument("--only-oauth2", action="store_true")
    damaging.add_argument("--what", choices=("magic", "payload", "vault", "plain-secrets"), required=True)
    arguments = parser.parse_args(argv)
    fill(arguments) if arguments.command == "fill" else damage(arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
