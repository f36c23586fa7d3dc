#!/usr/bin/python
# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: servos_agent_info
short_description: Show what rights the processes of an agent have
version_added: 0.1.0
description:
  - Reads from C(/proc) what the running processes of an agent are and may - users, groups, capabilities, NoNewPrivs, seccomp, and
    open descriptors that are rights of their own - and compares that with a policy. What a unit or a configuration says counts
    for nothing.
  - Every process of the unit, and every other one of the agent's name, is looked at, with all of its threads.
  - Differences are returned, and are no failure. M(servos.ops.servos_agent_harden) and the role P(servos.ops.agent_harden#role) fail.
author:
  - servos.ops contributors (@servos-ops)
extends_documentation_fragment:
  - servos.ops._attributes
  - servos.ops._agent
attributes:
  check_mode:
    support: full
    details: Reads only.
  diff_mode:
    support: N/A
    details: Reads only.
  idempotent:
    support: full
options:
  unit:
    description:
      - The systemd unit of the agent. Empty where something else starts it.
    type: str
    default: servos-agent.service
"""

EXAMPLES = r"""
- name: Look at the agent, and fail if it is not as it must be
  servos.ops.servos_agent_info:
  register: agent
  failed_when: agent is failed or not agent.conforms

- name: Look at an agent that systemd does not start
  servos.ops.servos_agent_info:
    unit: ""
    process_name: servos-agent
    capabilities: [CAP_NET_ADMIN]
"""

RETURN = r"""
conforms:
  description: Whether the agent runs and is as the policy asks.
  returned: success
  type: bool
  sample: false
running:
  description: Whether there is a process of it.
  returned: success
  type: bool
  sample: true
deviations:
  description: Each difference. C(pid) and C(thread) are none where it is not of a process.
  returned: success
  type: list
  elements: dict
  contains:
    what:
      description:
        - What differs. V(unit), V(process), V(user), V(group), V(uid), V(gid), V(supplementary_groups), V(permitted), V(effective),
          V(bounding), V(inheritable), V(ambient), V(no_new_privileges), V(seccomp) or V(descriptor).
      type: str
      sample: bounding
    is:
      description: What it is.
      type: str
      sample: "too many: CAP_SYS_ADMIN"
    should:
      description: What it should be.
      type: str
      sample: CAP_NET_ADMIN CAP_IPC_LOCK CAP_BPF
    how:
      description: How to mend it.
      type: str
      sample: CapabilityBoundingSet= in its unit, or the agent has to call prctl(PR_CAPBSET_DROP) while it has CAP_SETPCAP
    pid:
      description: The process.
      type: int
      sample: 812
    thread:
      description: The thread, which equals C(pid) for the first one.
      type: int
      sample: 812
processes:
  description: Each process, the main one of the unit first.
  returned: success
  type: list
  elements: dict
  contains:
    pid:
      description: Its id.
      type: int
      sample: 812
    name:
      description: Its name.
      type: str
      sample: servos-agent
    in_unit:
      description: Whether it is of the unit; none without a unit.
      type: bool
      sample: true
    uid:
      description: Its uids.
      type: dict
      sample: {"real": 999, "effective": 999, "saved": 999, "file_system": 999}
    gid:
      description: Its gids.
      type: dict
      sample: {"real": 999, "effective": 999, "saved": 999, "file_system": 999}
    groups:
      description: Its supplementary groups, by number.
      type: list
      elements: int
      sample: []
    capabilities:
      description: Its capabilities, by name, in each set.
      type: dict
      sample:
        inheritable: []
        permitted: [CAP_NET_ADMIN, CAP_IPC_LOCK, CAP_BPF]
        effective: [CAP_NET_ADMIN, CAP_IPC_LOCK, CAP_BPF]
        bounding: [CAP_NET_ADMIN, CAP_IPC_LOCK, CAP_BPF]
        ambient: []
    no_new_privileges:
      description: Whether NoNewPrivs is set; none where the kernel does not say.
      type: bool
      sample: true
    seccomp:
      description: V(disabled), V(strict) or V(filter); none where the kernel does not say.
      type: str
      sample: filter
    threads:
      description: How many threads it has.
      type: int
      sample: 4
    different_threads:
      description: The threads whose rights are not those of the first one, each with C(thread), C(name) and the fields above.
      type: list
      elements: dict
      sample: []
    privileged_descriptors:
      description: What it holds open that is a right, allowed or not.
      type: list
      elements: dict
      sample: [{"descriptor": 5, "kind": "bpf", "target": "anon_inode:bpf-prog"}]
    namespaces_apart:
      description: The namespaces, of V(pid), V(user), V(net) and V(mnt), that are not those of this host. In one of C(user),
        capabilities are worth less.
      type: list
      elements: str
      sample: [mnt]
unit:
  description: What systemd says of the unit; none without one.
  returned: success
  type: dict
  sample:
    name: servos-agent.service
    load_state: loaded
    active_state: active
    unit_file_state: enabled
    main_pid: 812
    fragment: /etc/systemd/system/servos-agent.service
    drop_ins: [/etc/systemd/system/servos-agent.service.d/50-servos-ops.conf]
    needs_daemon_reload: false
systemd_version:
  description: The version of systemd; none without a unit.
  returned: success
  type: int
  sample: 252
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.servos.ops.plugins.module_utils._agents.look import Agent, look_at_agent, policy_from
from ansible_collections.servos.ops.plugins.module_utils._agents.unit import unit_name
from ansible_collections.servos.ops.plugins.module_utils._ansible.leaving import run_command, run_guarded
from ansible_collections.servos.ops.plugins.module_utils._ansible.options import agent_options
from ansible_collections.servos.ops.plugins.module_utils._errors import AgentError


def main() -> None:
    module = AnsibleModule(
        argument_spec=dict(agent_options(), unit={"type": "str", "default": "servos-agent.service"}),
        supports_check_mode=True,
    )
    params = module.params

    def work() -> dict[str, t.Any]:
        if not params["unit"] and not params["process_name"]:
            raise AgentError("neither unit nor process_name is given; name one of them")
        agent = Agent(unit_name(params["unit"]) if params["unit"] else "", params["process_name"])
        return look_at_agent(agent, policy_from(params), lambda argv: run_command(module, argv))

    run_guarded(module, work)


if __name__ == "__main__":
    main()
