#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_key_info
short_description: Observe where an installation stands in its key rotation
version_added: 0.1.0
description:
  - Reads the env file, the environment of the running service, the keyring and, by trying every known key on every value,
    the data itself; says which phase the installation is in and what comes next.
  - Keys are shown as fingerprints only, C(mk:) and 16 hex digits.
  - Changes nothing, not even a lock or journal file beside the database.
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
  census:
    description:
      - Whether to open every value. Without it the data is not looked at, and RV(ignore:phase) is unknown.
    type: bool
    default: true
  backup_dir:
    description: List the backups of this database in this directory (see M(servos.ops.servos_backup)).
    type: path
  archive:
    description:
      - Looks into an escrow directory; says what lies there, whether it is still what was put there, and which of the archived
        keys opens a database or backup.
      - Keys that an identity on this host opens are used in memory, and shown as fingerprints only.
    type: dict
    suboptions:
      directory:
        description: The escrow directory on the managed host. The default is C(/var/lib/APP/escrow).
        type: path
      of:
        description: The database file or backup that a key is looked for. The default is the installation's own database.
        type: path
      identity_files:
        description:
          - Identities of age on the managed host, as C(age --identity) takes them. Each is tried on every file. Needs the program C(age).
          - Without them nothing in the archive is opened, and the note of a backup says which keys it needs.
        type: list
        elements: path
      key_files:
        description: Files on the managed host that each hold a key, such as one that was restored by hand.
        type: list
        elements: path
      combine_shares:
        description: Whether shares that the identities open are put together, in memory, where there are enough of them.
        type: bool
        default: false
      only:
        description:
          - Looks at nothing but the archive and O(archive.of), so that it also works where the installation is gone. Without it, the
            keys of the installation are tried as well.
        type: bool
        default: false
  discover:
    description:
      - Writes the first draft of a profile, for an application that has none, from O(database) and its key, and does nothing else.
      - Of each column, place in JSON and group of columns a few values are tried with the key, in all the ways that are known. What
        opens, and how, becomes a field.
      - The key is read from O(key_file), else from O(env_var) in O(env_file), as it stands; no O(profile) needs to be there yet. C(name),
        C(env_var), C(env_file), C(service) and C(database) of one, and the options of these names, are taken over into the draft.
    type: bool
    default: false
  discover_seconds:
    description: How long O(discover=true) may search. What there was no time for is named.
    type: float
    default: 120
  key_file:
    description: With O(discover=true), a file on the managed host that holds the key as the application is given it.
    type: path
  probes:
    description:
      - HTTP requests (GET) that make the running application read sealed values back, sent from the managed host.
      - Their answers are judged and forgotten.
    type: list
    elements: dict
    suboptions:
      name:
        description: What the probe is called in the result.
        type: str
        required: true
      url:
        description: The URL. Plain HTTP is possible to this host only.
        type: str
        required: true
      token_file:
        description: A file on the managed host that holds the bearer token.
        type: path
      status:
        description: The status to expect.
        type: int
        default: 200
      forbid:
        description: Texts that mean failure, in any letter case.
        type: list
        elements: str
        default:
          - decryption failed
          - decrypt error
      html:
        description: Whether a web page is a good answer.
        type: bool
        default: false
      ca_file:
        description: Certificates (PEM) to trust instead of the system's.
        type: path
  probe_timeout:
    description: Seconds that a probe may take.
    type: float
    default: 30
  listing:
    description:
      - For Provara. Asks the running gateway for its listing of provider keys (C(GET /v1/api-keys)), once, and holds each row of the
        table C(api_keys) against what the gateway shows of it; O(listing) is sent from the managed host.
      - The gateway answers V(200) for rows that it cannot open too; here such a row is a failure.
      - The second sealed table, C(context_connector_credentials), is shown by no request; the census proves that one.
    type: dict
    suboptions:
      url:
        description: Base URL of the gateway. Plain HTTP is possible to this host only.
        type: str
        required: true
      admin_key_file:
        description:
          - A file on the managed host that holds the admin key (C(PROVARA_ADMIN_SECRET)). All rows must be listed.
        type: path
      session_cookie_file:
        description:
          - A file on the managed host that holds the cookie of a session, for a gateway with several tenants. All rows of its tenant
            must be listed; RV(listing) says how many rows of others it cannot show.
        type: path
      ca_file:
        description: Certificates (PEM) to trust instead of the system's.
        type: path
      timeout:
        description: Seconds that the answer may take.
        type: float
        default: 30
"""

EXAMPLES = r"""
- name: See where ServOS stands
  servos.ops.servos_key_info:
  register: servos_key

- name: See where Provara stands, and let nothing be left behind
  servos.ops.servos_key_info:
    app: provara
    database: sqlite:////srv/provara/provara.db
    env_file: /srv/provara/.env
    service_manager: none
  register: provara_key

- name: Ask which key opens an old backup, and where that key lies
  servos.ops.servos_key_info:
    census: false
    archive:
      of: /var/lib/servos/backups/servos-20260101T000000.000000Z.db

- name: Drill whether the key in the safe opens it, on a host that has nothing but copies of both
  servos.ops.servos_key_info:
    archive:
      only: true
      directory: /mnt/safe/escrow
      identity_files:
        - /mnt/safe/identity.txt
      of: /mnt/safe/servos.db

- name: Write the first draft of a profile for an application that is not known here
  servos.ops.servos_key_info:
    app: custom
    discover: true
    database: sqlite:////srv/ledger/ledger.db
    env_file: /srv/ledger/.env
    env_var: LEDGER_SECRET
  register: ledger  # its draft_yaml is what goes into the inventory

- name: Let the application read one value back
  servos.ops.servos_key_info:
    census: false
    probes:
      - name: a server's SSH key
        url: http://127.0.0.1:8080/api/servers/1/reveal
        token_file: /etc/servos/admin_token

- name: See whether Provara's gateway reads its rows
  servos.ops.servos_key_info:
    app: provara
    database: sqlite:////srv/provara/provara.db
    env_file: /etc/provara/provara.env
    service: provara
    listing:
      url: http://127.0.0.1:4000
      admin_key_file: /etc/provara/admin_key
"""

RETURN = r"""
phase:
  description:
    - V(settled), V(staged), V(mixed), V(rewrapped), V(swapped), V(activated) or V(foreign).
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: settled
next_step:
  description: What comes next in this phase.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: rotate if asked, else nothing
env_key:
  description: Fingerprint of the active key, the one in force in the env file.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: mk:0123456789abcdef
process_key:
  description:
    - Fingerprint of the key that the service runs with; none while it is stopped or not looked at.
    - V(mk:unset) and V(mk:malformed) stand for a process without the variable, or with a text that is no key; V(mk:unknown) for one
      whose key cannot be seen and that is older than what its configuration holds.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: mk:0123456789abcdef
process_evidence:
  description:
    - How RV(process_key) is known. V(environment), it was read there; V(start), the process takes its key from a file, or hides its
      environment, and was started after the file was last written, or while no rotation is under way.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: environment
process_seen:
  description: Whether a service is described, so that its process can be held against the env file.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: bool
  sample: true
processes:
  description:
    - The processes on this host, the service's own included, that were started with a known key in their environment, under
      whatever name. Not looked at with O(service_manager=none).
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: list
  elements: dict
  sample:
    - pid: 4711
      name: servos
      key: mk:fedcba9876543210
      role: active
processes_unread:
  description: Number of processes whose environment may not be read; none for root.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: int
  sample: 0
staged_key:
  description: Fingerprint of the staged key.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: mk:fedcba9876543210
previous_key:
  description: Fingerprint of the key that was active before, until it is retired.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: mk:0011223344556677
withdrawn_key:
  description: Fingerprint of the key that a rollback took back, until it is retired.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: str
  sample: mk:7766554433221100
listed_keys:
  description:
    - Fingerprints of the keys that stand in a list in the configuration after the active one, or did so before a swap, until they are
      retired.
  returned: success, unless O(archive.only=true) or O(discover=true)
  type: list
  elements: str
  sample: []
census:
  description:
    - One entry a field; numbers of values by the key that opens them. C(plain) values were never sealed; C(foreign) ones
      look sealed and open under no known key.
  returned: when O(census=true), unless O(discover=true)
  type: list
  elements: dict
  sample:
    - table: servers
      column: ssh_private_key
      columns: [ssh_private_key]
      path: null
      class: server SSH private keys
      codec: aes256gcm_base64
      active: 12
      staged: 0
      previous: 0
      withdrawn: 0
      listed: 0
      empty: 0
      plain: 0
      foreign: 0
sealed_values:
  description: Number of sealed values, under whichever key.
  returned: when O(census=true), unless O(discover=true)
  type: int
  sample: 400
undeclared:
  description: Fields that hold sealed values although the profile, which names some, does not name them; as lines for it.
  returned: when O(census=true), unless O(discover=true)
  type: list
  elements: dict
  sample: []
canary:
  description: The role of the key that opens the integrity canary; none where no canary was found.
  returned: when O(census=true), unless O(discover=true)
  type: str
  sample: active
backups:
  description:
    - One entry a backup of this database, the newest first, with the keys that open it and the end of its retention. It is where
      ciphertext under an earlier key is left after a rotation.
  returned: when O(backup_dir) is given
  type: list
  elements: dict
  sample:
    - path: /var/lib/servos/backups/servos-20260101T000000.000000Z.db
      created_at: "2026-01-01T00:00:00Z"
      expires_at: "2026-01-31T00:00:00Z"
      keys:
        mk:0123456789abcdef: 400
      opens_with: [previous]
archived_keys:
  description:
    - One entry an escrowed key, the newest first. C(role) is the one that it has here now; C(opened) is whether it could be opened
      here. Of a file, C(intact) is whether it is what was put there, and C(opens) whether an identity opens it; none where that was
      not looked at.
  returned: when O(archive) is given
  type: list
  elements: dict
  sample:
    - fingerprint: mk:0123456789abcdef
      created_at: "2026-01-01T00:00:00Z"
      threshold: null
      role: previous
      opened: true
      files:
        - kind: age
          name: escrow-0123456789abcdef.age
          recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p]
          sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
          intact: true
          opens: true
opens:
  description:
    - The keys that open O(archive.of), with the number of values under each. Where C(opened) is false, no key here opened one,
      and the note of the backup names the key. C(archived) is whether it lies in the archive, C(files) as what.
  returned: when O(archive) is given
  type: list
  elements: dict
  sample:
    - fingerprint: mk:0123456789abcdef
      values: 400
      opened: true
      archived: true
      files: [escrow-0123456789abcdef.age]
unopened_values:
  description: Number of values of O(archive.of) that look sealed and open under no key; none where no key was there to try.
  returned: when O(archive) is given
  type: int
  sample: 0
draft:
  description: A profile with all that was found, as it can be given to O(profile) with O(app=custom).
  returned: when O(discover=true)
  type: dict
  sample:
    name: ledger
    env_var: LEDGER_SECRET
    derivation: {kdf: sha256}
    fields:
      - table: accounts
        column: token
        codec: {cipher: aes-256-gcm, layout: [nonce, ciphertext, tag], encoding: base64}
draft_yaml:
  description: The same as text for the inventory, with a comment wherever somebody has to look.
  returned: when O(discover=true)
  type: str
  sample: "servos_profile:\n  name: ledger\n"
draft_fields:
  description:
    - One entry a field of the draft. C(opened) of C(samples) opened; C(proven) is whether they authenticate, so that it is no guess;
      C(note) says what to look at.
  returned: when O(discover=true)
  type: list
  elements: dict
  sample:
    - table: accounts
      column: token
      columns: [token]
      path: null
      codec: {cipher: aes-256-gcm, layout: [nonce, ciphertext, tag], encoding: base64}
      samples: 8
      opened: 8
      proven: true
      note: ""
draft_unopened:
  description: Places whose values could be sealed by their look and open under nothing that was tried; C(looks_like) says what else they may be.
  returned: when O(discover=true)
  type: list
  elements: dict
  sample:
    - table: accounts
      column: id
      path: null
      samples: 8
      looks_like: UUID
draft_skipped:
  description: Places for which there was no time.
  returned: when O(discover=true)
  type: list
  elements: str
  sample: []
probes:
  description: One entry a probe.
  returned: when O(probes) is given
  type: list
  elements: dict
  sample:
    - name: a server's SSH key
      ok: true
      status: 200
      reason: ""
listing:
  description:
    - Whether the gateway shows every row as the data has it, and if not, why. C(rows) are in the data, C(listed) in the answer (none
      without one), C(matching) are right in both; C(unseen) belong to other tenants than the session's.
    - C(failures) names the first 20 rows that are not right. Nothing of a value is returned.
  returned: when O(listing) is given
  type: dict
  sample:
    ok: false
    reason: "the gateway does not show 1 of 3 rows of api_keys as the data has them: OPENAI_API_KEY is not listed"
    rows: 3
    listed: 2
    matching: 2
    unseen: 0
    failures:
      - id: V1StGXR8_Z5jdHi6B-myT
        name: OPENAI_API_KEY
        reason: is not listed
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.dependencies import require_cryptography
from ansible_collections.servos.ops.plugins.module_utils._ansible.front_door import run_module
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_guarded, run_with_input
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_texts
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import installation_options, service_options
from ansible_collections.servos.ops.plugins.module_utils._apps.probe import run_probes
from ansible_collections.servos.ops.plugins.module_utils._rotation.archive import look_up
from ansible_collections.servos.ops.plugins.module_utils._rotation.backups import backups_by_key
from ansible_collections.servos.ops.plugins.module_utils._rotation.discovering import discover
from ansible_collections.servos.ops.plugins.module_utils._rotation.listing import hold_listing
from ansible_collections.servos.ops.plugins.module_utils._rotation.observe import observe
from ansible_collections.servos.ops.plugins.module_utils._system.progress import watched_progress

if t.TYPE_CHECKING:
    from ansible_collections.servos.ops.plugins.module_utils._rotation.installation import Installation


def main() -> None:
    probe_options = {
        "name": {"type": "str", "required": True},
        "url": {"type": "str", "required": True},
        "token_file": {"type": "path"},
        "status": {"type": "int", "default": 200},
        "forbid": {"type": "list", "elements": "str", "default": ["decryption failed", "decrypt error"]},
        "html": {"type": "bool", "default": False},
        "ca_file": {"type": "path"},
    }
    listing_options = {
        "url": {"type": "str", "required": True},
        "admin_key_file": {"type": "path", "no_log": False},
        "session_cookie_file": {"type": "path"},
        "ca_file": {"type": "path"},
        "timeout": {"type": "float", "default": 30},
    }
    archive_options = {
        "directory": {"type": "path"},
        "of": {"type": "path"},
        "identity_files": {"type": "list", "elements": "path"},
        "key_files": {"type": "list", "elements": "path", "no_log": False},
        "combine_shares": {"type": "bool", "default": False},
        "only": {"type": "bool", "default": False},
    }
    module = AnsibleModule(
        argument_spec=dict(
            installation_options(),
            **service_options(),
            census={"type": "bool", "default": True},
            backup_dir={"type": "path"},
            discover={"type": "bool", "default": False},
            discover_seconds={"type": "float", "default": 120},
            key_file={"type": "path", "no_log": False},
            archive={"type": "dict", "options": archive_options},
            probes={"type": "list", "elements": "dict", "options": probe_options},
            probe_timeout={"type": "float", "default": 30},
            listing={
                "type": "dict", "options": listing_options, "mutually_exclusive": [["admin_key_file", "session_cookie_file"]]
            },
        ),
        supports_check_mode=True,
    )

    def run(argv: list[str], content: bytes) -> tuple[int, bytes, bytes]:
        return run_with_input(module, argv, content)

    def work(installation: Installation) -> dict[str, t.Any]:
        archive = module.params["archive"]
        if archive and archive["only"]:
            return dict(look_up(installation, archive, known=None, run=run), changed=False)
        seen = observe(installation, with_census=module.params["census"])
        result = dict(seen.as_result(), changed=False, _warnings=seen.warnings() + seen.warnings_of_forgotten())
        if archive:
            found = look_up(installation, archive, known=seen.keys, run=run)
            result.update(found, _warnings=result["_warnings"] + found["_warnings"])
        if module.params["backup_dir"]:
            result["backups"] = backups_by_key(installation, seen.keys, module.params["backup_dir"])
        if module.params["probes"]:
            result["probes"] = run_probes(module.params["probes"], timeout_s=module.params["probe_timeout"])
        if module.params["listing"]:
            result["listing"] = hold_listing(installation, seen.keys, module.params["listing"])
        return result

    if module.params["discover"]:
        draft(module)
    else:
        run_module(module, work)


def draft(module: AnsibleModule) -> None:
    """Leave with the draft of a profile; there is no installation yet that could be built."""
    require_cryptography(module)
    secrets: list[str] = []
    watched_progress().begin("search")
    end = time.monotonic() + module.params["discover_seconds"]
    run_guarded(
        module,
        lambda: dict(discover(module.params, secrets.append, is_time_up=lambda: time.monotonic() > end), changed=False),
        mask=lambda: mask_texts(module, secrets),
    )


if __name__ == "__main__":
    main()
