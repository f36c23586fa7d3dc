# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The integration tests' sshd, as a host that Ansible connects to and as endpoints to scan."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

from borrowed import borrow

ADDRESS = "127.0.0.11"


sshds, free_port = borrow("integration/sshds.py"), borrow("integration/ports.py").free_port


class Host:
    """One sshd for as long as a measurement lasts. Use as a context manager; C(variables) are for the inventory."""

    def __init__(self, work: Path, *, addresses: t.Sequence[str] = (ADDRESS,)) -> None:
        folder = work / "ssh"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self._keys = sshds.make_keys(folder / "keys")
        self.addresses, self.port = addresses, free_port(addresses[0])
        self._sshd = sshds.Sshd(folder / "run", self._keys, self.port, addresses, "MaxStartups 1000\n")
        self._pins = folder / "known_hosts"

    def __enter__(self) -> Host:
        self._sshd.__enter__()
        lines = [f"[{address}]:{self.port} {key}\n" for address in self.addresses for key in sshds.public_keys(self._keys).values()]
        self._pins.write_text("".join(lines))
        return self

    def __exit__(self, *_: object) -> None:
        self._sshd.__exit__()

    @property
    def variables(self) -> dict[str, t.Any]:
        """How Ansible connects to the first address."""
        return {
            "ansible_connection": "ssh", "ansible_host": self.addresses[0], "ansible_port": self.port, "ansible_user": self._sshd.user,
            "ansible_ssh_private_key_file": str(self._sshd.identity),
            "ansible_ssh_common_args": f"-o UserKnownHostsFile={self._pins} -o IdentitiesOnly=yes",
        }
