# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This module_util is PRIVATE and only for use by the servos.ops collection. It can change without notice.

"""The applications that are known by name, as data.

ServOS and ACT publish no schema, so their fields are found by discovery: whatever opens under the active key is sealed
(GCM's tag is the proof), and C(classes) only puts names to what is found. Provara's schema is public; its own tool
leaves the second of its two tables behind. C(custom) is empty, for an application that a profile describes as a whole.
"""

from __future__ import annotations

import typing as t

# Where the configuration holds one key, in an env file, which is what the process is started with.
_ENV_FILE: dict[str, t.Any] = {
    "config_format": "env", "config_section": None, "config_rivals": [], "process_var": None, "key_list": None, "rival_key": None,
}

# The union of what ServOS's and ACT's pages list; the first pattern that fits names the class.
_SERVOS_CLASSES: list[dict[str, str]] = [
    {"name": "integrity canary", "table": "", "column": "canary"},
    {"name": "SSH passphrases", "table": "", "column": "passphrase"},
    {"name": "builder SSH private keys", "table": "builder", "column": "key"},
    {"name": "server SSH private keys", "table": "server|node|host|machine", "column": "key"},
    {"name": "environment-level env vars", "table": "environment", "column": "env|var|value"},
    {"name": "service env vars", "table": "service|app", "column": "env|var|value"},
    {"name": "Git access tokens", "table": "git", "column": "token|secret|password|key"},
    {"name": "registry credentials", "table": "registr", "column": "password|secret|token|credential"},
    {"name": "storage provider secrets", "table": "storage|bucket|s3", "column": "secret|key|token|password|credential"},
]


def _servos_like(product: str) -> dict[str, t.Any]:
    """Everything is the same under both names of the product."""
    return {
        "name": product,
        "env_var": f"{product.upper()}_MASTER_KEY",
        "env_file": f"/etc/{product}/{product}.env",
        "service": product,
        "database": f"sqlite:////var/lib/{product}/{product}.db",
        "state_dir": f"/var/lib/{product}/rotation",
        "derivation": "raw32",
        "fields": [],
        "ignore": [],
        "classes": _SERVOS_CLASSES,
        "canary": {"row": "canary", "required": False},
        "rotate_path": "/api/maintenance/rotate-key",
        **_ENV_FILE,
    }


_PROVARA_COLUMNS = {"ciphertext": "encrypted_value", "nonce": "iv", "tag": "auth_tag"}

# Apache Airflow 3.3.2, files below airflow/. It seals with MultiFernet over the texts in [core] fernet_key between commas, the first
# of which seals (models/crypto.py, get_fernet). What its own command rotates is what is sealed (cli/commands/
# rotate_fernet_key_command.py): models/connection.py and models/connection_test.py by FernetFieldsMixin of models/crypto.py,
# models/variable.py, models/trigger.py. Without a key a value is stored as it is, and is_encrypted says so; kwargs of a trigger
# may be plain JSON as well (models/trigger.py, _decrypt_kwargs).
_FERNET = {"cipher": "fernet"}
_AIRFLOW: dict[str, t.Any] = {
    "name": "airflow",
    "env_var": "AIRFLOW__CORE__FERNET_KEY",
    "env_file": None,
    "service": None,
    "database": None,
    "state_dir": "/var/lib/airflow/rotation",
    "derivation": {"kdf": "raw", "text": "base64url"},
    "fields": [
        {"table": "connection", "column": "password", "codec": _FERNET, "class": "connection passwords"},
        {"table": "connection", "column": "extra", "codec": _FERNET, "class": "connection extras"},
        {"table": "variable", "column": "val", "codec": _FERNET, "class": "variables"},
        {"table": "trigger", "column": "kwargs", "codec": _FERNET, "class": "arguments of deferred tasks", "optional": True},
        # Since 3.3, a few seconds old at most.
        {"table": "connection_test_request", "column": "password", "codec": _FERNET, "class": "connection tests", "optional": True},
        {"table": "connection_test_request", "column": "extra", "codec": _FERNET, "class": "connection tests", "optional": True},
    ],
    "ignore": [],
    "classes": [],
    "canary": None,
    "rotate_path": None,
    # _shared/configuration/parser.py: the variable beats airflow.cfg (_lookup_sequence), and a command or a secrets backend may
    # stand in for either (_get_cmd_option, _get_secret_option, and _get_env_var_option for the variables).
    "config_format": "env",
    "config_section": "core",
    "config_rivals": ["_CMD", "_SECRET"],
    "process_var": "AIRFLOW__CORE__FERNET_KEY",
    "key_list": ",",
    "rival_key": None,
}

# Node-RED 4.1.15, @node-red/runtime/lib/nodes/credentials.js: the member $ of flows_cred.json holds all credentials as one JSON object,
# under the SHA-256 of credentialSecret. Whoever did not set that has a key of Node-RED's own, in .config.runtime.json.
_NODERED_CODEC = {"cipher": "aes-256-ctr", "text": "{nonce:hex}{ciphertext:base64}", "oracle": "json_object"}

KNOWN_PROFILES: dict[str, dict[str, t.Any]] = {
    "servos": _servos_like("servos"),
    "act": _servos_like("act"),
    "provara": {
        "name": "provara",
        "env_var": "PROVARA_MASTER_KEY",
        "env_file": None,
        "service": None,
        "database": None,
        "state_dir": "/var/lib/provara/rotation",
        "derivation": "hex_or_sha256",
        "fields": [
            {
                "table": "api_keys", "columns": _PROVARA_COLUMNS, "codec": "aes256gcm_hex_columns",
                "class": "provider API keys",
            },
            {
                # Only there since migration 0059, and never touched by Provara's own rotation tool.
                "table": "context_connector_credentials", "columns": _PROVARA_COLUMNS, "codec": "aes256gcm_hex_columns",
                "class": "connector credentials", "optional": True,
            },
        ],
        "ignore": [],
        "classes": [],
        "canary": None,
        "rotate_path": None,
        **_ENV_FILE,
    },
    "airflow": _AIRFLOW,
    "nodered": {
        "name": "nodered",
        "env_var": "NODE_RED_CREDENTIAL_SECRET",
        "env_file": None,
        "service": "nodered",
        "database": None,
        "state_dir": "/var/lib/nodered/rotation",
        "derivation": {"kdf": "sha256"},
        "fields": [{"table": "document", "column": "$", "codec": _NODERED_CODEC, "class": "credentials of nodes"}],
        "ignore": [],
        "classes": [],
        "canary": None,
        "rotate_path": None,
        **_ENV_FILE,
        "rival_key": {"file": ".config.runtime.json", "member": "_credentialSecret"},
    },
    # An application that nobody here has seen: what is None and cannot be done without is refused by name.
    "custom": {
        "name": None,
        "env_var": None,
        "env_file": None,
        "service": None,
        "database": None,
        "state_dir": None,
        "derivation": None,
        "fields": None,
        "ignore": [],
        "classes": [],
        "canary": None,
        "rotate_path": None,
        **_ENV_FILE,
    },
}

__all__ = ("KNOWN_PROFILES",)
