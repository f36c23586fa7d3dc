# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real sshd processes on addresses of this machine, with keys of their own; no Docker, no systemd.

Where no sshd is installed and this is root on Debian, its package is unpacked under C(.work) (not installed).
"""

from __future__ import annotations

import contextlib
import fcntl
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TYPES = ("ed25519", "ecdsa", "rsa")
_MAX_LISTENERS = 16  # of one sshd
_CONFIG = """\
PidFile {folder}/pid
AuthorizedKeysFile {folder}/id.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
AllowUsers {user}
MaxStartups 1000
LoginGraceTime 20
LogLevel ERROR
Subsystem sftp internal-sftp
"""


class NoSshd(Exception):
    """There is none to be had here; the text says why."""


def find() -> tuple[str, dict[str, str]]:
    """Return an sshd and the environment that it needs."""
    installed = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if installed:
        return installed, {}
    folder = ROOT / ".work" / "bench" / "sshd-package"  # where make bench looks for it too
    unpacked = folder / "usr" / "sbin" / "sshd"
    if not unpacked.exists():
        if os.geteuid() or not shutil.which("apt-get"):
            raise NoSshd("no sshd is installed")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:  # another process of the same tests may be at it
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not unpacked.exists():
                _unpack(folder)
    return str(unpacked), {"LD_LIBRARY_PATH": ":".join(str(path) for path in (folder / "usr" / "lib").glob("*-linux-gnu"))}


def _unpack(folder: Path) -> None:
    try:
        subprocess.run(["apt-get", "download", "openssh-server", "libwrap0"], cwd=folder, check=True, capture_output=True, timeout=120)
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        raise NoSshd("no sshd is installed, and its package is not to be had") from None


def make_keys(folder: Path, types: Sequence[str] = TYPES) -> Path:
    """Make host keys in a new folder."""
    folder.mkdir(parents=True)
    for kind in types:
        size = ["-b", "2048"] if kind == "rsa" else []
        subprocess.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", "-C", "", "-f", str(folder / kind)], check=True, timeout=60)
    return folder


def public_keys(keys: Path) -> dict[str, str]:
    """Return the public keys of a folder, each as C(type blob), by its short name."""
    return {path.stem: " ".join(path.read_text().split()[:2]) for path in sorted(keys.glob("*.pub"))}


def fingerprints(keys: Path) -> dict[str, str]:
    """Return the fingerprints of a folder's keys as ssh-keygen prints them, by short name."""
    found = {}
    for path in sorted(keys.glob("*.pub")):
        done = subprocess.run(["ssh-keygen", "-lf", str(path)], check=True, capture_output=True, text=True, timeout=20)
        found[path.stem] = done.stdout.split()[1]
    return found


class Sshd:
    """One sshd on some addresses and one port. Use as a context manager: what it starts, it stops."""

    def __init__(self, folder: Path, keys: Path, port: int, addresses: Sequence[str] = ("127.0.0.1",), config: str = "") -> None:
        self.folder, self.keys, self.port, self.addresses = folder, keys, port, tuple(addresses)
        self.user = getpass.getuser()
        self._config = config
        self._program, self._environment = find()
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def identity(self) -> Path:
        """The private key that logs in."""
        return self.folder / "id"

    def __enter__(self) -> Sshd:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self.identity.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.identity)], check=True, timeout=20)
        host_keys = "".join(f"HostKey {path.with_suffix('')}\n" for path in sorted(self.keys.glob("*.pub")))
        common = _CONFIG.format(folder=self.folder, user=self.user) + host_keys + self._config
        for start in range(0, len(self.addresses), _MAX_LISTENERS):
            listeners = [
                f"ListenAddress {f'[{address}]' if ':' in address else address}:{self.port}\n"
                for address in self.addresses[start : start + _MAX_LISTENERS]
            ]
            config = self.folder / f"sshd_config.{start}"
            config.write_text("".join(listeners) + common)
            argv = [self._program, "-D", "-f", str(config), "-E", str(self.folder / "log")]
            self._processes.append(
                subprocess.Popen(
                    self._with_user(argv), env=dict(os.environ, **self._environment), stdin=subprocess.DEVNULL, start_new_session=True
                )
            )
        try:
            for address in self.addresses:
                self._wait_for(address)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _with_user(self, argv: list[str]) -> list[str]:
        """As root, sshd wants a user of its own and a directory; where they are missing, it sees them and nobody else does."""
        if os.geteuid():
            return argv
        run = Path("/run/sshd")
        run.mkdir(mode=0o755, exist_ok=True)  # empty, and left: each sshd looks for it at each connection, also those of other runs
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            passwd = self.folder / "passwd"
            if not passwd.exists():  # its siblings have it mounted by now
                passwd.write_text(Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
                passwd.chmod(0o644)
            return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(passwd), *argv]
        return argv

    def _wait_for(self, address: str) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and all(process.poll() is None for process in self._processes):
            with contextlib.suppress(OSError), socket.create_connection((address, self.port), timeout=1):
                return
            time.sleep(0.02)
        log = self.folder / "log"
        raise AssertionError(f"sshd does not listen: {log.read_text() if log.exists() else 'no log'}")

    def __exit__(self, *unused: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            if process.poll() is None:
                process.kill()
                process.wait(timeout=10)
        self._processes.clear()
