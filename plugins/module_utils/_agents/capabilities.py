# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""Capabilities by name and by number. Source: capabilities(7), include/uapi/linux/capability.h."""

from __future__ import annotations

from .._errors import AgentError

# By number; a kernel that knows more shows them as bits, which get the name cap_NUMBER.
NAMES = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
    "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK",
    "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL", "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip


def names_of(mask: int) -> list[str]:
    """Return the names of the bits that are set, by number."""
    return [NAMES[number] if number < len(NAMES) else f"CAP_{number}" for number in range(mask.bit_length()) if mask >> number & 1]


def wanted_capabilities(texts: list[str]) -> list[str]:
    """Return the names that are meant, each once, by number: in any case, with or without C(CAP_).

    Raises:
        AgentError: there is no such capability.
    """
    found = set()
    for text in texts:
        name = text.strip().upper()
        name = name if name.startswith("CAP_") else f"CAP_{name}"
        if name not in NAMES:
            raise AgentError(f"there is no capability {text}; name one of capabilities(7), for example CAP_NET_ADMIN")
        found.add(name)
    return sorted(found, key=NAMES.index)


__all__ = ("NAMES", "names_of", "wanted_capabilities")
