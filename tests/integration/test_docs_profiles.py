# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every block of docs/profiles.md is used as its reader would use it."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.servos.ops.plugins.module_utils._keys.material import parse_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.profile import build_profile
from ansible_collections.servos.ops.plugins.module_utils._sealing.aes_gcm import Cipher
from ansible_collections.servos.ops.plugins.module_utils._sealing.codecs import codec_name, codec_named
from installations import write
from module_runs import ModuleRun, Outcome

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "profiles.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.M | re.S)
YAML = [(text, yaml.safe_load(text)) for language, text in BLOCKS if language == "yaml"]
SHELL = [text for language, text in BLOCKS if language == "bash"]
WRITTEN = dict(re.findall(r"^\*\*(.*?)\*\*\n\n```yaml\n(.*?)^```$", PAGE, re.M | re.S))
EXAMPLES = {title: yaml.safe_load(text) for title, text in WRITTEN.items()}
VARIABLES = [(text, content) for text, content in YAML if isinstance(content, dict) and "stored" not in content]
PLAYBOOKS = {text.splitlines()[0].lstrip("# "): text for text, content in YAML if isinstance(content, list)}


def field_of(example: dict[str, Any]) -> dict[str, Any]:
    parts = example["codec"].get("columns")
    where = {"columns": {part: f"c{number}" for number, part in enumerate(parts)}} if parts else {"column": "c0"}
    return {"table": "t", "codec": example["codec"], **where}


def profile_of(example: dict[str, Any]) -> dict[str, Any]:
    return {"name": "one", "env_var": "KEY", "derivation": example["derivation"], "fields": [field_of(example)]}


def test_no_block_is_left_out() -> None:
    assert {language for language, unused_text in BLOCKS} == {"yaml", "bash"}
    assert (len(EXAMPLES), len(PLAYBOOKS), len(VARIABLES)) == (19, 1, 4)
    assert len(EXAMPLES) + len(PLAYBOOKS) + len(VARIABLES) == len(YAML)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_opens_to_its_plaintext(example: dict[str, Any]) -> None:
    profile = build_profile("custom", profile_of(example))
    cipher = Cipher(parse_key(example["key"], derivation=profile.derivation, where="the key").reveal_bytes())
    stored = example["stored"] if isinstance(example["stored"], str) else tuple(example["stored"])
    assert codec_named(codec_name(example["codec"])).open(cipher, stored) == example["plaintext"].encode()


class One:
    """A database with the one value of an example."""

    def __init__(self, folder: Path, example: dict[str, Any]) -> None:
        self.folder, self.example, self.database = folder, example, folder / "one.db"
        self.cells = [example["stored"]] if isinstance(example["stored"], str) else example["stored"]
        connection = sqlite3.connect(self.database)
        connection.execute(f"CREATE TABLE t ({', '.join(f'c{number}' for number in range(len(self.cells)))})")
        connection.execute(f"INSERT INTO t VALUES ({', '.join('?' * len(self.cells))})", self.cells)
        connection.commit()
        connection.close()
        self.env_file = write(folder / "env", f"KEY='{example['key']}'\n")

    def run(self, name: str, **options: Any) -> Outcome:
        common = {
            "app": "custom", "profile": profile_of(self.example), "database": f"sqlite:///{self.database}", "env_file": str(self.env_file),
            "state_dir": str(self.folder / "rotation"), "service_manager": "none",
        }  # fmt: skip
        return ModuleRun(name, common | options).wait(timeout_s=120)


@pytest.mark.parametrize("example", EXAMPLES.values(), ids=EXAMPLES)
def test_an_example_is_rotated(example: dict[str, Any], tmp_path: Path) -> None:
    one = One(tmp_path, example)
    assert one.run("servos_key_info")["census"][0]["active"] == 1
    assert one.run("servos_keyring", state="staged", rotation_id="first")["rotation_pending"]
    rotated = one.run("servos_key_rotate", until="swapped")
    assert not rotated.failed, rotated.msg
    assert rotated["rewrapped"] == 1
    seen = one.run("servos_key_info")
    assert (seen["census"][0]["active"], seen["census"][0]["foreign"], seen["sealed_values"]) == (1, 0, 1)
    assert example["key"] not in one.env_file.read_text()


@pytest.mark.parametrize(("text", "content"), VARIABLES, ids=[text.splitlines()[0] for text, unused in VARIABLES])
def test_variables_are_those_of_the_roles(text: str, content: dict[str, Any]) -> None:
    known = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("roles/*/defaults/main.yml"))
    assert [name for name in content if not re.search(rf"\b{name}\b", known)] == []
    if "servos_profile" in content:
        assert build_profile(content["servos_app"], content["servos_profile"]).app == "ledger"


def pasted(scripts: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    home = folder / "ansible"
    return subprocess.run(
        ["bash", "-e", "-c", "\n".join(scripts)], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=300, check=False,
        env=os.environ | {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_HOME": str(home),
            "ANSIBLE_REMOTE_TMP": str(home / "tmp"), "ANSIBLE_LOCALHOST_WARNING": "0", "NO_COLOR": "1",
        },
    )  # fmt: skip


SCRIPTS_OF_CHECK = [text for text in SHELL if "check_codec" in text]
SCRIPTS_OF_LEDGER = [text for text in SHELL if "check_codec" not in text]


def test_a_codec_is_checked_by_itself(tmp_path: Path) -> None:
    block = WRITTEN["AES-GCM, several columns"]
    write(tmp_path / "example.yml", block)
    done = pasted(SCRIPTS_OF_CHECK, tmp_path)
    assert done.returncode == 0, done.stdout[-3000:]
    write(tmp_path / "example.yml", block.replace('key: "00', 'key: "01'))
    assert pasted(SCRIPTS_OF_CHECK, tmp_path).returncode == 2


def test_the_throw_away_installation_is_rotated(tmp_path: Path) -> None:
    write(tmp_path / "discover.yml", PLAYBOOKS["discover.yml"])
    done = pasted(SCRIPTS_OF_LEDGER, tmp_path)
    assert done.returncode == 0, done.stdout[-5000:]
    assert done.stdout.count("all is well") == 2
    assert "correct-horse-battery-staple" not in done.stdout
