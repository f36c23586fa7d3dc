#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_secret_open
short_description: Open sealed values of an installation for a node
version_added: 0.1.0
description:
  - Opens values in the database of this control host with the active key, and seals them to the public key of a node that asked
    for them with M(servos.ops.servos_secret_request). Only that node can open what is returned, once.
  - No plaintext is written or returned.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._installation
  - servos.ops._from_service
attributes:
  check_mode:
    support: full
    details: It never changes anything.
  diff_mode:
    support: N/A
    details: It never changes anything.
  idempotent:
    support: full
options:
  request_id:
    description:
      - RV(servos.ops.servos_secret_request#module:request_id) of the node's request.
    type: str
    required: true
  recipient:
    description:
      - RV(servos.ops.servos_secret_request#module:recipient) of the node's request.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Open the variables of the service web for the node that asked
  servos.ops.servos_secret_open:
    request_id: "{{ request.request_id }}"
    recipient: "{{ request.recipient }}"
    from_service:
      - table: services
        column: env_vars
        row:
          name: web
        all: true
  delegate_to: control1
  register: opened
"""

RETURN = r"""
sealed:
  description: The variables, sealed to the recipient (HPKE, RFC 9180), in Base64.
  returned: success
  type: str
  sample: 5kP3...
variables:
  description: The names of the variables.
  returned: success
  type: list
  elements: str
  sample: [DATABASE_URL, SMTP_PASSWORD]
"""

import os
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import from_service_option, installation_options
from ansible_collections.servos.ops.plugins.module_utils._injection.relay import seal_variables
from ansible_collections.servos.ops.plugins.module_utils._rotation.opened import open_variables

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **from_service_option(),
            request_id={"type": "str", "required": True},
            recipient={"type": "str", "required": True},
        ),
        supports_check_mode=True,
    )

    def work(installation: Installation) -> dict[str, t.Any]:
        variables = open_variables(installation, module.params["from_service"] or [])
        sealed = seal_variables(module.params["recipient"], module.params["request_id"], variables, entropy=os.urandom)
        return {"changed": False, "sealed": sealed, "variables": sorted(variables)}

    run_module(module, work)


if __name__ == "__main__":
    main()
