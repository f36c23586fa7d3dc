# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.
"""The drop-in of an agent's unit: who drops the rights, and the sandbox that an agent with eBPF and WireGuard can bear.

Source: systemd.exec(5), systemd.resource-control(5), and the NEWS of systemd for the versions.
"""

from __future__ import annotations

import re
import typing as t

from .._errors import AgentError

# What the agent needs while it drops its rights by itself, and must have dropped afterwards.
DROPPING = ("CAP_SETGID", "CAP_SETUID", "CAP_SETPCAP")

# Each with the version of systemd that came to know it, in this form. docs/agents.md says why each is there, or is not.
_SANDBOX: tuple[tuple[str, str, int], ...] = (
    ("ProtectSystem", "strict", 232),
    ("ProtectHome", "yes", 214),
    ("PrivateTmp", "yes", 37),
    ("PrivateDevices", "yes", 209),
    ("DevicePolicy", "closed", 208),
    ("ProtectKernelTunables", "yes", 232),
    ("ProtectKernelModules", "yes", 232),
    ("ProtectKernelLogs", "yes", 244),
    ("ProtectControlGroups", "yes", 232),
    ("ProtectClock", "yes", 245),
    ("ProtectHostname", "yes", 242),
    ("ProtectProc", "invisible", 247),
    ("RestrictNamespaces", "yes", 233),
    ("RestrictRealtime", "yes", 231),
    ("RestrictSUIDSGID", "yes", 242),
    ("RestrictAddressFamilies", "AF_UNIX AF_INET AF_INET6 AF_NETLINK", 211),
    ("LockPersonality", "yes", 235),
    ("KeyringMode", "private", 235),
    ("RemoveIPC", "yes", 232),
    ("SystemCallArchitectures", "native", 209),
    ("SystemCallFilter", "@system-service bpf", 239),
    ("SystemCallErrorNumber", "EPERM", 209),
    ("LimitMEMLOCK", "64M", 1),
    ("UMask", "0077", 1),
)
_READ_WRITE_SINCE, _AMBIENT_SINCE, _NO_NEW_SINCE = 231, 229, 187
_OF_THE_POLICY = {
    "User": "user", "Group": "group", "SupplementaryGroups": "supplementary_groups", "AmbientCapabilities": "capabilities",
    "CapabilityBoundingSet": "capabilities", "NoNewPrivileges": "no_new_privileges", "ReadWritePaths": "read_write_paths",
}  # fmt: skip
_NAME = re.compile(r"[A-Z][A-Za-z0-9]*\Z")
_UNKNOWN = re.compile(r"Unknown (?:key name|key|lvalue) '([A-Za-z0-9]+)'")
_HEADER = (
    "# Written by servos.ops (agent_harden). Changes here are overwritten; what has to differ goes into a drop-in\n"
    "# whose name comes later, or into the variables of the role.\n[Service]\n"
)


class Wish(t.NamedTuple):
    """What a drop-in is to say. C(drop_by) is C(systemd) or C(agent); C(directives) replace or add to the sandbox, None takes one out."""

    user: str
    group: str
    supplementary_groups: tuple[str, ...]
    capabilities: tuple[str, ...]
    drop_by: str
    no_new_privileges: bool
    read_write_paths: tuple[str, ...]
    directives: t.Mapping[str, t.Any]


class DropIn(t.NamedTuple):
    """A drop-in: its text, and which directives it leaves out, as systemd here does not know them."""

    text: str
    left_out: list[str]


def drop_in_of(wish: Wish, *, version: int | None, unknown: t.Collection[str] = ()) -> DropIn:
    """Write the drop-in for a version of systemd (None: take all for known) which has said of C(unknown) that it does not know them.

    Raises:
        AgentError: a directive is not one, or is given by another option; or this systemd cannot give capabilities to a user.
    """
    _refuse(wish)
    chosen = {name: (value, since) for name, value, since in _SANDBOX}
    for name, given in wish.directives.items():
        chosen[name] = (given, 1)
    lines, left_out = _identity(wish), []
    if wish.drop_by == "systemd" and (_is_old(version, _AMBIENT_SINCE) or "AmbientCapabilities" in unknown):
        raise AgentError(
            f"systemd {version or 'here'} cannot give capabilities to a user, which {_AMBIENT_SINCE} and newer can; "
            "let the agent drop its rights by itself (drop_by: agent), if it does"
        )
    optional = [("NoNewPrivileges", "yes" if wish.no_new_privileges else "no", _NO_NEW_SINCE)]
    if wish.read_write_paths:
        # A path that is not there is no reason not to start.
        optional.append(("ReadWritePaths", " ".join(f"-{path}" for path in wish.read_write_paths), _READ_WRITE_SINCE))
    for name, value, since in [*optional, *((name, value, since) for name, (value, since) in chosen.items())]:
        if value is None:
            continue
        if _is_old(version, since) or name in unknown:
            left_out.append(name)
        else:
            lines += [f"{name}={text}" for text in _texts(value)]
    return DropIn(_HEADER + "\n".join(lines) + "\n", left_out)


def unknown_directives(complaints: t.Iterable[str]) -> list[str]:
    """Return the directives that C(systemd-analyze verify) says it does not know."""
    return sorted({match.group(1) for match in map(_UNKNOWN.search, complaints) if match})


def complaints_about(drop_in: str, printed: str) -> list[str]:
    """Return what C(systemd-analyze verify) printed about a drop-in of this name, each from the line number on."""
    marker = f"/{drop_in}:"
    return [line.partition(marker)[2].strip() for line in printed.splitlines() if marker in line]


def _identity(wish: Wish) -> list[str]:
    capabilities = " ".join(wish.capabilities)
    # An empty value takes back what the unit, or a drop-in before this one, says; values of these lists add up otherwise.
    if wish.drop_by == "systemd":
        lines = [f"User={wish.user}", f"Group={wish.group}", "SupplementaryGroups="]
        if wish.supplementary_groups:
            lines.append(f"SupplementaryGroups={' '.join(wish.supplementary_groups)}")
        lines += ["AmbientCapabilities=", *([f"AmbientCapabilities={capabilities}"] if capabilities else [])]
        return [*lines, "CapabilityBoundingSet=", *([f"CapabilityBoundingSet={capabilities}"] if capabilities else [])]
    return [
        "User=root", "Group=root", "SupplementaryGroups=", "AmbientCapabilities=", "CapabilityBoundingSet=",
        f"CapabilityBoundingSet={' '.join([*wish.capabilities, *(name for name in DROPPING if name not in wish.capabilities)])}",
    ]  # fmt: skip


def _refuse(wish: Wish) -> None:
    for name, value in wish.directives.items():
        if name in _OF_THE_POLICY:
            raise AgentError(f"directives sets {name}, which follows from {_OF_THE_POLICY[name]}; set that instead")
        if not _NAME.match(name) or any("\n" in text or text.endswith("\\") for text in _texts(value)):
            raise AgentError(f"directives: {name!r} and its value are not one line of a unit each; see systemd.exec(5)")
    for path in wish.read_write_paths:
        if not path.startswith("/") or any(letter.isspace() for letter in path):
            raise AgentError(
                "read_write_paths holds what is not an absolute path, or one with a blank in it; "
                "write absolute paths without blanks"
            )
    for text in (wish.user, wish.group, *wish.supplementary_groups):
        if not re.match(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", text):
            raise AgentError("user, group or supplementary_groups holds what is no name; write names of letters, digits and _ . - only")


def _texts(value: t.Any) -> list[str]:
    if isinstance(value, bool):
        return ["yes" if value else "no"]
    if isinstance(value, list):
        return [text for each in value for text in _texts(each)]
    return [] if value is None else [str(value)]


def _is_old(version: int | None, since: int) -> bool:
    return version is not None and version < since


__all__ = ("DROPPING", "DropIn", "Wish", "complaints_about", "drop_in_of", "unknown_directives")
