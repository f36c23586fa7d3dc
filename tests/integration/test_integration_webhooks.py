# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Webhooks judged and signed in the templates of a real playbook, with secrets out of a vault."""

from __future__ import annotations

import hashlib
import hmac
import os
import subprocess
from pathlib import Path

import yaml

SECRET, OLDER = "out of the vault", "the one before"
BODY = '{"action": "renamed",  "name": "Zo\u00eb"}\n'
PLAY = """
- hosts: localhost
  connection: local
  gather_facts: false
  vars_files: [vault.yml]
  tasks:
    - ansible.builtin.assert:
        that:
          - body is servos.ops.webhook_signature(headers, secrets)
          - body is servos.ops.webhook_signature(headers, secret)
          - (body | b64encode) is servos.ops.webhook_signature(headers, secret, body_is_base64=true)
          - (body ~ ' ') is not servos.ops.webhook_signature(headers, secrets)
          - body is not servos.ops.webhook_signature(headers, 'another')
          - body is servos.ops.webhook_signature(signed, older, scheme='hex', header='X-Mine')
          - (body | servos.ops.webhook_verdict({}, secrets)).reason == 'the signature is missing (header X-Hub-Signature-256)'
      vars:
        signed: "{{ body | servos.ops.webhook_sign(older, scheme='hex', header='X-Mine') }}"
        older: "{{ secrets[1] }}"
    - ansible.builtin.debug:
        msg: "{{ {'parsed': 1} is servos.ops.webhook_signature(headers, secrets) }}"
      ignore_errors: true
    - ansible.builtin.debug:
        msg: "{{ body is servos.ops.webhook_signature(headers, '') }}"
      ignore_errors: true
"""


def test_in_a_playbook_with_a_vault(tmp_path: Path) -> None:
    password, vault = tmp_path / "password", tmp_path / "vault.yml"
    password.write_text("of the test")

    def sealed(text: str) -> str:
        command = ["ansible-vault", "encrypt_string", "--vault-password-file", str(password), "--stdin-name", "x"]
        done = subprocess.run(command, input=text, check=True, capture_output=True, text=True, timeout=60)
        return done.stdout.partition(":")[2].strip()

    vault.write_text(f"secret: {sealed(SECRET)}\nsecrets:\n  - {sealed(SECRET)}\n  - {sealed(OLDER)}\n")
    signature = hmac.new(SECRET.encode(), BODY.encode(), hashlib.sha256).hexdigest()
    told = {"body": BODY, "headers": {"x-hub-signature-256": f"sha256={signature}"}}
    (tmp_path / "told.yml").write_text(yaml.safe_dump(told))
    (tmp_path / "play.yml").write_text(PLAY)
    done = subprocess.run(
        ["ansible-playbook", "-i", "localhost,", "-vvv", "--vault-password-file", str(password), "-e", "@told.yml", "play.yml"],
        cwd=tmp_path, env=os.environ | {"ANSIBLE_HOME": str(tmp_path / "home")}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All assertions passed" in done.stdout
    assert "the body was parsed, and a signature is of its bytes" in done.stdout
    assert "none of them is empty" in done.stdout
    assert SECRET not in done.stdout + done.stderr
