# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A test host of the audit: a container with systemd, sshd, journal and an installation of the ServOS model."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from search import Item, Secret

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
IMAGE = "servos-ops-node:bookworm"

# Not searched: the test's own notes, the reference application, and what the kernel shows as files.
_NOT_SEARCHED = (
    "root/judge", "opt/leaks", "opt/servos-reference", "proc", "sys", "dev/pts", "dev/mqueue", "var/lib/docker", "var/lib/containers",
    "run/log/journal", "var/log/journal",  # the journal is exported instead
)  # fmt: skip

# Which place a changed file of the node belongs to; the first that fits.
_PLACES = (
    ("core dumps", ("var/tmp/cores/",)),
    ("remote temp", ("home/deployer/.ansible/tmp/", "root/.ansible/tmp/")),
    ("async jobs", ("home/deployer/.ansible_async/", "root/.ansible_async/")),
    ("state directory", ("var/lib/servos/rotation/",)),
    ("backups", ("var/lib/servos/backups/",)),
    ("system log", ("var/log/",)),
    ("temporary directories", ("tmp/", "var/tmp/", "dev/shm/")),
    ("runtime directory", ("run/",)),
)

# Where a secret belongs, by name.
_STATE = "var/lib/servos/rotation/"
BELONGS = {
    "key": {"etc/servos/servos.env", *(_STATE + name for name in ("staged.key", "previous.key", "withdrawn.key"))},
    "token": {"etc/servos/admin_token"},
    "plaintext": set(),
}


class Node:
    """A running test host; C(stop) removes it."""

    def __init__(self, name: str, work: Path) -> None:
        self.name, self._work = name, work
        self._kept: list[tuple[Path, Path]] = []
        self.identity = work / "id_ed25519"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.identity], check=True)
        self.vault_password = work / "vault-password"
        self.vault_password.write_text(os.urandom(24).hex())
        public = self.identity.with_suffix(".pub")
        started = subprocess.run([ROOT / "tests/lab/node-up", name, IMAGE, public], check=True, stdout=subprocess.PIPE, timeout=300)
        facts = json.loads(started.stdout)
        self.port = facts["port"]
        self.known_hosts = work / "known_hosts"
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {facts['host_key']}\n")
        reference = f"{ROOT}/tests/reference_apps/servos/."
        subprocess.run(["docker", "cp", "-q", reference, f"{name}:/opt/servos-reference"], check=True, timeout=60)
        self.run(["bash", "-s", public.read_text().strip()], content=(HERE / "node/prepare.sh").read_bytes())

    def run(self, argv: list[str], content: bytes = b"") -> bytes:
        """Run a command on the host as root, beside all that is being audited."""
        done = subprocess.run(
            ["docker", "exec", "-i", self.name, *argv], input=content, capture_output=True, timeout=300, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{argv[:2]} on {self.name} ended with {done.returncode}: {done.stderr.decode()[-2000:]}")
        return done.stdout

    def pid_namespace(self) -> str:
        """Return the name of the namespace that every process of the host is in, as this machine sees it."""
        pid = subprocess.run(["docker", "inspect", "-f", "{{.State.Pid}}", self.name], check=True, stdout=subprocess.PIPE).stdout
        return os.readlink(f"/proc/{int(pid)}/ns/pid")

    def stop(self) -> None:
        subprocess.run([ROOT / "tests/lab/node-down", self.name], check=True, stdout=subprocess.DEVNULL, timeout=300)

    def secrets(self) -> list[Secret]:
        """Ask for every secret that is there now; a value that no key opens is an error."""
        told = json.loads(self.run(["python3", "-"], (HERE / "node/tell_secrets.py").read_bytes()))
        if told["unopened"]:
            raise RuntimeError(f"{told['unopened']} values open under no key")
        return [Secret(**secret) for secret in told["secrets"]]

    def judge(self) -> dict[str, Any]:
        """Let the application's own reader hold the data against the manifest, under the key of the env file."""
        script = "sed -n 's/^SERVOS_MASTER_KEY=//p' /etc/servos/servos.env > /root/judge/now.key; "
        script += "python3 /opt/servos-reference/judge.py --database /var/lib/servos/servos.db --key-file /root/judge/now.key "
        script += "--manifest /root/judge/manifest.json"
        return json.loads(self.run(["sh", "-c", script]))

    def keep(self) -> None:
        """Keep the journal and every file that changed since the installation was made, as they are now."""
        number = len(self._kept)
        journal, files = self._work / f"journal-{number}", self._work / f"files-{number}.tar"
        journal.write_bytes(self.run(["journalctl", "--no-pager", "--all", "--output=export"]))
        excluded = [f"--exclude=./{path}" for path in _NOT_SEARCHED]
        with files.open("wb") as stream:
            done = subprocess.run(
                ["docker", "exec", self.name, "tar", "-C", "/", "-cf", "-", "--newer=/root/judge/begin", *excluded, "."],
                stdout=stream, stderr=subprocess.DEVNULL, timeout=300, check=False,
            )  # fmt: skip
        if done.returncode not in (0, 1):  # 1 is a file that changed while it was read
            raise RuntimeError(f"tar on {self.name} ended with {done.returncode}")
        self._kept.append((journal, files))

    def items(self) -> Iterator[Item]:
        """Give all that was kept, the same file in the same state once."""
        seen: set[tuple[str, bytes]] = set()
        for journal, files in self._kept:
            yield Item("system log", "journal", journal.read_bytes())
            with tarfile.open(files) as archive:
                for member in archive:
                    name = member.name.removeprefix("./")
                    stream = archive.extractfile(member) if member.isfile() else None
                    content = stream.read() if stream is not None else b""
                    identity = (name, hashlib.sha256(content).digest())
                    if stream is not None and identity not in seen:
                        seen.add(identity)
                        yield Item(_place_of(name), name, content)


def _place_of(name: str) -> str:
    return next((place for place, prefixes in _PLACES if name.startswith(prefixes)), "other files")
