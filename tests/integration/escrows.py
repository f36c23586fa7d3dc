# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holders of escrowed keys, and how they open them: with age, ssss-combine and ansible-vault, never with the collection."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from installations import Servos, write


class Holder(NamedTuple):
    """Somebody to whom keys are sealed: an identity, and the recipient that belongs to it."""

    identity: Path
    recipient: str

    def open(self, path: Path) -> str:
        """Open a file as this holder would."""
        done = subprocess.run(["age", "-d", "-i", str(self.identity), str(path)], capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    def cannot_open(self, path: Path) -> bool:
        done = subprocess.run(["age", "-d", "-i", str(self.identity), str(path)], capture_output=True, timeout=30, check=False)
        return done.returncode != 0 and b"no identity matched" in done.stderr


def new_holder(folder: Path, name: str) -> Holder:
    path = folder / f"{name}.identity"
    subprocess.run(["age-keygen", "-o", str(path)], capture_output=True, timeout=30, check=True)
    found = subprocess.run(["age-keygen", "-y", str(path)], capture_output=True, text=True, timeout=30, check=True)
    return Holder(path, found.stdout.strip())


def new_ssh_holder(folder: Path, name: str) -> Holder:
    path = folder / f"{name}.ssh"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", f"{name} at home", "-f", str(path)], timeout=30, check=True)
    return Holder(path, path.with_name(f"{path.name}.pub").read_text().strip())


def combine(texts: list[str], threshold: int) -> str:
    """Put shares together by hand: each half with ssss-combine; return the key in hex."""
    halves = []
    for line in (1, 2):
        typed = "".join(text.splitlines()[line].split(": ")[1] + "\n" for text in texts[:threshold])
        done = subprocess.run(
            ["ssss-combine", "-t", str(threshold), "-x", "-D", "-q"], input=typed, capture_output=True, text=True, timeout=30, check=True
        )
        halves.append(done.stderr.strip().splitlines()[-1])
    return "".join(halves)


def escrow_of(servos: Servos, **asked: Any) -> dict[str, Any]:
    """Return the option, with a directory of its own beside the state directory."""
    return {"directory": str(directory_of(servos)), **asked}


def directory_of(servos: Servos) -> Path:
    return servos.folder / "var" / "escrow"


def fake_age(folder: Path, script: str) -> Path:
    """Put a program of the name age into a directory; return the directory, for the front of PATH."""
    folder.mkdir(exist_ok=True)
    write(folder / "age", f"#!/bin/sh\n{script}\n").chmod(0o755)
    return folder


def vault_view(path: Path, password_file: Path) -> str:
    """Read a vault file with Ansible's own tool."""
    command = shutil.which("ansible-vault") or str(Path(sys.executable).with_name("ansible-vault"))
    done = subprocess.run(
        [command, "view", "--vault-password-file", str(password_file), str(path)],
        env=os.environ | {"PAGER": "cat", "NO_COLOR": "1"}, capture_output=True, text=True, timeout=60, check=True,
    )
    return done.stdout
