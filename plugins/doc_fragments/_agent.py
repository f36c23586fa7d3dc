# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This doc fragment is PRIVATE and only for use by the servos.ops collection. It can change without notice.

from __future__ import annotations


class ModuleDocFragment:
    """Where an agent is found, and what it may."""

    DOCUMENTATION = r"""
options:
  process_name:
    description:
      - The name of the agent's program. Every process of this name is looked at, whoever started it. Empty for those of the
        unit only.
    type: str
    default: servos-agent
  user:
    description:
      - The user, by name or number, that all uids of the agent are to be.
    type: str
    default: servos
  group:
    description:
      - The group, by name or number, that all gids of the agent are to be.
    type: str
    default: servos
  supplementary_groups:
    description:
      - Further groups that the agent may be in; by default none.
    type: list
    elements: str
    default: []
  capabilities:
    description:
      - What the permitted, the effective and the bounding set of the agent are to hold, no more and no less. The inheritable and
        the ambient set may hold these, or fewer.
    type: list
    elements: str
    default:
      - CAP_NET_ADMIN
      - CAP_BPF
      - CAP_IPC_LOCK
  no_new_privileges:
    description:
      - Whether NoNewPrivs has to be set.
    type: bool
    default: true
  seccomp:
    description:
      - Whether a seccomp filter has to be in force.
    type: bool
    default: false
  allowed_descriptors:
    description:
      - Descriptors that the agent may hold open, as kinds or as paths.
      - The kinds are V(raw_socket), V(packet_socket), V(netlink_socket), V(engine_socket) (of a container engine), V(bpf),
        V(perf_event), V(memory_device), V(block_device), and V(foreign_file), which is a file, directory or device that O(user)
        could not open by its mode.
    type: list
    elements: str
    default:
      - netlink_socket
      - bpf
"""
