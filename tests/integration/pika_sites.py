# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host with the key of a Pika on it: its files, and the modules run there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evidence import leaks
from module_runs import ModuleRun, Outcome
from pikas import ADMIN, NEW, OLD, SECRETS, Pika, write

_DOMAIN = b"servos.ops master key fingerprint v1\x00"


def mark(passphrase: str) -> str:
    """Return the fingerprint that the collection's documentation promises for a key's text."""
    return "mk:" + hashlib.sha256(_DOMAIN + hashlib.sha256(passphrase.encode()).digest()).hexdigest()[:16]


class PikaSite:
    """Where the modules work for one server: key files, state directory, backups."""

    def __init__(self, folder: Path, pika: Pika, *, key: str = OLD, env_key: str | None = None) -> None:
        folder.mkdir(parents=True)
        self.folder, self.pika = folder, pika
        self.key_file = write(folder / "server.key", f"{key}\n")
        self.new_key_file = write(folder / "next.key", f"{NEW}\n")
        self.state_dir, self.backup_dir = folder / "state", folder / "backups"
        self.env_file: Path | None = None
        if env_key is not None:
            self.env_file = write(folder / "pika.env", f'# settings\nexport PIKA_ENCRYPTION_PASSWORD="{env_key}"\nOTHER=1\n')
        self.outcomes: list[Outcome] = []

    def options(self, **more: Any) -> dict[str, Any]:
        """Return the options that describe this host."""
        return {
            "url": self.pika.url, "username": ADMIN, "password_file": str(self.pika.folder / f"{ADMIN}.password"),
            "key_file": str(self.key_file), "state_dir": str(self.state_dir), "backup_dir": str(self.backup_dir),
            **({"config_env_file": str(self.env_file)} if self.env_file else {}),
            **({"ca_file": str(self.pika.state / "tls.crt")} if self.pika.tls else {}),
            **more,
        }  # fmt: skip

    def begin(self, state: str, *, check: bool = False, **more: Any) -> ModuleRun:
        return ModuleRun("servos_pika_key", self.options(state=state, **more), check=check)

    def run(self, state: str, *, check: bool = False, **more: Any) -> Outcome:
        """Run servos_pika_key and look for secrets in all that it printed."""
        return self.heard(self.begin(state, check=check, **more).wait())

    def rotate(self, *, check: bool = False, **more: Any) -> Outcome:
        """Rotate to NEW, or as the options say."""
        if not {"rotation_id", "max_age_days", "new_key_file"} & more.keys():
            more["new_key_file"] = str(self.new_key_file)
        return self.run("rotated", check=check, **more)

    def info(self, **more: Any) -> Outcome:
        return self.heard(ModuleRun("servos_pika_info", self.options(**more)).wait())

    def heard(self, outcome: Outcome) -> Outcome:
        found = leaks(outcome.printed, {text: text for text in (*SECRETS, self.key_text())})
        if found:
            raise AssertionError(f"printed: {found}")
        self.outcomes.append(outcome)
        return outcome

    def key_text(self) -> str:
        """Return the key in the key file."""
        return self.key_file.read_text(encoding="utf-8").removesuffix("\n") if self.key_file.exists() else ""

    def keyring(self) -> dict[str, str]:
        """Return the keys in the state directory, by role."""
        return {path.stem: path.read_text(encoding="utf-8") for path in sorted(self.state_dir.glob("*.key"))}

    def backups(self) -> list[Path]:
        return sorted(self.backup_dir.glob("*.pikabw"))


Make = Callable[..., PikaSite]
ROTATE, UNLOCK, LOCK = "POST /api/v1/key/rotate", "POST /api/v1/key/unlock", "POST /api/v1/key/lock"
LOGIN, LOGOUT = "POST /login/pass/local", "POST /logout"


def asked(site: PikaSite) -> list[str]:
    """List what the server was asked, in order."""
    return list(site.pika.report()["log"])
