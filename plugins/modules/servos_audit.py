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
  scope:
    description:
      - With V(node), a host without an installation is looked at, and there only containers and what injections of secrets have left.
    type: str
    choices: [control_host, node]
    default: control_host
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
  engines:
    description:
      - Container engines to ask for what C(inspect) shows of each container. Those that are not on the host, or do not answer, are passed
        over.
    type: list
    elements: str
    choices: [docker, podman]
    default: [docker, podman]
  secrets_dir:
    description: Where M(servos.ops.servos_secret_inject) keeps its short-lived env files.
    type: path
    default: /var/lib/servos/secrets
  service_user:
    description: The user that the service runs as, if it is not root. The env file may belong to it.
    type: str
  timeout:
    description: Seconds that the API may take to show its certificate, and an engine to answer.
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
key_age_days:
  description: For how many days the active key has been in force; none where nothing says since when.
  returned: when the installation could be looked at
  type: float
  sample: 12.5
key_encoding:
  description: How the active key is written in its file.
  returned: when the installation could be looked at
  type: str
  sample: base64
env_key:
  description: Fingerprint of the active key. More of what RV(servos.ops.servos_key_info#module:phase) and others say there is returned as well.
  returned: when the installation could be looked at
  type: str
  sample: mk:0123456789abcdef
census:
  description: Numbers of values by field and key, as RV(servos.ops.servos_key_info#module:census).
  returned: when the installation could be looked at
  type: list
  elements: dict
  sample: []
backups:
  description: The backups, and the keys and date that each needs, as RV(servos.ops.servos_key_info#module:backups).
  returned: when O(backup_dir) is given and the installation could be looked at
  type: list
  elements: dict
  sample: []
"""

import datetime
import typing as t
import urllib.parse

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import engine_runner
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_texts
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import installation_options, service_options
from ansible_collections.servos.ops.plugins.module_utils._audit.audit import Wanted, audit, audit_node
from ansible_collections.servos.ops.plugins.module_utils._system.process_rights import gid_of, uid_of

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation

_PLACES = ["/etc", "/home", "/opt", "/root", "/srv", "/tmp", "/var/log", "/var/tmp"]  # noqa: S108 - looked into, never written to


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            scope={"type": "str", "choices": ["control_host", "node"], "default": "control_host"},
            backup_dir={"type": "path"},
            max_age={"type": "float", "default": 365},
            api_url={"type": "str"},
            api_ca_file={"type": "path"},
            min_certificate_days={"type": "float", "default": 30},
            search={"type": "list", "elements": "path", "default": _PLACES},
            search_megabytes={"type": "int", "default": 2000},
            engines={"type": "list", "elements": "str", "choices": ["docker", "podman"], "default": ["docker", "podman"]},
            secrets_dir={"type": "path", "default": "/var/lib/servos/secrets", "no_log": False},
            service_user={"type": "str"},
            timeout={"type": "float", "default": 10},
        ),
        supports_check_mode=True,
    )
    given = module.params
    # The arguments of a module are printed at -vvv.
    mask_texts(module, _secrets_of(given["api_url"] or ""))

    def work(installation: Installation) -> dict[str, t.Any]:
        user = given["service_user"]
        wanted = Wanted(
            backup_dir=given["backup_dir"], max_age_days=given["max_age"], api_url=given["api_url"], api_ca_file=given["api_ca_file"],
            min_certificate_days=given["min_certificate_days"], search=given["search"],
            search_most_bytes=given["search_megabytes"] * 1000 * 1000, engines=given["engines"], secrets_dir=given["secrets_dir"],
            service_uids=_known(uid_of, user), service_gids=_known(gid_of, user), timeout_s=given["timeout"],
        )
        if given["scope"] == "node":
            ledger = audit_node(wanted, run=engine_runner(module))
            return {"changed": False, "findings": ledger.findings, "checks": ledger.checks}
        ledger, facts = audit(installation, wanted, run=engine_runner(module), now=datetime.datetime.now(datetime.timezone.utc))
        return dict(facts, changed=False, findings=ledger.findings, checks=ledger.checks)

    run_module(module, work)


def _secrets_of(url: str) -> list[str]:
    """Return what of a URL may be secret: a password, and what stands behind the path."""
    try:
        parts = urllib.parse.urlsplit(url)
        return [text for text in (parts.password, parts.query) if text]
    except ValueError:
        return []


def _known(look: t.Callable[[str], int | None], name: str | None) -> frozenset[int]:
    number = look(name) if name else None
    return frozenset() if number is None else frozenset([number])


if __name__ == "__main__":
    main()
