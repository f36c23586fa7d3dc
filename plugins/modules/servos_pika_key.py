#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_pika_key
short_description: Initialize, unlock, lock and rotate the server key of Pika
version_added: 0.1.0
description:
  - Works on the key with which a Pika server seals its secrets, over the server's own API, from a host that holds the key.
  - A rotation is asked for once. Where its answer is lost, the server is asked which key its disk is under, by an unlock. The same
    task again finishes a rotation that was stopped anywhere.
  - Keys are made on the host and stay there.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._pika
requirements:
  - cryptography >= 3.3, on the host, for O(seal_for) and O(sealed) only
attributes:
  check_mode:
    support: full
    details:
      - It logs in and looks, with O(state=rotated) at settings and backup too. A key is tried only on a server that is unlocked already,
        since a locked one would be unlocked by it; a wrong key counts with the server's limiter.
  diff_mode:
    support: full
    details: Shows fingerprints.
  idempotent:
    support: full
    details: With O(state=rotated) and neither O(rotation_id) nor O(max_age_days) nor a new key, no rotation is ever due.
options:
  state:
    description:
      - With V(initialized), encryption is on, with the key in O(key_file), which is made there if there is no such file. Do it before
        any secret is saved, since the server refuses to seal what its settings hold already.
      - With V(unlocked), the server has its key in memory. It starts locked, so this is for every boot. A server that is unlocked is
        not logged in to. If O(key_file) is not its key, the key in O(config_env_file), of a rotation under way, or the previous one is
        tried, two keys in all.
      - With V(locked), it has not, and answers 503 to everybody.
      - With V(rotated), the server and this host go on with another key, if a rotation is due; first it is backed up.
      - With V(configured), O(key_file) and O(config_env_file) hold the key in force, the one in O(new_key_file) or the one that is
        O(sealed), and the server is not asked for anything. For the followers of a cluster, which get a key by a restart only.
    type: str
    choices:
      - initialized
      - unlocked
      - locked
      - rotated
      - configured
    required: true
  new_key_file:
    description:
      - File on the host that holds the new key, for O(state=rotated) or O(state=configured). Without it a rotation makes one, 32 random
        bytes in Base64.
    type: path
  rotation_id:
    description:
      - Names the rotation, for example by a date or ticket. One that was done before is not done again.
    type: str
  max_age_days:
    description:
      - Without O(rotation_id), a rotation is due when the key in force is older than this many days.
      - A key of unknown age is adopted, which starts its clock, and is not rotated.
    type: float
  unlock_first:
    description:
      - With O(state=rotated), a server that is found locked is unlocked. One that a killed rotation left locked is unlocked anyway.
    type: bool
    default: false
  retention_days:
    description:
      - How long the backup of a rotation is kept; those past their time are removed after the next rotation.
    type: float
    default: 30
  service:
    description:
      - With O(state=configured), the systemd unit that runs the server here. The environment that it was started with tells whether
        a restart is due.
    type: str
  seal_for:
    description:
      - With O(state=configured), also return the key, sealed to a request of M(servos.ops.servos_secret_request) on another host.
    type: dict
    suboptions:
      request_id:
        description: The request.
        type: str
        required: true
      recipient:
        description: Its public key.
        type: str
        required: true
  sealed:
    description:
      - With O(state=configured), the key as another host sealed it.
    type: dict
    suboptions:
      request_id:
        description: The request that it answers.
        type: str
        required: true
      ciphertext:
        description: What RV(sealed) was there.
        type: str
        required: true
      secrets_dir:
        description: The directory of secrets of the request.
        type: path
        default: /var/lib/servos/secrets
"""

EXAMPLES = r"""
- name: Unlock Pika after a restart
  servos.ops.servos_pika_key:
    url: https://localhost:8080
    ca_file: /etc/pika/tls.pem
    username: automation
    password_file: /etc/pika/automation.password
    key_file: /etc/pika/server.key
    state: unlocked

- name: Rotate to a key that is made on the host, once for this year
  servos.ops.servos_pika_key:
    url: https://localhost:8080
    ca_file: /etc/pika/tls.pem
    username: automation
    password_file: /etc/pika/automation.password
    key_file: /etc/pika/server.key
    config_env_file: /etc/pika/pika.env
    state: rotated
    rotation_id: "2026"

- name: Rotate to a key that was brought along
  servos.ops.servos_pika_key:
    url: https://localhost:8080
    username: automation
    password_file: /etc/pika/automation.password
    key_file: /etc/pika/server.key
    new_key_file: /root/handover.key
    state: rotated

- name: Lock it
  servos.ops.servos_pika_key:
    url: https://localhost:8080
    username: automation
    password_file: /etc/pika/automation.password
    state: locked
"""

RETURN = r"""
server:
  description: What the server is now (in check mode, would be), V(uninitialized), V(locked), V(unlocked), or V(unreadable), which is one
    that has another key in memory than on its disk; with O(state=configured) V(unknown), if it does not answer.
  returned: success
  type: str
  sample: unlocked
phase:
  description: Where a rotation stands on this host. V(settled), none is under way; V(staged), the new key is ready, and the server may be
    under it; V(swapped), files of this host hold it.
  returned: success
  type: str
  sample: settled
steps:
  description: What was done (in check mode, would be), in order.
  returned: success, and when it failed on the way
  type: list
  elements: str
  sample: [stage, back up, rotate, put in force in /etc/pika/server.key]
reason:
  description: Why a rotation is due, or why not.
  returned: when O(state=rotated)
  type: str
  sample: rotation 2026 is asked for
rotated:
  description: Whether a rotation was due, or under way.
  returned: when O(state=rotated)
  type: bool
  sample: true
old_key:
  description: Fingerprint of the key that was replaced.
  returned: when RV(rotated)
  type: str
  sample: mk:0123456789abcdef
new_key:
  description: Fingerprint of the key that took its place; none in check mode where it would be made.
  returned: when RV(rotated)
  type: str
  sample: mk:fedcba9876543210
unlocked_with:
  description: Fingerprint of the key that opened the server; none if it was open already.
  returned: when O(state=unlocked)
  type: str
  sample: mk:0123456789abcdef
backup:
  description: The note of the backup; none where there was no rotation, or in check mode.
  returned: when O(state=rotated)
  type: dict
  sample:
    app: pika
    url: https://localhost:8080
    path: /var/lib/servos/pika-backups/pika-20261122T150000.000000Z-v42.pikabw
    created_at: "2026-11-22T15:00:00Z"
    expires_at: "2026-12-22T15:00:00Z"
    db_version: 42
    size_bytes: 81920
    sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    opens_with: mk:0123456789abcdef
restart_due:
  description: Whether the server on this host has to be restarted to have the key.
  returned: when O(state=configured)
  type: bool
  sample: true
process_key:
  description: Fingerprint of the key that the server here was started with; none where that is unknown.
  returned: when O(state=configured)
  type: str
  sample: mk:0123456789abcdef
sealed:
  description: The key, sealed to the request (HPKE, RFC 9180), in Base64.
  returned: when O(seal_for) is given, not in check mode
  type: str
  sample: 5kP3...
key_file_key:
  description: Fingerprint of the key in O(key_file).
  returned: success
  type: str
  sample: mk:fedcba9876543210
env_key:
  description: Fingerprint of the key in O(config_env_file).
  returned: success
  type: str
  sample: mk:fedcba9876543210
staged_key:
  description: Fingerprint of the key of a rotation under way.
  returned: success
  type: str
  sample: null
previous_key:
  description: Fingerprint of the key before the one in force.
  returned: success
  type: str
  sample: mk:0123456789abcdef
kept_keys:
  description: Fingerprints of the keys before that. Each is a file in O(state_dir), to be removed by hand.
  returned: success
  type: list
  elements: str
  sample: []
pika_answer:
  description: A word for what the server's last answer meant, such as V(wrong_key), V(locked), V(too_many) or V(no_capability).
  returned: when it failed for that
  type: str
  sample: too_many
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.acting import run_acting
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_command
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_keys
from ansible_collections.servos.ops.plugins.module_utils._ansible.pika_door import pika_options, pika_rules, run_on_pika
from ansible_collections.servos.ops.plugins.module_utils._errors import KeyFormatError, ServosError
from ansible_collections.servos.ops.plugins.module_utils._injection.relay import open_variables, seal_variables, take_request
from ansible_collections.servos.ops.plugins.module_utils._rotation.due import require_days
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_custody import parse_text, read_key_file
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_look import be_configured, phase_of, server_name
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_rotation import Wish, rotate_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_states import be_initialized, be_locked, be_unlocked
from ansible_collections.servos.ops.plugins.module_utils._system.services import SystemdService

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._keys.material import MasterKey
    from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_run import PikaRun

SEALED_NAME = "PIKA_SERVER_KEY"


def configure(module: AnsibleModule, run: PikaRun, given: MasterKey | None) -> dict[str, t.Any]:
    params = module.params
    key, sealed, service = given, params["sealed"], None
    if sealed is not None and run.write:
        private = take_request(sealed["secrets_dir"], sealed["request_id"])
        variables = open_variables(private, sealed["request_id"], sealed["ciphertext"])
        key = parse_text(variables.get(SEALED_NAME, ""), where="the sealed key")
        mask_keys(module, [key])
    if params["service"]:
        service = SystemdService(params["service"], lambda argv: run_command(module, argv))
    key = key or run.custody.in_force()
    done = be_configured(run, key, pid_of=service.main_pid if service is not None else None)
    asked = params["seal_for"]
    if asked is not None and run.write:
        done["sealed"] = seal_variables(
            asked["recipient"], asked["request_id"], {SEALED_NAME: key.reveal_text()}, entropy=os.urandom
        )
    return done


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            pika_options(),
            state={"type": "str", "choices": ["initialized", "unlocked", "locked", "rotated", "configured"], "required": True},
            new_key_file={"type": "path"},
            rotation_id={"type": "str"},
            max_age_days={"type": "float"},
            unlock_first={"type": "bool", "default": False},
            retention_days={"type": "float", "default": 30},
            service={"type": "str"},
            seal_for={
                "type": "dict",
                "options": {"request_id": {"type": "str", "required": True}, "recipient": {"type": "str", "required": True}},
            },
            sealed={
                "type": "dict",
                "options": {
                    "request_id": {"type": "str", "required": True},
                    "ciphertext": {"type": "str", "required": True},
                    "secrets_dir": {"type": "path", "default": "/var/lib/servos/secrets", "no_log": False},
                },
            },
        ),
        mutually_exclusive=[["new_key_file", "sealed"], *pika_rules()["mutually_exclusive"]],
        required_together=pika_rules()["required_together"],
        supports_check_mode=True,
    )
    params = module.params

    def act(run: PikaRun, given: MasterKey | None) -> dict[str, t.Any]:
        if params["state"] == "configured":
            return configure(module, run, given)
        if params["state"] == "rotated":
            wish = Wish(
                new_key=given, rotation_id=params["rotation_id"] or None, max_age_days=params["max_age_days"],
                unlock_first=params["unlock_first"], backup_dir=params["backup_dir"], retention_days=params["retention_days"],
            )  # fmt: skip
            return rotate_key(run, wish)
        return {"initialized": be_initialized, "unlocked": be_unlocked, "locked": be_locked}[params["state"]](run)

    def work(run: PikaRun) -> dict[str, t.Any]:
        require_days(params["retention_days"])
        if params["new_key_file"] and params["state"] not in ("rotated", "configured"):
            raise KeyFormatError(
                f"state={params['state']} has no use for new_key_file; nothing was changed; put that key into key_file, or leave it out"
            )
        given = read_key_file(params["new_key_file"]) if params["new_key_file"] else None
        mask_keys(module, [given])
        before = run.custody.marks()
        seen = server_name(run) if params["state"] == "configured" else run.status().name

        def told() -> dict[str, t.Any]:
            try:
                return act(run, given)
            except ServosError as error:
                error.facts.update(steps=run.steps, _warnings=run.warnings)
                raise

        done = run_acting(run.custody, told, purpose=f"servos_pika_key state={params['state']}") if run.write else told()
        after = run.custody.marks()
        return dict(
            done, **after, phase=phase_of(run.custody), kept_keys=run.custody.kept(),
            _before=dict(before, server=seen), _after=dict(after, server=done["server"]),
        )  # fmt: skip

    run_on_pika(module, work)


if __name__ == "__main__":
    main()
