#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_secret_request
short_description: Ask for secrets with a public key made for this one time
version_added: 0.1.0
description:
  - Makes a key pair on a node. M(servos.ops.servos_secret_open) on the control host seals variables to the public half, and
    M(servos.ops.servos_secret_inject) on the node opens them, so that the controller carries ciphertext only.
  - The private half stays in O(secrets_dir), C(0600), until it is answered, which destroys it. What nobody answered for an hour
    is destroyed by the next request, or at boot where the role P(servos.ops.secret_inject#role) is in use.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
requirements:
  - cryptography >= 3.3 (on the managed host)
attributes:
  check_mode:
    support: full
    details: Returns a key pair derived from the node's own key, so that M(servos.ops.servos_secret_inject) can compare; writes nothing.
  diff_mode:
    support: N/A
    details: What it makes lives until it is answered.
  idempotent:
    support: N/A
    details: Each request is another one; none counts as a change.
options:
  secrets_dir:
    description:
      - The directory of secrets on the node. It is made C(0700).
    type: path
    default: /var/lib/servos/secrets
"""

EXAMPLES = r"""
- name: Ask for secrets
  servos.ops.servos_secret_request:
  register: request
"""

RETURN = r"""
request_id:
  description: Names the request.
  returned: success
  type: str
  sample: 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0
recipient:
  description: The public key, X25519, in Base64.
  returned: success
  type: str
  sample: hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=
"""

import base64
import os
import typing as t
import uuid

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.dependencies import require_cryptography
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_guarded
from ansible_collections.servos.ops.plugins.module_utils._injection.relay import make_request, pretend_request
from ansible_collections.servos.ops.plugins.module_utils._system.ephemeral import EphemeralFolder


def main() -> None:
    module = AnsibleModule(
        argument_spec={"secrets_dir": {"type": "path", "default": "/var/lib/servos/secrets"}},
        supports_check_mode=True,
    )
    require_cryptography(module)

    def work() -> dict[str, t.Any]:
        request_id = str(uuid.uuid4())
        if module.check_mode:
            public = pretend_request(module.params["secrets_dir"], request_id, entropy=os.urandom)
        else:
            with EphemeralFolder(module.params["secrets_dir"]) as folder:
                public = make_request(folder.path, request_id, entropy=os.urandom)
        return {"changed": False, "request_id": request_id, "recipient": base64.b64encode(public).decode("ascii")}

    run_guarded(module, work)


if __name__ == "__main__":
    main()
