# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""Look at an agent: its unit, all of its processes and their threads, and what they hold open; compare with the policy. Reads only."""

from __future__ import annotations

import os
import typing as t

from .._errors import AgentError
from .._system.process_rights import (
    gid_of,
    group_names,
    namespaces_apart,
    open_descriptors,
    pids_named,
    pids_of_cgroup,
    socket_tables,
    thread_statuses,
    uid_of,
)
from .._system.processes import is_running
from .._system.services import Runner
from .._system.unix_peers import unix_peers
from .capabilities import wanted_capabilities
from .credentials import Credentials, parse_status
from .descriptors import KINDS, TABLES, Owner, Privileged, classify, privileged_sockets
from .policy import Deviation, Policy, descriptor_deviations, deviations_of, missing_names
from .unit import PROPERTIES, UnitState, parse_unit, parse_version, unit_deviations


class Agent(t.NamedTuple):
    """Where an agent is found: a systemd unit, or empty; and the name of its program, or empty."""

    unit: str
    process_name: str


def policy_from(options: t.Mapping[str, t.Any]) -> Policy:
    """Build the policy that a module's options describe, with the ids of this host.

    Raises:
        AgentError: an option names what cannot be.
    """
    allowed = [gid for gid in map(gid_of, options["supplementary_groups"]) if gid is not None]
    for text in options["allowed_descriptors"]:
        if text not in KINDS and not text.startswith("/"):
            raise AgentError(f"allowed_descriptors names {text}; give a path, or one of {', '.join(KINDS)}")
    return Policy(
        user=options["user"],
        group=options["group"],
        uid=uid_of(options["user"]),
        gid=gid_of(options["group"]),
        capabilities=tuple(wanted_capabilities(options["capabilities"])),
        supplementary_gids=frozenset(allowed),
        no_new_privileges=options["no_new_privileges"],
        seccomp=options["seccomp"],
        allowed_descriptors=frozenset(options["allowed_descriptors"]),
        group_names={},
    )


def look_at_unit(name: str, run: Runner) -> UnitState:
    """Ask systemd for a unit.

    Raises:
        AgentError: there is no systemd that answers.
    """
    return parse_unit(name, _systemctl(run, "show", "--property", ",".join(PROPERTIES), "--", name))


def systemd_version(run: Runner) -> int | None:
    """Return the version of systemd, or None where it does not say."""
    return parse_version(_systemctl(run, "--version"))


def look_at_agent(agent: Agent, policy: Policy, run: Runner) -> dict[str, t.Any]:
    """Return what is, where it differs from the policy, and whether it conforms.

    Raises:
        AgentError: it cannot be looked at.
    """
    unit = look_at_unit(agent.unit, run) if agent.unit else None
    pids = _pids_of(agent, unit)
    found = missing_names(policy) + (unit_deviations(unit) if unit else [])
    own = set(_of_unit(unit)) if unit else set(pids)
    processes = []
    for pid in pids:
        facts, deviations = _look_at_process(pid, policy)
        if facts is None:
            continue
        if pid not in own and facts["namespaces_apart"] == []:
            deviations.append(
                {
                    "what": "process",
                    "is": "runs outside of its unit",
                    "should": f"in {agent.unit} only",
                    "pid": pid,
                    "thread": pid,
                    "how": f"end process {pid}, whoever started it by hand; only what the unit starts is hardened",
                }
            )
        processes.append(dict(facts, in_unit=pid in own if unit else None))
        found += deviations
    if not processes and not any(deviation["what"] == "unit" for deviation in found):
        what = agent.unit or agent.process_name
        found.append(
            {
                "what": "process",
                "is": f"no process of {what}",
                "should": "running",
                "how": "start the agent, or correct process_name",
                "pid": None,
                "thread": None,
            }
        )
    return {
        "running": bool(processes),
        "unit": unit.as_facts() if unit else None,
        "systemd_version": systemd_version(run) if unit else None,
        "processes": processes,
        "deviations": found,
        "conforms": not found,
    }


def _systemctl(run: Runner, *words: str) -> str:
    try:
        code, output, unused_error = run(["systemctl", *words])
    except OSError:
        raise AgentError("there is no systemctl on this host; let unit be empty, and name the agent's program (process_name)") from None
    if code != 0:
        raise AgentError(
            f"systemctl {words[0]} failed with exit code {code}; is systemd running here? if not, let unit be empty, and name the "
            "agent's program (process_name)"
        )
    return output


def _of_unit(unit: UnitState | None) -> list[int]:
    if unit is None:
        return []
    main = [unit.main_pid] if unit.main_pid else []
    return main + [pid for pid in pids_of_cgroup(unit.control_group) if pid not in main]


def _pids_of(agent: Agent, unit: UnitState | None) -> list[int]:
    pids = _of_unit(unit)
    if agent.process_name:
        pids += [pid for pid in pids_named(agent.process_name) if pid not in pids]
    return [pid for pid in pids if pid != os.getpid() and is_running(pid)]


def _look_at_process(pid: int, policy: Policy) -> tuple[dict[str, t.Any] | None, list[Deviation]]:
    try:
        threads = {thread: parse_status(text) for thread, text in thread_statuses(pid).items()}
        held = _privileged(pid, policy)
        apart = namespaces_apart(pid)
    except ProcessLookupError:
        return None, []  # it has ended while it was looked at
    except PermissionError:
        raise AgentError(f"what process {pid} holds open is not ours to see; run as root (become: true)") from None
    named = policy._replace(group_names=group_names({gid for seen in threads.values() for gid in seen.groups}))
    deviations = descriptor_deviations(named, held, pid=pid)
    first, different = threads[pid], []
    for thread, seen in sorted(threads.items(), key=lambda item: (item[0] != pid, item[0])):
        of_thread = deviations_of(named, seen, pid=pid, thread=thread)
        # A process that drops nothing has a deviation for each of its threads; those that are like the first one say nothing new.
        if thread == pid or _rights_of(seen) != _rights_of(first):
            deviations += of_thread
            if thread != pid:
                different.append(dict(seen.as_facts(), thread=thread, name=seen.name))
    facts = dict(
        first.as_facts(),
        pid=pid,
        name=first.name,
        threads=len(threads),
        different_threads=different,
        privileged_descriptors=[found.as_facts() for found in held],
        namespaces_apart=apart,
    )
    return facts, deviations


def _rights_of(seen: Credentials) -> tuple[t.Any, ...]:
    return tuple(seen)[1:]


def _privileged(pid: int, policy: Policy) -> list[Privileged]:
    sockets, peers = privileged_sockets(socket_tables(pid, TABLES)), unix_peers()
    gids = policy.supplementary_gids | ({policy.gid} if policy.gid is not None else set())
    owner = Owner(-1 if policy.uid is None else policy.uid, frozenset(gids))
    each = (classify(facts, sockets=sockets, peers=peers, owner=owner) for facts in open_descriptors(pid))
    return [found for found in each if found is not None]


__all__ = ("Agent", "look_at_agent", "look_at_unit", "policy_from", "systemd_version")
