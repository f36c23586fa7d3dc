#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_key_share
short_description: Hold the same master key on several control hosts of one installation
version_added: 0.1.0
description:
  - Where several control hosts share one database, one of them rewraps it and the others follow. This module is what the others do.
    It never writes data.
  - The key comes sealed to a public key that this host has made for this one time, so that the controller carries ciphertext only.
  - The playbooks C(servos.ops.rotate) and C(servos.ops.rollback) use it by themselves where C(servos_installation) names the group of
    the hosts that belong together.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._attributes.actiongroup_servos
  - servos.ops._installation
  - servos.ops._service
attributes:
  check_mode:
    support: full
    details: Looks at all that a real run looks at; no request is made.
  diff_mode:
    support: full
    details: Shows fingerprints.
  idempotent:
    support: full
    details: With O(state=ready), each request takes the place of the one before; none counts as a change.
options:
  state:
    description:
      - With V(ready), this host could take part (keys, database, env file and service are as they must be), and asks for the key. What
        an earlier run on this host still wanted to do is refused from now on.
      - With V(quiesced), the key is staged here, and the service is stopped.
      - With V(following), env file and service are on the key that the data is under.
    type: str
    choices:
      - ready
      - quiesced
      - following
    required: true
  request_id:
    description:
      - The request that O(state=ready) returned. With O(state=quiesced) and O(state=following) it is required, but in check mode.
    type: str
  ciphertext:
    description:
      - With O(state=quiesced), the key as C(sealed) of M(servos.ops.servos_keyring) on the other host has it. Without it nothing is
        staged.
    type: str
  rotation_id:
    description:
      - With O(state=quiesced), the name of the rotation, so that any of the hosts knows later that it was done.
    type: str
  followed_key:
    description:
      - With O(state=following), the fingerprint of the key that the other host runs on. Every value must be under it.
      - Without it, the data alone says which key to follow, and it is looked at while nobody can write.
    type: str
  direction:
    description:
      - With V(back) and O(state=following), the rotation was taken back, and the staged key becomes the withdrawn one.
    type: str
    choices:
      - forward
      - back
    default: forward
  expect_staged:
    description:
      - Only for check mode with O(state=following); go on as if a key had been staged and the data were under it.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for the database's write lock, without O(followed_key).
    type: float
    default: 30
  stop_timeout:
    description: Seconds that the service may take to stop.
    type: float
    default: 90
  start_timeout:
    description: Seconds that the service may take to come up.
    type: float
    default: 60
  settle_time:
    description: Seconds for which the started service must keep one main process.
    type: float
    default: 1
  health_url:
    description: A URL that answers 200 when the service is ready. It is no proof of anything else.
    type: str
  reencode_on_failed_start:
    description:
      - If the service does not come up on the new key, try the same 32 bytes in the other encoding once.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: See whether this host could take part, and ask for the key
  servos.ops.servos_key_share:
    state: ready
  register: share

- name: Take the key, and stop the service
  servos.ops.servos_key_share:
    state: quiesced
    request_id: "{{ share.request_id }}"
    ciphertext: "{{ sealed.ciphertext }}"
    rotation_id: "2026"

- name: Follow the host that has rewrapped the data
  servos.ops.servos_key_share:
    state: following
    request_id: "{{ share.request_id }}"
    followed_key: "{{ rotated.env_key }}"
"""

RETURN = r"""
request_id:
  description: Names the request; none in check mode.
  returned: when O(state=ready)
  type: str
  sample: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0
recipient:
  description: The public key, X25519, in Base64; none in check mode.
  returned: when O(state=ready)
  type: str
  sample: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
database_id:
  description: Names the database, so that two hosts can compare. The same for a file on one machine, and for one database of a server.
  returned: when O(state=ready)
  type: str
  sample: 9f86d081884c7d65
staged:
  description: Whether the key was not here yet.
  returned: when O(state=quiesced)
  type: bool
  sample: true
stopped:
  description: Whether the service was (in check mode, would be) stopped; false where it was stopped before.
  returned: when O(state=quiesced)
  type: bool
  sample: true
steps:
  description: What was (in check mode, would be) done; any of C(swap), C(restart) and C(withdraw).
  returned: when O(state=following)
  type: list
  elements: str
  sample: [swap, restart]
phase:
  description: The phase, as M(servos.ops.servos_key_info) returns it; none where the data was not looked at.
  returned: when O(state=ready) or O(state=following)
  type: str
  sample: activated
env_key:
  description: Fingerprint of the active key.
  returned: when O(state=ready) or O(state=following)
  type: str
  sample: mk:fedcba9876543210
process_key:
  description: Fingerprint of the key that the service runs with.
  returned: when O(state=ready) or O(state=following)
  type: str
  sample: mk:fedcba9876543210
staged_key:
  description: Fingerprint of the staged key.
  returned: when O(state=ready) or O(state=following)
  type: str
  sample: mk:fedcba9876543210
previous_key:
  description: Fingerprint of the previous key.
  returned: when O(state=ready) or O(state=following)
  type: str
  sample: mk:0123456789abcdef
withdrawn_key:
  description: Fingerprint of the key that was taken back.
  returned: when O(state=ready) or O(state=following)
  type: str
  sample: mk:7766554433221100
sealed_values_before:
  description: Number of sealed values that this host sees.
  returned: when O(state=following)
  type: int
  sample: 400
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.acting import now, run_acting
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_keys
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import installation_options, service_options
from ansible_collections.servos.ops.plugins.module_utils._rotation.custody import fingerprints_of
from ansible_collections.servos.ops.plugins.module_utils._rotation.following import FollowOptions, be_ready, follow, quiesce, take_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.handover import Handover
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import WalkOptions

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def ready(installation: Installation, *, write: bool) -> dict[str, t.Any]:
    seen = be_ready(installation)
    if not write:
        return dict(seen, request_id=None, recipient=None)
    return dict(seen, **Handover(installation).ask(entropy=os.urandom)._asdict())


def quiesced(module: AnsibleModule, installation: Installation, *, write: bool) -> dict[str, t.Any]:
    params, handover, given = module.params, Handover(installation), None
    before = fingerprints_of(installation)
    if write:
        handover.require(params["request_id"])
    if params["ciphertext"] and write:
        given = handover.take(params["request_id"], params["ciphertext"])
        mask_keys(module, [given])
    staged = take_key(installation, given, rotation_id=params["rotation_id"] or None, now=now(), write=write)
    stopped = quiesce(installation, timeout_s=params["stop_timeout"], write=write)
    return {
        "changed": staged or stopped, "staged": staged, "stopped": stopped,
        "_before": before, "_after": fingerprints_of(installation),
    }  # fmt: skip


def following(module: AnsibleModule, installation: Installation, *, write: bool) -> dict[str, t.Any]:
    params, handover = module.params, Handover(installation)
    if write:
        handover.require(params["request_id"])
    walk = WalkOptions(
        lock_timeout_s=params["lock_timeout"], stop_timeout_s=params["stop_timeout"], start_timeout_s=params["start_timeout"],
        settle_s=params["settle_time"], health_url=params["health_url"], reencode_on_failed_start=params["reencode_on_failed_start"],
    )  # fmt: skip
    options = FollowOptions(params["followed_key"] or None, params["direction"] == "back", walk)
    done = follow(installation, options, expect_staged=params["expect_staged"], now=now(), write=write)
    if write:
        handover.close()
    return done


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            state={"type": "str", "choices": ["ready", "quiesced", "following"], "required": True},
            request_id={"type": "str"},
            ciphertext={"type": "str"},
            rotation_id={"type": "str"},
            followed_key={"type": "str", "no_log": False},
            direction={"type": "str", "choices": ["forward", "back"], "default": "forward"},
            expect_staged={"type": "bool", "default": False},
            lock_timeout={"type": "float", "default": 30},
            stop_timeout={"type": "float", "default": 90},
            start_timeout={"type": "float", "default": 60},
            settle_time={"type": "float", "default": 1},
            health_url={"type": "str"},
            reencode_on_failed_start={"type": "bool", "default": False},
        ),
        supports_check_mode=True,
    )

    def act(installation: Installation, *, write: bool) -> dict[str, t.Any]:
        if module.params["state"] == "ready":
            return ready(installation, write=write)
        return {"quiesced": quiesced, "following": following}[module.params["state"]](module, installation, write=write)

    def work(installation: Installation) -> dict[str, t.Any]:
        if module.check_mode:
            return act(installation, write=False)
        return run_acting(installation, lambda: act(installation, write=True), purpose=f"servos_key_share state={module.params['state']}")

    run_module(module, work)


if __name__ == "__main__":
    main()
