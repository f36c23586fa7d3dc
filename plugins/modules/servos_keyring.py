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
attributes:
  check_mode:
    support: full
    details: The data is looked at as in a real run; no key is made.
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
        the running service, needs it.
    type: str
    choices:
      - staged
      - active
      - retired
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
retired:
  description: Fingerprints of the keys that were (in check mode, would be) destroyed.
  returned: when O(state=retired)
  type: list
  elements: str
  sample: ["mk:0011223344556677"]
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

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import given_key, now, run_acting, run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import (
    empty_option,
    installation_options,
    new_key_options,
    service_options,
)
from ansible_collections.servos.ops.plugins.module_utils._rotation.custody import activate, fingerprints_of, retire, stage

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            **new_key_options(),
            **empty_option(),
            state={"type": "str", "choices": ["staged", "active", "retired"], "required": True},
            rotation_id={"type": "str"},
            max_age_days={"type": "float"},
            readable_backups={"type": "path"},
        ),
        mutually_exclusive=[["new_key", "new_key_file"]],
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
        return stage(
            installation, new_key=new_key, rotation_id=params["rotation_id"] or None, max_age_days=params["max_age_days"],
            allow_empty=params["allow_empty"], now=now(), write=write,
        )

    new_key = None

    def work(installation: Installation) -> dict[str, t.Any]:
        nonlocal new_key
        new_key = given_key(module, installation, "new_key")
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
