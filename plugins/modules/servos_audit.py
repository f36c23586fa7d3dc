#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_audit
short_description: Audit the root of trust of a control host
version_added: 0.1.0
description:
  - Looks at the keys of an installation, at the files, folders and processes that hold them, at the data and its backups, and at how the
    database and the API can be reached; says what is not as it should be, how severe that is, and what mends it.
  - Changes nothing. A look that fails is a finding of its own (C(could_not_look)), and the others go on.
  - Evidence names keys by their fingerprints, and holds nothing secret.
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
    details: It never changes anything.
  diff_mode:
    support: N/A
    details: It never changes anything.
  idempotent:
    support: full
options:
  backup_dir:
    description: Where the backups of this database are (see M(servos.ops.servos_backup)).
    type: path
  max_age:
    description: Days after which a key is old.
    type: float
    default: 365
  api_url:
    description: URL of the application's API, to look at what stands in front of it. Nothing is asked of it.
    type: str
  api_ca_file:
    description: Certificates (PEM) to trust instead of the system's.
    type: path
  min_certificate_days:
    description: How many days the API's certificate is to hold at least.
    type: float
    default: 30
  search:
    description:
      - Files and folders in which the known keys are looked for. Only what every user of the host may read is searched, and links are
        not followed. Compressed files (gzip) are searched as well.
    type: list
    elements: path
    default: [/etc, /home, /opt, /root, /srv, /tmp, /var/log, /var/tmp]
  search_megabytes:
    description: How much is searched at most. What is left out is said.
    type: int
    default: 2000
  setup_token_file:
    description: The file of the first administrator's token, which has to be gone after the setup.
    type: path
    default: /var/lib/servos/setup_token
  service_user:
    description: The user that the service runs as, if it is not root. The env file may belong to it.
    type: str
  timeout:
    description: Seconds that the API may take to show its certificate.
    type: float
    default: 10
"""

EXAMPLES = r"""
- name: Audit ServOS
  servos.ops.servos_audit:
    backup_dir: /var/lib/servos/backups
    api_url: https://servos.example
  register: servos_audit
"""

RETURN = r"""
findings:
  description:
    - What is not as it should be. C(id) says what kind it is, C(severity) is V(critical), V(high), V(medium) or V(low), C(subject) is the
      file, service or address, C(evidence) what was seen, C(mend) what to do, C(role) the role or playbook that does it, if any does.
  returned: success
  type: list
  elements: dict
  sample:
    - id: env_file_mode
      severity: critical
      subject: /etc/servos/servos.env
      evidence: every user of the host may read it (mode 0644)
      mend: make the file 0600, or 0640 with the service's own group
      role: ""
checks:
  description: All that was looked at; C(outcome) is V(passed), V(failed) or V(skipped), C(reason) says why.
  returned: success
  type: list
  elements: dict
  sample:
    - id: key_old
      subject: /etc/servos/servos.env
      outcome: passed
      reason: ""
"""

import datetime
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import installation_options, service_options
from ansible_collections.servos.ops.plugins.module_utils._audit.audit import Wanted, audit
from ansible_collections.servos.ops.plugins.module_utils._system.process_rights import gid_of, uid_of

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation

_PLACES = ["/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/var/log", "/var/tmp"]  # noqa: S108 - looked into, never written to


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            backup_dir={"type": "path"},
            max_age={"type": "float", "default": 365},
            api_url={"type": "str"},
            api_ca_file={"type": "path"},
            min_certificate_days={"type": "float", "default": 30},
            search={"type": "list", "elements": "path", "default": _PLACES},
            search_megabytes={"type": "int", "default": 2000},
            setup_token_file={"type": "path", "default": "/var/lib/servos/setup_token", "no_log": False},
            service_user={"type": "str"},
            timeout={"type": "float", "default": 10},
        ),
        supports_check_mode=True,
    )
    given = module.params

    def work(installation: Installation) -> dict[str, t.Any]:
        user = given["service_user"]
        wanted = Wanted(
            backup_dir=given["backup_dir"], max_age_days=given["max_age"], api_url=given["api_url"], api_ca_file=given["api_ca_file"],
            min_certificate_days=given["min_certificate_days"], search=given["search"],
            search_most_bytes=given["search_megabytes"] * 1000 * 1000, setup_token_file=given["setup_token_file"],
            service_uids=_known(uid_of, user), service_gids=_known(gid_of, user), timeout_s=given["timeout"],
        )
        ledger = audit(installation, wanted, now=datetime.datetime.now(datetime.timezone.utc))
        return {"changed": False, "findings": ledger.findings, "checks": ledger.checks}

    run_module(module, work)


def _known(look: t.Callable[[str], int | None], name: str | None) -> frozenset[int]:
    number = look(name) if name else None
    return frozenset() if number is None else frozenset([number])


if __name__ == "__main__":
    main()
