#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_setup_token
short_description: Find, hand over and remove the token that makes the first admin
version_added: 0.1.0
description:
  - Looks for the setup token of ServOS in its file, in the volume that the container has there, and in the log of the container. The
    token itself, and anything that is computed from it, is never returned.
  - Says whether the token is still lying there after setup, hands it to the operator in a private file, and destroys it on request.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
attributes:
  check_mode:
    support: full
    details: Looks as in a real run; nothing is written or removed.
  diff_mode:
    support: full
    details: Shows which files hold the token.
  idempotent:
    support: full
options:
  state:
    description:
      - With V(kept), the token stays where it is. Only O(dest) is written, where it is given.
      - With V(absent), no file holds it any more. Each is overwritten with zeros, made durable, and removed; O(dest) too, where it
        is given. A log cannot be edited safely, so what can be done about it is returned as RV(next_steps).
    type: str
    choices:
      - kept
      - absent
    default: kept
  path:
    description:
      - The file of the token, on this host or in the container. Where the container has a volume or directory of this host mounted
        there, that is looked at too. No symbolic link is followed.
    type: path
    default: /var/lib/servos/setup_token
  owner:
    description:
      - The user, by name or number, that the file is to belong to. By default root, or the owner of its directory.
    type: str
  dest:
    description:
      - With O(state=kept), a file on this host that the token is written to, C(0600) and owned by the user that the task runs as. Its
        directory has to exist.
      - With O(state=absent), a copy of the token that is destroyed too.
    type: path
  container:
    description:
      - The container whose log is searched. Empty for none. Where it, or the engine, is not on this host, there is no log.
    type: str
    default: servos-api
  engine:
    description:
      - The container engine.
    type: str
    choices:
      - docker
      - podman
    default: docker
  log_phrase:
    description:
      - The words before the token in the log; case does not matter, and words are divided by nothing, a space, C(-) or C(_). No text of
        ServOS's log is published, so set what your version says.
    type: str
    default: setup token
  log_since:
    description:
      - Search the log from this time or duration on, as C(--since) of the engine takes it, for example V(2026-01-31T12:00:00Z) or V(48h).
    type: str
    default: ""
  setup_finished:
    description:
      - Whether there is a first admin already. ServOS publishes no way to ask it that, so it is told here.
      - If V(false), O(state=absent) is refused.
    type: bool
  max_age_hours:
    description:
      - Without O(setup_finished), a token that is older than this counts as left behind. So does one of unknown age.
    type: float
    default: 24
  timeout:
    description:
      - How many seconds a command of the engine may take.
    type: float
    default: 120
"""

EXAMPLES = r"""
- name: See whether a setup token is lying about
  servos.ops.servos_setup_token:
  register: token
  failed_when: token is failed or token.left_behind

- name: Hand the token to the operator, who fetches it by SSH
  servos.ops.servos_setup_token:
    dest: /root/servos_setup_token

- name: Remove the token once there is an admin, and the copy with it
  servos.ops.servos_setup_token:
    state: absent
    setup_finished: true
    dest: /root/servos_setup_token
"""

RETURN = r"""
present:
  description: Whether a token is (in check mode, would be) somewhere after the task, other than in O(dest).
  returned: success
  type: bool
  sample: true
left_behind:
  description: Whether it is there after setup, by O(setup_finished), or without that by O(max_age_hours).
  returned: success
  type: bool
  sample: true
places:
  description: Where it was found.
  returned: success
  type: list
  elements: dict
  contains:
    kind:
      description: V(file), V(log), or V(interrupted) for what a removal that was killed has left.
      type: str
      sample: file
    where:
      description: The path, or the command that shows the log.
      type: str
      sample: /var/lib/servos/setup_token
    age_hours:
      description: How long ago it was written; none where that is unknown.
      type: float
      sample: 1.5
    mode:
      description: The mode of the file; none of a log.
      type: str
      sample: "0600"
container_found:
  description: Whether there is such a container.
  returned: success
  type: bool
  sample: false
unsearched:
  description: What could not be searched, and why. A token may be there.
  returned: success
  type: list
  elements: str
  sample: []
removed:
  description: The files that were (in check mode, would be) destroyed.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/servos/setup_token]
next_steps:
  description: What is left to do by hand.
  returned: success
  type: list
  elements: str
  sample: ["finish setup, then run again with state=absent"]
"""

import contextlib
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import engine_runner, run_guarded
from ansible_collections.servos.ops.plugins.module_utils._ansible.masking import mask_texts
from ansible_collections.servos.ops.plugins.module_utils._errors import FileError
from ansible_collections.servos.ops.plugins.module_utils._injection.engine import ENGINES
from ansible_collections.servos.ops.plugins.module_utils._setup.places import is_left_behind, steps_after
from ansible_collections.servos.ops.plugins.module_utils._setup.token import Found, TokenLog, hand_over, look, remove
from ansible_collections.servos.ops.plugins.module_utils._system.process_rights import uid_of


def log_of(module: AnsibleModule) -> TokenLog | None:
    params = module.params
    if not params["container"]:
        return None
    run = engine_runner(module)
    engine = ENGINES[params["engine"]](run, name=params["container"], timeout_s=params["timeout"], pull_timeout_s=params["timeout"])
    return TokenLog(engine, run, params["container"], params["log_phrase"], params["log_since"], params["timeout"])


def owner_of(module: AnsibleModule) -> int | None:
    owner = module.params["owner"]
    uid = uid_of(owner) if owner else None
    if owner and uid is None:
        raise FileError(f"owner is {owner}, and there is no such user on this host; correct it")
    return uid


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["kept", "absent"], "default": "kept"},
            "path": {"type": "path", "default": "/var/lib/servos/setup_token"},
            "owner": {"type": "str"},
            "dest": {"type": "path"},
            "container": {"type": "str", "default": "servos-api"},
            "engine": {"type": "str", "choices": ["docker", "podman"], "default": "docker"},
            "log_phrase": {"type": "str", "default": "setup token"},
            "log_since": {"type": "str", "default": ""},
            "setup_finished": {"type": "bool"},
            "max_age_hours": {"type": "float", "default": 24},
            "timeout": {"type": "float", "default": 120},
        },
        supports_check_mode=True,
    )
    params = module.params
    seen: list[Found] = []

    def work() -> dict[str, t.Any]:
        for option in ("path", "dest"):
            if params[option] is not None and not params[option].startswith("/"):
                raise FileError(f"{option} is no absolute path; nothing was done; write it from the root on")
        is_absent, write = params["state"] == "absent", not module.check_mode
        if is_absent and params["setup_finished"] is False:
            raise FileError(
                "setup is not finished (setup_finished), and nothing else makes the first admin; "
                "the token was not removed; make that admin, then set setup_finished=true"
            )
        found = look(params["path"], owner_of(module), log_of(module), must_ask=is_absent or params["dest"] is not None)
        seen.append(found)
        removed, changed, dest = [], False, params["dest"]
        if is_absent:
            removed = remove(found, dest, write=write)
        elif dest is not None:
            changed = hand_over(found, dest, write=write)
        held = [place.where for place in found.places if place.kind != "log"]
        left = [place for place in found.places if place.token and place.where not in removed]
        behind = is_left_behind(left, finished=params["setup_finished"], max_age_hours=params["max_age_hours"], now=time.time())
        return {
            "changed": changed or bool(removed),
            "present": bool(left),
            "left_behind": behind,
            "places": [place.as_facts(time.time()) for place in found.places if place.token],
            "container_found": found.has_container,
            "unsearched": list(found.unsearched),
            "removed": removed,
            "next_steps": steps_after(left, finished=params["setup_finished"], is_left_behind=behind),
            "_warnings": list(found.warnings),
            "_before": {"files": ", ".join(sorted({*held, *removed})) or None},
            "_after": {"files": ", ".join(sorted({*held, *([dest] if changed else [])} - set(removed))) or None},
        }

    def mask() -> None:
        # Nothing that is returned holds one; this is for what is not foreseen. A short text would be taken out of other words.
        with contextlib.suppress(IndexError):
            mask_texts(module, [place.token for place in seen[0].places if len(place.token) >= 12])

    run_guarded(module, work, mask=mask)


if __name__ == "__main__":
    main()
