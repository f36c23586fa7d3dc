#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_pika_info
short_description: Show the server key of Pika, its cluster and its backups
version_added: 0.1.0
description:
  - Shows whether a Pika server is initialized and unlocked, and, with a login, who we are to it, its place in its cluster, and how many
    secrets its settings have; and which keys and backups of it lie on this host, as fingerprints.
  - Tries no key.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._pika
attributes:
  check_mode:
    support: full
    details: Changes nothing in any mode, but for the session that it opens and ends.
  diff_mode:
    support: N/A
    details: Changes nothing.
  idempotent:
    support: full
"""

EXAMPLES = r"""
- name: See whether Pika is unlocked
  servos.ops.servos_pika_info:
    url: https://localhost:8080
    ca_file: /etc/pika/tls.pem

- name: See which node leads the cluster
  servos.ops.servos_pika_info:
    url: "https://{{ inventory_hostname }}:8080"
    ca_file: /etc/pika/tls.pem
    username: automation
    password_file: /etc/pika/automation.password
  register: pika
"""

RETURN = r"""
server:
  description: What the server is, V(uninitialized), V(locked), V(unlocked), or V(unreadable), which is one that has another key in memory
    than on its disk.
  returned: success
  type: str
  sample: unlocked
initialized:
  description: Whether it has a key.
  returned: success
  type: bool
  sample: true
unlocked:
  description: Whether it has that key in memory.
  returned: success
  type: bool
  sample: true
info:
  description: What it says of itself and of us, C(name), C(version), C(user), C(permissions) and the like.
  returned: success
  type: dict
  sample:
    name: pika
    version: v0.9.0
    user: automation
    permissions: [settings.manage]
may_manage:
  description: Whether we may work on its key; none without a login.
  returned: success
  type: bool
  sample: true
cluster:
  description: Its place in its cluster, C(enabled), C(role), C(is_leader), C(has_quorum), C(leader_healthy), C(peer_count) and C(nodes);
    none without a login, or where it does not say so now.
  returned: success
  type: dict
  sample:
    enabled: false
    role: single
    is_leader: true
    has_quorum: true
    leader_healthy: true
    peer_count: 0
    nodes: []
db_version:
  description: Version of the database that a backup would have; none without a login, or while it is locked.
  returned: success
  type: int
  sample: 42
secrets:
  description: How many secrets its settings could have are C(set) and C(unset); none without a login, or while it is locked.
  returned: success
  type: dict
  sample:
    set: 3
    unset: 5
backups:
  description: The backups in O(backup_dir), the newest first, each with its times, the database's version, and the fingerprint of the
    key that it opens with.
  returned: success
  type: list
  elements: dict
  sample:
    - path: /var/lib/servos/pika-backups/pika-20261122T150000.000000Z-v42.pikabw
      created_at: "2026-11-22T15:00:00Z"
      expires_at: "2026-12-22T15:00:00Z"
      db_version: 42
      opens_with: mk:0123456789abcdef
phase:
  description: Where a rotation stands on this host, as M(servos.ops.servos_pika_key) returns it.
  returned: success
  type: str
  sample: settled
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
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.pika_door import pika_options, pika_rules, run_on_pika
from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_look import look, phase_of

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.pika_run import PikaRun


def main() -> None:
    module = AnsibleModule(argument_spec=pika_options(), supports_check_mode=True, **pika_rules())

    def work(run: PikaRun) -> dict[str, t.Any]:
        seen = look(run, backup_dir=module.params["backup_dir"])
        del seen["steps"]
        return dict(seen, **run.custody.marks(), phase=phase_of(run.custody), kept_keys=run.custody.kept())

    run_on_pika(module, work)


if __name__ == "__main__":
    main()
