#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_key_rotate
short_description: Bring all data under the staged master key, swap the env file and restart the service
version_added: 0.1.0
description:
  - Looks at data, env file, process and keyring, and does what is left of a rotation, as far as O(until) says. Where nothing
    is left, or nothing is staged, it changes nothing. A run that was stopped anywhere is finished by the same task.
  - Stop, rewrap, swap and start happen in one process on the managed host that a lost connection or a dead controller does
    not end. If the service does not come up on the new key, data, env file and service are brought back to the old one.
  - Every value is opened under a known key before it is sealed anew, and opened again before the transaction is committed.
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
    details: The full dry run. Every value is opened and counted; nothing is written, and the API is not called.
  diff_mode:
    support: full
    details: Shows counts and fingerprints.
  idempotent:
    support: full
options:
  method:
    description:
      - With V(database), the service is stopped while one transaction rewraps all values.
      - With V(api), the application is asked to do it (C(POST /api/maintenance/rotate-key)), once; the database is read to
        see what it did, and what it left behind is rewrapped there.
    type: str
    choices:
      - api
      - database
    default: database
  until:
    description:
      - How far to go. With V(rewrapped) and V(swapped) a service that was stopped stays stopped, since it could not read
        the data with the key it would start on.
    type: str
    choices:
      - rewrapped
      - swapped
      - activated
    default: activated
  direction:
    description:
      - With V(back), everything is brought back under the key that was active before the rotation, values written since
        then included; the key that is taken back is kept as the withdrawn one until it is retired.
    type: str
    choices:
      - forward
      - back
    default: forward
  discover:
    description:
      - What to do about columns that hold sealed values and that the profile, although it names some, does not name.
    type: str
    choices:
      - fail
      - include
    default: fail
  scrub:
    description:
      - Leave no value under the old key in free pages or in the write-ahead log (VACUUM, and a truncating checkpoint).
      - What a libSQL server keeps is not in our power; a warning says so.
    type: bool
    default: true
  old_key_file:
    description:
      - A file on the managed host that holds the key that the data is under, where there is no env file. Needs O(until=rewrapped).
    type: path
  old_key:
    description:
      - The key that the data is under, where there is no env file. Better is O(old_key_file). Needs O(until=rewrapped).
    type: str
  expect_staged:
    description:
      - Only for check mode, when the task that stages a key has only said that it would; go on as if it had.
    type: bool
    default: false
  batch_size:
    description:
      - Commit about this many rows at a time, instead of all in one transaction; V(0) is all. Only for PostgreSQL from 14 on.
      - Locks are held for moments then, and a run that is stopped has not worked in vain. The same call goes on, by what the values
        themselves say; the staged and the active key are both kept until all values are under one.
      - Between the batches values are under both keys, so that the service is stopped meanwhile, as it is for one transaction, except
        with O(online=true).
    type: int
    default: 0
  batch_pause:
    description: Seconds to wait after each batch, so that replicas, the write-ahead log's archive and other users keep up.
    type: float
    default: 0
  batch_workers:
    description:
      - How many processes rewrap at the same time, each in its own part of a table. Needs O(batch_size). More than the host has cores
        to spare, or than the server has, gain nothing.
    type: int
    default: 1
  online:
    description:
      - Rewrap while the service runs. Only for applications that read a list of keys (C(key_list) of the profile, such as Airflow).
      - The new key is put before the old one in O(env_file), the service is restarted once and reads both, the data is rewrapped
        beside it (with O(batch_size) in parts), and then the old key is taken out of the list. The running process keeps it in its memory
        until it is started next.
    type: bool
    default: false
  lock_timeout:
    description: Seconds to wait for the database's write lock.
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
    description:
      - Seconds for which the started service must keep one main process. A service that checks its key at startup is gone
        a moment after it was started.
    type: float
    default: 1
  health_url:
    description:
      - A URL that answers 200 when the service is ready. It is no proof of anything else.
    type: str
  reencode_on_failed_start:
    description:
      - If the service does not come up on the new key, try the same 32 bytes in the other encoding once.
    type: bool
    default: false
  api_url:
    description:
      - Base URL of the API for O(method=api). Plain HTTP is possible to this host only.
    type: str
  api_token_file:
    description: A file on the managed host that holds an administrator's token.
    type: path
  api_timeout:
    description: Seconds to wait for the API's answer.
    type: float
    default: 300
  api_ca_file:
    description: Certificates (PEM) to trust instead of the system's.
    type: path
"""

EXAMPLES = r"""
- name: Finish the rotation to the staged key
  servos.ops.servos_key_rotate:

- name: The same by ServOS's own API
  servos.ops.servos_key_rotate:
    method: api
    api_url: http://127.0.0.1:8080
    api_token_file: /etc/servos/admin_token

- name: Rotate a database file that belongs to no service
  servos.ops.servos_key_rotate:
    app: provara
    database: sqlite:////srv/copy/provara.db
    old_key_file: /root/old.key
    new_key_file: /root/new.key
    state_dir: /srv/copy/rotation
    service_manager: none
    until: rewrapped

- name: Go back to the key from before
  servos.ops.servos_key_rotate:
    direction: back
"""

RETURN = r"""
phase:
  description: The phase after the run; in check mode, before it.
  returned: success
  type: str
  sample: activated
phase_before:
  description: The phase before the run.
  returned: success
  type: str
  sample: staged
next_step:
  description: What comes next.
  returned: success
  type: str
  sample: verify, then retire
steps:
  description: What was (in check mode, would be) done; any of C(rewrap), C(swap), C(scrub) (left over from a run that was
    killed, or else part of C(rewrap)), C(restart) and C(withdraw).
  returned: success
  type: list
  elements: str
  sample: [rewrap, swap, restart]
rewrapped:
  description: Number of values that were (in check mode, would be) brought under the new key.
  returned: success
  type: int
  sample: 400
healed:
  description: Number of values that the old process had sealed in the meantime and that were brought over after its restart.
  returned: success
  type: int
  sample: 0
duration_s:
  description: Seconds that the rewrap took.
  returned: success
  type: float
  sample: 0.061
values_per_s:
  description: Values rewrapped a second.
  returned: success
  type: int
  sample: 6557
window_s:
  description: Seconds from before the service's stop until it had come up and settled; none where it was not restarted.
  returned: success
  type: float
  sample: 1.8
timeline:
  description:
    - What was done when. C(at) is when a step began, C(seconds) how long it took; nothing in check mode.
    - C(stop) and the C(start) after it, with what is between them, are RV(window_s).
  returned: success
  type: list
  elements: dict
  sample:
    - at: "2026-01-01T00:00:00.000Z"
      what: stop
      seconds: 0.212
scrub:
  description: C(vacuumed), and C(wal_bytes), the size of the write-ahead log afterwards (none for a server).
  returned: when O(scrub=true) and data was written
  type: dict
  sample:
    vacuumed: true
    wal_bytes: 0
tables:
  description:
    - One entry a table that holds sealed values. C(rewrapped) were (in check mode, would be) brought under the new key, C(already) were
      under it before; together with C(empty), C(plain) and C(foreign) ones they make up what was C(scanned).
  returned: success
  type: list
  elements: dict
  sample:
    - table: api_keys
      scanned: 120
      rewrapped: 120
      already: 0
      empty: 0
      plain: 0
      foreign: 0
census_before:
  description: The census before the run, as M(servos.ops.servos_key_info) returns it.
  returned: success
  type: list
  elements: dict
  sample: []
census:
  description: The census after the run.
  returned: success
  type: list
  elements: dict
  sample: []
sealed_values:
  description: Number of sealed values, under whichever key.
  returned: success
  type: int
  sample: 400
sealed_values_before:
  description: Number of sealed values before the run.
  returned: success
  type: int
  sample: 400
undeclared:
  description: Fields outside the profile that hold sealed values.
  returned: success
  type: list
  elements: dict
  sample: []
canary:
  description: The role of the key that opens the integrity canary.
  returned: success
  type: str
  sample: active
env_key:
  description: Fingerprint of the active key.
  returned: success
  type: str
  sample: mk:fedcba9876543210
process_key:
  description: Fingerprint of the key that the service runs with.
  returned: success
  type: str
  sample: mk:fedcba9876543210
process_seen:
  description: Whether a service is described, so that its process can be held against the env file.
  returned: success
  type: bool
  sample: true
processes:
  description: The processes that were started with a known key, as M(servos.ops.servos_key_info) returns them.
  returned: success
  type: list
  elements: dict
  sample: []
processes_unread:
  description: Number of processes whose environment may not be read; none for root.
  returned: success
  type: int
  sample: 0
process_evidence:
  description: How RV(process_key) is known, V(environment) or V(start); see M(servos.ops.servos_key_info).
  returned: success
  type: str
  sample: environment
listed_keys:
  description: Fingerprints of the other keys of a list in the configuration, as M(servos.ops.servos_key_info) returns them.
  returned: success
  type: list
  elements: str
  sample: []
staged_key:
  description: Fingerprint of the staged key.
  returned: success
  type: str
  sample: mk:fedcba9876543210
previous_key:
  description: Fingerprint of the previous key.
  returned: success
  type: str
  sample: mk:0123456789abcdef
withdrawn_key:
  description: Fingerprint of the key that was taken back.
  returned: success
  type: str
  sample: mk:7766554433221100
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.acting import now, run_acting
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import given_key, run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import (
    empty_option,
    installation_options,
    new_key_options,
    service_options,
)
from ansible_collections.servos.ops.plugins.module_utils._rotation.rotate import rotate
from ansible_collections.servos.ops.plugins.module_utils._rotation.run import WalkOptions

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def walk_options(params: dict[str, t.Any]) -> WalkOptions:
    return WalkOptions(
        until=params["until"],
        method=params["method"],
        back=params["direction"] == "back",
        discover=params["discover"],
        allow_empty=params["allow_empty"],
        scrub=params["scrub"],
        batch_size=params["batch_size"],
        batch_pause_s=params["batch_pause"],
        batch_workers=params["batch_workers"],
        online=params["online"],
        lock_timeout_s=params["lock_timeout"],
        stop_timeout_s=params["stop_timeout"],
        start_timeout_s=params["start_timeout"],
        settle_s=params["settle_time"],
        health_url=params["health_url"],
        reencode_on_failed_start=params["reencode_on_failed_start"],
        api_url=params["api_url"],
        api_token_file=params["api_token_file"],
        api_timeout_s=params["api_timeout"],
        api_ca_file=params["api_ca_file"],
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            **new_key_options(),
            **empty_option(),
            method={"type": "str", "choices": ["api", "database"], "default": "database"},
            until={"type": "str", "choices": ["rewrapped", "swapped", "activated"], "default": "activated"},
            direction={"type": "str", "choices": ["forward", "back"], "default": "forward"},
            discover={"type": "str", "choices": ["fail", "include"], "default": "fail"},
            scrub={"type": "bool", "default": True},
            old_key_file={"type": "path"},
            old_key={"type": "str", "no_log": True},
            expect_staged={"type": "bool", "default": False},
            batch_size={"type": "int", "default": 0},
            batch_pause={"type": "float", "default": 0},
            batch_workers={"type": "int", "default": 1},
            online={"type": "bool", "default": False},
            lock_timeout={"type": "float", "default": 30},
            stop_timeout={"type": "float", "default": 90},
            start_timeout={"type": "float", "default": 60},
            settle_time={"type": "float", "default": 1},
            health_url={"type": "str"},
            reencode_on_failed_start={"type": "bool", "default": False},
            api_url={"type": "str"},
            api_token_file={"type": "path", "no_log": False},
            api_timeout={"type": "float", "default": 300},
            api_ca_file={"type": "path"},
        ),
        mutually_exclusive=[["new_key", "new_key_file"], ["old_key", "old_key_file"]],
        supports_check_mode=True,
    )

    def work(installation: Installation) -> dict[str, t.Any]:
        old_key, new_key = given_key(module, installation, "old_key"), given_key(module, installation, "new_key")

        def act(write: bool) -> dict[str, t.Any]:
            return rotate(
                installation, walk_options(module.params), old_key=old_key, new_key=new_key,
                expect_staged=module.params["expect_staged"], now=now(), write=write,
            )

        if module.check_mode:
            return act(False)
        return run_acting(installation, lambda: act(True), purpose="servos_key_rotate")

    run_module(module, work)


if __name__ == "__main__":
    main()
