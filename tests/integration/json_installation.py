# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file of credentials as Node-RED writes it, sealed and opened with another library than the collection's, and its env file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from Cryptodome.Cipher import AES
from evidence import Snapshot, leaks, snapshot_of
from module_runs import ModuleRun, Outcome
from servers import write

# Of this process alone, as what runs with an old key is looked for on the whole host.
OLD_TEXT, NEW_TEXT, OTHER_TEXT = (f"{name}-secret-of-process-{os.getpid()},of-words" for name in ("old", "new", "other"))
CONTENT = {"node1": {"user": "someone", "password": "pässwörd-0123456789"}, "node2": {"token": "t" * 200}}


def seal(content: Any, text: str) -> str:
    """Seal as @node-red/runtime/lib/nodes/credentials.js does (encryptCredentials)."""
    iv = os.urandom(16)
    cipher = AES.new(hashlib.sha256(text.encode()).digest(), AES.MODE_CTR, nonce=b"", initial_value=iv)
    return iv.hex() + base64.b64encode(cipher.encrypt(json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode())).decode()


def unseal(sealed: str, text: str) -> Any:
    """Open as it does (decryptCredentials); None where that fails."""
    cipher = AES.new(hashlib.sha256(text.encode()).digest(), AES.MODE_CTR, nonce=b"", initial_value=bytes.fromhex(sealed[:32]))
    try:
        return json.loads(cipher.decrypt(base64.b64decode(sealed[32:])).decode())
    except ValueError:
        return None


def seal_two_bytes_for(first: str, second: str) -> str:
    """Return an empty object that opens as one under two secrets: its nonce makes both key streams begin with the same two bytes."""
    while True:
        ivs = os.urandom(16 * 200_000)
        streams = [AES.new(hashlib.sha256(text.encode()).digest(), AES.MODE_ECB).encrypt(ivs) for text in (first, second)]
        for at in range(0, len(ivs), 16):
            if streams[0][at : at + 2] == streams[1][at : at + 2]:
                content = bytes(a ^ b for a, b in zip(b"{}", streams[0][at : at + 2], strict=True))
                return ivs[at : at + 16].hex() + base64.b64encode(content).decode()


class Credentials:
    """The file, the env file and the folder of keys, without a service."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder, self.file, self.env_file = folder, folder / "flows_cred.json", folder / "nodered.env"
        self.state_dir, self.backup_dir = folder / "rotation", folder / "backups"
        self.scratch = folder.parent / f"{folder.name}-scratch"
        self.scratch.mkdir()
        self.fill(seal(CONTENT, OLD_TEXT))
        self.file.chmod(0o640)
        write(self.env_file, f"# secrets\nNODE_RED_CREDENTIAL_SECRET='{OLD_TEXT}'\n")
        self.new_key = write(self.scratch / "new.key", NEW_TEXT + "\n")

    def fill(self, sealed: str) -> None:
        # As Node-RED writes it with flowFilePretty.
        self.file.write_bytes(b'{\n    "$": "' + sealed.encode() + b'"\n}')

    def sealed(self) -> str:
        return str(json.loads(self.file.read_bytes())["$"])

    def opened(self, text: str) -> Any:
        return unseal(self.sealed(), text)

    def is_under(self, text: str) -> bool:
        return bool(self.opened(text) == CONTENT)

    def env_text(self) -> str:
        return self.env_file.read_text().split("=", 1)[1].strip().strip("'\"")

    def snapshot(self, *, directory_times: bool = False) -> Snapshot:
        seen = snapshot_of(self.folder, directory_times=directory_times)
        if not directory_times:
            seen.pop(str(self.state_dir / "lock"), None)
        return seen

    def begin(self, module: str, *, check: bool = False, prepare: Any = (), **options: Any) -> ModuleRun:
        told: dict[str, Any] = {
            "app": "nodered", "database": f"json:///{self.file}", "env_file": str(self.env_file), "state_dir": str(self.state_dir),
            "service_manager": "none",
        } | options  # fmt: skip
        return ModuleRun(module, {name: value for name, value in told.items() if value is not None}, check=check, prepare=prepare)

    def run(self, module: str, **options: Any) -> Outcome:
        outcome = self.begin(module, **options).wait()
        said = {"old": OLD_TEXT, "new": NEW_TEXT, "password": "pässwörd-0123456789", "token": "t" * 200}
        assert leaks(outcome.printed, said) == [], outcome.printed
        assert "Traceback" not in outcome.printed, outcome.printed[-700:]
        return outcome

    def stage(self, **options: Any) -> Outcome:
        return self.run("servos_keyring", state="staged", new_key_file=str(self.new_key), **options)

    def rotate(self, **options: Any) -> Outcome:
        return self.run("servos_key_rotate", **options)

    def info(self, **options: Any) -> Outcome:
        return self.run("servos_key_info", **options)

    def backup(self, **options: Any) -> Outcome:
        return self.run("servos_backup", backup_dir=str(self.backup_dir), **options)
