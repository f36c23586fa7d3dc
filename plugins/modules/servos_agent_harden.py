#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_agent_harden
short_description: Take rights from an agent by a drop-in of its systemd unit, and prove it
version_added: 0.1.0
description:
  - Writes a drop-in that lets the agent run as a user of its own with a few capabilities, in a sandbox; has
    C(systemd-analyze verify) look at it on a copy of the unit; installs it and restarts the agent.
  - Then looks at the running processes, as M(servos.ops.servos_agent_info) does. If the agent does not come up, or is not as the
    policy asks, the drop-in that was there before is put back, the agent is restarted with that, and the task fails with the reason.
  - The work goes on when the connection or the controller is lost. After a run that was killed, the same task goes on from there.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._agent
attributes:
  check_mode:
    support: full
    details: Nothing is written, so C(systemd-analyze verify) does not look at the drop-in; what is returned of the processes is what they
      are now.
  diff_mode:
    support: full
    details: Shows the drop-in.
  idempotent:
    support: full
    details: The agent is restarted when the drop-in changes, and when it has been running since before that. One that deviates although
      it was started with the drop-in fails each time, and is not restarted.
options:
  state:
    description:
      - With V(present), the drop-in is there and the agent is as the policy asks.
      - With V(absent), the drop-in is gone and the agent runs without it; nothing is asked of it then.
    type: str
    choices:
      - present
      - absent
    default: present
  unit:
    description:
      - The systemd unit of the agent.
    type: str
    default: servos-agent.service
  drop_by:
    description:
      - With V(systemd), the agent is started as O(user) with O(capabilities), and never is root.
      - With V(agent), it is started as root with O(capabilities) and CAP_SETUID, CAP_SETGID and CAP_SETPCAP, and has to drop all else by
        itself - users, groups, those three from every set - within O(start_timeout).
    type: str
    choices:
      - systemd
      - agent
    default: systemd
  directives:
    description:
      - Directives of the section C([Service]) that replace those of the sandbox, or are added. None takes one out; a list makes
        a line of each element.
    type: dict
    default: {}
  read_write_paths:
    description:
      - What the agent may write to, of a file system that is otherwise read-only to it. One that is not there is passed over.
    type: list
    elements: path
    default:
      - /var/lib/servos
  drop_in_name:
    description:
      - The name of the drop-in, of those in C(/etc/systemd/system/UNIT.d). A later one (by name) wins over it.
    type: str
    default: 50-servos-ops-hardening.conf
  start_timeout:
    description:
      - Seconds that the agent may take to stop, to come up, and to drop its rights, each.
    type: float
    default: 30
"""

EXAMPLES = r"""
- name: Harden the agent
  servos.ops.servos_agent_harden:

- name: Harden an agent that starts as root and drops its rights by itself
  servos.ops.servos_agent_harden:
    drop_by: agent

- name: Let it see the tunnel device, and write a log
  servos.ops.servos_agent_harden:
    directives:
      PrivateDevices: null
      DeviceAllow: /dev/net/tun rw
    read_write_paths:
      - /var/lib/servos
      - /var/log/servos

- name: Take the drop-in away again
  servos.ops.servos_agent_harden:
    state: absent
"""

RETURN = r"""
drop_in:
  description: The drop-in.
  returned: success
  type: str
  sample: /etc/systemd/system/servos-agent.service.d/50-servos-ops-hardening.conf
left_out:
  description: Directives that systemd on this host does not know, so that they are not in the drop-in.
  returned: success
  type: list
  elements: str
  sample: [ProtectProc]
restarted:
  description: Whether the agent was (in check mode, would be) restarted.
  returned: success
  type: bool
  sample: true
conforms:
  description: As M(servos.ops.servos_agent_info) returns it; C(running), C(deviations), C(processes), C(unit) and C(systemd_version) too.
  returned: success
  type: bool
  sample: true
deviations:
  description: As M(servos.ops.servos_agent_info) returns it. A failure has it too, with C(processes), as it was before all was put back.
  returned: success, or when the agent deviates
  type: list
  elements: dict
  sample: []
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._agents.directives import Wish
from ansible_collections.servos.ops.plugins.module_utils._agents.harden import Hardening, harden
from ansible_collections.servos.ops.plugins.module_utils._agents.look import Agent, policy_from
from ansible_collections.servos.ops.plugins.module_utils._agents.unit import drop_in_name, unit_name
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_command, run_guarded
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import agent_options
from ansible_collections.servos.ops.plugins.module_utils._errors import AgentError


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(
            agent_options(),
            state={"type": "str", "choices": ["present", "absent"], "default": "present"},
            unit={"type": "str", "default": "servos-agent.service"},
            drop_by={"type": "str", "choices": ["systemd", "agent"], "default": "systemd"},
            directives={"type": "dict", "default": {}},
            read_write_paths={"type": "list", "elements": "path", "default": ["/var/lib/servos"]},
            drop_in_name={"type": "str", "default": "50-servos-ops-hardening.conf"},
            start_timeout={"type": "float", "default": 30},
        ),
        supports_check_mode=True,
    )
    params = module.params

    def work() -> dict[str, t.Any]:
        if not 0 < params["start_timeout"] <= 3600:
            raise AgentError("start_timeout is not a number of seconds above 0 and up to 3600; correct it")
        policy = policy_from(params)
        wish = Wish(
            user=params["user"], group=params["group"], supplementary_groups=tuple(params["supplementary_groups"]),
            capabilities=policy.capabilities, drop_by=params["drop_by"], no_new_privileges=params["no_new_privileges"],
            read_write_paths=tuple(params["read_write_paths"]), directives=params["directives"],
        )  # fmt: skip
        asked = Hardening(
            agent=Agent(unit_name(params["unit"]), params["process_name"]), policy=policy, wish=wish if params["state"] == "present" else None,
            drop_in_name=drop_in_name(params["drop_in_name"]), timeout_s=params["start_timeout"],
            run=lambda argv: run_command(module, argv),
        )  # fmt: skip
        return harden(asked, write=not module.check_mode)

    run_guarded(module, work)


if __name__ == "__main__":
    main()
