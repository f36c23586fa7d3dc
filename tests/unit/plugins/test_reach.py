# Copyright (c) 2026, servos.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module brings along: Ansible sends every file that its imports reach, and the host compiles and runs them each time."""

from __future__ import annotations

import ast
import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from test_architecture import MODULES, TREES, ours, place  # noqa: E402

FILES = {place(name)[1]: name for name in TREES if name.startswith("module_utils/")}
# What takes long to load, where it is loaded with the module, and what each module that does so needs it for.
ON_DATA = {"cryptography", "nacl", "sqlite3", "http"}  # data of any store, sealed in any way, and services that are asked by HTTP
LOADED = {
    "servos_agent_harden": set(),
    "servos_agent_info": set(),
    "servos_audit": ON_DATA,
    "servos_backup": ON_DATA,
    "servos_hostkey": {"paramiko"},
    "servos_key_info": ON_DATA,
    "servos_key_rotate": ON_DATA,
    "servos_key_share": ON_DATA,
    "servos_keyring": ON_DATA,
    "servos_node_login": ON_DATA | {"paramiko"},
    "servos_pika_info": {"http"},
    "servos_pika_key": {"cryptography", "http"},
    "servos_secret_inject": {"cryptography"},  # values that were sealed to the node
    "servos_secret_open": ON_DATA,
    "servos_secret_request": {"cryptography"},
    "servos_setup_token": set(),
}
DEAR = {"cryptography", "nacl", "paramiko", "psycopg", "sqlite3", "http", "yaml", "asyncio", "multiprocessing", "xml", "email"}
# Rooms and files that are of no use to a module, whatever else it reaches.
OUT_OF_REACH = {
    "servos_agent_harden": ("_stores", "_sealing", "_rotation", "_keys/keyring", "_apps", "_hosts", "_injection"),
    "servos_agent_info": (
        "_stores", "_sealing", "_rotation", "_keys/keyring", "_apps", "_hosts", "_injection", "_system/files", "_agents/harden",
    ),
    "servos_audit": ("_hosts", "_injection/inject", "_sealing/guessing"),
    "servos_hostkey": ("_stores", "_sealing", "_rotation", "_keys/keyring", "_apps", "_injection"),
    "servos_pika_info": ("_stores", "_sealing/codecs", "_rotation/installation", "_hosts", "_injection"),
    "servos_pika_key": ("_stores", "_sealing/codecs", "_rotation/installation", "_hosts", "_injection/engine"),
    "servos_secret_inject": ("_stores", "_rotation", "_apps", "_hosts"),
    "servos_secret_request": ("_stores", "_rotation", "_apps", "_hosts"),
    "servos_secret_open": ("_hosts", "_sealing/guessing", "_rotation/backups"),
    "servos_setup_token": ("_stores", "_sealing", "_rotation", "_keys/keyring", "_apps", "_hosts", "_agents"),
    "servos_backup": ("_hosts", "_injection", "_sealing/guessing", "_keys/shares"),
    "servos_key_share": ("_hosts", "_injection", "_sealing/guessing"),
    "servos_keyring": ("_hosts", "_injection", "_sealing/guessing"),
    "servos_key_rotate": ("_hosts", "_injection", "_sealing/guessing"),
    "servos_key_info": ("_hosts", "_injection"),
    "servos_node_login": ("_injection", "_sealing/guessing", "_keys/shares"),
}


def reached(module):
    """Return the names of all files that are sent for a module: Ansible follows imports inside of functions too."""
    seen, left = set(), ["modules/" + module]
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += [FILES[found] for found in map(without_attribute, ours(name)) if found in FILES]
    return seen


def without_attribute(found):
    return found if found in FILES else found.rpartition("/")[0]


def loaded_at_once(tree):
    """Return the roots of what is imported when a file is, not in a function and not for types alone."""
    left, roots = list(tree.body), set()
    while left:
        node = left.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            roots.add((node.module or "").split(".")[0])
        left += list(ast.iter_child_nodes(node))
    return roots


@pytest.mark.parametrize("module", MODULES)
def test_nothing_dear_is_loaded_that_a_module_does_not_use(module):
    roots = set().union(*(loaded_at_once(TREES[name]) for name in reached(module)))
    assert roots & DEAR == LOADED[module]


@pytest.mark.parametrize("module", MODULES)
def test_no_room_is_sent_that_a_module_does_not_use(module):
    sent = {place(name)[1] for name in reached(module)}
    assert len(sent) > 10
    assert [name for name in sorted(sent) if name.startswith(OUT_OF_REACH[module])] == []


@pytest.mark.parametrize("name", sorted(TREES))
def test_every_name_that_is_imported_is_used(name):
    tree = TREES[name]
    bound = {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom)) and getattr(node, "module", None) != "__future__"
        for alias in node.names
    }
    # A name in a quoted type or in __all__ is a string.
    read = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    said = " ".join(node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    assert [found for found in sorted(bound - read) if found not in said] == []
