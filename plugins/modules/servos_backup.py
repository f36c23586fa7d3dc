#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_backup
short_description: Back up, restore and expire the database of an installation
version_added: 0.1.0
description:
  - Copies a database while it is in use (a libSQL server into a SQLite file, a PostgreSQL database by C(pg_dump)), checks the
    copy's integrity, opens every value in it, and writes beside it its SHA-256, its counts and the fingerprint of the key that opens
    it; a backup without its key is worth nothing.
  - A dump of a PostgreSQL database is proven by restoring it into a scratch database on the same server, which is dropped
    afterwards. That needs C(pg_dump) and C(pg_restore) of the server's version, or newer, on the managed host, and a role that may
    create databases.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._attributes.actiongroup_servos
  - servos.ops._installation
  - servos.ops._service
  - servos.ops._empty
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details: Shows the names of backups.
  idempotent:
    support: partial
    details: With O(state=present) every run makes a new backup, and with O(state=restored) every run restores.
options:
  state:
    description:
      - With V(present), a new backup is made, and those past their time are removed, never the newest.
      - With V(restored), a backup takes the place of the data, or is written to O(target). Without O(target) the service is
        stopped meanwhile, and started again if the restored data is under the active key. What is replaced is set aside in
        O(backup_dir), and RV(loss) says what only it holds; look at that in check mode first.
      - With V(dropped), the scratch database O(target) of a PostgreSQL server, which V(restored) made, is dropped.
      - With V(pruned), backups past their time are removed, and with O(unreadable) those that no key known here opens.
    type: str
    choices:
      - present
      - restored
      - pruned
      - dropped
    default: present
  backup_dir:
    description: Where backups lie. It is made C(0700), the files are C(0600).
    type: path
    required: true
  retention_days:
    description: How long a new backup is kept, or the data that a restored one replaces.
    type: float
    default: 30
  path:
    description: The backup to restore; the default is the newest.
    type: path
  target:
    description:
      - Restore to this new file instead of the installation's database.
      - A backup of a PostgreSQL database is restored into a scratch database on the same server, of which this is a short name of
        a-z, 0-9 and _. It stays until O(state=dropped).
    type: path
  unreadable:
    description: With O(state=pruned), remove backups too that no key known here opens. The newest is not spared then.
    type: bool
    default: false
  stop_timeout:
    description: Seconds that the service may take to stop.
    type: float
    default: 90
  start_timeout:
    description: Seconds that the service may take to come up.
    type: float
    default: 60
"""

EXAMPLES = r"""
- name: Back up ServOS's database
  servos.ops.servos_backup:
    backup_dir: /var/lib/servos/backups

- name: Look at the newest backup in a scratch file
  servos.ops.servos_backup:
    state: restored
    backup_dir: /var/lib/servos/backups
    target: /var/lib/servos/rehearsal/servos.db

- name: Look at the newest backup of a PostgreSQL database in a scratch database
  servos.ops.servos_backup:
    state: restored
    backup_dir: /var/lib/servos/backups
    target: look
  register: looked_at

- name: Drop the scratch database again
  servos.ops.servos_backup:
    state: dropped
    backup_dir: /var/lib/servos/backups
    target: look
"""

RETURN = r"""
backup:
  description:
    - The note of the backup that was made or restored; C(path), C(sha256), C(size_bytes), C(created_at), C(expires_at),
      C(keys) (number of values by the fingerprint that opens them) and C(census).
  returned: when O(state) is V(present) or V(restored), and not for V(present) in check mode
  type: dict
  sample:
    app: servos
    path: /var/lib/servos/backups/servos-20260101T000000.000000Z.db
    created_at: "2026-01-01T00:00:00Z"
    expires_at: "2026-01-31T00:00:00Z"
    keys:
      mk:0123456789abcdef: 400
    size_bytes: 212992
removed:
  description: Paths of the backups that were (in check mode, would be) removed.
  returned: when O(state) is V(present) or V(pruned)
  type: list
  elements: str
  sample: []
loss:
  description:
    - What the backup has not of the data that it replaces (in check mode, would replace). C(added), C(changed) and C(deleted) count
      rows since C(since), C(tables) names theirs, C(unreadable) says why they could not be counted, C(text) says it in words.
    - Rows are compared by what they say; a value that was only sealed anew has not changed.
  returned: when O(state=restored) without O(target)
  type: dict
  sample:
    since: "2026-01-01T00:00:00Z"
    added: 2
    changed: 1
    deleted: 0
    tables: [services]
    unreadable: ""
    text: "what was written since 2026-01-01T00:00:00Z would be lost: 2 rows added, 1 changed and 0 deleted since, in services"
set_aside:
  description:
    - Where the database that was replaced is kept, beside the backups, for O(retention_days). It is not restored unless O(path)
      names it.
  returned: when O(state=restored) without O(target)
  type: str
  sample: /var/lib/servos/backups/servos-20260102T000000.000000Z.db
copy_url:
  description: The URL of what the backup was (in check mode, would be) restored to.
  returned: when O(state=restored) with O(target)
  type: str
  sample: sqlite:////var/lib/servos/rehearsal/servos.db
started:
  description: Whether the service was started again after a restore.
  returned: when O(state=restored) without O(target)
  type: bool
  sample: true
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.acting import now, run_acting
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import (
    empty_option,
    installation_options,
    service_options,
)
from ansible_collections.servos.ops.plugins.module_utils._rotation.backups import keep_backups, prune_backups
from ansible_collections.servos.ops.plugins.module_utils._rotation.due import require_days
from ansible_collections.servos.ops.plugins.module_utils._rotation.restore import drop_scratch, restore_backup

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            **empty_option(),
            state={"type": "str", "choices": ["present", "restored", "pruned", "dropped"], "default": "present"},
            backup_dir={"type": "path", "required": True},
            retention_days={"type": "float", "default": 30},
            path={"type": "path"},
            target={"type": "path"},
            unreadable={"type": "bool", "default": False},
            stop_timeout={"type": "float", "default": 90},
            start_timeout={"type": "float", "default": 60},
        ),
        required_if=[("state", "dropped", ["target"])],
        supports_check_mode=True,
    )

    def act(installation: Installation, *, write: bool) -> dict[str, t.Any]:
        params = module.params
        require_days(params["retention_days"])
        if params["state"] == "present":
            return keep_backups(
                installation, backup_dir=params["backup_dir"], retention_days=params["retention_days"],
                allow_empty=params["allow_empty"], now=now(), write=write,
            )
        if params["state"] == "pruned":
            return prune_backups(
                installation, backup_dir=params["backup_dir"], unreadable=params["unreadable"], now=now(), write=write
            )
        if params["state"] == "dropped":
            return drop_scratch(installation, name=params["target"], write=write)
        return restore_backup(
            installation, backup_dir=params["backup_dir"], path=params["path"], target=params["target"],
            stop_timeout_s=params["stop_timeout"], start_timeout_s=params["start_timeout"],
            retention_days=params["retention_days"], now=now(), write=write,
        )

    def work(installation: Installation) -> dict[str, t.Any]:
        if module.check_mode:
            return act(installation, write=False)
        return run_acting(installation, lambda: act(installation, write=True), purpose=f"servos_backup state={module.params['state']}")

    run_module(module, work)


if __name__ == "__main__":
    main()
