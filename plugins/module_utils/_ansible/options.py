# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The options that modules share, as argument specs. Their documentation is in plugins/doc_fragments."""

from __future__ import annotations

import typing as t


def installation_options() -> dict[str, t.Any]:
    """Return the options of the doc fragment C(_installation): one installation on the host."""
    return {
        "app": {"type": "str", "choices": ["act", "airflow", "custom", "nodered", "provara", "servos"], "default": "servos"},
        "profile": {"type": "dict"},
        "database": {"type": "str"},
        "database_token_file": {"type": "path", "no_log": False},
        "database_password_file": {"type": "path", "no_log": False},
        "env_file": {"type": "path"},
        "env_var": {"type": "str"},
        "env_duplicates": {"type": "str", "choices": ["fail", "last_wins"], "default": "fail"},
        "key_encoding": {"type": "str", "choices": ["auto", "base64", "hex"], "default": "auto", "no_log": False},
        "state_dir": {"type": "path"},
    }


def service_options() -> dict[str, t.Any]:
    """Return the options of the doc fragment C(_service): the service that runs the application."""
    return {
        "service": {"type": "str"},
        "service_manager": {"type": "str", "choices": ["command", "compose", "none", "systemd"], "default": "systemd"},
        "service_commands": {
            "type": "dict",
            "options": {
                "stop": {"type": "list", "elements": "str"},
                "start": {"type": "list", "elements": "str"},
                "pid_file": {"type": "path"},
                "pid": {"type": "list", "elements": "str"},
            },
        },
        "service_compose": {
            "type": "dict",
            "options": {
                "project_directory": {"type": "path"},
                "files": {"type": "list", "elements": "path"},
                "project_name": {"type": "str"},
                "command": {"type": "list", "elements": "str"},
            },
        },
    }


def new_key_options() -> dict[str, t.Any]:
    """Return the options of the doc fragment C(_new_key): a key that is brought along instead of made here."""
    return {
        "new_key_file": {"type": "path"},
        "new_key": {"type": "str", "no_log": True},
    }


def empty_option() -> dict[str, t.Any]:
    """Return the option that lets a database without sealed values pass."""
    return {"allow_empty": {"type": "bool", "default": False}}


def escrow_option() -> dict[str, t.Any]:
    """Return the option of the doc fragment C(_escrow): where a key is to lie before it is used."""
    return {
        "escrow": {
            "type": "dict",
            "options": {
                "directory": {"type": "path"},
                "age_recipients": {"type": "list", "elements": "str"},
                "shares": {
                    "type": "dict",
                    "options": {
                        "threshold": {"type": "int", "required": True},
                        "recipients": {"type": "list", "elements": "str", "required": True},
                    },
                },
                # A path on the controller: no home directory of this host belongs into it.
                "vault_file": {"type": "str"},
                "vault_id": {"type": "str"},
                "vault_recipient": {"type": "str"},
                "vault_receipt": {"type": "dict"},
            },
        },
    }


def from_service_option() -> dict[str, t.Any]:
    """Return the option of the doc fragment C(_from_service): sealed values that become variables."""
    return {
        "from_service": {
            "type": "list",
            "elements": "dict",
            "options": {
                "table": {"type": "str", "required": True},
                "column": {"type": "str", "required": True},
                "row": {"type": "dict", "required": True},
                "path": {"type": "str"},
                "variable": {"type": "str"},
                "member": {"type": "str"},
                "all": {"type": "bool", "default": False},
            },
            "mutually_exclusive": [["variable", "all"], ["member", "all"]],
        },
    }


def agent_options() -> dict[str, t.Any]:
    """Return the options of the doc fragment C(_agent): where an agent is found, and what it may."""
    return {
        "process_name": {"type": "str", "default": "servos-agent"},
        "user": {"type": "str", "default": "servos"},
        "group": {"type": "str", "default": "servos"},
        "supplementary_groups": {"type": "list", "elements": "str", "default": []},
        "capabilities": {"type": "list", "elements": "str", "default": ["CAP_NET_ADMIN", "CAP_BPF", "CAP_IPC_LOCK"]},
        "no_new_privileges": {"type": "bool", "default": True},
        "seccomp": {"type": "bool", "default": False},
        "allowed_descriptors": {"type": "list", "elements": "str", "default": ["netlink_socket", "bpf"]},
    }


__all__ = (
    "agent_options",
    "empty_option",
    "escrow_option",
    "from_service_option",
    "installation_options",
    "new_key_options",
    "service_options",
)
