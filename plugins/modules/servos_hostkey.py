#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_hostkey
short_description: Pin SSH host keys on first use, and hold hosts to them
version_added: 0.1.0
description:
  - Trust on first use. The first contact with a host records its keys in an OpenSSH known_hosts file; later contacts compare.
  - A host whose key has changed fails, with both fingerprints, and goes on failing until its pin is reset.
  - Runs where it is sent to, and pins what is seen from there. It needs no account on the hosts that it looks at. Each key
    is proven, since the server signs with it.
author:
  - servos.ops contributors (@servos-ops)
requirements:
  - paramiko >= 2.12, on the host that this runs on; not for O(state=absent)
extends_documentation_fragment:
  - servos.ops._attributes
attributes:
  check_mode:
    support: full
    details: The hosts are asked as in a real run; nothing is written, not even a lock.
  diff_mode:
    support: full
    details: Shows the lines of the file. What it holds is public.
  idempotent:
    support: full
options:
  hosts:
    description:
      - The hosts. Each is a text (V(name), V(name:port), V(192.0.2.1), V(2001:db8::1), V([2001:db8::1]:2222)) or a
        dictionary.
      - A dictionary has C(host); and, if wanted, C(port); C(aliases), a list of further names for the same pin; and
        C(expected_fingerprint), as the option of that name.
      - One that is named twice is asked once.
    type: list
    elements: raw
    required: true
  port:
    description:
      - The port of each host that has none of its own.
    type: int
    default: 22
  state:
    description:
      - With V(pinned), a host that has no pin gets one; all others must be as they are pinned.
      - With V(verified), each host must be pinned and be as it is pinned. Nothing is written.
      - With V(reset), the keys are learned anew and replace the pin. This is how a change is accepted.
      - With V(absent), the pin is removed, and no host is asked.
    type: str
    choices:
      - pinned
      - verified
      - reset
      - absent
    default: pinned
  expected_fingerprint:
    description:
      - Fingerprints that were learned out of band, as OpenSSH prints them (C(SHA256:) and so on). Only keys with these may
        be, or become, pinned; it fails if none of them is presented, or another is pinned.
      - Only with one host. Several hosts have theirs in O(hosts).
    type: list
    elements: str
  path:
    description:
      - The known_hosts file. A new one is made C(0600); an existing one keeps its mode, its owner, and every line that is
        not a pin of these hosts.
    type: path
    default: ~/.ssh/known_hosts
  hash_names:
    description:
      - Write names as HashKnownHosts does, one a line. Hashed names are understood whatever this says.
    type: bool
    default: false
  key_types:
    description:
      - The types of keys to ask for. RSA keys must sign with SHA-2.
    type: list
    elements: str
    choices:
      - ed25519
      - ecdsa
      - rsa
    default:
      - ed25519
      - ecdsa
      - rsa
  timeout:
    description:
      - Seconds that one host may take, from the connection to its last key. Looking up its name is not counted.
    type: float
    default: 10
  parallel:
    description:
      - How many hosts are asked at the same time, from 1 to 256.
    type: int
    default: 32
  lock_timeout:
    description:
      - Seconds to wait for another run that is writing the same file; at least one.
    type: float
    default: 30
"""

EXAMPLES = r"""
- name: Pin a host, or hold it to its pin
  servos.ops.servos_hostkey:
    hosts: [node1.example.com]

- name: Pin two hosts by what their installer printed
  servos.ops.servos_hostkey:
    path: /etc/ssh/ssh_known_hosts
    hosts:
      - host: 192.0.2.10
        port: 2222
        aliases: [node1]
        expected_fingerprint: SHA256:M0SnOq43h5rs3CbEUbEYhF3iKprhKU0YNGvLXNaC9ZE
      - host: 192.0.2.11
        expected_fingerprint: SHA256:vpUk1cWQmZ3vPPRHLkpuRVzmIxPi0nPoZSF1iZtTrFQ

- name: Accept the new key of a host that was rebuilt
  servos.ops.servos_hostkey:
    hosts: [node1.example.com]
    state: reset
    expected_fingerprint: [SHA256:M0SnOq43h5rs3CbEUbEYhF3iKprhKU0YNGvLXNaC9ZE]
"""

RETURN = r"""
known_hosts:
  description: The known_hosts file.
  returned: when it could be read
  type: str
  sample: /home/operator/.ssh/known_hosts
hosts:
  description: One result for each host, in the order of O(hosts). A failure has them too.
  returned: when the file could be read
  type: list
  elements: dict
  contains:
    host:
      description: The host, in lower case.
      type: str
      sample: node1.example.com
    port:
      description: Its port.
      type: int
      sample: 22
    status:
      description:
        - V(pinned), V(unchanged), V(reset), V(removed) or V(absent).
        - Or a failure. V(changed), the keys are not the pinned ones; V(unpinned), there is no pin to verify; V(unreachable),
          it showed no key; V(revoked), its key is @revoked; V(unexpected), other fingerprints were expected.
      type: str
      sample: unchanged
    presented_keys:
      description: What it presents.
      type: list
      elements: dict
      sample: [{"type": "ssh-ed25519", "fingerprint": "SHA256:M0SnOq43h5rs3CbEUbEYhF3iKprhKU0YNGvLXNaC9ZE"}]
    pinned:
      description: What is pinned to it now (in check mode, would be).
      type: list
      elements: dict
      sample: [{"type": "ssh-ed25519", "fingerprint": "SHA256:M0SnOq43h5rs3CbEUbEYhF3iKprhKU0YNGvLXNaC9ZE"}]
    pinned_at:
      description: When its oldest pin was made; none where that is not written.
      type: str
      sample: "2026-11-22T15:00:00Z"
    pinned_by:
      description: Who made that.
      type: str
      sample: root@control
    unpinned_types:
      description: Types that it presents and that are not pinned.
      type: list
      elements: str
      sample: [ssh-rsa]
    error:
      description: Why it failed, and what to do; none where it did not.
      type: str
      sample: null
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_guarded
from ansible_collections.servos.ops.plugins.module_utils._ansible.paramiko_dependency import require_paramiko
from ansible_collections.servos.ops.plugins.module_utils._errors import HostKeyError
from ansible_collections.servos.ops.plugins.module_utils._hosts.endpoints import parse_endpoints
from ansible_collections.servos.ops.plugins.module_utils._hosts.host_key import KEY_TYPES
from ansible_collections.servos.ops.plugins.module_utils._hosts.pinning import pin_hosts


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "hosts": {"type": "list", "elements": "raw", "required": True},
            "port": {"type": "int", "default": 22},
            "state": {"type": "str", "choices": ["pinned", "verified", "reset", "absent"], "default": "pinned"},
            "expected_fingerprint": {"type": "list", "elements": "str", "no_log": False},
            "path": {"type": "path", "default": "~/.ssh/known_hosts"},
            "hash_names": {"type": "bool", "default": False},
            "key_types": {"type": "list", "elements": "str", "choices": list(KEY_TYPES), "default": list(KEY_TYPES), "no_log": False},
            "timeout": {"type": "float", "default": 10},
            "parallel": {"type": "int", "default": 32},
            "lock_timeout": {"type": "float", "default": 30},
        },
        supports_check_mode=True,
    )
    params = module.params

    def work() -> dict[str, t.Any]:
        if not 1 <= params["parallel"] <= 256:
            raise HostKeyError("parallel is not a number from 1 to 256; correct it")
        if not 0 < params["timeout"] <= 3600:
            raise HostKeyError("timeout is not a number of seconds above 0 and up to 3600; correct it")
        if not 0 <= params["lock_timeout"] <= 3600:
            raise HostKeyError("lock_timeout is not a number of seconds from 0 to 3600; correct it")
        if not params["key_types"]:
            raise HostKeyError("key_types is empty; name one type at least, or leave it out")
        endpoints = parse_endpoints(params["hosts"], port=params["port"], expected=params["expected_fingerprint"])
        if params["state"] != "absent":
            require_paramiko(module)
        return pin_hosts(
            endpoints, state=params["state"], path=params["path"], key_types=params["key_types"], hash_names=params["hash_names"],
            timeout_s=params["timeout"], parallel=params["parallel"], lock_timeout_s=params["lock_timeout"],
            write=not module.check_mode,
        )

    run_guarded(module, work)


if __name__ == "__main__":
    main()
