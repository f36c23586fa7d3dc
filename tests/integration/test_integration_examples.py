# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EXAMPLES that ansible-doc prints, pasted: all are understood by ansible-playbook, and those of a ServOS run on one."""

from __future__ import annotations

import ast
import base64
import hashlib
import hmac
import json
import subprocess
from pathlib import Path
from typing import Any

import yaml
from evidence import leaks
from installations import OLD, Servos, b64
from playbook_runs import environment_of, inventory_of
from servers import write

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
# A life of a key, in an order in which each can be run. The others need another host, engine or application.
RUN = [
    "See where ServOS stands",
    "Back up ServOS's database",
    "Look at the newest backup in a scratch file",
    "Stage a new key for this year's rotation",
    "Finish the rotation to the staged key",
    "Swap the env file",
    "Let the application read one value back",
    "Audit ServOS",
    "Go back to the key from before",
    "Destroy the previous key",
    "Ask for secrets",
    "Go on only if the webhook is GitHub's",
    "Refuse a webhook, and say why",
]


def texts() -> dict[str, str]:
    found = {}
    for path in sorted((PLUGINS / "modules").glob("servos_*.py")):
        assigned = {node.targets[0].id: node.value for node in ast.parse(path.read_text()).body if isinstance(node, ast.Assign)}
        found[path.stem] = ast.literal_eval(assigned["EXAMPLES"])
    for path in sorted([*(PLUGINS / "filter").glob("*.yml"), *(PLUGINS / "test").glob("*.yml")]):
        found[path.stem] = yaml.safe_load(path.read_text())["EXAMPLES"]
    return found


TEXTS = texts()


def pasted(tasks: list[Any], **keywords: Any) -> str:
    return json.dumps([{"name": "Paste", "hosts": "servos_control", "gather_facts": False, "tasks": tasks, **keywords}])


def played(servos: Servos, playbook: str, *argv: str) -> subprocess.CompletedProcess[str]:
    inventory = write(servos.scratch / "inventory.json", json.dumps(inventory_of(servos)))
    path = write(servos.scratch / "play.yml", playbook)
    return subprocess.run(
        ["ansible-playbook", "-i", str(inventory), str(path), *argv], env=environment_of(servos), stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True, timeout=180, check=False,
    )  # fmt: skip


def test_ansible_understands_them_all(quiet: Servos) -> None:
    tasks = [task for text in TEXTS.values() for task in yaml.safe_load(text)]
    assert len(tasks) > 45
    done = played(quiet, pasted(tasks), "--syntax-check")
    assert done.returncode == 0, done.stdout


def on(servos: Servos, text: str) -> str:
    """Let an example's places be the installation's; nothing else of it is changed."""
    places = {
        "/var/lib/servos/backups": servos.backup_dir, "/var/lib/servos/rehearsal/": f"{servos.folder}/var/",
        "/etc/servos/admin_token": servos.token_file, "http://127.0.0.1:8080": servos.url, "https://servos.example": servos.url,
    }  # fmt: skip
    for place, ours in places.items():
        text = text.replace(place, str(ours))
    return text


def webhook() -> dict[str, Any]:
    """A webhook of GitHub's, and one of Standard Webhooks with a wrong signature."""
    secret = base64.b64encode(b"a secret of thirty-two bytes....").decode()
    body = '{"event": "rotated"}'
    signature = hmac.new(secret.encode(), body.encode(), hashlib.sha256).hexdigest()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "webhook-id": "1", "webhook-timestamp": "1", "webhook-signature": "v1,AAAA"}
    return {"webhook_body": body, "webhook_headers": headers, "webhook_secrets": [secret]}


def test_those_of_a_servos_run_on_one(servos: Servos) -> None:
    known = {task["name"]: task for text in TEXTS.values() for task in yaml.safe_load(on(servos, text))}
    tasks = [known[name] for name in RUN]
    secrets = servos.secrets()
    # A search of the whole machine belongs to the tests of the audit.
    defaults = {"group/servos.ops.servos": servos.options(), "servos.ops.servos_audit": {"search": [str(servos.folder)]}}
    playbook = pasted(tasks, module_defaults=defaults, vars=webhook())
    done = played(servos, playbook)
    # The last is there to refuse.
    assert (done.returncode, f"ok={len(RUN) - 1} " in done.stdout, "failed=1 " in done.stdout) == (2, True, True), done.stdout
    assert "TASK [Refuse a webhook, and say why]" in done.stdout
    # Rotated, and taken back; the key of between is gone.
    assert servos.process_key_text() == servos.env_text() == b64(OLD)
    servos.assert_all_under(b64(OLD))
    assert list(servos.state_dir.glob("*.key")) == []
    assert leaks(done.stdout, secrets | servos.secrets()) == []
