#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_keyring
short_description: Stage, activate and retire master keys
version_added: 0.1.0
description:
  - Looks after the keys of an installation on its control host. A staged key is durable before any data is touched, the
    active key is swapped in the env file without touching any other byte of it, and the previous key is destroyed when
    nothing needs it any more.
  - Keys are made on the managed host and stay there.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._attributes.actiongroup_servos
  - servos.ops._installation
  - servos.ops._service
  - servos.ops._new_key
  - servos.ops._empty
  - servos.ops._escrow
attributes:
  check_mode:
    support: full
    details: The data is looked at as in a real run; no key is made, and nothing is put into escrow.
  async:
    description: Supports being used with the C(async) keyword.
    support: partial
    details: Not together with O(escrow.vault_file), since the controller has to write that while the task runs.
  diff_mode:
    support: full
    details: Shows fingerprints.
  idempotent:
    support: full
    details: With O(state=staged) and neither O(rotation_id) nor O(max_age_days) nor a new key, no rotation is ever due.
options:
  state:
    description:
      - With V(staged), a new key lies ready, if a rotation is due; a rotation that is under way is left as it is.
      - With V(active), the staged key is the one in the env file. It is refused while a value is not under it.
      - With V(retired), the previous key, and the staged copy of the active one, are gone. It is refused while a value, or
        the running service, needs it. What lies in escrow stays.
      - With V(escrowed), the active key is in escrow as O(escrow) says; nothing is rotated.
    type: str
    choices:
      - staged
      - active
      - retired
      - escrowed
    required: true
  rotation_id:
    description:
      - Names the rotation, for example by a date or ticket. One that was done before is not done again.
    type: str
  max_age_days:
    description:
      - Without O(rotation_id), a rotation is due when the active key is older than this many days.
      - A key of unknown age is adopted, which starts its clock, and is not rotated.
    type: float
  seal_for:
    description:
      - With O(state=staged), also return the key that all data is to be under, the staged one or else the active one, sealed to each of
        these requests of M(servos.ops.servos_key_share) on other control hosts of this installation. Nothing is sealed in check mode.
    type: list
    elements: dict
    suboptions:
      request_id:
        description: The request.
        type: str
        required: true
      recipient:
        description: Its public key.
        type: str
        required: true
  readable_backups:
    description:
      - With O(state=retired), a directory of backups (see M(servos.ops.servos_backup)). It is refused while one of this
        database, within its retention, needs a key that would be destroyed.
    type: path
"""

EXAMPLES = r"""
- name: Stage a new key for this year's rotation
  servos.ops.servos_keyring:
    state: staged
    rotation_id: "2026"

- name: Stage a new key, and have it in escrow before any data is under it
  servos.ops.servos_keyring:
    state: staged
    rotation_id: "2026"
    escrow:
      age_recipients:
        - age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p
      vault_file: "{{ inventory_dir }}/escrow/{{ inventory_hostname }}-{fingerprint}.yml"

- name: Put the key that is in force into escrow, three shares of which any two open it
  servos.ops.servos_keyring:
    state: escrowed
    escrow:
      shares:
        threshold: 2
        recipients: "{{ holders }}"

- name: Swap the env file
  servos.ops.servos_keyring:
    state: active

- name: Destroy the previous key
  servos.ops.servos_keyring:
    state: retired
"""

RETURN = r"""
rotation_pending:
  description: Whether a staged key waits (in check mode, would wait) to be put in force.
  returned: when O(state=staged)
  type: bool
  sample: true
reason:
  description: Why a rotation is due, or why not.
  returned: when O(state=staged)
  type: str
  sample: rotation 2026 is asked for
key_age_days:
  description: Age of the active key; none where it is unknown.
  returned: when O(state=staged)
  type: float
  sample: 364.2
sealed:
  description: The key, sealed to each request (HPKE, RFC 9180), in Base64.
  returned: when O(seal_for) is given, not in check mode
  type: list
  elements: dict
  sample:
    - request_id: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0
      ciphertext: 5kP3...
retired:
  description: Fingerprints of the keys that were (in check mode, would be) destroyed.
  returned: when O(state=retired)
  type: list
  elements: str
  sample: ["mk:0011223344556677"]
escrow:
  description:
    - What lies in escrow of the staged key, with O(state=escrowed) of the active one. C(files) are as in the note, whose path is
      C(note); C(missing) names what is not there yet, in check mode what would be made, any of C(age), C(share) and C(vault).
  returned: when O(escrow) is given and a key is staged (in check mode, would be), or with O(state=escrowed)
  type: dict
  sample:
    directory: /var/lib/servos/escrow
    fingerprint: mk:fedcba9876543210
    note: /var/lib/servos/escrow/escrow-fedcba9876543210.json
    files:
      - kind: age
        name: escrow-fedcba9876543210.age
        recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
        sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    missing: []
phase:
  description: The phase, as M(servos.ops.servos_key_info) returns it.
  returned: when the data was looked at
  type: str
  sample: swapped
env_key:
  description: Fingerprint of the active key.
  returned: success
  type: str
  sample: mk:0123456789abcdef
staged_key:
  description: Fingerprint of the staged key.
  returned: success
  type: str
  sample: mk:fedcba9876543210
previous_key:
  description: Fingerprint of the previous key.
  returned: success
  type: str
  sample: mk:0011223344556677
"""

import base64
import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.acting import now, run_acting
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import given_key, run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_with_input
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import (
    empty_option,
    escrow_option,
    installation_options,
    new_key_options,
    service_options,
)
from ansible_collections.servos.ops.plugins.module_utils._rotation.custody import activate, fingerprints_of, retire, stage
from ansible_collections.servos.ops.plugins.module_utils._rotation.escrow_wish import wish_from
from ansible_collections.servos.ops.plugins.module_utils._rotation.escrowing import Escrowing, escrow_active
from ansible_collections.servos.ops.plugins.module_utils._rotation.handover import Handover, Request, seal_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import read_keys

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def asked_escrow(module: AnsibleModule, installation: Installation) -> Escrowing | None:
    options = module.params["escrow"]
    if options is None or module.params["state"] not in ("staged", "escrowed"):
        return None
    recipient = options["vault_recipient"]
    return Escrowing(
        installation,
        wish_from(options, app=installation.profile.app, state_dir=installation.state_dir),
        run=lambda argv, content: run_with_input(module, argv, content),
        now=now(),
        vault_recipient=base64.b64decode(recipient) if recipient else None,
        receipt=options["vault_receipt"],
    )


def sealed_for(installation: Installation, requests: list[dict[str, str]]) -> list[dict[str, str]]:
    key = read_keys(installation).target
    Handover(installation).close()  # whoever gives the key away needs none
    if key is None:
        return []
    return [
        {
            "request_id": asked["request_id"],
            "ciphertext": seal_key(key, Request(asked["request_id"], asked["recipient"]), entropy=os.urandom),
        }
        for asked in requests
    ]


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            **new_key_options(),
            **empty_option(),
            **escrow_option(),
            state={"type": "str", "choices": ["staged", "active", "retired", "escrowed"], "required": True},
            rotation_id={"type": "str"},
            max_age_days={"type": "float"},
            seal_for={
                "type": "list",
                "elements": "dict",
                "options": {"request_id": {"type": "str", "required": True}, "recipient": {"type": "str", "required": True}},
            },
            readable_backups={"type": "path"},
        ),
        mutually_exclusive=[["new_key", "new_key_file"]],
        required_if=[["state", "escrowed", ["escrow"]]],
        supports_check_mode=True,
    )

    def act(installation: Installation, *, write: bool) -> dict[str, t.Any]:
        params = module.params
        if params["state"] == "active":
            return activate(installation, write=write)
        if params["state"] == "retired":
            return retire(
                installation, allow_empty=params["allow_empty"], readable_backups=params["readable_backups"], now=now(), write=write
            )
        if escrow is not None and params["state"] == "escrowed":
            return escrow_active(escrow, installation, write=write)
        staged = stage(
            installation, new_key=new_key, rotation_id=params["rotation_id"] or None, max_age_days=params["max_age_days"],
            allow_empty=params["allow_empty"], now=now(), write=write, escrow=escrow,
        )
        if params["seal_for"] and write:
            staged["sealed"] = sealed_for(installation, params["seal_for"])
        return staged

    new_key = escrow = None

    def work(installation: Installation) -> dict[str, t.Any]:
        nonlocal new_key, escrow
        new_key = given_key(module, installation, "new_key")
        escrow = asked_escrow(module, installation)
        before = fingerprints_of(installation)
        if module.check_mode:
            done = act(installation, write=False)
        else:
            purpose = f"servos_keyring state={module.params['state']}"
            done = run_acting(
                installation, lambda: act(installation, write=True), purpose=purpose, rotation_id=module.params["rotation_id"]
            )
        return dict(done, _before=before, _after=fingerprints_of(installation))

    run_module(module, work)


if __name__ == "__main__":
    main()
