# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One sshd on 127.0.0.11 for as long as a measurement lasts, with keys of its own; no Docker, no systemd.

Where no sshd is installed and this is root on Debian, its package is unpacked under .work (not installed).
"""

from __future__ import annotations

import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
import typing as t
from pathlib import Path

_ADDRESS = "127.0.0.11"
_CONFIG = """\
ListenAddress {address}:{port}
HostKey {folder}/host_key
PidFile {folder}/pid
AuthorizedKeysFile {folder}/id.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin yes
AllowUsers {user}
LogLevel ERROR
"""


class NoSshd(Exception):
    """There is none to be had here; the text says why."""


def find(work: Path) -> tuple[str, dict[str, str]]:
    """Return an sshd and the environment that it needs."""
    installed = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if installed:
        return installed, {}
    folder = work / "sshd-package"
    unpacked = folder / "usr" / "sbin" / "sshd"
    if not unpacked.exists():
        if os.geteuid() or not shutil.which("apt-get"):
            raise NoSshd("no sshd is installed")
        folder.mkdir(parents=True, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "openssh-server", "libwrap0"], cwd=folder, check=True, capture_output=True, timeout=120)
            for package in folder.glob("*.deb"):
                subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, capture_output=True, timeout=60)
        except (subprocess.SubprocessError, OSError):
            raise NoSshd("no sshd is installed, and its package is not to be had") from None
    return str(unpacked), {"LD_LIBRARY_PATH": ":".join(str(path) for path in (folder / "usr" / "lib").glob("*-linux-gnu"))}


class Sshd:
    """Use as a context manager: what it starts, it stops. C(variables) are for the inventory."""

    def __init__(self, work: Path) -> None:
        self._folder = work / "ssh"
        self._program, self._environment = find(work)
        self._process: subprocess.Popen[bytes] | None = None
        self._made_run = False
        self.variables: dict[str, t.Any] = {}

    def __enter__(self) -> Sshd:
        folder = self._folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        for name in ("id", "host_key"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
        with socket.socket() as probe:
            probe.bind((_ADDRESS, 0))
            port = int(probe.getsockname()[1])
        (folder / "sshd_config").write_text(_CONFIG.format(address=_ADDRESS, port=port, folder=folder, user=getpass.getuser()))
        host_key = " ".join((folder / "host_key.pub").read_text().split()[:2])
        (folder / "known_hosts").write_text(f"[{_ADDRESS}]:{port} {host_key}\n")
        argv = [self._program, "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")]
        self._process = subprocess.Popen(
            self._with_user(argv), env=dict(os.environ, **self._environment), stdin=subprocess.DEVNULL, start_new_session=True
        )
        self._wait(port)
        self.variables = {
            "ansible_connection": "ssh", "ansible_host": _ADDRESS, "ansible_port": port, "ansible_user": getpass.getuser(),
            "ansible_ssh_private_key_file": str(folder / "id"),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={folder}/known_hosts -o IdentitiesOnly=yes",
        }
        return self

    def _with_user(self, argv: list[str]) -> list[str]:
        """As root, sshd wants a user of its own and a directory; where they are missing, it sees them and nobody else does."""
        if os.geteuid():
            return argv
        run = Path("/run/sshd")
        self._made_run = not run.exists()
        run.mkdir(mode=0o755, exist_ok=True)
        try:
            pwd.getpwnam("sshd")
        except KeyError:
            passwd = self._folder / "passwd"
            passwd.write_text(Path("/etc/passwd").read_text() + "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n")
            passwd.chmod(0o644)
            return ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(passwd), *argv]
        return argv

    def _wait(self, port: int) -> None:
        for unused in range(100):
            if self._process is None or self._process.poll() is not None:
                break
            try:
                socket.create_connection((_ADDRESS, port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        self.__exit__()
        raise NoSshd(f"sshd did not start; see {self._folder / 'log'}")

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._made_run:
            shutil.rmtree("/run/sshd", ignore_errors=True)
