#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_node_login
short_description: Log in to every server with its key from the data
version_added: 0.1.0
description:
  - Opens the SSH private key of every server in the database of this control host, and logs in to the server with it, if its host
    key is the pinned one (M(servos.ops.servos_hostkey)). After a rotation this proves from end to end that the keys are whole.
  - Private keys stay in memory. Nothing is run on the servers, and nothing is changed.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._installation
requirements:
  - paramiko >= 2.12 (on the control host; Debian, Ubuntu, Fedora, package python3-paramiko)
attributes:
  check_mode:
    support: full
    details: It never changes anything, and logs in all the same.
  diff_mode:
    support: N/A
    details: It never changes anything.
  idempotent:
    support: full
options:
  logins:
    description:
      - Where the servers stand in the data. No schema of ServOS is published, so the names of tables and columns have to be given.
    type: dict
    required: true
    suboptions:
      table:
        description: The table of servers. Every row must log in.
        type: str
        required: true
      private_key:
        description: The column of the sealed private key.
        type: str
        required: true
      passphrase:
        description: The column of the sealed passphrase, if there is one.
        type: str
      name:
        description: The column of the server's name.
        type: str
        default: name
      host:
        description: The column of the server's name or address in the network, with or without a port.
        type: str
        default: host
      port_column:
        description: The column of the port, if there is one.
        type: str
      user_column:
        description: The column of the user, if there is one.
        type: str
      port:
        description: The port, where the data does not say.
        type: int
        default: 22
      user:
        description: The user, where the data does not say.
        type: str
        default: root
      addresses:
        description: Names or addresses, with or without a port, by the server's name; used instead of the data's.
        type: dict
        default: {}
      leave_out:
        description: Names of servers that are known to be gone.
        type: list
        elements: str
        default: []
  known_hosts:
    description:
      - The file of pins on the control host.
    type: path
    default: /var/lib/servos/known_hosts
  timeout:
    description:
      - Deadline for each server, in seconds.
    type: float
    default: 15
  parallel:
    description:
      - How many servers are tried at the same time.
    type: int
    default: 16
  allow_empty:
    description:
      - Take a table without servers for what it seems.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Log in to every server with its key from the data
  servos.ops.servos_node_login:
    logins:
      table: servers
      private_key: ssh_private_key
      passphrase: ssh_passphrase
"""

RETURN = r"""
logins:
  description: One entry for each server.
  returned: always
  type: list
  elements: dict
  contains:
    name:
      description: The server's name in the data.
      type: str
      sample: web1
    address:
      description: Where it was looked for.
      type: str
      sample: "[10.0.0.5]:2222"
    ok:
      description: Whether the login succeeded.
      type: bool
      sample: true
    reason:
      description: Why not.
      type: str
      sample: 10.0.0.5:2222 does not let root in with this key
    host_fingerprint:
      description: The fingerprint of the host key that was pinned and shown.
      type: str
      sample: SHA256:0MWlvGYGTIBS3hxAC6B6yz6yBRmhWjS6GFCCTQ8MrJg
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import empty_option, installation_options
from ansible_collections.servos.ops.plugins.module_utils._ansible.paramiko_dependency import require_paramiko
from ansible_collections.servos.ops.plugins.module_utils._hosts.logins import described, log_in_to_all
from ansible_collections.servos.ops.plugins.module_utils._rotation.opened import open_rows

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation

LOGINS = {
    "table": {"type": "str", "required": True},
    "private_key": {"type": "str", "required": True, "no_log": False},
    "passphrase": {"type": "str", "no_log": False},
    "name": {"type": "str", "default": "name"},
    "host": {"type": "str", "default": "host"},
    "port_column": {"type": "str"},
    "user_column": {"type": "str"},
    "port": {"type": "int", "default": 22},
    "user": {"type": "str", "default": "root"},
    "addresses": {"type": "dict", "default": {}},
    "leave_out": {"type": "list", "elements": "str", "default": []},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **empty_option(),
            logins={"type": "dict", "required": True, "options": LOGINS},
            known_hosts={"type": "path", "default": "/var/lib/servos/known_hosts"},
            timeout={"type": "float", "default": 15},
            parallel={"type": "int", "default": 16},
        ),
        supports_check_mode=True,
    )
    require_paramiko(module)

    def work(installation: Installation) -> dict[str, t.Any]:
        logins, params = module.params["logins"], module.params
        columns = [logins[name] for name in ("private_key", "passphrase") if logins[name]]
        plain = [logins[name] for name in ("name", "host", "port_column", "user_column") if logins[name]]
        rows = open_rows(installation, table=logins["table"], sealed=columns, plain=plain)
        servers = [described(row.key, row.plain, row.opened, logins) for row in rows]
        return log_in_to_all(
            [server for server in servers if server.name not in logins["leave_out"]],
            known_hosts=params["known_hosts"], timeout_s=params["timeout"], parallel=params["parallel"],
            allow_empty=params["allow_empty"],
        )

    run_module(module, work)


if __name__ == "__main__":
    main()
