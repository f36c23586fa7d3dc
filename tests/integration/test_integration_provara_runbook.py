# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What docs/provara.md tells an operator to paste, pasted: with the paths and the service of a test in the place of the real ones."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evidence import leaks
from installations import reference, write
from provara_gateway import NEW, OLD, ServedProvara

PAGE = Path(__file__).resolve().parents[2] / "docs" / "provara.md"
PLAINTEXTS = {"OPENAI_API_KEY": "sk-first", "MISTRAL_API_KEY": "second", "repository": "ghp_connector"}


def pasted(section: str, language: str) -> list[str]:
    """Return the blocks of a language below a heading."""
    text = PAGE.read_text(encoding="utf-8")
    below = re.search(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    assert below, section
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", below[1], re.M | re.S)
    assert found, (section, language)
    return [textwrap.dedent(content) for unused_indent, content in found]


class Operator:
    """Somebody at a shell, in a folder with the inventory of the page."""

    def __init__(self, provara: ServedProvara, section: str) -> None:
        self.provara = provara
        self.folder = provara.scratch
        write(self.folder / "inventory.yml", self.here(pasted(section, "yaml")[0]))
        options = provara.options()
        managed = {f"servos_{name}": options[name] for name in ("service_manager", "service_commands")}
        self.more: dict[str, Any] = managed if "platform" not in (self.folder / "inventory.yml").read_text() else {}

    def here(self, text: str) -> str:
        """Put the test's places for those of the page."""
        host = f"ansible_connection: local\n    ansible_python_interpreter: {sys.executable}"
        changes = {
            "    ansible_become: true": f"    {host}", "    servos_app: provara\n    servos_database: libsql":
            f"    {host}\n    servos_app: provara\n    servos_database: libsql",
            "libsql://provara-railway-myorg.turso.io": f"sqlite:///{self.provara.database}",
            "https://gateway.example.org": self.provara.url, "http://127.0.0.1:4000": self.provara.url,
            "/etc/provara/platform.env": str(self.provara.env_file), "/etc/provara/": f"{self.provara.folder}/",
            "/root/": f"{self.provara.folder}/", "/var/lib/provara/": f"{self.provara.folder}/",
            '"service": "provara"': '"service_manager": "none"',
        }  # fmt: skip
        for there, here in changes.items():
            text = text.replace(there, here)
        return text

    def run(self, command: str, **more: Any) -> str:
        """Run one line of the page; it must end well and show no key."""
        words = shlex.split(self.here(command))
        told = self.more | {
            "servos_state_dir": str(self.provara.state_dir), "servos_backup_dir": str(self.provara.backup_dir), "servos_start_timeout": 15,
            "rotation_rehearse_directory": str(self.provara.folder),
        } | more  # fmt: skip
        if words[0] == "ansible-playbook":
            words += ["-e", json.dumps(told)]
        home = self.folder / "ansible"
        done = subprocess.run(
            [str(Path(sys.executable).with_name(words[0])), *words[1:]], cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
            env=os.environ | {
                "ANSIBLE_HOME": str(home), "ANSIBLE_REMOTE_TMP": str(home / "remote"), "ANSIBLE_LOCALHOST_WARNING": "0", "NO_COLOR": "1",
            },
        )  # fmt: skip
        assert leaks(done.stdout, self.provara.secrets()) == []
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout


def lines(section: str) -> list[str]:
    return [line for block in pasted(section, "sh") for line in block.splitlines() if line.startswith("ansible")]


def test_the_rotation_as_it_is_told(served: ServedProvara) -> None:
    operator = Operator(served, "Describe the installation")
    rehearse, check, rotate, rollback, retire = lines("Rotate")
    (look,) = lines("What the listing proves")
    operator.run(rehearse)
    assert "2 would be rewrapped" in operator.run(check)
    assert "2 were rewrapped" in operator.run(rotate)
    assert served.plaintexts(served.env_text()) == PLAINTEXTS
    assert '"ok": true' in operator.run(look)
    operator.run(rollback)
    assert served.env_text() == OLD
    operator.run(retire)
    (with_own_key,) = lines("Keys")
    operator.run(with_own_key)
    assert served.env_text() == served.process_key_text() == NEW
    operator.run(retire)
    assert served.plaintexts(NEW) == PLAINTEXTS
    assert list(served.state_dir.glob("*.key")) == []


@pytest.mark.parametrize("is_whole", [True, False], ids=["it ended", "it broke off"])
def test_the_mending_as_it_is_told(make_served: Callable[..., ServedProvara], is_whole: bool) -> None:
    provara = make_served()
    if not is_whole:
        provara.sql("CREATE TABLE later AS SELECT * FROM api_keys WHERE name = 'MISTRAL_API_KEY'")
        provara.sql("DELETE FROM api_keys WHERE name = 'MISTRAL_API_KEY'")
    keys = ("--old-key-file", provara.old_key, "--new-key-file", provara.new_key)
    reference("provara/official_loop.py", "--database", provara.database, *keys)
    if not is_whole:
        provara.sql("INSERT INTO api_keys SELECT * FROM later")
        provara.sql("DROP TABLE later")
    operator = Operator(provara, "Describe the installation")
    check, mend = lines("A database that Provara's own tool has rotated, or half rotated")
    count = 1 if is_whole else 2
    assert f'"rewrapped": {count},' in operator.run(check)
    assert provara.plaintexts(NEW)["repository"] is None
    assert f'"rewrapped": {count},' in operator.run(mend)
    assert provara.plaintexts(NEW) == PLAINTEXTS
    provara.set_environ(key_text=NEW)
    provara.start()
    assert provara.info()["listing"]["ok"]


def test_a_platform_as_it_is_told(served: ServedProvara) -> None:
    operator = Operator(served, "Railway and Turso")
    inventory, playbook = pasted("Railway and Turso", "yaml")
    assert "platform.env" in inventory
    text = operator.here(playbook).replace("service_manager: none", f"service_manager: none\n      state_dir: {served.state_dir}")
    # The database is a file here, for which there is no token; docs/libsql.md has tests of its own.
    for name, content in (("rewrap.yml", text), ("inventory.yml", (operator.folder / "inventory.yml").read_text())):
        write(operator.folder / name, re.sub(r"^ *(servos_)?database_token_file: .*\n", "", content, flags=re.M))
    rewrap, finish = lines("Railway and Turso")
    operator.run(rewrap)
    assert served.info(service_manager="none", service=None, service_commands=None)["phase"] == "rewrapped"
    assert served.env_text() == OLD
    assert served.post("OPENAI_API_KEY", "sk-late") == 200  # by the old deployment
    new = (served.state_dir / "staged.key").read_text()
    served.stop()
    # What the platform's variable is now; the file that stands for it is swapped by the last command.
    write(served.scratch / "platform", served.env_file.read_text().replace(OLD, new))
    kept, served.env_file = served.env_file, served.scratch / "platform"
    served._write_commands()
    served.start()
    served.env_file = kept
    operator.run(finish)
    assert served.env_text() == new
    assert served.plaintexts(new) == PLAINTEXTS | {"OPENAI_API_KEY": "sk-late"}
