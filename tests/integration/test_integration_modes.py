# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""No key and no plaintext anywhere but where it belongs, in the most talkative run that Ansible can do."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from evidence import forms_of, leaks
from installations import CANARY, NEW, OLD, Servos, b64
from playbook_runs import play

PLAINTEXT = "plaintext-that-nobody-may-see-0f1e2d3c"
LOUD = {
    "ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default", "ANSIBLE_PIPELINING": "0",
    "ANSIBLE_INJECT_FACT_VARS": "1", "ANSIBLE_DEBUG": "0", "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
}  # fmt: skip


class CommandLines(threading.Thread):
    """Looks at the command line and, where readable, the environment's names of every process, again and again."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            for entry in filter(str.isdigit, os.listdir("/proc")):
                try:
                    self.seen.add(Path(f"/proc/{entry}/cmdline").read_bytes())
                except OSError:
                    continue

    def finish(self) -> bytes:
        self._over.set()
        self.join()
        return b"\n".join(self.seen)


def secrets_of(servos: Servos) -> dict[str, str]:
    return servos.secrets() | {"old key": b64(OLD), "new key": b64(NEW), "plaintext": PLAINTEXT, "canary": CANARY}


def found_below(root: Path, secrets: dict[str, str], allowed: set[Path]) -> list[str]:
    """Search every file; C(allowed) are those that keys belong in."""
    return [
        f"{path}: {leak}"
        for path in sorted(root.rglob("*"))
        if path.is_file() and path not in allowed
        for leak in leaks(path.read_bytes(), secrets)
    ]


@pytest.mark.parametrize("method", ["database", "api"])
def test_no_key_leaves_its_place_in_the_most_talkative_run(servos: Servos, tmp_path: Path, method: str) -> None:
    assert servos.call("POST", "/api/services", {"value": PLAINTEXT, "name": "x"})[0] == 201
    new_key = servos.key_file("new", b64(NEW))
    log = servos.scratch / "ansible.log"
    variables = {"servos_new_key_file": str(new_key)}
    if method == "api":
        variables |= {"servos_api_url": servos.url, "servos_api_token_file": str(servos.token_file)}
    sampler = CommandLines()
    sampler.start()
    talkative = LOUD | {"ANSIBLE_LOG_PATH": str(log)}
    # Every result as JSON, and JUnit, as a pipeline would keep them; both are ansible-core's own.
    artifacts = servos.scratch / "artifacts"
    talkative |= {
        "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.tree,ansible.builtin.junit",
        "ANSIBLE_CALLBACK_TREE_DIR": str(artifacts / "tree"), "JUNIT_OUTPUT_DIR": str(artifacts / "junit"),
    }
    done = play(servos, "rotate", "-vvvv", "--diff", "-e", "servos_rotation_id=one", environment=talkative, **variables)
    lines = sampler.finish()

    assert done.code == 0, done.text[-3000:]
    assert servos.env_text() == b64(NEW)
    secrets = secrets_of(servos)
    assert log.stat().st_size > 10_000
    assert list((servos.scratch / "ansible" / "remote").rglob("AnsiballZ_*.py")), "no remote file was kept, so nothing was searched"
    assert list((artifacts / "tree").iterdir()) and list((artifacts / "junit").iterdir()), "no artifact was written"
    assert b"servos.ops.rotate" in lines
    assert leaks(done.text, secrets) == []
    assert leaks(lines, secrets) == []
    belongs = {servos.env_file, new_key, servos.token_file, servos.folder / "tokens"}
    belongs |= {servos.state_dir / "staged.key", servos.state_dir / "previous.key"}
    assert found_below(tmp_path, secrets, belongs) == []
    assert {path.name for path in servos.backup_dir.iterdir()}, "no backup was searched"

    # The search itself must be able to find something.
    for number, (kind, form) in enumerate(forms_of(b64(OLD)).items()):
        planted = servos.scratch / "ansible" / "remote" / f"planted-{number}"
        planted.write_text(f"x={form}&y")
        assert f"{planted}: old key ({kind})" in found_below(tmp_path, secrets, belongs)
        planted.unlink()


def test_modes_keep_others_out(servos: Servos) -> None:
    servos.stage()
    servos.backup()
    servos.rotate()
    ours = [servos.state_dir, servos.backup_dir, *servos.state_dir.rglob("*"), *servos.backup_dir.rglob("*")]
    assert {str(path): oct(path.stat().st_mode & 0o077) for path in ours if path.stat().st_mode & 0o077} == {}
